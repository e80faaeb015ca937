"""Bayesian search of the fusion coefficients (α, β), eqs. 8-17 of arXiv 2606.02606.

The objective is f(α, β) = −validation loss of the new base with Θ_init(α, β); a Gaussian process with an RBF kernel
models −log(−f), which has the same maximum, because losses in one box differ by a factor of a hundred. Expected
improvement (in its logarithmic form) chooses the next probe.

Three rules differ from the paper, because a probe costs as much as several optimizer steps. The initial design counts
inside the budget. A point that the model knows little about is screened, on a quarter of the validation examples; a
point is probed in full when screening would tell less than the model knows. And the search stops when the best
expected improvement is small against what the validation examples can resolve, or when another full probe, which
alone can win, would make it cost more than a quarter of what training is estimated to cost, counted in examples.

The search asks and is told; it evaluates nothing and reads no clock. The same history gives the same next probe.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

import numpy as np
import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.models import SingleTaskGP
from botorch.utils.sampling import draw_sobol_samples, manual_seed
from torch import Tensor

from relora_trainer.errors import ConfigurationError
from relora_trainer.paired import Estimate, is_lower, paired_difference, token_mean
from relora_trainer.surrogate import fit_surrogate, highest, most_improving, posterior

PORT = (0.0, 1.0)
"""The old adapter unchanged: PortLLM."""
LANDMARKS = (PORT, (0.0, 2.0), (0.5, 1.5), (1.0, 1.0))
"""The initial design: both edges and the middle of where the paper and we found optima."""
SCREENING_SHARE = 4
MIN_SCREENING_ITEMS = 64
CONTROLS = 3
"""Most full probes that the loss of a screened candidate is regressed on."""
RESOLVED_SHARE = 0.25
COST_SHARE = 0.25
"""What search and fit may cost, of what training is estimated to cost."""
GRID = 101
SURFACE_GRID = 21
MIN_OBSERVATIONS = 2
"""What a model needs to scale what was observed."""
SAME_POINT = 1e-9
PLAUSIBLE_SHARE = 0.1
"""The loss of a screened candidate is taken for no less than this share of the lowest that was seen."""
FLAT = 1e-9
"""Nats per token; a lower loss is zero. It is also the relative difference below which losses are equal."""
RELATIVE_NOISE_FLOOR = 1e-5
ABSOLUTE_NOISE_FLOOR = 1e-12


@dataclass(frozen=True)
class Box:
    """Closed ranges of the coefficients."""

    alpha: tuple[float, float]
    beta: tuple[float, float]

    def __post_init__(self) -> None:
        for name, (low, high) in (("alpha", self.alpha), ("beta", self.beta)):
            if not low < high:
                raise ConfigurationError(f"search.{name}: min {low:g} must be below max {high:g}")
        if PORT not in self:
            raise ConfigurationError("search: the ranges must contain (0, 1), the old adapter unchanged")

    def __contains__(self, point: tuple[float, float]) -> bool:
        (low_a, high_a), (low_b, high_b) = self.alpha, self.beta
        return low_a <= point[0] <= high_a and low_b <= point[1] <= high_b

    def bounds(self) -> Tensor:
        """Return `(2, 2)` float64: the row of minima and the row of maxima."""
        return torch.tensor([self.alpha, self.beta], dtype=torch.float64).T


@dataclass(frozen=True)
class Candidate:
    """What to evaluate next: Θ_init(alpha, beta) on the first `items` validation examples."""

    alpha: float
    beta: float
    items: int


@dataclass(frozen=True)
class Observation:
    """An evaluated candidate.

    Attributes:
        nll: Per example, the sum of the completion's negative log-likelihoods in nats.
        tokens: Per example, the number of completion tokens.
        seconds: What the probe cost, choosing it included.
        rejected: Whether the loss is NaN or infinite, and `nll` stands for a high one.
    """

    alpha: float
    beta: float
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    seconds: float
    rejected: bool = False

    @property
    def loss(self) -> Estimate:
        """Mean loss per completion token, −f of eq. 8."""
        return token_mean(self.nll, self.tokens)


class Stop(StrEnum):
    """Why the search asks for no further probe."""

    BUDGET = "Budget"
    """As many probes as allowed were made."""
    RESOLVED = "Resolved"
    """The best expected improvement is below a quarter of the paired loss difference's standard error."""
    COST = "Cost"
    """Another full probe would make the search cost more than it may, of what training is estimated to cost."""
    UNKNOWN = "Unknown"
    """No model can be fitted to what was observed."""


@dataclass(frozen=True)
class Surface:
    """The model's belief of the loss, on a grid.

    Attributes:
        alpha: Of the columns, `(n,)`.
        beta: Of the rows, `(n,)`.
        loss: Median loss per completion token, `(n, n)`.
        deviation: Standard deviation of the loss's natural logarithm, `(n, n)`.
    """

    alpha: Tensor
    beta: Tensor
    loss: Tensor
    deviation: Tensor


def dump_history(history: Sequence[Observation]) -> str:
    """Return the history as JSON."""
    return json.dumps([asdict(observation) for observation in history])


