"""The operator with a look, a hundred times per second of its processor time, at what it does.

`python -m bench.fleet.sampled OUTPUT run …` is `relora-operator run …`; at its end it writes the shares to OUTPUT.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from relora_operator.main import main

_INTERVAL_SECONDS = 0.01
_PARTS = (
    ("relora_operator/core/", "decide"),
    ("relora_operator/manifests/", "decide"),
    ("relora_operator/kube/parse", "parse objects"),
    ("relora_operator/loop/cache", "parse objects"),
    ("relora_operator/loop/fanout", "take news in"),
    ("relora_operator/loop/intake", "take news in"),
    ("relora_operator/handlers", "take news in"),
    ("relora_operator/loop/gather", "gather snapshots"),
    ("relora_operator/loop/tallies", "gather snapshots"),
    ("relora_operator/kube/", "send requests"),
    ("relora_operator/loop/execute", "send requests"),
    ("relora_operator/", "queue and the rest of the loop"),
    ("/kopf/", "kopf: read watches and hand events on"),
    ("/kubernetes/", "send requests"),
    ("/aiohttp/", "connections"),
    ("/asyncio/", "event loop"),
)
"""Whose time it is, by the innermost file that is named here: its callees that are not belong to it."""


class Sampler:
    """Counts samples by part."""

    def __init__(self) -> None:
        self.parts: Counter[str] = Counter()

    def start(self) -> None:
        """Look from now on."""
        signal.signal(signal.SIGPROF, self.look)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_SECONDS, _INTERVAL_SECONDS)

    def write(self, path: Path) -> None:
        """Stop, and write the counts as JSON."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        path.write_text(json.dumps(self.parts))

    def look(self, _: int, frame: FrameType | None) -> None:
        """Count what is done in `frame`."""
        self.parts[_part_of(frame)] += 1


def _part_of(frame: FrameType | None) -> str:
    while frame is not None:
        for path, part in _PARTS:
            if path in frame.f_code.co_filename:
                return part
        frame = frame.f_back
    return "the rest"


def sampled(output: Path) -> None:
    """Run the operator with `sys.argv`; it ends the process."""
    sampler = Sampler()
    sampler.start()
    try:
        main()
    finally:
        sampler.write(output)


if __name__ == "__main__":
    _, destination, *rest = sys.argv
    sys.argv = ["relora-operator", *rest]
    sampled(Path(destination))
