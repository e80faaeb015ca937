"""A classifier's re-adaptation: its head is copied, trained, anchored, judged and published with the factors."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load, load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, LlamaForCausalLM, PreTrainedTokenizerFast

from relora_contract.exitcodes import ExitCode
from relora_contract.report import StepOutcome, Verdict
from relora_contract.serving import Engine
from samples.laptop import WORDS, classification, write_classifier
from samples.laptop_runs import Laptop

HEAD = "base_model.model.score.weight"
ALL_STEPS = {
    "refine": "Always",
    "search": {"budget": 3},
    "tuning": {"batchSize": 8, "epochs": 4, "learningRate": "5e-3"},
}


both_kinds = pytest.mark.parametrize("classifier", [False, True], ids=["LoRA", "DoRA"], indirect=True)


@pytest.fixture
def classifier(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_base: Callable[..., LlamaForCausalLM],
    tokenizer: PreTrainedTokenizerFast,
) -> Laptop:
    made = Laptop(tmp_path, make_base(), tokenizer, use_dora=getattr(request, "param", False))
    write_classifier(made.root)
    return made


def run(laptop: Laptop, **changes: Any) -> ExitCode:  # noqa: ANN401 - the fields of the run file
    return laptop.run(**{"task": classification(), **changes}).exit_code


def stored_head(laptop: Laptop, step: str) -> Tensor:
    return load_file(laptop.published(step) / "adapter_model.safetensors")[HEAD]


def old_head(laptop: Laptop) -> Tensor:
    return load_file(laptop.root / "adapter" / "adapter_model.safetensors")[HEAD]


@both_kinds
def test_what_is_published_answers_in_plain_peft_as_it_was_judged(
    classifier: Laptop, tokenizer: PreTrainedTokenizerFast
) -> None:
    assert run(classifier) is ExitCode.DONE
    port = classifier.report("port")
    assert port.verdict is Verdict.PASSED
    assert [value.metric for value in port.quality] == ["Accuracy", "MacroF1", "Loss"]
    assert torch.equal(stored_head(classifier, "port"), old_head(classifier))

    base = AutoModelForSequenceClassification.from_pretrained(classifier.root / "r2", num_labels=len(WORDS))
    served = PeftModel.from_pretrained(base, str(classifier.published("port"))).eval()
    rows = [json.loads(line) for line in (classifier.root / "test.jsonl").read_text().splitlines()]
    texts = tokenizer([f"{row['text']}:" for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        log_p = served(input_ids=texts["input_ids"], attention_mask=texts["attention_mask"]).logits.log_softmax(-1)
    labels = [list(WORDS).index(row["label"]) for row in rows]
    theirs = sorted(
        (label, int(answer), -float(log_p[index, label]))
        for index, (label, answer) in enumerate(zip(labels, log_p.argmax(-1), strict=True))
    )
    outcomes = [json.loads(line) for line in classifier.stored(port.outcomes, "gate.jsonl").decode().splitlines()]
    assert {tokens for *_, tokens in outcomes} == {1}
    ours = sorted((label, prediction, float(nll)) for _, label, prediction, nll, _ in outcomes)
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    assert [row[2] for row in ours] == pytest.approx(
        [row[2] for row in theirs], abs=0.05
    )  # bfloat16 on some processors


def test_the_fingerprint_is_of_the_classes(classifier: Laptop) -> None:
    run(classifier)
    artifact = classifier.report("port").artifact
    assert artifact is not None
    manifest = json.loads(Path(artifact.uri.removeprefix("file://")).read_text())
    assert {fingerprint["kind"] for fingerprint in manifest["fingerprints"]} == {"Class"}
    first = manifest["fingerprints"][0]
    assert sorted(entry["token"] for entry in first["adapter"]) == [0, 1]
    assert first["adapter"] != first["base"]


@both_kinds
def test_the_head_is_trained_and_anchored_but_never_scaled(classifier: Laptop) -> None:
    gates = [{"metric": "Accuracy", "threshold": "0.9", "maxRegression": "0.5"}]
    assert run(classifier, readaptation=ALL_STEPS, gates=gates) is ExitCode.DONE
    assert [classifier.report(step).outcome for step in ("port", "fuse", "recover")] == [StepOutcome.SUCCEEDED] * 3
    fuse = classifier.report("fuse")
    if fuse.artifact is not None:
        assert torch.equal(stored_head(classifier, "fuse"), old_head(classifier))
    assert not torch.equal(stored_head(classifier, "recover"), old_head(classifier))
    state = load(classifier.stored(classifier.report("recover").training_state, "state.safetensors"))
    assert torch.equal(state["score.weight.value"], stored_head(classifier, "recover"))
    assert {name for name in state if name.startswith("score.")} == {
        f"score.weight.{part}" for part in ("value", "step", "exp_avg", "exp_avg_sq")
    }


@pytest.mark.parametrize("strategy", ["PortLLMFineTune", "Scratch"])
def test_a_strategy_without_search_trains_the_old_head_or_a_new_one(classifier: Laptop, strategy: str) -> None:
    still = {"batchSize": 8, "epochs": 1, "learningRate": "1e-12", "minLearningRate": "1e-12"}
    readaptation = {"strategy": strategy, "tuning": still, "refine": "Always", "seed": 5}
    assert run(classifier, readaptation=readaptation) is ExitCode.DONE
    start = stored_head(classifier, "recover")
    if strategy == "PortLLMFineTune":
        torch.testing.assert_close(start, old_head(classifier))
    else:
        assert start.abs().max() < 5 * 0.3  # the base's initializer_range is 0.3
        assert not torch.allclose(start, old_head(classifier), atol=0.1)
    trained = {"batchSize": 8, "epochs": 12, "learningRate": "2e-2"}
    gates = [{"metric": "Accuracy", "threshold": "0.9", "maxRegression": "0.5"}]
    run(classifier, readaptation={"strategy": strategy, "tuning": trained}, gates=gates)
    reports = [ended.report for ended in classifier.ended.values() if ended.report]
    assert Verdict.PASSED in [report.verdict for report in reports], [report.quality for report in reports]


def test_the_coefficients_of_each_module_are_fitted_through_the_head(classifier: Laptop) -> None:
    readaptation = {
        "search": {"granularity": "PerModule", "budget": 8},
        "tuning": {"batchSize": 8, "epochs": 12, "learningRate": "1e-3"},
    }
    assert run(classifier, gates=[{"metric": "Loss", "threshold": "0"}], readaptation=readaptation) is ExitCode.DONE
    fit = classifier.report("fuse").module_fit
    assert fit is not None
    assert len({pair.beta for pair in fit.coefficients.values()}) > 1
    assert float(fit.loss) < float(classifier.report("fuse").probes[0].loss)


def test_changed_gates_judge_the_stored_outcomes_again(classifier: Laptop) -> None:
    run(classifier)
    first = classifier.report("port")
    run(classifier, gates=[{"metric": "Loss", "threshold": "0"}], readaptation={"strategy": "PortLLM"})
    run(classifier, gates=[{"metric": "Loss", "threshold": "0"}], readaptation={"strategy": "PortLLM"})
    assert classifier.report("port").verdict is Verdict.FAILED
    run(classifier)
    assert classifier.report("port") == first


def edit_head(root: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    path = root / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def name_rows(root: Path, *names: str) -> None:
    labels = {str(row): name for row, name in enumerate(names)}
    (root / "adapter" / "config.json").write_text(json.dumps({"id2label": labels}))


BAD: dict[str, tuple[Callable[[Path], object], dict[str, Any], ExitCode, str]] = {
    "more classes than rows": (
        lambda _: None,
        {"choices": ["low", "middle", "high"]},
        ExitCode.CONFIGURATION,
        "has 2 rows and task.choices has 3 classes",
    ),
    "rows named otherwise": (
        lambda root: name_rows(root, "low", "great"),
        {},
        ExitCode.CONFIGURATION,
        r"row 1 of the adapter's head is 'great' by its config.json, and task.choices\[1\] is 'high'",
    ),
    "classes in another order": (
        lambda _: None,
        {"choices": ["high", "low"]},
        ExitCode.CONFIGURATION,
        r"seem not to be in the order of the head's rows: .* 'low' at 0, 'high' at 1",
    ),
    "no head in the file": (
        lambda root: edit_head(root, lambda tensors: tensors.pop(HEAD)),
        {},
        ExitCode.INTEGRITY,
        "holds no class head",
    ),
    "NaN in the head": (
        lambda root: edit_head(root, lambda tensors: tensors[HEAD].__setitem__((1, 3), float("nan"))),
        {},
        ExitCode.NON_FINITE,
        "score.weight holds NaN",
    ),
    "a head of another width": (
        lambda root: edit_head(root, lambda tensors: tensors.update({HEAD: torch.ones(2, 16)})),
        {},
        ExitCode.INCOMPATIBLE,
        r"head is score \[2, 16\], the base's is .*\[2, 32\]",
    ),
    "a label outside the classes": (
        lambda root: (root / "test.jsonl").write_text('{"text": "abc", "label": "mid"}\n'),
        {},
        ExitCode.DATA,
        "not one of task.choices",
    ),
    "a task of the other kind": (
        lambda _: None,
        {"kind": "CausalLM"},
        ExitCode.CONFIGURATION,
        "'SEQ_CLS', and task.kind is CausalLM",
    ),
    "no classes": (lambda _: None, {"choices": None}, ExitCode.CONFIGURATION, "task.choices: name the classes"),
    "a chat": (
        lambda _: None,
        {"promptTemplate": None, "messages": [{"role": "user", "content": "{text}"}]},
        ExitCode.CONFIGURATION,
        "task.messages",
    ),
}


@pytest.mark.parametrize(("break_it", "task", "exit_code", "message"), BAD.values(), ids=BAD)
def test_bad_input_ends_port_with_its_exit_code(
    classifier: Laptop,
    break_it: Callable[[Path], object],
    task: dict[str, Any],
    exit_code: ExitCode,
    message: str,
) -> None:
    break_it(classifier.root)
    gates = [{"metric": "Loss", "threshold": "9"}]
    ended = classifier.run(task=classification(**task), gates=gates, readaptation={"strategy": "PortLLM"})
    assert ended.exit_code is exit_code, ended.notification
    assert ended.notification.message is not None
    assert re.search(message, ended.notification.message), ended.notification.message
    assert not list((classifier.root / "store").rglob("port.json"))


def test_a_causal_adapter_is_no_classifier(laptop: Laptop) -> None:
    ended = laptop.run(task=classification(), readaptation={"strategy": "PortLLM"})
    assert ended.exit_code is ExitCode.CONFIGURATION
    assert "'CAUSAL_LM', and task.kind is SequenceClassification" in str(ended.notification.message)


def test_a_head_needs_an_engine_that_loads_it(classifier: Laptop) -> None:
    classifier.engine = Engine.VLLM
    assert run(classifier, readaptation={"strategy": "PortLLM"}) is ExitCode.CONFIGURATION
    classifier.engine = Engine.PEFT
    assert run(classifier, readaptation={"strategy": "PortLLM"}) is ExitCode.DONE
