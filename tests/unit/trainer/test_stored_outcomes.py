"""Outcomes that are stored: shared by requests, judged again by changed gates, and counted."""

import logging
import shutil
from pathlib import Path

import pytest

from relora_contract.artifacts import ArtifactRef
from relora_contract.report import SplitUse, StepOutcome, Verdict
from samples.laptop_runs import Laptop

MEASURED = "measuring the old adapter"


def measured_reference(laptop: Laptop, caplog: pytest.LogCaptureFixture) -> ArtifactRef:
    """Let a first request measure the old pair; return where its outcomes lie."""
    caplog.set_level(logging.INFO)
    laptop.run(readaptation={"strategy": "PortLLM"})
    outcomes = laptop.report("port").reference_outcomes
    assert outcomes is not None
    return outcomes


def test_requests_that_agree_on_the_old_pair_share_what_it_does(
    laptop: Laptop, caplog: pytest.LogCaptureFixture
) -> None:
    first = measured_reference(laptop, caplog)
    assert caplog.text.count(MEASURED) == 1

    laptop.run(readaptation={"strategy": "ReLoRA"})
    assert laptop.report("port").reference_outcomes == first
    assert laptop.report("port").gates[0].reference is not None
    assert caplog.text.count(MEASURED) == 1


@pytest.mark.parametrize("changed", ["test.jsonl", "validation.jsonl"])
def test_other_examples_are_asked_of_the_old_pair_anew(
    laptop: Laptop, caplog: pytest.LogCaptureFixture, changed: str
) -> None:
    measured_reference(laptop, caplog)
    lines = (laptop.root / changed).read_text().splitlines(keepends=True)
    (laptop.root / changed).write_text("".join(lines[:-1]))
    laptop.run(readaptation={"strategy": "PortLLM"})
    assert caplog.text.count(MEASURED) == 2


def test_the_old_pair_is_measured_again_where_its_outcomes_were_removed(
    laptop: Laptop, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = measured_reference(laptop, caplog)
    Path(outcomes.uri.removeprefix("file://")).unlink()
    shutil.rmtree(laptop.root / "work")
    laptop.run(readaptation={"strategy": "ReLoRA"})
    assert caplog.text.count(MEASURED) == 2
    assert laptop.report("port").gates[0].reference is not None


def test_changed_gates_judge_the_stored_outcomes_again(laptop: Laptop) -> None:
    laptop.run()
    first = laptop.report("port")
    assert first.outcomes is not None
    laptop.run(gates=[{"metric": "Accuracy", "threshold": "1"}])
    stricter = laptop.report("port")
    assert stricter.verdict is Verdict.FAILED
    assert (stricter.outcomes, stricter.artifact) == (first.outcomes, first.artifact)
    assert laptop.report("fuse").outcome is StepOutcome.SUCCEEDED
    laptop.run()
    assert laptop.report("port").verdict is Verdict.PASSED


def test_each_report_says_how_often_the_test_examples_were_used(laptop: Laptop) -> None:
    strict = {"gates": [{"metric": "Loss", "threshold": "0"}]}
    settings = {"strategy": "PortLLMFineTune", "tuning": {"batchSize": 8, "epochs": 2}}
    laptop.run(readaptation=settings, **strict)
    uses = [laptop.report(step).split_use for step in ("port", "recover", "refine")]
    assert [(use.readings, use.requests) for use in uses if use] == [(0, 0), (1, 0), (2, 0)]

    laptop.run(readaptation={**settings, "seed": 1}, **strict)  # another request, which asks the same examples
    use = laptop.report("port").split_use
    assert use == SplitUse(readings=3, requests=1)

    laptop.run(readaptation=settings)  # changed gates ask the stored outcomes again
    assert laptop.report("port").split_use == SplitUse(readings=6, requests=1)
    laptop.run(readaptation=settings, **strict)
    assert laptop.report("port").split_use == SplitUse(readings=0, requests=0)  # the stored report, as it was written
