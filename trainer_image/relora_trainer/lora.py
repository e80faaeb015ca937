"""Our own LoRA linear: frozen base weight, factors in float32, computed in the base's precision.

A candidate is set by copying its factors; neither base nor adapter is loaded again. The scaling is folded into B,
unless training asks for factors as PEFT holds them: then it is a constant beside them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from relora_trainer.errors import IncompatibleError
from relora_trainer.factors import Factors
from relora_trainer.heads import ClassHead, Head, replace_head


class LoraLinear(nn.Module):
    """y = W·x + s·B·(A·dropout(x)), with `lora_a` `(r, in)` and `lora_b` `(out, r)` in float32."""

    def __init__(self, base: nn.Linear | Conv1D, rank: int, dropout: float) -> None:
        super().__init__()
        self.base = base
        device = base.weight.device
        rows, columns = base.weight.T.shape if isinstance(base, Conv1D) else base.weight.shape
        self.lora_a = nn.Parameter(torch.zeros(rank, columns, device=device))
        self.lora_b = nn.Parameter(torch.zeros(rows, rank, device=device))
        self.dropout = nn.Dropout(dropout)
        self.scaling = 1.0

    @override
    def forward(self, x: Tensor) -> Tensor:
        down = functional.linear(self.dropout(x), self.lora_a.to(x.dtype))
        output: Tensor = self.base(x)
        return output + functional.linear(down, (self.lora_b * self.scaling).to(x.dtype))


class LoraModel:
    """The LoRA layers of a model, and its class head if it has one: the only trainable parameters."""

    def __init__(
        self, model: PreTrainedModel, ranks: Mapping[str, int], *, dropout: float = 0.0, with_head: bool = False
    ) -> None:
        """Freeze `model` and wrap the linear modules that `ranks` names; the update is zero until it is set.

        Args:
            model: The base.
            ranks: By module.
            dropout: On the input of A.
            with_head: Whether the model is a classifier, whose head is trained too.

        Raises:
            IncompatibleError: A name is not a linear module of the model, or its head is of another kind.
        """
        model.requires_grad_(requires_grad=False)
        self.layers: dict[str, LoraLinear] = {}
        for name, rank in ranks.items():
            parent, _, child = name.rpartition(".")
            try:
                linear = model.get_submodule(name)
            except AttributeError:
                linear = None
            if not isinstance(linear, nn.Linear | Conv1D):
                raise IncompatibleError(f"{name} is not a linear module of the base")
            layer = LoraLinear(linear, rank, dropout)
            setattr(model.get_submodule(parent), child, layer)
            self.layers[name] = layer
        self.head: ClassHead | None = replace_head(model) if with_head else None

    @torch.no_grad()
    def set_factors(self, factors: Mapping[str, Factors], scaling: Mapping[str, float] | None = None) -> None:
        """Copy the factors of every module; ranks and shapes must be those of the layers.

        Args:
            factors: By module.
            scaling: What B·A is multiplied with, by module; without it, 1: the scaling is folded into B.
        """
        if factors.keys() != self.layers.keys():
            raise ValueError("factors must be given for exactly the modules that carry LoRA layers")
        for name, layer in self.layers.items():
            layer.lora_a.copy_(factors[name].a)
            layer.lora_b.copy_(factors[name].b)
            layer.scaling = scaling[name] if scaling else 1.0

    @torch.no_grad()
    def set_head(self, head: Head) -> None:
        """Copy the weight of a class head to the model's.

        Raises:
            IncompatibleError: The model's head has another name or shape, or it has none.
        """
        own = None if self.head is None else (self.head.name, list(self.head.weight.shape))
        if self.head is None or own != (head.name, list(head.weight.shape)):
            raise IncompatibleError(f"the adapter's head is {head.name} {list(head.weight.shape)}, the base's is {own}")
        self.head.weight.copy_(head.weight)

    def head_weight(self) -> Tensor | None:
        """Return a copy of the class head's weight, float32 on the CPU."""
        return None if self.head is None else self.head.weight.detach().cpu().clone()

    def factors(self) -> dict[str, Factors]:
        """Return a copy of the factors of every module, scaling folded into B, float32 on the CPU."""
        return {
            name: Factors(layer.lora_a.detach().cpu().clone(), (layer.lora_b.detach() * layer.scaling).cpu())
            for name, layer in self.layers.items()
        }

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters in a fixed order: `<module>.lora_A`, `<module>.lora_B`, `<head>.weight`."""
        named: dict[str, nn.Parameter] = {}
        for name, layer in self.layers.items():
            named |= {f"{name}.lora_A": layer.lora_a, f"{name}.lora_B": layer.lora_b}
        if self.head is not None:
            named[f"{self.head.name}.weight"] = self.head.weight
        return named
