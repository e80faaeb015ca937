"""The steps of a re-adaptation, one after the other, from the forms of its data to what is published."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from peft import PeftModel
from pyarrow.parquet import write_table
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from relora_contract.exitcodes import ExitCode
from relora_contract.report import StepOutcome, Verdict
from samples.laptop import WORDS, run_file
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
