"""Our own LoRA linear: frozen base weight, factors in float32, computed in the base's precision.

A candidate is set by copying its factors; neither base nor adapter is loaded again. The scaling is folded into B,
unless training asks for factors as PEFT holds them: then it is a constant beside them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from typing_extensions import override

from relora_trainer.dora import norms_of_sum
from relora_trainer.errors import IncompatibleError
from relora_trainer.factors import MAGNITUDE, Factors
from relora_trainer.heads import ClassHead, Head, replace_head


class LoraLinear(nn.Module):
    """y = W·x + s·B·(A·dropout(x)), with `lora_a` `(r, in)` and `lora_b` `(out, r)` in float32."""

    def __init__(self, base: nn.Linear | Conv1D, rank: int, dropout: float) -> None:
        super().__init__()
        self.base = base
        device = base.weight.device
        rows, columns = self.weight.shape
        self.lora_a = nn.Parameter(torch.zeros(rank, columns, device=device))
        self.lora_b = nn.Parameter(torch.zeros(rows, rank, device=device))
        self.dropout = nn.Dropout(dropout)
        self.scaling = 1.0
        self.is_bare = False
        """Compute what the base alone does."""

    @property
    def weight(self) -> Tensor:
        """W, `(out, in)`."""
        return self.base.weight.T if isinstance(self.base, Conv1D) else self.base.weight

    @property
    def bias(self) -> Tensor | None:
        """Of the base, `(out,)`."""
        return self.base.bias

    def parts(self) -> dict[str, nn.Parameter]:
        """Return what is trained, by PEFT's names."""
        return {"lora_A": self.lora_a, "lora_B": self.lora_b}

    def factors(self) -> Factors:
        """Return a copy of the factors, scaling folded into B, float32 on the CPU."""
        return Factors(self.lora_a.detach().cpu().clone(), (self.lora_b.detach() * self.scaling).cpu())

    @override
    def forward(self, x: Tensor) -> Tensor:
        update = None if self.is_bare else self._update(self.dropout(x))
        output: Tensor = self.base(x)
        return output if update is None else output + update

    def _update(self, x: Tensor) -> Tensor:
        """Return s·B·A·x."""
        down = functional.linear(x, self.lora_a.to(x.dtype))
        return functional.linear(down, (self.lora_b * self.scaling).to(x.dtype))


class DoraLinear(LoraLinear):
    """y = W·x + (g − 1)·W·dropout(x) + g·s·B·A·dropout(x), with g = m/‖W + s·B·A‖_row and m `magnitude` in float32.

    The norm is a constant for the gradient, as the authors of DoRA propose and PEFT does it. It is computed in every
    forward pass, at the cost of r more tokens.
    """

    def __init__(self, base: nn.Linear | Conv1D, rank: int, dropout: float) -> None:
        super().__init__(base, rank, dropout)
        self.base_norms = torch.linalg.vector_norm(self.weight.float(), dim=1)
        """‖W‖_row, `(out,)`."""
        self.magnitude = nn.Parameter(self.base_norms.clone())

    @override
    def parts(self) -> dict[str, nn.Parameter]:
        return {**super().parts(), MAGNITUDE: self.magnitude}

    @override
    def factors(self) -> Factors:
        return replace(super().factors(), magnitude=self.magnitude.detach().cpu().clone())

    @torch.no_grad()
    def norms(self, a: Tensor, b: Tensor) -> Tensor:
        """Return ‖W + B·A‖_row, `(out,)` float32; the product with W is computed in the precision of W."""
        weight = self.weight
        projected = functional.linear(weight, a.to(weight.dtype)).float()
        return norms_of_sum(self.base_norms.square(), projected, a @ a.T, b)

    @override
    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.base(x)
        if self.is_bare:
            return output
        dropped = self.dropout(x)
        if self.training and self.dropout.p > 0:
            product = functional.linear(dropped, self.weight)
        else:
            product = output if self.bias is None else output - self.bias
        gain = self.magnitude / self.norms(self.lora_a, self.lora_b * self.scaling)
        return output + (gain - 1).to(x.dtype) * product + gain.to(x.dtype) * self._update(dropped)


class LoraModel:
    """The LoRA layers of a model, and its class head if it has one: the only trainable parameters."""

    def __init__(
        self,
        model: PreTrainedModel,
        ranks: Mapping[str, int],
        *,
        dropout: float = 0.0,
        use_dora: bool = False,
        with_head: bool = False,
    ) -> None:
        """Freeze `model` and wrap the linear modules that `ranks` names; the update is zero until it is set.

        Args:
            model: The base.
            ranks: By module.
            dropout: On the input of A.
            use_dora: Whether the layers have magnitudes.
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
            layer = (DoraLinear if use_dora else LoraLinear)(linear, rank, dropout)
            setattr(model.get_submodule(parent), child, layer)
            self.layers[name] = layer
        self.head: ClassHead | None = replace_head(model) if with_head else None

    @torch.no_grad()
    def set_factors(self, factors: Mapping[str, Factors], scaling: Mapping[str, float] | None = None) -> None:
        """Copy the factors of every module; ranks, shapes and kind must be those of the layers.

        Args:
            factors: By module.
            scaling: What B·A is multiplied with, by module; without it, 1: the scaling is folded into B.
        """
        if factors.keys() != self.layers.keys():
            raise ValueError("factors must be given for exactly the modules that carry LoRA layers")
        for name, layer in self.layers.items():
            tensors, parts = factors[name].tensors, layer.parts()
            if tensors.keys() != parts.keys():
                raise ValueError(f"{name}: the layer holds {', '.join(parts)}, given are {', '.join(tensors)}")
            for part, parameter in parts.items():
                parameter.copy_(tensors[part])
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
        return {name: layer.factors() for name, layer in self.layers.items()}

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters in a fixed order: `<module>.<PEFT's name>`, then `<head>.weight`."""
        named = {
            f"{name}.{part}": value for name, layer in self.layers.items() for part, value in layer.parts().items()
        }
        if self.head is not None:
            named[f"{self.head.name}.weight"] = self.head.weight
        return named

    def base_magnitudes(self) -> dict[str, Tensor]:
        """Return ‖W‖_row of every module of DoRA, `(out,)` float32 on the CPU; nothing for plain LoRA."""
        return {name: layer.base_norms.cpu() for name, layer in self.layers.items() if isinstance(layer, DoraLinear)}

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Let the model compute as the base alone does."""
        for layer in self.layers.values():
            layer.is_bare = True
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.is_bare = False
