"""The linear modules of a base's decoder blocks, by name and shape, from its files alone: no model is loaded."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from relora_trainer.errors import IncompatibleError, IntegrityError
from relora_trainer.tensorfile import TensorEntry, open_model

BLOCK = re.compile(r"(?P<stack>(?:.*\.)?(?:layers|h))\.(?P<index>\d+)\.(?P<rest>.+)")
BARE_STACKS: Mapping[str, str] = {
    "layers": "model.layers",
    "decoder.layers": "model.decoder.layers",
    "h": "transformer.h",
}
"""Stacks of blocks as a checkpoint without a language-model head names them, and as the model with the head does."""
TRANSPOSED_MODELS = frozenset({"gpt2", "openai-gpt"})
"""Architectures of Conv1D layers, which store their weights as `(in, out)`."""
EXPERTS = re.compile(r"(^|[._])experts\.")
BUFFER = re.compile(r".*\.(rotary_emb\.inv_freq|(attn|attention)\.masked_bias)")
"""Buffers that libraries once stored with the weights, and today's compute: no part of an architecture."""
CAUSAL_MASK = re.compile(r".*\.(attn|attention)\.bias")
CAUSAL_MASK_DIMENSIONS = 4
"""As `BUFFER`, by its shape `(1, 1, positions, positions)`: a bias of that name has one dimension."""
IN_FLOATS = (
    "a delta is taken of weights in floating point: release the base in bfloat16, and let the serving engine quantise"
)
MATRIX = 2
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class LinearWeight:
    """The weight of a linear module in its file."""

    entry: TensorEntry
    transposed: bool

    @property
    def shape(self) -> tuple[int, int]:
        """`(out, in)`."""
        first, second = self.entry.shape
        return (second, first) if self.transposed else (first, second)

    def read(self) -> Tensor:
        """Return the weight, `(out, in)`, on the CPU and in its stored precision."""
        stored = self.entry.read()
        return stored.T if self.transposed else stored


@dataclass(frozen=True)
class BaseWeights:
    """The tensors of a base folder.

    Attributes:
        tensors: By name.
        transposed: Whether linear weights are stored as `(in, out)`.
    """

    tensors: Mapping[str, TensorEntry]
    transposed: bool

    @cached_property
    def blocks(self) -> dict[tuple[str, int], dict[str, TensorEntry]]:
        """The tensors of each decoder block, in order, as the model names them; not embeddings, norm and head."""
        found: dict[tuple[str, int], dict[str, TensorEntry]] = {}
        for name, entry in self.tensors.items():
            if (match := BLOCK.fullmatch(name)) and not _is_buffer(name, entry):
                stack, index = BARE_STACKS.get(match["stack"], match["stack"]), int(match["index"])
                found.setdefault((stack, index), {})[f"{stack}.{index}.{match['rest']}"] = entry
        return dict(sorted(found.items()))

    def linear(self, block: tuple[str, int]) -> dict[str, LinearWeight]:
        """Return the linear modules of one block, in the order in which they lie on the disk.

        Raises:
            IncompatibleError: A weight is stored in integers, as quantised ones are.
        """
        weights = {
            name.removesuffix(".weight"): LinearWeight(entry, self.transposed)
            for name, entry in self.blocks[block].items()
            if name.endswith(".weight") and len(entry.shape) == MATRIX and not EXPERTS.search(name)
        }
        for name, weight in weights.items():
            if not weight.entry.dtype.is_floating_point:
                raise IncompatibleError(f"{name}.weight of the base is stored as {weight.entry.dtype}; {IN_FLOATS}")
        return dict(sorted(weights.items(), key=lambda item: (item[1].entry.path, item[1].entry.offset)))

    @cached_property
    def linear_weights(self) -> dict[str, LinearWeight]:
        """Every linear module of the decoder blocks by name."""
        return {name: weight for block in self.blocks for name, weight in self.linear(block).items()}

    @cached_property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """Name and `(out, in)` of every linear module of the decoder blocks."""
        return {name: weight.shape for name, weight in self.linear_weights.items()}


def open_base(folder: Path) -> BaseWeights:
    """Open the weights of a base folder.

    Raises:
        IncompatibleError: The weights are quantised, or the model reads images too.
        IntegrityError: A file is missing or damaged.
    """
    config = read_json(folder / "config.json")
    if config.get("quantization_config"):
        raise IncompatibleError(f"the base is quantised (quantization_config of config.json); {IN_FLOATS}")
    if config.get("transformers_weights") is not None:
        raise IntegrityError("config.json names another file of weights by transformers_weights: remove it")
    if config.get("vision_config"):
        raise IncompatibleError(
            "the base reads images too (vision_config of config.json), and only models of text are carried over: "
            "release its language model on its own"
        )
    return BaseWeights(open_model(folder), config.get("model_type") in TRANSPOSED_MODELS)


def _is_buffer(name: str, entry: TensorEntry) -> bool:
    is_mask = CAUSAL_MASK.fullmatch(name) and len(entry.shape) == CAUSAL_MASK_DIMENSIONS
    return bool(is_mask or BUFFER.fullmatch(name))


def check_same_blocks(old: BaseWeights, new: BaseWeights) -> None:
    """Compare names and shapes of the tensors of the decoder blocks.

    Raises:
        IncompatibleError: They differ, there are none, or one is stored in integers; the message names the first
            differences.
    """
    before = {name: entry.shape for block in old.blocks.values() for name, entry in block.items()}
    after = {name: entry.shape for block in new.blocks.values() for name, entry in block.items()}
    if not old.linear_shapes or not new.linear_shapes:
        raise IncompatibleError(
            "one of the bases has no linear weights named ….layers.<n>.… or ….h.<n>.…: unknown architecture"
        )
    differences = [f"{name} is gone" for name in sorted(before.keys() - after.keys())]
    differences += [f"{name} is new" for name in sorted(after.keys() - before.keys())]
    differences += [
        f"{name} was {list(before[name])} and is {list(after[name])}"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]
    if differences:
        more = len(differences) - SHOWN_DIFFERENCES
        tail = f"; and {more} more" if more > 0 else ""
        raise IncompatibleError(
            "the two bases have different architectures: " + "; ".join(differences[:SHOWN_DIFFERENCES]) + tail
        )


def read_json(path: Path) -> dict[str, object]:
    """Return the JSON object in a file of a base.

    Raises:
        IntegrityError: It is missing or malformed.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise IntegrityError(f"the base has no {path.name}") from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path.name} of the base is not JSON") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{path.name} of the base is not a JSON object")
    return value
