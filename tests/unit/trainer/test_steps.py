"""The steps of a re-adaptation, one after the other, on a tiny base and a store in a folder."""

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from peft import PeftModel
from pyarrow.parquet import write_table
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from relora_contract.artifacts import ArtifactRef
from relora_contract.exitcodes import ExitCode
from relora_contract.readaptation import Granularity, Plan
from relora_contract.report import SplitUse, StepOutcome, Verdict
from relora_trainer.errors import NonFiniteError
from relora_trainer.outcomes import Outcome
from relora_trainer.ports import StopSignal
from relora_trainer.scoring import Scorer
from relora_trainer.search import Observation
from relora_trainer.steps.fuse import lost_share, most_items
from relora_trainer.tuning import StepStatistics, Tuner
from samples.laptop import TARGETS, WORDS, run_file
from samples.laptop_runs import Laptop

MakeBase = Callable[..., LlamaForCausalLM]


def test_an_adapter_that_passes_unchanged_is_published_and_nothing_is_trained(laptop: Laptop) -> None:
    laptop.run()
    port = laptop.report("port")
    assert (port.verdict, port.alpha, port.beta) == (Verdict.PASSED, "0", "1")
    assert port.artifact is not None
    assert port.gates[0].count == len((laptop.root / "test.jsonl").read_text().splitlines())
    assert [laptop.report(step).outcome for step in ("fuse", "recover", "refine")] == [StepOutcome.SKIPPED] * 3


def test_what_is_published_is_a_plain_peft_folder_with_a_fingerprint(laptop: Laptop, make_base: MakeBase) -> None:
    laptop.run()
    artifact = laptop.report("port").artifact
    assert artifact is not None
    manifest = json.loads(Path(artifact.uri.removeprefix("file://")).read_text())
    base = LlamaForCausalLM.from_pretrained(laptop.root / "r2")
    fingerprint = manifest["fingerprints"][0]
    prompt = torch.tensor([fingerprint["prompt"]])
    tokens = [entry["token"] for entry in fingerprint["adapter"]]
    with torch.no_grad():
        without = base(input_ids=prompt).logits[0, -1].log_softmax(-1)[tokens]
        adapted = PeftModel.from_pretrained(base, str(laptop.published("port")))
        with_adapter = adapted(input_ids=prompt).logits[0, -1].log_softmax(-1)[tokens]
    assert with_adapter.tolist() == pytest.approx([float(e["logprob"]) for e in fingerprint["adapter"]], abs=0.3)
    assert without.tolist() == pytest.approx([float(e["logprob"]) for e in fingerprint["base"]], abs=0.3)
    assert manifest["provenance"]["inputAdapterDigest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("strategy", "step", "sections"),
    [
        ("PortLLM", "port", {"gate", "seconds"}),
        ("PortLLMFineTune", "refine", {"gate", "seconds", "training"}),
        ("Scratch", "refine", {"gate", "seconds", "training"}),
        ("ReLoRA", "refine", {"gate", "seconds", "training", "search", "modules"}),
    ],
)
def test_a_page_is_stored_beside_the_report_that_ended_the_re_adaptation(
    laptop: Laptop, strategy: str, step: str, sections: set[str]
) -> None:
    tuning = {"batchSize": 8, "epochs": 2, "recoverFraction": "0.5"}
    readaptation = {"strategy": strategy, "search": {"budget": 3}, "tuning": tuning}
    end = laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=readaptation)
    pages = sorted((laptop.root / "store" / "reports").glob("*/*.html"))
    assert end.page == f"file://{pages[0]}"
    assert [page.stem for page in pages] == [step]
    assert pages[0].with_suffix(".json").is_file()
    assert pages[0].with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    html = pages[0].read_text()
    assert set(re.findall(r'<section id="(\w+)"', html)) == {"steps", "facts", *sections}
    assert f"by {strategy}" in html


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


