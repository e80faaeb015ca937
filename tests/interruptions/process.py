"""Runs steps of the trainer in forked processes: the imports are paid for once, and each run can be killed.

Reads one order a line from standard input, as JSON, and answers with the exit code; a negative one is a signal.
"""

import importlib
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import torch

from interruptions.faults import Act, CountedFilesystems, CountedProgress, Fault, Points, TickingClock
from relora_contract.report import Step
from relora_contract.request import CredentialMount
from relora_trainer import checkpoints, cli, evaluation
from relora_trainer.artifact_store import StoreArtifacts
from relora_trainer.session import EVALUATION_BATCH

STEPS: Sequence[Step] = ("delta", "port", "fuse", "recover", "refine")


def main() -> None:
    """Serve until standard input ends."""
    torch.set_num_threads(1)
    for name in (*(f"relora_trainer.steps.{step}" for step in STEPS), "relora_store.s3_connection"):
        importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork would lose the other threads"
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(order)
        sys.stdout.write(f"{_await(child, order)}\n")
        sys.stdout.flush()


def _await(child: int, order: dict[str, Any]) -> int:
    if order["after"] is not None:
        time.sleep(order["after"])
        os.kill(child, signal.SIGTERM if order["signal"] == Act.TERM else signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run(order: dict[str, Any]) -> None:
    """Become one attempt at a step."""
    try:
        folder = Path(order["folder"])
        os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(2, 1)
        fault = order["fault"]
        points = Points(folder / "points", Fault(Act(fault["act"]), fault["number"], fault["at"]) if fault else None)
        _step(order["step"], Path(order["request"]), folder, points)
    except BaseException:  # noqa: BLE001 - the child must not go on as its parent
        traceback.print_exc()
    finally:
        os._exit(1)


def _step(step: Step, request: Path, folder: Path, points: Points) -> None:
    def store(uri: str, credentials: Sequence[CredentialMount]) -> StoreArtifacts:
        return StoreArtifacts(uri, filesystems=CountedFilesystems(credentials, {}, points))

    link = cast("Callable[..., None]", os.link)

    def counted_link(*arguments: object) -> None:
        points.reach("disk: link")
        link(*arguments)

    logging.raiseExceptions = False
    with (
        patch.multiple(
            cli, StoreArtifacts=store, SystemClock=TickingClock, LoggedProgress=lambda: CountedProgress(points)
        ),
        # Tiny steps end before a checkpoint of the real pace would be due.
        patch.multiple(checkpoints, LEAST_SECONDS=2.0, SHARE=0.5),
        # As many as in a batch: the outcomes are those of an evaluation in one piece.
        patch.object(evaluation, "PIECE_ITEMS", EVALUATION_BATCH),
        patch.object(os, "link", counted_link),
    ):
        cli.step(step, request, folder / "work", folder / "termination")


if __name__ == "__main__":
    main()
