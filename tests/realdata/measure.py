"""What a release does to an adapter that is carried over unchanged."""

import time
from collections.abc import Iterator
from pathlib import Path

from peft import PeftModel

from realdata import products
from realdata.cache import Product, obtain
from realdata.classification import Quality, Task, encode, evaluate, read_rows
from realdata.lora import load_base

_REAL = (products.BASE_R1, products.BASE_R2, products.BASE_R2_HARD)
_TINY = (products.TINY_R1, products.TINY_R2, products.TINY_R2_BAD)
MEASURED: dict[str, tuple[Product, Product, tuple[Product, ...]]] = {
    "sentiment": (products.ADAPTER_SENTIMENT, products.TASK_SENTIMENT, _REAL),
    "author": (products.ADAPTER_AUTHOR, products.TASK_AUTHOR, _REAL),
    "newsgroup": (products.ADAPTER_NEWSGROUP, products.TASK_NEWSGROUP, _REAL),
    "news": (products.ADAPTER_NEWS, products.TASK_NEWS, _REAL),
    "tiny-kind": (products.TINY_ADAPTER_KIND, products.TINY_TASK_KIND, _TINY),
    "tiny-mood": (products.TINY_ADAPTER_MOOD, products.TINY_TASK_MOOD, _TINY),
}


def measure(name: str, root: Path) -> Iterator[str]:
    """Yield a line for each base: the quality of the adapter called ``name`` on its task's test set."""
    adapter, task, bases = MEASURED[name]
    for base in bases:
        started = time.monotonic()
        quality = quality_on(obtain(base, root), obtain(adapter, root), obtain(task, root))
        yield (
            f"{adapter.name} on {base.name}: accuracy {quality.accuracy:.3f}, "
            f"{quality.nll:.3f} nats per token, n {quality.n}, {time.monotonic() - started:.0f} s"
        )


def quality_on(base: Path, adapter: Path, task_folder: Path) -> Quality:
    """Return the quality of an adapter on a base, on ``test.jsonl`` of the task's folder."""
    model, tokenizer = load_base(base)
    task = Task.from_json((task_folder / "task.json").read_text(encoding="utf-8"))
    examples = encode(tokenizer, task, read_rows(task_folder / "test.jsonl"))
    adapted = PeftModel.from_pretrained(model, adapter).eval()
    first_tokens = [tokenizer(choice, add_special_tokens=False)["input_ids"][0] for choice in task.choices]
    return evaluate(adapted.get_base_model(), examples, first_tokens, pad=tokenizer.pad_token_id)
