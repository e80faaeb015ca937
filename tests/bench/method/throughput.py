"""Training throughput of the trainer's own loop, against transformers.Trainer with PEFT at their defaults."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainingArguments
from typing_extensions import override

from bench.method.chain import Chain
from bench.method.stepwatch import CountingCollator, StepWatch
from bench.method.timing import reaches
from bench.results import Row
from relora_trainer.adapter import read_adapter
from relora_trainer.blocks import open_base
from relora_trainer.datasets import read_examples
from relora_trainer.initialization import untouched
from relora_trainer.items import ItemSet
from relora_trainer.placement import choose_placement
from relora_trainer.schedule import Schedule
from relora_trainer.session import open_session
from relora_trainer.staged import MICRO_BATCH
from relora_trainer.tuning import Tuner

IGNORED = -100
RATE = 5e-4
BATCH = 32
_TIMES = 1.5


def rows(chain: Chain, steps: int, rounds: int) -> Iterator[Row]:
    """Yield the ratio of tokens per second over `rounds` of `steps` optimizer steps each, both sides in turns."""
    ours, theirs = Loop(chain, steps * (rounds + 1)), Peer(chain)
    ours.tokens_per_second(1)
    theirs.tokens_per_second(1)
    found = [ours.tokens_per_second(steps) / theirs.tokens_per_second(steps) for _ in range(rounds)]
    yield reaches("training throughput, ours ÷ transformers.Trainer with PEFT", found, _TIMES)


class Loop:
    """The trainer's loop on the old adapter, from the new base."""

    def __init__(self, chain: Chain, steps: int) -> None:
        adapter = read_adapter(chain.adapter, open_base(chain.new).linear_shapes)
        ranks = {name: factors.rank for name, factors in adapter.factors.items()}
        session = open_session(chain.new, ranks, chain.task, choose_placement())
        items = session.encoder.encode(read_examples(chain.data / "train.jsonl", chain.task))
        start = untouched(adapter)
        self._items = items
        self._tuner = Tuner(
            session.model,
            session.lora,
            items,
            Schedule(steps, steps, RATE, RATE, 0.0, 0.0),
            initial=start.factors,
            scaling=start.scaling,
            batch_size=BATCH,
            micro_batch_size=MICRO_BATCH,
            seed=0,
        )

    def tokens_per_second(self, steps: int) -> float:
        """Make optimizer steps."""
        first = self._tuner.step_count
        batches = [self._tuner._plan.batch(number) for number in range(first, first + steps)]
        tokens = sum(self._items.length(self._items.items[index]) for batch in batches for index in batch)
        start = time.perf_counter()
        for _ in range(steps):
            self._tuner.step()
        return tokens / (time.perf_counter() - start)


def tokens(items: ItemSet) -> list[dict[str, list[int]]]:
    """Return examples as ids and labels: the loss is that of the completions, as ours."""
    rows = []
    for item in items.items:
        completion = list(items.completion(item))
        rows.append({"input_ids": [*item.prompt, *completion], "labels": [*[IGNORED] * len(item.prompt), *completion]})
    return rows


class _Tokens(Dataset[Mapping[str, list[int]]]):
    """Rows by their number."""

    def __init__(self, rows: Sequence[Mapping[str, list[int]]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @override
    def __getitem__(self, index: int) -> Mapping[str, list[int]]:
        return self._rows[index]


def _padded(batch: Sequence[Mapping[str, list[int]]]) -> dict[str, Tensor]:
    """Return a batch padded to its longest row."""
    width = max(len(row["input_ids"]) for row in batch)

    def padded(name: str, filler: int) -> Tensor:
        return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in batch])

    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in batch])
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", IGNORED), "attention_mask": mask}


class Peer:
    """transformers.Trainer on a PEFT model: its collation in the order drawn, its attention, all logits."""

    def __init__(self, chain: Chain) -> None:
        adapter = read_adapter(chain.adapter, open_base(chain.new).linear_shapes)
        placement = choose_placement()
        session = open_session(chain.new, {}, chain.task, placement)
        items = session.encoder.encode(read_examples(chain.data / "train.jsonl", chain.task))
        base = AutoModelForCausalLM.from_pretrained(chain.new, dtype=placement.dtype)
        settings = adapter.settings
        config = LoraConfig(
            r=settings.r,
            lora_alpha=int(settings.lora_alpha),
            target_modules=settings.target_modules,
            task_type="CAUSAL_LM",
        )
        self._model = get_peft_model(base, config)
        self._data = _Tokens(tokens(items))

    def tokens_per_second(self, steps: int) -> float:
        """Train for `steps` optimizer steps; setting the trainer up is not counted."""
        watch = StepWatch()
        collator = CountingCollator(_padded)
        with tempfile.TemporaryDirectory(prefix="relora-bench-") as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                learning_rate=RATE,
                max_steps=steps,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                dataloader_pin_memory=torch.cuda.is_available(),
            )
            trainer = Trainer(
                model=self._model,
                args=arguments,
                train_dataset=self._data,
                data_collator=collator,
                callbacks=[watch],
            )
            trainer.remove_callback(PrinterCallback)  # standard output is for the table
            trainer.train()
        return sum(collator.tokens[:steps]) / watch.seconds
