"""Every strategy with an adapter of DoRA: what is published is DoRA, and plain PEFT answers as its fingerprint says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from relora_contract.serving import Engine
from relora_trainer import readapting
from relora_trainer.placement import Placement
from samples.laptop_runs import Laptop

MakeBase = Callable[..., LlamaForCausalLM]
BELOW = [{"metric": "Loss", "threshold": "0"}]


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32 wherever the tests run, as PEFT does here: bfloat16's rounding would hide what differs."""
    monkeypatch.setattr(readapting, "choose_placement", lambda: Placement(torch.device("cpu"), torch.float32))


@pytest.fixture
def laptop(tmp_path: Path, make_base: MakeBase, tokenizer: PreTrainedTokenizerFast) -> Laptop:
    made = Laptop(tmp_path, make_base(), tokenizer, use_dora=True)
    made.engine = Engine.PEFT
    return made


def compare_with_peft(laptop: Laptop, step: str) -> None:
    artifact = laptop.report(step).artifact
    assert artifact is not None
    (fingerprint, *_) = json.loads(Path(artifact.uri.removeprefix("file://")).read_text())["fingerprints"]
    base = LlamaForCausalLM.from_pretrained(laptop.root / "r2")
    prompt, tokens = torch.tensor([fingerprint["prompt"]]), [entry["token"] for entry in fingerprint["adapter"]]
    with torch.no_grad():
        without = base(input_ids=prompt).logits[0, -1].log_softmax(-1)[tokens]
        adapted = PeftModel.from_pretrained(base, str(laptop.published(step)))
        with_adapter = adapted(input_ids=prompt).logits[0, -1].log_softmax(-1)[tokens]
    assert with_adapter.tolist() == pytest.approx([float(e["logprob"]) for e in fingerprint["adapter"]], abs=1e-3)
    assert without.tolist() == pytest.approx([float(e["logprob"]) for e in fingerprint["base"]], abs=1e-3)


def test_dora_stays_dora_through_every_step(laptop: Laptop) -> None:
    tuning = {"batchSize": 8, "epochs": 12, "learningRate": "2e-2"}
    search = {"granularity": "PerModule", "budget": 8}
    laptop.run(gates=BELOW, readaptation={"refine": "Always", "search": search, "tuning": tuning})
    old = load_file(laptop.root / "adapter" / "adapter_model.safetensors")
    for step in ("port", "recover", "refine"):
        compare_with_peft(laptop, step)
        folder = laptop.published(step)
        assert json.loads((folder / "adapter_config.json").read_text())["use_dora"] is True
        new = load_file(folder / "adapter_model.safetensors")
        assert new.keys() == old.keys()
        kept = [torch.equal(new[name], old[name]) for name in old if "magnitude" in name]
        assert all(kept) if step == "port" else not any(kept)
    assert float(laptop.report("recover").quality[-1].value) < float(laptop.report("port").quality[-1].value)


@pytest.mark.parametrize("strategy", ["PortLLMFineTune", "Scratch"])
def test_the_other_strategies_train_dora_too(laptop: Laptop, strategy: str) -> None:
    tuning = {"batchSize": 8, "epochs": 6, "learningRate": "2e-2", "recoverFraction": "0.5"}
    laptop.run(gates=BELOW, readaptation={"strategy": strategy, "tuning": tuning})
    compare_with_peft(laptop, "refine")
    losses = [float(laptop.report(step).quality[-1].value) for step in ("recover", "refine")]
    assert losses[1] < losses[0]