def test_training_records_its_curve_in_both_stages(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}])
    recover, refine = laptop.report("recover").curve, laptop.report("refine").curve
    assert recover is not None
    assert refine is not None
    total = laptop.report("recover").optimizer_steps + laptop.report("refine").optimizer_steps
    assert [*recover.steps, *refine.steps] == list(range(1, total + 1))
    assert 0 < float(recover.drift[0]) < float(recover.drift[-1])
    for curve, strength in ((recover, 1e-3), (refine, 1e-4)):
        drift = float(curve.drift[-1])
        assert float(curve.penalty[-1]) == pytest.approx(strength / 2 * drift**2, rel=1e-4)
        assert curve.looks
        assert curve.look_reference is not None
    assert float(refine.loss[-1]) < float(recover.loss[0])


def test_below_the_gate_the_coefficients_are_searched(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}])
    assert laptop.report("port").verdict is Verdict.FAILED
    fuse = laptop.report("fuse")
    assert fuse.outcome is StepOutcome.SUCCEEDED
    assert (fuse.probes[0].alpha, fuse.probes[0].beta) == ("0", "1")
    assert fuse.training_state is not None
    assert fuse.surface is not None
    assert len(fuse.surface.loss) == len(fuse.surface.beta) == len(fuse.surface.deviation)
    assert set(fuse.captured_energy) == {
        f"model.layers.{layer}.self_attn.{target}" for layer in (0, 1) for target in TARGETS
    }
    stored = laptop.report("delta").captured_energy
    assert all(float(share) < float(stored[name]) for name, share in fuse.captured_energy.items())


def test_no_time_is_searched_where_little_was_lost(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Accuracy", "maxRegression": "0.01"}])
    assert laptop.report("port").verdict is Verdict.INCONCLUSIVE
    assert [(probe.alpha, probe.beta) for probe in laptop.report("fuse").probes] == [("0", "1")]
    lost = [Outcome("a", 0, 0, nll=2.0, tokens=4), Outcome("b", 0, 0, nll=1.0, tokens=2)]
    assert lost_share(Observation(0, 1, (4.0, 4.0), (2, 2), 1.0), lost) == 0.75  # from 0.5 to 2 nats a token
    assert lost_share(Observation(0, 1, (0.5, 0.5), (2, 2), 1.0), lost) == 0.0


def test_a_corner_that_overflows_is_rejected_and_the_search_goes_on(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = Scorer.losses
    calls = 0

    def overflowing(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - those of the method
        nonlocal calls
        calls += 1
        if calls == 2:
            raise NonFiniteError("the loss of 3 examples is NaN or infinite")
        return losses(*arguments, **named)

    monkeypatch.setattr(Scorer, "losses", overflowing)
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}])
    rejected = laptop.report("fuse").probes[1]
    assert float(rejected.loss) > 3 * float(laptop.report("fuse").probes[0].loss)
    assert sum("is not finite" in warning for warning in laptop.report("fuse").warnings) == 1
    assert (laptop.report("fuse").alpha, laptop.report("fuse").beta) != (rejected.alpha, rejected.beta)


