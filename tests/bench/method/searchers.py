"""Other searches of a pair (α, β) for the fuse step: the paper's own, and a grid. They stand in for `Search` there."""

import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf_discrete
from botorch.utils.sampling import draw_sobol_samples, manual_seed
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior
from typing_extensions import override

from relora_trainer.search import PORT, Candidate, Search, Stop

T = 20
"""The paper's number of probes."""
INITIAL = 5
"""Full probes before those: the paper says "a small set" and no number."""
XI = 0.01
"""ξ of eq. 15; the paper names none, this is the usual one."""
NOISE = 1e-4
"""Variance of a probe in the Gaussian process, where losses have variance 1: the paper has none."""
STEPS = {"alpha": 5, "beta": 7}
"""Values of each coefficient in the grid: steps of 0.25 and of 0.5 in the default box. The paper's grid has 10 × 10."""


class PaperSearch(Search):
    """Eqs. 10-17 as they stand: an isotropic RBF kernel, EI with ξ, every probe in full, no early end.

    The maximum of log EI is that of EI, without its underflow. The priors of the hyperparameters are those that BoTorch
    had for this kernel: without any the fit often ends at a length-scale of zero.
    """

    @override
    def ask(self) -> Candidate | Stop:
        done = len(self.history)
        if done < INITIAL:
            sobol = draw_sobol_samples(self.box.bounds(), n=INITIAL - 1, q=1, seed=self.seed)[:, 0]  # (INITIAL − 1, 2)
            alpha, beta = [PORT, *sobol.tolist()][done]
            return Candidate(alpha, beta, self.items)
        return Stop.BUDGET if done >= INITIAL + T else self._by_expected_improvement()

    def _by_expected_improvement(self) -> Candidate:
        inputs = torch.tensor([(probe.alpha, probe.beta) for probe in self.history], dtype=torch.float64)
        objective = torch.tensor([[-probe.loss.value] for probe in self.history], dtype=torch.float64)
        noise = torch.full_like(objective, NOISE * float(objective.var()))
        with manual_seed(self.seed + len(self.history)):
            model = SingleTaskGP(
                inputs,
                objective,
                train_Yvar=noise,
                covar_module=ScaleKernel(
                    RBFKernel(lengthscale_prior=GammaPrior(3.0, 6.0)), outputscale_prior=GammaPrior(2.0, 0.15)
                ),
                input_transform=None,
                outcome_transform=Standardize(1),
            )
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            acquisition = LogExpectedImprovement(model, best_f=objective.max() + XI)
            choices = self._choices(inputs)
            point, _ = optimize_acqf_discrete(acquisition, q=1, choices=choices, max_batch_size=4096)
        alpha, beta = point[0].tolist()
        return Candidate(alpha, beta, self.items)


class GridSearch(Search):
    """Every point of a grid in full, (0, 1) first. (0, 0) is left out: it has no gradient to train from."""

    @override
    def ask(self) -> Candidate | Stop:
        done = len(self.history)
        points = [PORT, *(point for point in self._grid() if point not in (PORT, (0.0, 0.0)))]
        return Candidate(*points[done], self.items) if done < len(points) else Stop.BUDGET

    def _grid(self) -> list[tuple[float, float]]:
        (low_a, low_b), (high_a, high_b) = self.box.bounds().tolist()
        alphas = torch.linspace(low_a, high_a, STEPS["alpha"], dtype=torch.float64).tolist()
        betas = torch.linspace(low_b, high_b, STEPS["beta"], dtype=torch.float64).tolist()
        return list(itertools.product(alphas, betas))


PAPER, GRID = "paper mode", "grid search"
SEARCHERS: Mapping[str, type[Search]] = {PAPER: PaperSearch, GRID: GridSearch}
"""By the name of the variant that uses them."""


def searcher_code(variant: str) -> str | None:
    """Return the digest of this file for a variant that uses it."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest() if variant in SEARCHERS else None
