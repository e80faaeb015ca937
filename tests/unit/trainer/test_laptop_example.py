"""The example for `relora-trainer run` is what the command reads, and the binding of the examples without a cluster."""

import json
from pathlib import Path

import yaml

from relora_contract.task import Task
from relora_trainer.local_run import LocalRun, read_local_run

EXAMPLES = Path(__file__).parents[3] / "examples"
LAPTOP = EXAMPLES / "laptop.json"


def test_the_example_of_a_run_is_read_and_nothing_in_it_is_ignored() -> None:
    run = read_local_run(LAPTOP)
    # Unknown fields are ignored by every model: what comes back must be the file.
    assert run.model_dump(mode="json", by_alias=True, exclude_unset=True) == json.loads(LAPTOP.read_text())
    assert set(json.loads(LAPTOP.read_text())) == {field.alias for field in LocalRun.model_fields.values()}


def test_it_asks_for_the_task_and_the_gates_of_the_example_binding() -> None:
    binding = yaml.safe_load((EXAMPLES / "6-binding-sentiment.yaml").read_text())
    run = read_local_run(LAPTOP)
    assert run.task == Task.model_validate(binding["spec"]["task"])
    assert [gate.to_json() for gate in run.gates] == binding["spec"]["quality"]["gates"]


def test_the_page_of_the_examples_says_what_it_is_for() -> None:
    assert "`relora-trainer run --request laptop.json`" in (EXAMPLES / "README.md").read_text()
