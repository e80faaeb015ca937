"""The class head of a SequenceClassification adapter: a linear layer over the last token's hidden state.

    logits = W·h        h: hidden state of the prompt's last token, `(hidden,)`        W: `(classes, hidden)`

PEFT stores it whole beside the factors (`modules_to_save`). It is no update of a weight of the base, so eq. 7 of
arXiv 2606.02606 has nothing to say about it: it is copied, trained with the factors, and anchored at the copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from typing_extensions import override

from relora_trainer.blocks import read_json
from relora_trainer.errors import ConfigurationError, IncompatibleError

NAMES = ("score", "classifier")
"""What PEFT adds to `modules_to_save` of a SequenceClassification adapter; a model has one of them."""
LABELS = "config.json"
NAMELESS = "LABEL_"
"""How transformers names the classes of a model whose author did not."""
POOLING_TOLERANCE = 0.02
"""Of the largest logit. One rounding of bfloat16 is 0.004."""


@dataclass(frozen=True)
class Head:
    """A class head as it was read, or as it will be written.

    Attributes:
        name: Of the module.
        weight: W, `(classes, hidden)` float32 on the CPU.
        dtype: The precision in which it is stored, which may differ from the factors'.
    """

    name: str
    weight: Tensor
    dtype: torch.dtype

    def holding(self, weight: Tensor) -> "Head":
        """Return the head with another weight, in float32 but as precise as it will be stored."""
        return replace(self, weight=weight.to(self.dtype).to(torch.float32))


class ClassHead(nn.Module):
    """y = W·x, with `weight` `(classes, hidden)` in float32, computed in the precision of x."""

    def __init__(self, name: str, linear: nn.Linear) -> None:
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(linear.weight.detach().float())

    @override
    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.to(x.dtype))


def replace_head(model: PreTrainedModel) -> ClassHead:
    """Put a `ClassHead` in the place of a model's own head and return it.

    Raises:
        IncompatibleError: The model's head is not one linear layer over the last token's hidden state.
    """
    for name in NAMES:
        linear = getattr(model, name, None)
        if isinstance(linear, nn.Linear) and [part for part, _ in linear.named_parameters()] == ["weight"]:
            head = ClassHead(name, linear)
            setattr(model, name, head)
            _check_pooling(model, head)
            return head
    raise IncompatibleError(_another_kind(model))


def head_of(model: PreTrainedModel) -> ClassHead | None:
    """Return the class head that `replace_head` put into a model."""
    heads = (getattr(model, name, None) for name in NAMES)
    return next((head for head in heads if isinstance(head, ClassHead)), None)


def pooled_logits(model: PreTrainedModel, head: ClassHead, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """Return the logits of the classes at some positions of right-padded sequences, `(n, classes)`.

    Args:
        model: Of class …ForSequenceClassification.
        head: Its head.
        ids: `(rows, width)` int64.
        mask: `(rows, width)` int64, 1 for tokens.
        positions: `(rows, width)` bool, n of them true.
    """
    hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    logits: Tensor = head(hidden[positions])
    return logits


def pad_token(config: PreTrainedConfig) -> int | None:
    """Return the token that transformers passes over when it looks for the last token of a sequence."""
    token: int | None = config.get_text_config().pad_token_id
    return token


def check_classes(head: Head, classes: Sequence[str], folder: Path) -> None:
    """Check that a head has a row for each class and, where the adapter's folder names them, in the same order.

    Args:
        head: Of the adapter.
        classes: `task.choices`.
        folder: Of the adapter. PEFT stores no names of classes; a `config.json` of transformers may lie beside.

    Raises:
        ConfigurationError: It differs; the message names the first difference.
    """
    rows = head.weight.shape[0]
    if rows != len(classes):
        raise ConfigurationError(
            f"the adapter's head {head.name!r} has {rows} rows and task.choices has {len(classes)} classes: "
            "name one for each row, in their order"
        )
    for row, named in _labels(folder).items():
        if row < rows and not named.startswith(NAMELESS) and named != classes[row]:
            raise ConfigurationError(
                f"row {row} of the adapter's head is {named!r} by its {LABELS}, and task.choices[{row}] is "
                f"{classes[row]!r}: name the classes in the order of the rows"
            )


def _labels(folder: Path) -> dict[int, str]:
    """Return the names of the classes by row; none where nothing names them."""
    if not (folder / LABELS).is_file():
        return {}
    labels = read_json(folder / LABELS).get("id2label")
    named = labels.items() if isinstance(labels, dict) else ()
    return {int(row): str(name) for row, name in named if str(row).isdigit()}


@torch.no_grad()
def _check_pooling(model: PreTrainedModel, head: ClassHead) -> None:
    """Check that the model itself applies its head to the hidden state of the last token, and nothing else."""
    tokens = [token for token in range(3) if token != pad_token(model.config)]
    ids = torch.tensor([tokens], device=model.device)
    mask = torch.ones_like(ids)
    theirs = model(input_ids=ids, attention_mask=mask).logits
    last = torch.zeros_like(ids, dtype=torch.bool)
    last[0, -1] = True
    ours = pooled_logits(model, head, ids, mask, last)
    if theirs.shape != ours.shape or (theirs - ours).abs().max() > POOLING_TOLERANCE * theirs.abs().max():
        raise IncompatibleError(_another_kind(model))


def _another_kind(model: PreTrainedModel) -> str:
    return (
        f"{type(model).__name__} does not classify by one linear layer (score or classifier, without bias) over the "
        "hidden state of the last token; only such heads are carried over"
    )
