"""The documented reasons are those of the registry."""

import os
import subprocess
import sys
from pathlib import Path

from relora_operator.core.reasons import REGISTRY
from relora_operator.reason_page import reason_page

PAGE = Path(__file__).parents[2] / "docs/failure-reasons.md"


def test_the_page_is_up_to_date() -> None:
    if os.environ.get("RELORA_UPDATE_GOLDEN"):
        PAGE.write_text(reason_page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == reason_page(), "run `make generate`"


def test_every_reason_has_one_row() -> None:
    rows = [line.split("`")[1] for line in reason_page().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(reason.value for reason in REGISTRY)


def test_the_module_prints_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relora_operator.reason_page"], capture_output=True, text=True, check=True
    )
    assert done.stdout == reason_page()
