"""Bayesian search of the fusion coefficients (α, β), eqs. 8-17 of arXiv 2606.02606.

The objective is f(α, β) = −validation loss of the new base with Θ_init(α, β); a Gaussian process with an RBF kernel
models it, and expected improvement (in its logarithmic form) chooses the next probe.

Two rules differ from the paper, because a probe costs as much as several optimizer steps. The initial design counts
inside the budget; and the search stops when the best expected improvement is small against what the validation
examples can resolve, or when it has used a quarter of the time that training is estimated to need.

The search asks and is told; it evaluates nothing and reads no clock. The same history gives the same next probe.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf_discrete
from botorch.utils.sampling import draw_sobol_samples, manual_seed
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from relora_trainer.errors import ConfigurationError
from relora_trainer.paired import Estimate, paired_difference, token_mean

PORT = (0.0, 1.0)
"""The old adapter unchanged: PortLLM."""
LANDMARKS = (PORT, (0.0, 1.5), (1.0, 1.0))
MAX_SOBOL = 5
SCREENING_ITEMS = 128
RESOLVED_SHARE = 0.25
TIME_SHARE = 0.25
GRID = 101
FLAT = 1e-9
"""Nats per token; losses that differ by less are equal."""
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
    """

    alpha: float
    beta: float
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    seconds: float

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
    TIME = "Time"
    """The search took more than a quarter of the time that training is estimated to need."""


def dump_history(history: Sequence[Observation]) -> str:
    """Return the history as JSON."""
    return json.dumps([asdict(observation) for observation in history])


def load_history(text: str) -> list[Observation]:
    """Return the history that `dump_history` wrote."""
    return [
        Observation(entry["alpha"], entry["beta"], tuple(entry["nll"]), tuple(entry["tokens"]), entry["seconds"])
        for entry in json.loads(text)
    ]


def best(history: Sequence[Observation]) -> Observation:
    """Return the full probe with the lowest observed loss, eq. 9. Screening probes are not comparable."""
    items = len(history[0].nll)
    return min((probe for probe in history if len(probe.nll) == items), key=lambda probe: probe.loss.value)


def beats_port(history: Sequence[Observation]) -> bool:
    """Tell whether the best probe is better than (0, 1) by more than one paired standard error."""
    winner, port = best(history), history[0]
    if winner is port:
        return False
    difference = paired_difference(winner.nll, port.nll, port.tokens)
    return -difference.value > difference.standard_error


class Search:
    """A search that can be interrupted after every probe."""

    def __init__(
        self,
        box: Box,
        *,
        budget: int,
        items: int,
        seed: int = 0,
        training_seconds: float = math.inf,
        history: Sequence[Observation] = (),
    ) -> None:
        """Start, or continue from `history`.

        Args:
            box: The ranges of α and β.
            budget: Most probes, all of the initial design included.
            items: Validation examples of a full probe.
            seed: Of the Sobol points and of the acquisition function's optimizer.
            training_seconds: Estimate of the time that tuning would need.
            history: The observations of an interrupted search with the same arguments.
        """
        self.box = box
        self.budget = budget
        self.items = items
        self.seed = seed
        self.training_seconds = training_seconds
        self.history = list(history)
        self._design = self._initial_design()

    def ask(self) -> Candidate | Stop:
        """Return the next candidate, or why there is none. (0, 1) is always the first."""
        done = len(self.history)
        if done >= self.budget:
            return Stop.BUDGET
        if done and sum(probe.seconds for probe in self.history) > TIME_SHARE * self.training_seconds:
            return Stop.TIME
        if done < len(self._design):
            return self._design[done]
        return self._most_promising()

    def tell(self, observation: Observation) -> None:
        """Add the result of the candidate that was asked for."""
        self.history.append(observation)

    def _initial_design(self) -> list[Candidate]:
        landmarks = [Candidate(*point, self.items) for point in LANDMARKS if point in self.box]
        count = min(MAX_SOBOL, max(0, self.budget // 2 - len(landmarks)))
        if not count:
            return landmarks
        points = draw_sobol_samples(self.box.bounds(), n=count, q=1, seed=self.seed)[:, 0]  # (count, 2)
        screening = min(SCREENING_ITEMS, self.items)
        return landmarks + [Candidate(alpha, beta, screening) for alpha, beta in points.tolist()]

    def _most_promising(self) -> Candidate | Stop:
        objective, noise = self._observations()
        if float(objective.std()) < FLAT:
            return Stop.RESOLVED
        inputs = torch.tensor([(probe.alpha, probe.beta) for probe in self.history], dtype=torch.float64)
        full = torch.tensor([len(probe.nll) == self.items for probe in self.history])
        with manual_seed(self.seed + len(self.history)):
            model = SingleTaskGP(
                inputs,
                objective,
                train_Yvar=noise,
                input_transform=Normalize(2, bounds=self.box.bounds()),
                outcome_transform=Standardize(1),
            )
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            acquisition = LogExpectedImprovement(model, best_f=objective[full].max())
            point, log_improvement = optimize_acqf_discrete(acquisition, q=1, choices=self._grid(), max_batch_size=4096)
        if math.exp(float(log_improvement)) < RESOLVED_SHARE * self._resolution():
            return Stop.RESOLVED
        alpha, beta = point[0].tolist()
        return Candidate(alpha, beta, self.items)

    def _grid(self) -> Tensor:
        """Return the points that compete, `(n, 2)`: a grid finer than the validation examples can tell apart.

        In two dimensions it finds the acquisition's maximum as well as a gradient method, and never fails. (0, 0) is
        left out: there both factors are zero, and so is every gradient of the training that would follow.
        """
        low, high = self.box.bounds()
        steps = torch.linspace(0, 1, GRID, dtype=torch.float64)
        grid: Tensor = torch.cartesian_prod(steps, steps) * (high - low) + low
        return grid[grid.any(dim=1)]

    def _observations(self) -> tuple[Tensor, Tensor]:
        """Return objective and noise variance of every probe, each `(n, 1)` float64.

        A screening probe saw only some of the examples. Its loss on all of them is estimated as that of (0, 1) plus
        the paired difference on the shared examples; the difference's squared standard error, corrected for the
        finite number of examples, is the noise.
        """
        port = self.history[0]
        values, variances = [], []
        for probe in self.history:
            seen = len(probe.nll)
            if seen == self.items:
                values.append(-probe.loss.value)
                variances.append(0.0)
            else:
                difference = paired_difference(probe.nll, port.nll[:seen], probe.tokens)
                values.append(-(port.loss.value + difference.value))
                variances.append(difference.standard_error**2 * (1 - seen / self.items))
        objective = torch.tensor(values, dtype=torch.float64)[:, None]
        floor = RELATIVE_NOISE_FLOOR * float(objective.var()) + ABSOLUTE_NOISE_FLOOR
        return objective, torch.tensor(variances, dtype=torch.float64)[:, None].clamp_min(floor)

    def _resolution(self) -> float:
        """Return the standard error of the paired difference between the best full probe and (0, 1).

        Where (0, 1) is the best itself, the runner-up takes its place.
        """
        full = sorted((p for p in self.history if len(p.nll) == self.items), key=lambda probe: probe.loss.value)
        winner, port = full[0], self.history[0]
        if winner is port:
            if len(full) == 1:
                return 0.0
            winner = full[1]
        return paired_difference(winner.nll, port.nll, port.tokens).standard_error
