"""Everything that a re-adaptation reads, in one folder: two bases, an adapter of the first, and data."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from relora_trainer.adapter import LoraSettings, read_adapter, write_adapter
from relora_trainer.blocks import open_base
from relora_trainer.dora import updated_row_norms
from relora_trainer.factors import Factors
from relora_trainer.heads import Head
from relora_trainer.lora import LoraModel

TARGETS = ["q_proj", "v_proj"]
WORDS = {"low": "abcde", "high": "vwxyz"}


def write_laptop(
    root: Path,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    dropout: float = 0.0,
    use_dora: bool = False,
) -> None:
    """Write `r1`, `r2`, `adapter` and the three files of a dataset below `root`."""
    _save_base(root / "r1", model, tokenizer)
    weights = {
        name: module.weight.detach().clone()
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in TARGETS
    }
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers" in name and weight.ndim == 2:
                weight.add_(0.02 * torch.randn_like(weight))
    _save_base(root / "r2", model, tokenizer)
    factors = {
        name: Factors(0.2 * torch.randn(4, weight.shape[1]), 0.2 * torch.randn(weight.shape[0], 4))
        for name, weight in weights.items()
    }
    if use_dora:
        for name, pair in factors.items():
            norms = updated_row_norms(weights[name], pair).float()
            factors[name] = replace(pair, magnitude=norms * (0.9 + 0.2 * torch.rand_like(norms)))
    settings = LoraSettings(r=4, lora_alpha=4, target_modules=TARGETS, lora_dropout=dropout, use_dora=use_dora)
    write_adapter(root / "adapter", factors, source=settings, dtype=torch.float32, base_model="r1")
    for name, count in (("train", 48), ("validation", 40), ("test", 40)):
        (root / f"{name}.jsonl").write_text("".join(_lines(name, count)))


def write_classifier(root: Path, classes: Sequence[str] = tuple(WORDS)) -> None:
    """Give the adapter below `root` a head that tells the classes apart on the old base, its rows in their order.

    It is the ridge regression of the classes on the hidden states of the training examples' last tokens.
    """
    adapter = read_adapter(root / "adapter", open_base(root / "r1").linear_shapes)
    model = LlamaForCausalLM.from_pretrained(root / "r1")
    model.eval()
    ranks = dict.fromkeys(adapter.factors, adapter.rank)
    LoraModel(model, ranks, use_dora=adapter.settings.use_dora).set_factors(adapter.factors)
    tokenizer = AutoTokenizer.from_pretrained(root / "r1")
    rows = [json.loads(line) for line in (root / "train.jsonl").read_text().splitlines()]
    ids = torch.tensor([tokenizer(f"{row['text']}:")["input_ids"] for row in rows])  # texts of one length
    with torch.no_grad():
        hidden = model.model(input_ids=ids).last_hidden_state[:, -1]
    wanted = torch.tensor([[4.0 if row["label"] == name else -4.0 for name in classes] for row in rows])
    ridge = hidden.T @ hidden + 0.1 * torch.eye(hidden.shape[1])
    head = Head("score", torch.linalg.solve(ridge, hidden.T @ wanted).T.contiguous(), torch.float32)
    write_adapter(
        root / "adapter",
        adapter.factors,
        source=adapter.settings,
        dtype=adapter.dtype,
        base_model="r1",
        head=head,
    )


def classification(**changes: object) -> dict[str, object]:
    """Return the task of a classifier, in the form of the run file."""
    return {
        "kind": "SequenceClassification",
        "promptTemplate": "{text}:",
        "completionField": "label",
        "choices": list(WORDS),
        "maxLength": 32,
        **changes,
    }


def run_file(root: Path, **changes: object) -> dict[str, object]:
    """Return what `relora-trainer run` reads, with the store in the same folder."""
    return {
        "sourceBase": {"uri": f"file://{root}/r1"},
        "targetBase": {"uri": f"file://{root}/r2"},
        "adapter": {"uri": f"file://{root}/adapter"},
        "dataset": {part: {"uri": f"file://{root}/{part}.jsonl"} for part in ("train", "validation", "test")},
        "task": {
            "kind": "CausalLM",
            "promptTemplate": "{text}:",
            "completionField": "label",
            "choices": list(WORDS),
            "maxLength": 32,
        },
        "gates": [{"metric": "Accuracy", "threshold": "0"}],
        "readaptation": {"search": {"budget": 4}, "tuning": {"batchSize": 8, "epochs": 4, "learningRate": "2e-2"}},
        "storeUri": f"file://{root}/store",
        **changes,
    }


def _save_base(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _lines(name: str, count: int) -> list[str]:
    torch.manual_seed(sum(map(ord, name)))
    lines = []
    for index in range(count):
        label = list(WORDS)[index % 2]
        letters = "".join(WORDS[label][int(torch.randint(5, ()))] for _ in range(8))
        lines.append(json.dumps({"text": letters, "label": label, "letter": label[0]}) + "\n")
    return sorted(set(lines))
