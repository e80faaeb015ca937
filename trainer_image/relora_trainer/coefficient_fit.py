"""Fusion coefficients of each module, fitted by gradient: eq. 7 of arXiv 2606.02606 with an (α, β) per module.

    Θ(α, β)_m = α_m·Π_r(ΔW_m) + β_m·B_m·A_m = D_m·diag(c_m)·E_m

with D_m = [B_Δ B_m] `(out, r_Δ + r)`, E_m = [A_Δ; A_m] `(r_Δ + r, in)` and c_m = (α_m, …, α_m, β_m, …, β_m): r_Δ
times α_m, then r times β_m. (For DoRA the whole weight W′_m + Θ_m has the constant gain g_m of its rows, see dora.py:
the fused magnitude is set so.) The validation loss L is a smooth function of c_m. With G_m = ∂L/∂(D_m·diag(c_m)),

    ∂L/∂α_m = Σ_{j ≤ r_Δ} ⟨D_m[:, j], G_m[:, j]⟩        ∂L/∂β_m = Σ_{j > r_Δ} ⟨D_m[:, j], G_m[:, j]⟩

so that one backward pass gives the gradient in the coefficients of all modules, whatever their number. It flows
through the model's own layers: their factors are E_m and D_m·diag(c_m) while the loss is computed, of rank r_Δ + r.
The rank is truncated to the adapter's only afterwards, and the truncated candidate is probed like any other.

Adam makes the steps, with a learning rate that falls linearly to zero, so that no single batch decides. After each
step the coefficients are projected onto the box. A smooth parametrization of the box would not do: the start (0, 1)
and most optima that we saw lie on its edge α = 0, which a sigmoid neither reaches nor leaves.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel
from typing_extensions import override

from relora_trainer.accumulation import Accumulator
from relora_trainer.batching import TRAINING_COST, BatchPlan
from relora_trainer.errors import IntegrityError, NonFiniteError
from relora_trainer.factors import Factors
from relora_trainer.fusion import Fusion
from relora_trainer.items import ItemSet
from relora_trainer.lora import DoraLinear
from relora_trainer.scoring import Batch, completion_nll
from relora_trainer.search import Box

LEARNING_RATE = 0.1
BATCH_SIZE = 32
MICRO_BATCH = 16
MAX_PASSES = 3


def affordable_passes(probes: float) -> int:
    """Return the passes over the validation examples that the cost of so many full probes allows.

    Two are needed besides: that of (0, 1), and that of the fit's result.
    """
    return max(0, min(MAX_PASSES, math.floor((probes - 2) / TRAINING_COST)))


def probes_of(passes: int) -> float:
    """Return what a fit of so many passes and the probe of its result cost, in full probes."""
    return passes * TRAINING_COST + 1 if passes else 0.0


class MixtureLoss(nn.Module):
    """The loss of a model whose LoRA layers hold D_m·diag(c_m) and E_m.

    Attributes:
        names: The modules, in the order of the rows of the coefficients.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        stacked: Mapping[str, tuple[Factors, int]],
        gains: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Prepare the factors.

        Args:
            model: The new base with LoRA layers.
            stacked: By module D_m and E_m, and r_Δ.
            gains: For DoRA g_m by module, `(out,)`.
        """
        super().__init__()
        self._model = model
        self.names = tuple(stacked)
        self._factors = {
            name: Factors(pair.a.to(model.device), pair.b.to(model.device)) for name, (pair, _) in stacked.items()
        }
        self._gains = {name: gain.to(model.device) for name, gain in (gains or {}).items()}
        self._delta_ranks = {name: delta_rank for name, (_, delta_rank) in stacked.items()}

    @override
    def forward(self, batch: Batch) -> Tensor:
        return completion_nll(self._model, batch).sum()

    def loss(self, batch: Batch, coefficients: Tensor) -> Tensor:
        """Return Σ −log p over the completion tokens of a batch, a scalar that is differentiable in the coefficients.

        Args:
            batch: The examples.
            coefficients: `(modules, 2)` float64, α_m and β_m.
        """
        held: dict[str, Tensor] = {}
        for name, (alpha, beta) in zip(self.names, coefficients.unbind(), strict=True):
            pair, delta_rank = self._factors[name], self._delta_ranks[name]
            scale = torch.cat([alpha.expand(delta_rank), beta.expand(pair.rank - delta_rank)])
            b = pair.b * scale.to(pair.b)
            held |= {f"_model.{name}.lora_a": pair.a, f"_model.{name}.lora_b": b}
            layer = self._model.get_submodule(name)
            if isinstance(layer, DoraLinear):
                held[f"_model.{name}.magnitude"] = (self._gains[name] * layer.norms(pair.a, b)).to(b)
        loss: Tensor = functional_call(self, held, (batch,))
        return loss


class CoefficientFit:
    """A fit that can be interrupted after every step. The same arguments give the same coefficients."""

    def __init__(
        self,
        model: PreTrainedModel,
        fusion: Fusion,
        items: ItemSet,
        box: Box,
        *,
        start: tuple[float, float],
        passes: int,
        seed: int,
    ) -> None:
        """Start with the same coefficients for all modules.

        Args:
            model: The new base with LoRA layers for the modules of `fusion`; evaluated without dropout.
            fusion: The updates to mix.
            items: The validation examples of the search.
            box: The ranges of α and β.
            start: (α, β) of every module.
            passes: Passes over `items`.
            seed: Of the batches.
        """
        stacked = {name: (module.stacked(), module.delta_rank) for name, module in fusion.modules.items()}
        gains = {name: module.row_scale.gain for name, module in fusion.modules.items() if module.row_scale is not None}
        self._mixture = mixture = MixtureLoss(model, stacked, gains)
        self._items = items
        self._plan = BatchPlan([items.length(item) for item in items.items], batch_size=BATCH_SIZE, seed=seed)
        self._device = model.device
        self._low, self._high = box.bounds().to(model.device)
        # In float64: a bound of the box that is rounded to float32 may lie outside of it.
        self._values = values = nn.Parameter(
            torch.tensor([start] * len(stacked), dtype=torch.float64, device=model.device)
        )
        self._optimizer = torch.optim.Adam([self._values], lr=LEARNING_RATE)
        self._accumulator = Accumulator(
            items,
            lambda batch: mixture.loss(batch, values),  # not a method: a cycle would keep the factors on the device
            clear=self._optimizer.zero_grad,
            micro_batch_size=MICRO_BATCH,
            device=model.device,
        )
        self.steps_per_pass = self._plan.steps_per_epoch
        self.total_steps = passes * self.steps_per_pass
        self.step_count = 0
        self.seconds = 0.0
        """What the steps cost, as the caller measured it."""

    def coefficients(self) -> dict[str, tuple[float, float]]:
        """Return α_m and β_m by module."""
        rows = self._values.detach().tolist()
        return {name: (alpha, beta) for name, (alpha, beta) in zip(self._mixture.names, rows, strict=True)}

    def step(self) -> float:
        """Make one step of Adam and project; return the loss per completion token before it.

        Raises:
            NonFiniteError: The loss or its gradient is NaN or infinite.
        """
        batch = self._plan.batch(self.step_count)
        loss = self._accumulator.gradient(batch)
        gradient = self._values.grad
        if gradient is None or not (math.isfinite(loss) and bool(gradient.isfinite().all())):
            raise NonFiniteError(
                f"step {self.step_count} of the fit of the coefficients: the loss is {loss} or its gradient is not "
                f"finite; the batch of {len(batch)} examples begins with {self._items.items[batch[0]].key[:12]}"
            )
        for group in self._optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - self.step_count / self.total_steps)
        self._optimizer.step()
        with torch.no_grad():
            self._values.clamp_(self._low, self._high)
        self.step_count += 1
        return loss

    def run(self, *, clock: Callable[[], float], after_step: Callable[[float], None]) -> None:
        """Make the steps that are left.

        Args:
            clock: Monotonic time in seconds.
            after_step: Called after every step with its loss; what it raises ends the fit.
        """
        while self.step_count < self.total_steps:
            start = clock()
            loss = self.step()
            self.seconds += clock() - start
            after_step(loss)

    def save(self, path: Path) -> None:
        """Write what determines the rest of the fit, as JSON."""
        moments = {key: value.tolist() for key, value in self._optimizer.state[self._values].items()}
        state = {
            "step": self.step_count,
            "seconds": self.seconds,
            "values": self._values.tolist(),
            "moments": moments,
        }
        path.write_text(json.dumps(state))

    def restore(self, path: Path) -> None:
        """Continue the fit that `save` wrote; this one must have been made with the same arguments.

        Raises:
            IntegrityError: The file is damaged, or is that of a fit of other modules.
        """
        try:
            state = json.loads(path.read_text())
            values = torch.tensor(state["values"], dtype=torch.float64)
            moments = {key: torch.tensor(value, dtype=torch.float64) for key, value in state["moments"].items()}
            step, seconds = int(state["step"]), float(state["seconds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError("the state of the fit of the coefficients is damaged") from error
        if values.shape != self._values.shape:
            raise IntegrityError("the state of the fit of the coefficients is that of another adapter")
        with torch.no_grad():
            self._values.copy_(values)
        # Adam keeps its step count on the CPU and its moments beside the parameter.
        self._optimizer.state[self._values] = {
            key: value if key == "step" else value.to(self._device) for key, value in moments.items()
        }
        self.step_count, self.seconds = step, seconds