def test_a_loss_that_is_not_finite_is_told_with_the_step(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    step, outcomes, trained = Tuner.step, Scorer.outcomes, []

    def counted(tuner: Tuner) -> StepStatistics:
        trained.append(tuner)
        return step(tuner)

    def diverged(*arguments: Any) -> list[Outcome]:  # noqa: ANN401 - those of the method
        if trained:
            raise NonFiniteError("the loss of 3 examples is NaN or infinite")
        return outcomes(*arguments)

    monkeypatch.setattr(Tuner, "step", counted)
    monkeypatch.setattr(Scorer, "outcomes", diverged)
    ended = laptop.run(gates=[{"metric": "Accuracy", "threshold": "1"}])
    assert ended.exit_code is ExitCode.NON_FINITE
    assert (ended.notification.message or "").startswith("after step 4 of the training: the loss of 3 examples")


def test_little_training_gets_a_search_on_few_examples() -> None:
    plan = Plan(epochs=2)
    assert most_items(plan, 100) == 64
    assert most_items(plan, 1_000) == 312  # four probes of 0.25 · 2.5 · 2 · 1,000 examples
    assert most_items(plan, 10_000) > plan.validation_samples
    assert most_items(Plan(epochs=2, granularity=Granularity.PER_MODULE), 1_000) == 178  # a fit costs more probes


PER_MODULE = {
    "search": {"granularity": "PerModule", "budget": 8},
    "tuning": {"batchSize": 8, "epochs": 12, "learningRate": "2e-2"},
}


def test_coefficients_of_each_module_are_fitted_probed_and_reported(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=PER_MODULE)
    fuse = laptop.report("fuse")
    fit = fuse.module_fit
    assert fit is not None
    assert fit.coefficients.keys() == fuse.captured_energy.keys()
    assert all(0 <= float(pair.alpha) <= 1 and 0 <= float(pair.beta) <= 3 for pair in fit.coefficients.values())
    assert len({pair.beta for pair in fit.coefficients.values()}) > 1
    assert 0 < fit.steps <= laptop.heard.fit[-1][1]
    assert len(fuse.probes) <= 2  # a budget of 8 less two passes and the probe of the fit
    best = min(float(probe.loss) for probe in fuse.probes if probe.count == fit.count)
    assert fit.used
    assert float(fit.loss) < best
    assert (fuse.alpha, fuse.beta) == (None, None)
    assert fuse.artifact is not None
    assert laptop.report("recover").training_state is not None


def test_an_interrupted_fit_continues_where_it_stopped(laptop: Laptop) -> None:
    laptop.heard.stop_at = 1
    ended = laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=PER_MODULE)
    assert ended.exit_code is ExitCode.STOPPED
    laptop.heard.stop, laptop.heard.stop_at = StopSignal(), None
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=PER_MODULE)
    steps = [done for done, _ in laptop.heard.fit]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 1


def test_a_training_too_short_for_a_fit_gets_one_pair_and_a_warning(laptop: Laptop) -> None:
    short = {"search": PER_MODULE["search"], "tuning": {"batchSize": 8, "epochs": 1}}
    laptop.run(gates=[{"metric": "Loss", "threshold": "0"}], readaptation=short)
    fuse = laptop.report("fuse")
    assert fuse.module_fit is None
    assert any("too little training" in warning for warning in fuse.warnings)


def test_training_recovers_what_the_gate_asks_for(laptop: Laptop) -> None:
    laptop.run(gates=[{"metric": "Accuracy", "threshold": "0.9"}])
    assert laptop.report("port").verdict is Verdict.FAILED
    passed = [step for step in ("fuse", "recover", "refine") if laptop.report(step).verdict is Verdict.PASSED]
    assert passed, [laptop.report(step).quality for step in ("port", "fuse", "recover", "refine")]
    assert laptop.report(passed[0]).artifact is not None


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


def test_refine_always_trains_every_step_and_continues_where_recover_ended(laptop: Laptop) -> None:
    laptop.run(
        readaptation={
            "refine": "Always",
            "search": {"budget": 3},
            "tuning": {"batchSize": 8, "epochs": 2, "recoverFraction": "0.25"},
        }
    )
    train = len((laptop.root / "train.jsonl").read_text().splitlines())
    total = 2 * (train // 8)
    recover, refine = laptop.report("recover"), laptop.report("refine")
    assert recover.optimizer_steps == round(0.25 * total)
    assert recover.optimizer_steps + refine.optimizer_steps == total
    schedule = json.loads(laptop.stored(recover.training_state, "state.json"))["schedule"]
    assert (schedule["anchor_strong"], schedule["anchor_weak"]) == (1e-3, 1e-4)


@pytest.mark.parametrize(
    ("strategy", "steps"),
    [("PortLLMFineTune", ("port", "recover", "refine")), ("Scratch", ("recover", "refine"))],
)
def test_a_strategy_without_search_trains_without_a_delta(
    laptop: Laptop, strategy: str, steps: tuple[str, ...]
) -> None:
    tuning = {"batchSize": 8, "epochs": 6, "learningRate": "2e-2", "recoverFraction": "0.5"}
    run = {"readaptation": {"strategy": strategy, "tuning": tuning}}
    end = laptop.run(gates=[{"metric": "Accuracy", "threshold": "0.9", "maxRegression": "0.5"}], **run)
    assert end.exit_code is ExitCode.DONE
    assert tuple(laptop.ended) == steps
    reports = [laptop.report(step) for step in steps]
    assert [report.reference_outcomes is not None for report in reports] == [True] + [False] * (len(steps) - 1)
    assert Verdict.PASSED in [report.verdict for report in reports], [report.quality for report in reports]
    assert all(gate.reference is not None for report in reports for gate in report.gates)
    schedule = json.loads(laptop.stored(laptop.report("recover").training_state, "state.json"))["schedule"]
    assert (schedule["anchor_strong"], schedule["anchor_weak"]) == (0, 0)
    start = (None, None) if strategy == "Scratch" else ("0", "1")
    assert {(report.alpha, report.beta) for report in reports if report.verdict is not None} == {start}

    laptop.run(gates=[{"metric": "Accuracy", "threshold": "0"}], **run)
    first, *later = (laptop.report(step) for step in steps)
    assert first.verdict is Verdict.PASSED
    assert first.outcomes == reports[0].outcomes
    assert {report.outcome for report in later} <= {StepOutcome.SKIPPED, StepOutcome.SUCCEEDED}


def test_parquet_files_are_fetched_and_read(laptop: Laptop) -> None:
    dataset = {}
    for part in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (laptop.root / f"{part}.jsonl").read_text().splitlines()]
        write_table(pa.Table.from_pylist(rows), laptop.root / f"{part}.parquet")
        dataset[part] = {"uri": f"file://{laptop.root}/{part}.parquet"}
    assert laptop.run(dataset=dataset, readaptation={"strategy": "PortLLM"}).exit_code is ExitCode.DONE
    assert laptop.report("port").gates[0].count == len((laptop.root / "test.jsonl").read_text().splitlines())


