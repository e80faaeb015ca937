"""Starts attempts at a step, and tells how they ended."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from interruptions.faults import Act, Fault

_RECORD = re.compile(r"create /checkpoints/\S+/\d{8}\.json")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a step.

    Attributes:
        code: Its exit code; a negative one is a signal.
        points: What it did, in order.
        log: What it logged.
    """

    code: int
    points: list[str]
    log: str

    def progress(self, part: str) -> list[int]:
        """Return which units of a part it has done."""
        prefix = f"progress: {part} "
        return [int(point.removeprefix(prefix).partition("/")[0]) for point in self.points if point.startswith(prefix)]

    def saved(self, part: str) -> int:
        """Return a number of units that the last stored checkpoint holds at least."""
        # In a folder a record appears by a link, a point too: it is there when a point of another kind follows.
        seen = self.points
        while seen and (seen[-1].startswith("disk: ") or _RECORD.search(seen[-1])):
            seen = seen[:-1]
        stored = [index for index, point in enumerate(seen) if _RECORD.search(point)]
        before = replace(self, points=seen[: stored[-1]] if stored else [])
        return max(before.progress(part), default=0)


class Trainer:
    """A process that forks one attempt at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def attempt(
        self,
        step: str,
        request: Path,
        folder: Path,
        *,
        fault: Fault | None = None,
        after: float | None = None,
        signal: Act = Act.KILL,
    ) -> Attempt:
        """Make one attempt in a new folder.

        Args:
            step: The step.
            request: Its request.
            folder: Gets the work folder, the log and the points.
            fault: Where it is interrupted from within.
            after: Seconds after which it is interrupted from outside.
            signal: By what.
        """
        folder.mkdir(parents=True)
        order = {
            "step": step,
            "request": str(request),
            "folder": str(folder),
            "fault": asdict(fault) if fault else None,
            "after": after,
            "signal": signal,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        points = folder / "points"
        return Attempt(
            code,
            points.read_text().splitlines() if points.is_file() else [],
            (folder / "log").read_text() if (folder / "log").is_file() else "",
        )


@contextmanager
def running_trainer() -> Iterator[Trainer]:
    """Start the process, and end it."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(tests), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "interruptions.process"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Trainer(process)
        assert process.stdin is not None
        process.stdin.close()
