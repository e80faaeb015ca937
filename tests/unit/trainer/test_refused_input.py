"""Input that the first step refuses, with its exit code, before anything is measured."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from relora_contract.exitcodes import ExitCode
from relora_contract.serving import Engine
from samples.laptop import run_file
from samples.laptop_runs import Laptop


def test_an_adapter_that_the_engine_cannot_load_is_refused_before_a_base_is_fetched(laptop: Laptop) -> None:
    config = laptop.root / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"modules_to_save": ["lm_head"]}))
    laptop.engine = Engine.VLLM
    ended = laptop.run(readaptation={"strategy": "PortLLM"})
    assert ended.exit_code is ExitCode.CONFIGURATION
    assert "set engine: PEFT in the AdapterServer" in (ended.notification.message or "")
    assert not (laptop.root / "work" / "bases").exists()


def test_an_example_for_training_that_cannot_be_cut_is_found_before_anything_is_measured(laptop: Laptop) -> None:
    rows = [{"text": "abc", "label": "low", "head": "a" * size} for size in (1, 40)]
    (laptop.root / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("validation", "test"):
        path = laptop.root / f"{name}.jsonl"
        path.write_text(path.read_text().replace("{", '{"head": "a", '))
    task = run_file(laptop.root)["task"]
    assert isinstance(task, dict)

    ended = laptop.run(
        task=task | {"promptTemplate": "{head}{text}:"}, gates=[{"metric": "Accuracy", "threshold": "1"}]
    )

    assert ended.exit_code is ExitCode.DATA
    assert "leaves no room for the text of example" in (ended.notification.message or "")
    assert not list((laptop.root / "store").rglob("port.json"))


@pytest.mark.parametrize(
    ("break_it", "exit_code"),
    {
        "label outside choices": (
            lambda root: (root / "test.jsonl").write_text('{"text": "abc", "label": "mid"}\n'),
            ExitCode.DATA,
        ),
        "missing dataset": (lambda root: (root / "train.jsonl").unlink(), ExitCode.CONFIGURATION),
        "pickle in the adapter": (
            lambda root: (root / "adapter" / "adapter_model.bin").write_bytes(b"x"),
            ExitCode.INTEGRITY,
        ),
        "code in the adapter": (lambda root: (root / "adapter" / "model.py").write_text(""), ExitCode.INTEGRITY),
        "another tokenizer": (
            lambda root: (root / "r2" / "tokenizer.json").write_text(
                (root / "r2" / "tokenizer.json").read_text().replace('"z"', '"Z"')
            ),
            ExitCode.INCOMPATIBLE,
        ),
    }.values(),
)
def test_bad_input_ends_port_with_its_exit_code(
    laptop: Laptop, break_it: Callable[[Path], object], exit_code: ExitCode
) -> None:
    break_it(laptop.root)
    assert laptop.exit_code() is exit_code
    assert not list((laptop.root / "store").rglob("port.json"))