def test_a_chat_is_asked_in_the_form_of_the_bases_template(
    tmp_path: Path, make_base: MakeBase, tokenizer: PreTrainedTokenizerFast
) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'assistant' %}</s>{% else %}:{% endif %}{% endfor %}"
    )
    laptop = Laptop(tmp_path, make_base(), tokenizer)
    (laptop.root / "r2" / "chat_template.jinja").write_text(f"{tokenizer.chat_template}{{# the release's own #}}")
    messages = [{"role": "user", "content": "{text}"}]
    laptop.run(
        task={"kind": "CausalLM", "messages": messages, "completionField": "label", "choices": list(WORDS)},
        readaptation={"strategy": "PortLLM"},
    )
    artifact = laptop.report("port").artifact
    assert artifact is not None
    manifest = json.loads(Path(artifact.uri.removeprefix("file://")).read_text())
    assert any("chat templates" in warning for warning in laptop.report("port").warnings)
    colon = tokenizer(":", add_special_tokens=False)["input_ids"]
    assert all(fingerprint["prompt"][-1:] == colon for fingerprint in manifest["fingerprints"])


def test_a_generative_task_is_trained_and_gated_by_its_answers(laptop: Laptop) -> None:
    laptop.run(
        task={"kind": "CausalLM", "promptTemplate": "{text}:", "completionField": "letter", "maxLength": 32},
        gates=[{"metric": "ExactMatch", "threshold": "0.6"}],
        readaptation={
            "strategy": "PortLLMFineTune",
            "tuning": {"batchSize": 8, "epochs": 16, "learningRate": "2e-2"},
        },
    )
    assert laptop.report("port").verdict is Verdict.FAILED
    reports = [laptop.report(step) for step in ("recover", "refine")]
    assert Verdict.PASSED in [report.verdict for report in reports], [report.quality for report in reports]
    assert [value.metric for value in reports[0].quality] == ["ExactMatch", "Loss"]


def test_a_fingerprint_needs_no_more_room_than_the_examples(laptop: Laptop) -> None:
    fields = [f"f{index}" for index in range(6)]
    for name in ("train", "validation", "test"):
        path = laptop.root / f"{name}.jsonl"
        rows = [json.loads(line) | dict.fromkeys(fields, "a") for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = run_file(laptop.root)["task"]
    assert isinstance(task, dict)
    template = "".join(f"{{{name}}}" for name in fields) + "{text}:"

    ended = laptop.run(task=task | {"promptTemplate": template}, readaptation={"strategy": "PortLLM"})

    assert ended.exit_code is ExitCode.DONE, ended.notification.message
