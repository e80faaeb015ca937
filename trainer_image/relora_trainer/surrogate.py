"""The Gaussian process that stands in for the objective of the search: eqs. 10-17 of arXiv 2606.02606.

Against the paper: the kernel has a length of its own for each coefficient, the observations are scaled to mean 0 and
variance 1, what a screening probe did not see is noise, and ξ is 0. The hyperparameters maximise the marginal
likelihood under BoTorch's priors.
"""

from botorch.acquisition import LogExpectedImprovement, PosteriorMean
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize, Standardize
from botorch.optim import optimize_acqf_discrete
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

BATCH = 4096


def fit_surrogate(inputs: Tensor, objective: Tensor, noise: Tensor, bounds: Tensor) -> SingleTaskGP:
    """Return the process with the prior of eqs. 10 and 14, fitted to observations.

    Args:
        inputs: The probed (α, β), `(n, 2)` float64.
        objective: What was observed there, `(n, 1)` float64.
        noise: The observations' variances, `(n, 1)` float64.
        bounds: The rows of minima and of maxima, `(2, 2)`; distances are measured in shares of the box.
    """
    model = SingleTaskGP(
        inputs,
        objective,
        train_Yvar=noise,
        input_transform=Normalize(2, bounds=bounds),
        outcome_transform=Standardize(1),
    )
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    return model


def posterior(model: SingleTaskGP, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of the objective at new points, each `(n,)` float64: eqs. 11-13.

    Args:
        model: A fitted process.
        points: `(n, 2)` float64.
    """
    found = model.posterior(points)
    return found.mean.detach()[:, 0], found.variance.detach()[:, 0]


def most_improving(model: SingleTaskGP, choices: Tensor, *, best: Tensor) -> tuple[Tensor, float]:
    """Return the point of the highest expected improvement, eq. 17, and that improvement's logarithm, eqs. 15 and 16.

    Args:
        model: A fitted process.
        choices: The points that compete, `(n, 2)` float64.
        best: f⁺, the highest observed objective, a scalar in float64.

    Returns:
        The point, `(1, 2)`, and log EI.
    """
    acquisition = LogExpectedImprovement(model, best_f=best)
    point, log_improvement = optimize_acqf_discrete(acquisition, q=1, choices=choices, max_batch_size=BATCH)
    return point, float(log_improvement)


def highest(model: SingleTaskGP, choices: Tensor) -> Tensor:
    """Return the point of the highest posterior mean, `(1, 2)`."""
    point: Tensor
    point, _ = optimize_acqf_discrete(PosteriorMean(model), q=1, choices=choices, max_batch_size=BATCH)
    return point
