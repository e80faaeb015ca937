"""Build the real parts, say where they are, and measure what a release does to an adapter."""

import argparse
import os
import sys
from collections.abc import Sequence

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads starve what runs beside
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from realdata.cache import cache_root, obtain
from realdata.measure import MEASURED, measure
from realdata.products import BENCH, BY_NAME, DEMO, TINY

GROUPS = {"demo": DEMO, "bench": BENCH, "tiny": TINY}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; products go to standard output, progress to standard error."""
    chosen = _parser().parse_args(arguments)
    root = cache_root()
    match chosen.command:
        case "list":
            for name, product in BY_NAME.items():
                state = "built" if (root / product.folder_name).is_dir() else "absent"
                print(f"{name:20} {state:7} {root / product.folder_name}")
        case "build":
            for name in chosen.names:
                for product in GROUPS[name] if name in GROUPS else (BY_NAME[name],):
                    print(f"{product.name} {obtain(product, root)}")
        case _:
            for line in measure(chosen.adapter, root):
                print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m realdata",
        description="Real weights, data and adapters, built once and kept below ${RELORA_CACHE:-~/.cache/relora}.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="name the products and say which are built")
    build = commands.add_parser("build", help="build products and print their folders")
    build.add_argument(
        "names", nargs="+", choices=[*GROUPS, *BY_NAME], metavar="NAME", help="demo, bench, tiny, or a name"
    )
    quality = commands.add_parser("measure", help="evaluate an adapter, as it is, on the bases of a family")
    quality.add_argument("adapter", choices=list(MEASURED))
    return parser


if __name__ == "__main__":
    sys.exit(main())
