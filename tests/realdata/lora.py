"""Training of the LoRA adapter that exists before a release: the adapter that a tenant would bring."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from realdata.cache import JSON
from realdata.classification import Example, Task, collate, completion_logits, encode, read_rows
from realdata.progress import Stage
from relora_trainer.placement import cpu_precision

WINDOW_BATCHES = 8


@dataclass(frozen=True)
class LoraTraining:
    """Hyperparameters of one adapter: linear decay of the learning rate after a short warm-up, AdamW, one pass."""

    rank: int
    target_modules: tuple[str, ...]
    learning_rate: float
    batch_size: int
    steps: int
    warmup_steps: int
    seed: int


def computed_in() -> dict[str, JSON]:
    """Return what a recipe says of the precision, in which the same training ends elsewhere; nothing of bfloat16.

    After the same 96 steps a release was 3.7 % of the weights away in bfloat16, and 2.7 % in float32.
    """
    precision = cpu_precision()
    return {} if precision == torch.bfloat16 else {"precision": str(precision)}


def load_base(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model in ``folder`` as a CPU computes it fastest: its precision, eager attention for short texts."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=cpu_precision(), attn_implementation="eager")
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def train_adapter(base: Path, task_folder: Path, settings: LoraTraining, output: Path, stage: Stage) -> None:
    """Train an adapter on ``train.jsonl`` of ``task_folder`` and save it to ``output`` as a PEFT folder."""
    torch.manual_seed(settings.seed)
    model, tokenizer = load_base(base)
    task = Task.from_json((task_folder / "task.json").read_text(encoding="utf-8"))
    examples = encode(tokenizer, task, read_rows(task_folder / "train.jsonl"))
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank,
        target_modules=list(settings.target_modules),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    _fit(adapted, examples, settings, tokenizer.pad_token_id, stage)
    save_adapter(adapted, output)


def save_adapter(adapted: PeftModel, output: Path) -> None:
    """Save the adapter's weights and configuration, without the model card and the path of this machine's base."""
    adapted.peft_config["default"].base_model_name_or_path = ""
    adapted.save_pretrained(output)
    (output / "README.md").unlink()


def _fit(adapted: PeftModel, examples: Sequence[Example], settings: LoraTraining, pad: int, stage: Stage) -> None:
    factors = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(factors, lr=settings.learning_rate, weight_decay=0.0)
    model = adapted.get_base_model()
    for step, some in enumerate(batches(examples, settings.batch_size, settings.steps, settings.seed)):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * share_of_peak(step, settings)
        with torch.autocast("cpu", torch.bfloat16, enabled=cpu_precision() == torch.bfloat16):
            logits, targets = completion_logits(model, collate(some, pad))
        loss = functional.cross_entropy(logits.float(), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(factors, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        stage.update(f"step {step + 1}/{settings.steps}, loss {loss.item():.3f}")


def share_of_peak(step: int, settings: LoraTraining) -> float:
    """Return the factor on the learning rate: linear warm-up to 1, then linear decay that would reach 0 at the end."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    return (settings.steps - step) / (settings.steps - settings.warmup_steps)


def batches(examples: Sequence[Example], size: int, count: int, seed: int) -> list[list[Example]]:
    """Return ``count`` full batches: shuffled, then grouped by length within windows of ``WINDOW_BATCHES`` batches."""
    order = random.Random(seed)  # noqa: S311 # an order, not a secret
    chosen: list[list[Example]] = []
    while len(chosen) < count:
        shuffled = order.sample(examples, len(examples))
        grouped: list[list[Example]] = []
        for start in range(0, len(shuffled), size * WINDOW_BATCHES):
            window = sorted(shuffled[start : start + size * WINDOW_BATCHES], key=lambda example: len(example.prompt))
            grouped += [window[at : at + size] for at in range(0, len(window) - size + 1, size)]
        if not grouped:
            raise ValueError(f"{len(examples)} examples do not fill one batch of {size}")
        order.shuffle(grouped)
        chosen += grouped
    return chosen[:count]
