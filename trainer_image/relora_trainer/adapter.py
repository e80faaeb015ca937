"""PEFT LoRA folders: read with suspicion, written in one canonical form that every engine loads as it is.

Canonical: the scaling folded into B, `lora_alpha = r`, no rank-stabilised scaling, one rank (smaller modules padded
with zeros) and no patterns: vLLM reads only `r` and `lora_alpha`, and ignores `rank_pattern`. DoRA stays DoRA: it has
no plain form.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from relora_store.names import Content
from relora_trainer.adapter_rules import check_files, check_nothing_else, check_supported
from relora_trainer.errors import IncompatibleError, IntegrityError, NonFiniteError
from relora_trainer.factors import MAGNITUDE, Factors
from relora_trainer.heads import NAMES, Head, check_classes
from relora_trainer.tensorfile import TensorEntry, open_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
MAX_CONFIG_BYTES = 1_000_000
MATRIX = 2
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class LoraSettings(BaseModel):
    """The fields of `adapter_config.json` that decide what the adapter computes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    r: int = Field(ge=1, le=4096)
    lora_alpha: float = Field(gt=0, allow_inf_nan=False)
    use_rslora: bool = False
    use_dora: bool = False
    fan_in_fan_out: bool = False
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: list[str] | str
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=4096)]] = Field(default_factory=dict)
    alpha_pattern: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)

    def rank(self, module: str) -> int:
        """Return r of a module, as PEFT chooses it."""
        return self.rank_pattern.get(get_pattern_key(self.rank_pattern.keys(), module), self.r)

    def scaling(self, module: str) -> float:
        """Return what PEFT multiplies B·A with: α/r, or α/√r for rank-stabilised LoRA."""
        alpha = self.alpha_pattern.get(get_pattern_key(self.alpha_pattern.keys(), module), self.lora_alpha)
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def targets(self, linear_modules: Iterable[str]) -> set[str]:
        """Return those of some linear modules that PEFT would adapt."""
        if isinstance(self.target_modules, str) and self.target_modules.lower() == "all-linear":
            return set(linear_modules)
        config = LoraConfig(
            target_modules=self.target_modules,
            exclude_modules=self.exclude_modules,
            layers_to_transform=self.layers_to_transform,
            layers_pattern=self.layers_pattern,
        )
        return {name for name in linear_modules if check_target_module_exists(config, name)}


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter as it was read.

    Attributes:
        settings: What decides how the factors are applied.
        stored: Factors by module as they lie in the file, float32.
        dtype: The precision in which its A and B were stored, and will be written again.
        head: The class head of a classifier.
    """

    settings: LoraSettings
    stored: dict[str, Factors]
    dtype: torch.dtype
    head: Head | None = None

    @property
    def scaling(self) -> dict[str, float]:
        """What PEFT multiplies B·A of each module with."""
        return {name: self.settings.scaling(name) for name in self.stored}

    @cached_property
    def factors(self) -> dict[str, Factors]:
        """Canonical factors by module: the scaling is folded into B."""
        return {name: replace(pair, b=pair.b * self.settings.scaling(name)) for name, pair in self.stored.items()}

    @property
    def rank(self) -> int:
        """The largest rank of a module: the one that a server must allow."""
        return max(factors.rank for factors in self.stored.values())


def read_config(folder: Path) -> dict[str, object]:
    """Return `adapter_config.json` of a PEFT folder whose files are all of an allowed kind.

    Raises:
        IntegrityError: A file is of a forbidden kind or missing, or the configuration is not a JSON object.
    """
    check_files(folder)
    path = folder / CONFIG
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise IntegrityError(f"{CONFIG} has more than {MAX_CONFIG_BYTES} bytes")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{CONFIG} is not JSON") from error
    if not isinstance(config, dict):
        raise IntegrityError(f"{CONFIG} is not a JSON object")
    return config


def read_adapter(folder: Path, linear_modules: Mapping[str, tuple[int, int]], classes: Sequence[str] = ()) -> Adapter:
    """Read an adapter and check it against the base that it is for.

    Args:
        folder: A PEFT LoRA folder.
        linear_modules: Name and `(out, in)` of every linear module of the base's decoder blocks.
        classes: `task.choices` of a classification, for which the adapter must bring a head.

    Raises:
        ConfigurationError: The adapter is for another task, or its head does not have these classes.
        IntegrityError: A file or tensor is damaged, missing, of a forbidden kind or not expected.
        IncompatibleError: The adapter is of a kind that cannot be carried over, or does not fit the base.
        NonFiniteError: A factor holds NaN or infinity.
    """
    settings = read_settings(read_config(folder), is_classifier=bool(classes))
    entries = dict(open_tensors(folder / WEIGHTS, max_header_bytes=Content.ADAPTER.header_limit).tensors)
    others = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in entries if ".lora_" in name}
    modules = sorted(settings.targets(linear_modules))
    outside = settings.targets(others - linear_modules.keys())
    if not modules:
        raise IncompatibleError(
            f"the base has none of the adapter's target modules {settings.target_modules}; "
            "embeddings, heads and experts (MoE) are not carried over"
        )
    stored: dict[str, Factors] = {}
    dtypes: set[torch.dtype] = set()
    for module in modules:
        rows, columns = linear_modules[module]
        rank = settings.rank(module)
        a = _take(entries, f"{PREFIX}{module}.lora_A.weight", (rank, columns))
        b = _take(entries, f"{PREFIX}{module}.lora_B.weight", (rows, rank))
        dtypes |= {a.dtype, b.dtype}
        magnitude = _take(entries, f"{PREFIX}{module}.{MAGNITUDE}", (rows,)).float() if settings.use_dora else None
        stored[module] = Factors(a.float(), b.float(), magnitude)
    head = _take_head(entries) if classes else None
    check_nothing_else(entries, outside)
    if len(dtypes) > 1:
        raise IntegrityError("the adapter mixes precisions; store it in one")
    if head is not None:
        check_classes(head, classes, folder)
    return Adapter(settings, stored, dtypes.pop(), head)


def write_adapter(
    folder: Path,
    factors: Mapping[str, Factors],
    *,
    source: LoraSettings,
    dtype: torch.dtype,
    base_model: str,
    head: Head | None = None,
) -> None:
    """Write factors as a canonical PEFT LoRA folder.

    Args:
        folder: Created if it does not exist.
        factors: By module, scaling folded in, with magnitudes if the source is DoRA.
        source: Of the adapter that was carried over; it names the target modules.
        dtype: Precision of the stored A and B.
        base_model: Written as `base_model_name_or_path`.
        head: The class head of a classifier, in its own precision.

    Raises:
        NonFiniteError: A factor or the head is NaN or infinite in that precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rank = max(pair.rank for pair in factors.values())
    tensors: dict[str, Tensor] = {}
    for module, pair in sorted(factors.items()):
        for name, tensor in pair.padded(rank).to(dtype).tensors.items():
            tensors[f"{module}.{name}" if name == MAGNITUDE else f"{module}.{name}.weight"] = tensor
    if head is not None:
        tensors[f"{head.name}.weight"] = head.weight.to(head.dtype)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise NonFiniteError(f"{name} is NaN or infinite in {tensor.dtype}")
    config = {
        "base_model_name_or_path": base_model,
        "bias": "none",
        "exclude_modules": source.exclude_modules,
        "fan_in_fan_out": source.fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": source.layers_pattern,
        "layers_to_transform": source.layers_to_transform,
        "lora_alpha": rank,
        "lora_dropout": source.lora_dropout,
        "modules_to_save": [head.name] if head else None,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": source.target_modules,
        "task_type": "SEQ_CLS" if head else "CAUSAL_LM",
        "use_dora": source.use_dora,
        "use_rslora": False,
    }
    named = {f"{PREFIX}{name}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(named, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def read_settings(config: Mapping[str, object], *, is_classifier: bool) -> LoraSettings:
    """Return what `adapter_config.json` decides; whether it fits a base is not known yet.

    Raises:
        ConfigurationError: The adapter is for another kind of task.
        IntegrityError: A field is missing or invalid.
        IncompatibleError: The adapter is of a kind that cannot be carried over.
    """
    check_supported(config, is_classifier=is_classifier)
    try:
        settings = LoraSettings.model_validate({name: value for name, value in config.items() if value is not None})
        settings.targets(["a"])  # that their patterns can be applied shows with any name
        settings.scaling("a")
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise IntegrityError(f"{CONFIG}: {field}: {first['msg']}") from error
    except (re.error, ValueError) as error:
        raise IntegrityError(f"{CONFIG}: PEFT cannot apply its targets and patterns: {error}") from error
    return settings


def _take(entries: dict[str, TensorEntry], name: str, shape: tuple[int, ...]) -> Tensor:
    entry = entries.pop(name, None)
    if entry is None:
        raise IntegrityError(f"the adapter lacks tensor {name}, which its target modules ask for")
    if entry.shape != shape:
        raise IncompatibleError(f"{name} has shape {list(entry.shape)}, the base and the rank ask for {list(shape)}")
    return _read(name, entry)


def _take_head(entries: dict[str, TensorEntry]) -> Head:
    names = [name for name in NAMES if f"{PREFIX}{name}.weight" in entries]
    if not names:
        raise IntegrityError(
            f"the adapter holds no class head ({PREFIX}{NAMES[0]}.weight); save it with PEFT's save_pretrained() and "
            "task_type SEQ_CLS, which adds the head to modules_to_save"
        )
    tensor = f"{PREFIX}{names[0]}.weight"
    entry = entries.pop(tensor)
    if len(entry.shape) != MATRIX:
        raise IntegrityError(f"{tensor} has shape {list(entry.shape)}; a head is a matrix")
    weight = _read(tensor, entry)
    return Head(names[0], weight.float(), weight.dtype)


def _read(name: str, entry: TensorEntry) -> Tensor:
    if entry.dtype not in FLOATS:
        raise IntegrityError(f"{name} has type {entry.dtype}; adapters are float32, float16 or bfloat16")
    tensor = entry.read()
    if not bool(tensor.isfinite().all()):
        raise NonFiniteError(f"{name} holds NaN or infinity")
    return tensor