def load_history(text: str) -> list[Observation]:
    """Return the history that `dump_history` wrote."""
    return [
        Observation(**entry | {"nll": tuple(entry["nll"]), "tokens": tuple(entry["tokens"])})
        for entry in json.loads(text)
    ]


def best(history: Sequence[Observation]) -> Observation:
    """Return the full probe with the lowest observed loss, eq. 9. Screening probes are not comparable."""
    items = len(history[0].nll)
    return min((probe for probe in history if len(probe.nll) == items), key=lambda probe: probe.loss.value)


def is_better(new: Observation, old: Observation) -> bool:
    """Tell whether a full probe is better than another by more than one standard error of the paired difference."""
    return is_lower(new.nll, old.nll, old.tokens)


class Search:
    """A search that can be interrupted after every probe."""

    def __init__(
        self,
        box: Box,
        *,
        budget: int,
        items: int,
        seed: int = 0,
        affordable: float = math.inf,
        history: Sequence[Observation] = (),
    ) -> None:
        """Start, or continue from `history`.

        Args:
            box: The ranges of α and β.
            budget: Most probes, all of the initial design included.
            items: Validation examples of a full probe.
            seed: Of the Sobol points and of the model's fit.
            affordable: What all probes may cost, in full ones. It is counted and not timed, so that the same request
                gets the same adapter however busy the machine is, and whoever interrupts it.
            history: The observations of an interrupted search with the same arguments.
        """
        self.box = box
        self.budget = budget
        self.items = items
        self.seed = seed
        self.affordable = affordable
        self.history = list(history)
        self._design = self._initial_design()

    def ask(self) -> Candidate | Stop:
        """Return the next candidate, or why there is none. (0, 1) is always the first."""
        done = len(self.history)
        if done >= self.budget:
            return Stop.BUDGET
        if not done:
            return self._design[0]
        if self._examples_left() < self.items:
            return Stop.COST
        if done == 1 and self._is_last():
            return replace(self._design[1], items=self.items)
        if done < len(self._design) and not self._is_last():
            return self._design[done]
        return self._most_promising()

    def tell(self, observation: Observation) -> None:
        """Add the result of the candidate that was asked for."""
        self.history.append(observation)

    @property
    def screening_items(self) -> int:
        """Validation examples of a screening probe."""
        return min(self.items, max(MIN_SCREENING_ITEMS, self.items // SCREENING_SHARE))

    def _initial_design(self) -> list[Candidate]:
        """Return (0, 1) and screening probes: the landmarks, and a Sobol point for each one outside the box."""
        points = [point for point in LANDMARKS if point in self.box]
        if missing := len(LANDMARKS) - len(points):
            sobol = draw_sobol_samples(self.box.bounds(), n=missing, q=1, seed=self.seed)[:, 0]  # (missing, 2)
            points += [(alpha, beta) for alpha, beta in sobol.tolist()]
        port, *others = points
        return [Candidate(*port, self.items), *(Candidate(*point, self.screening_items) for point in others)]

    def _examples_left(self) -> float:
        return self.affordable * self.items - sum(len(probe.nll) for probe in self.history)

    def _is_full(self, probe: Observation) -> bool:
        return len(probe.nll) == self.items

    def _is_measured_in_full(self, probe: Observation) -> bool:
        return self._is_full(probe) and not probe.rejected

    def _is_last(self) -> bool:
        """Tell whether no full probe could follow a screening probe, which cannot win."""
        return self.budget - len(self.history) == 1 or self._examples_left() < self.items + self.screening_items

    def _most_promising(self) -> Candidate | Stop:
        """Return the point of the highest expected improvement over the best full probe.

        When nothing is to be gained by learning more, it is that of the highest expectation, to be probed in full.
        """
        objective, noise = self._observations()
        if float(objective.std()) < FLAT:
            return Stop.RESOLVED
        full = torch.tensor([self._is_full(probe) for probe in self.history])
        measured = torch.tensor([not probe.rejected for probe in self.history])
        with manual_seed(self.seed + len(self.history)):
            try:
                inputs, model = self._surrogate(objective, noise)
            except ModelFittingError:  # every attempt would end so: the history and the seed are the same
                return Stop.UNKNOWN
            choices = self._choices(inputs[full])
            point, log_improvement = most_improving(model, choices, best=objective[full & measured].max())
            resolved = math.exp(log_improvement) < RESOLVED_SHARE * self._resolution(float(noise.min()))
            if resolved and int((full & measured).sum()) > 1:
                return Stop.RESOLVED
            if resolved or self._is_last():
                point = highest(model, choices)
                return self._candidate(point, self.items)
            variance = float(posterior(model, point)[1])
        screened = noise[~full & measured]
        known = not len(screened) or variance <= float(screened.median()) or point[0].tolist() in inputs.tolist()
        return self._candidate(point, self.items if known else self.screening_items)

    def surface(self) -> Surface | None:
        """Return what the model believes of the loss in the whole box; None where no model can be made.

        The model's objective is −log of the loss, so that exp(−mean) is the loss's median.
        """
        if len(self.history) < MIN_OBSERVATIONS:
            return None
        objective, noise = self._observations()
        if float(objective.std()) < FLAT:
            return None
        with manual_seed(self.seed + len(self.history)):
            _, model = self._surrogate(objective, noise)
        (low_a, high_a), (low_b, high_b) = self.box.alpha, self.box.beta
        alpha = torch.linspace(low_a, high_a, SURFACE_GRID, dtype=torch.float64)
        beta = torch.linspace(low_b, high_b, SURFACE_GRID, dtype=torch.float64)
        rows, columns = torch.meshgrid(beta, alpha, indexing="ij")
        mean, variance = posterior(model, torch.stack([columns.ravel(), rows.ravel()], dim=1))
        return Surface(alpha, beta, (-mean).exp().reshape(rows.shape), variance.sqrt().reshape(rows.shape))

    def _surrogate(self, objective: Tensor, noise: Tensor) -> tuple[Tensor, SingleTaskGP]:
        """Return the probed points, `(n, 2)` float64, and the model of what was observed there."""
        inputs = torch.tensor([(probe.alpha, probe.beta) for probe in self.history], dtype=torch.float64)
        return inputs, fit_surrogate(inputs, objective, noise, self.box.bounds())

    def _candidate(self, point: Tensor, items: int) -> Candidate:
        alpha, beta = point[0].tolist()
        return Candidate(alpha, beta, items)

    def _choices(self, probed: Tensor) -> Tensor:
        """Return the points that compete, `(n, 2)`: a grid finer than the validation examples can tell apart.

        In two dimensions it finds the acquisition's maximum as well as a gradient method, and never fails. Points
        that were probed in full are left out, and so is (0, 0): nothing of the old adapter is left there, and `Scratch`
        is the strategy that begins so.
        """
        low, high = self.box.bounds()
        steps = torch.linspace(0, 1, GRID, dtype=torch.float64)
        grid: Tensor = torch.cartesian_prod(steps, steps) * (high - low) + low
        apart = torch.cdist(grid, probed, compute_mode="donot_use_mm_for_euclid_dist")  # the other way rounds to 1e-8
        new = (apart > SAME_POINT).all(dim=1)
        return grid[grid.any(dim=1) & new]

    def _observations(self) -> tuple[Tensor, Tensor]:
        """Return −log of the loss and its noise variance for every probe, each `(n, 1)` float64.

        A screening probe saw n of the N examples. Its loss on the others is predicted by least squares from that of
        full probes and the examples' lengths; the noise is the residuals' variance s², as for the regression
        estimator of a finite population (Cochran, Sampling Techniques, 1977, chapter 7):

            Var(Σ nll) = N²·(1/n − 1/N)·s²,  Var(log loss) ≈ Var(loss) / loss²
        """
        port = self.history[0]
        rivals = sorted(filter(self._is_measured_in_full, self.history[1:]), key=lambda probe: probe.loss.value)
        controls = np.column_stack([port.tokens, port.nll, *(probe.nll for probe in rivals[: CONTROLS - 1])])
        tokens = float(np.sum(port.tokens))
        losses, variances = [], []
        for probe in self.history:
            seen = len(probe.nll)
            if seen == self.items or probe.rejected:
                losses.append(probe.loss.value)
                variances.append(0.0)
                continue
            nll = np.asarray(probe.nll)
            weights, _, rank, _ = np.linalg.lstsq(controls[:seen], nll, rcond=None)
            residuals = nll - controls[:seen] @ weights
            predicted = controls[seen:] @ weights
            losses.append(float(nll.sum() + predicted.sum()) / tokens)
            spread = float(residuals @ residuals) / (seen - int(rank))
            variances.append((self.items / tokens) ** 2 * (1 / seen - 1 / self.items) * spread)
        lowest = max(FLAT, PLAUSIBLE_SHARE * self._lowest_loss())
        loss = torch.tensor(losses, dtype=torch.float64)[:, None].clamp_min(lowest)
        objective = -loss.log()
        floor = RELATIVE_NOISE_FLOOR * float(objective.var()) + ABSOLUTE_NOISE_FLOOR
        return objective, (torch.tensor(variances, dtype=torch.float64)[:, None] / loss**2).clamp_min(floor)

    def _lowest_loss(self) -> float:
        return best(self.history).loss.value

    def _resolution(self, noise: float) -> float:
        """Return the smallest difference of the objective that means something.

        That is the standard error of the paired difference, on all examples, between (0, 1) and the best of the
        others, as a share of the lowest loss; or the noise that the model is given, of variance `noise`.
        """
        port, *others = (probe for probe in self.history if not probe.rejected)
        if not others:
            return math.sqrt(noise)
        rivals = list(filter(self._is_full, others)) or others
        differences = [paired_difference(probe.nll, port.nll[: len(probe.nll)], probe.tokens) for probe in rivals]
        nearest = min(differences, key=lambda difference: difference.value)
        standard_error = nearest.standard_error * math.sqrt(nearest.count / self.items)
        return max(standard_error / max(FLAT, self._lowest_loss()), math.sqrt(noise))
