"""The command line of the demonstration."""

import sys

from rich.console import Console

from demo.run import Demo, DemoError, remove
from devcluster.errors import DevclusterError
from realdata.packages import FetchError

USAGE = "usage: python -m demo up | down"


def main() -> None:
    """Run `up` or `down`. Exit code 0 only if every request was answered and every adapter reached the new base."""
    console = Console()
    try:
        match sys.argv[1:]:
            case ["up"]:
                succeeded = Demo(console).run()
            case ["down"]:
                remove(console)
                succeeded = True
            case _:
                sys.exit(USAGE)
    except (DemoError, DevclusterError, FetchError) as error:
        console.print(f"[red]{error}", highlight=False)
        succeeded = False
    sys.exit(0 if succeeded else 1)
