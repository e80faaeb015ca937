"""The anchor: an L2 penalty that keeps the factors near their initialization, eqs. 18, 19 and 21 of arXiv 2606.02606.

    L = L_task + λ/2·(‖A − A_init‖² + ‖B − B_init‖²)      ∇_A L = ∇_A L_task + λ·(A − A_init)

The gradient is added to the accumulated one, once per optimizer step and before clipping: the same as the penalty in
the loss, without its graph. The factors are balanced, with the scaling folded in, so that one λ holds A and B alike.
DoRA's magnitudes are trained beside them and held by the same λ.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter


class Anchor:
    """The initialization that a set of parameters is held to."""

    def __init__(self, parameters: Mapping[str, Parameter], initial: Mapping[str, Tensor]) -> None:
        """Hold `parameters` to `initial`, which has the same names and shapes.

        Raises:
            ValueError: Names or shapes differ.
        """
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        if shapes != {name: value.shape for name, value in initial.items()}:
            raise ValueError("the anchor must have the names and shapes of the parameters")
        self._pairs = [
            (parameter, initial[name].detach().clone().to(parameter)) for name, parameter in parameters.items()
        ]

    @torch.no_grad()
    def add_gradient(self, strength: float) -> None:
        """Add λ·(θ − θ_init) to the gradient of every parameter, with λ = `strength`."""
        if strength == 0.0:
            return
        for parameter, initial in self._pairs:
            pull = (parameter - initial) * strength
            if parameter.grad is None:
                parameter.grad = pull
            else:
                parameter.grad += pull

    @torch.no_grad()
    def drift(self) -> float:
        """Return ‖θ − θ_init‖ over all parameters."""
        squares = [(parameter - initial).square().sum(dtype=torch.float64) for parameter, initial in self._pairs]
        return math.sqrt(float(torch.stack(squares).sum()))

    def penalty(self, strength: float) -> float:
        """Return the term of the objective, λ/2·(‖A − A_init‖² + ‖B − B_init‖²) over all parameters."""
        return strength / 2 * self.drift() ** 2
