"""Outcomes on disk: one JSON array a line, small enough to keep for every gate that was ever asked."""

import json
from collections.abc import Sequence
from pathlib import Path

from relora_trainer.errors import IntegrityError
from relora_trainer.outcomes import Outcome

GATE_RECORD = "gate.jsonl"
MONITOR_RECORD = "monitor.jsonl"


def write_outcomes(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes as `[key, label, prediction, nll, tokens]`, one a line, the loss with nine significant digits."""
    lines = (
        json.dumps([outcome.key, outcome.label, outcome.prediction, f"{outcome.nll:.9g}", outcome.tokens])
        for outcome in outcomes
    )
    path.write_text("\n".join(lines) + "\n")


def read_outcomes(path: Path) -> list[Outcome]:
    """Return what `write_outcomes` wrote.

    Raises:
        IntegrityError: The file is missing or malformed.
    """
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return [Outcome(key, label, prediction, float(nll), tokens) for key, label, prediction, nll, tokens in rows]
    except (OSError, ValueError, TypeError) as error:
        raise IntegrityError(f"the recorded outcomes {path.name} cannot be read") from error
