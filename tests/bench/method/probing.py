"""One probe of the search, against a script that reloads, merges densely, pads to one width and takes all logits."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from bench.method.chain import Chain
from bench.method.timing import ratios, reaches
from bench.results import Row
from relora_trainer.adapter import read_adapter
from relora_trainer.blocks import open_base
from relora_trainer.datasets import read_examples
from relora_trainer.delta import compute_delta, open_delta
from relora_trainer.factors import Factors
from relora_trainer.fusion import Fusion
from relora_trainer.items import ItemSet
from relora_trainer.placement import Placement, choose_placement
from relora_trainer.session import EVALUATION_BATCH, Session, open_session

ALPHA, BETA = 0.3, 1.5
IGNORED = -100
_TIMES = 3


def rows(chain: Chain, items: int, rounds: int) -> Iterator[Row]:
    """Yield how many times longer the script takes for `items` validation examples."""
    probe = Probe(chain, items)
    found = ratios(probe.ours, probe.script, rounds=rounds)
    yield reaches(f"one probe of {items} examples, reload and merge ÷ ours", found, _TIMES)


class Probe:
    """Θ_init(α, β) on the first validation examples, made in both ways, in the same precision."""

    def __init__(self, chain: Chain, items: int) -> None:
        self._chain = chain
        self._placement: Placement = choose_placement()
        linear = open_base(chain.old).linear_shapes
        adapter = read_adapter(chain.adapter, linear)
        with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
            compute_delta(chain.old, chain.new, Path(folder), rank=adapter.rank)
            changes = open_delta(Path(folder)).factors(adapter.factors)
        self._old: Mapping[str, Factors] = adapter.factors
        self._changes: Mapping[str, Factors] = changes
        self._fusion = Fusion(adapter.factors, changes)
        ranks = {name: factors.rank for name, factors in adapter.factors.items()}
        self.session: Session = open_session(chain.new, ranks, chain.task, self._placement)
        examples = read_examples(chain.data / "validation.jsonl", chain.task)[:items]
        self.items: ItemSet = self.session.encoder.encode(examples)

    def ours(self) -> float:
        """Set the candidate's factors and score; return the loss per token."""
        self.session.lora.set_factors(self._fusion.candidate(ALPHA, BETA))
        nll, tokens = self.session.scorer.losses(self.items)
        return sum(nll) / sum(tokens)

    @torch.no_grad()
    def script(self) -> float:
        """Reload the base, add the dense sum of both updates, score; return the loss per token."""
        model = AutoModelForCausalLM.from_pretrained(self._chain.new, dtype=self._placement.dtype).eval()
        for name, old in self._old.items():
            update = BETA * old.dense()
            if name in self._changes:
                update += ALPHA * self._changes[name].dense()
            weight = model.get_submodule(name).weight
            weight += update.to(weight.dtype)
        width = max(self.items.length(item) for item in self.items.items)
        total, tokens = 0.0, 0
        for start in range(0, len(self.items.items), EVALUATION_BATCH):
            ids, mask, targets = self._padded(start, width)
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
            total += float(functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum"))
            tokens += int((targets != IGNORED).sum())
        return total / tokens

    def _padded(self, start: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids, mask `(rows, width)` and targets `(rows, width − 1)` of a batch, in the order of the data."""
        chosen = self.items.items[start : start + EVALUATION_BATCH]
        ids, mask = torch.zeros(len(chosen), width, dtype=torch.int64), torch.zeros(len(chosen), width)
        targets = torch.full((len(chosen), width - 1), IGNORED)
        for row, item in enumerate(chosen):
            completion = torch.tensor(self.items.completion(item))
            length = self.items.length(item)
            ids[row, :length] = torch.tensor((*item.prompt, *completion.tolist()))
            mask[row, :length] = 1
            targets[row, len(item.prompt) - 1 : length - 1] = completion
        return ids, mask.long(), targets
