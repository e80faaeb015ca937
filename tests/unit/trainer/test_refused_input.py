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


@pytest.mark.parametrize(
    ("break_it", "exit_code", "message"),
    {
        "an adapter of another type": (
            lambda root: _edit(root / "adapter" / "adapter_config.json", peft_type="ADALORA"),
            ExitCode.INCOMPATIBLE,
            "ADALORA",
        ),
        "a pattern that is no regular expression": (
            lambda root: _edit(root / "adapter" / "adapter_config.json", rank_pattern={"([": 4}),
            ExitCode.INTEGRITY,
            "PEFT cannot apply its targets and patterns",
        ),
        "a label outside of the choices": (
            lambda root: (root / "test.jsonl").write_text('{"text": "abc", "label": "mid"}\n'),
            ExitCode.DATA,
            "is not one of task.choices",
        ),
        "a single example to search and to watch with": (
            lambda root: (root / "validation.jsonl").write_text('{"text": "abc", "label": "low"}\n'),
            ExitCode.DATA,
            "at least two examples",
        ),
    }.values(),
)
def test_what_the_small_files_tell_costs_no_download_of_a_base(
    laptop: Laptop, break_it: Callable[[Path], object], exit_code: ExitCode, message: str
) -> None:
    break_it(laptop.root)
    ended = laptop.run(readaptation={"strategy": "PortLLM"})
    assert ended.exit_code is exit_code
    assert message in (ended.notification.message or "")
    assert not (laptop.root / "work" / "bases").exists()


@pytest.mark.parametrize(
    ("changes", "exit_code", "message"),
    {
        "longer than the base's positions": ({"maxLength": 129}, ExitCode.CONFIGURATION, "at most 128 tokens"),
        "no chat template": (
            {"promptTemplate": None, "messages": [{"role": "user", "content": "{text}"}]},
            ExitCode.CONFIGURATION,
            "needs a base with a chat template",
        ),
        "no room for the text": (
            {"promptTemplate": "{text} is it low or high:", "maxLength": 20},
            ExitCode.DATA,
            "leaves no room for the text",
        ),
    }.values(),
)
def test_what_the_tokenizer_tells_costs_no_load_of_a_base(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], exit_code: ExitCode, message: str
) -> None:
    monkeypatch.setattr("relora_trainer.session.load_model", None)
    task = run_file(laptop.root)["task"]
    assert isinstance(task, dict)
    ended = laptop.run(
        task={name: value for name, value in (task | changes).items() if value is not None},
        gates=[{"metric": "Accuracy", "maxRegression": "0.1"}],
    )
    assert (ended.exit_code, message in (ended.notification.message or "")) == (exit_code, True)


def test_texts_that_are_cut_are_told(laptop: Laptop) -> None:
    task = run_file(laptop.root)["task"]
    assert isinstance(task, dict)
    laptop.run(task=task | {"maxLength": 13}, gates=[{"metric": "Accuracy", "threshold": "0"}])
    warnings = laptop.report("port").warnings
    assert sum("are longer than maxLength (13 tokens) allows" in warning for warning in warnings) == 4
    laptop.run(gates=[{"metric": "Accuracy", "threshold": "0"}])
    assert laptop.report("port").warnings == []


def _edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
