"""The Gaussian process against the equations of the paper, written out in float64."""

import numpy as np
import pytest
import torch
from botorch.models import SingleTaskGP
from scipy.stats import norm

from relora_trainer.surrogate import fit_surrogate, highest, most_improving, posterior

BOUNDS = torch.tensor([[0.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
POINTS = torch.tensor([[0, 1], [0, 2], [0.5, 1.5], [1, 1], [0.3, 1.8], [0.8, 0.2]], dtype=torch.float64)
OBJECTIVE = -(0.3 * (POINTS[:, :1] - 0.3) ** 2 + 0.1 * (POINTS[:, 1:] - 1.7) ** 2 + 0.2).log()
NOISE = torch.tensor([1e-5, 1e-3, 2e-3, 1e-3, 1e-5, 4e-3], dtype=torch.float64)[:, None]


@pytest.fixture(scope="module")
def model() -> SingleTaskGP:
    return fit_surrogate(POINTS, OBJECTIVE, NOISE, BOUNDS)


def kernel(model: SingleTaskGP, left: torch.Tensor, right: torch.Tensor) -> np.ndarray:
    """Σ₀ of eq. 14 with a length for each coefficient; distances are shares of the box."""
    lengths = model.covar_module.lengthscale.detach().numpy()[0]
    size = (BOUNDS[1] - BOUNDS[0]).numpy()
    difference = (left.numpy()[:, None] - right.numpy()[None]) / size / lengths
    squares: np.ndarray = np.exp(-0.5 * (difference**2).sum(axis=-1))
    return squares


def grid() -> torch.Tensor:
    return torch.cartesian_prod(torch.linspace(0, 1, 9).double(), torch.linspace(0, 3, 13).double())


def closed_form(model: SingleTaskGP, points: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of eqs. 12 and 13; the observations are scaled to mean 0 and variance 1."""
    observed, noise = OBJECTIVE.numpy()[:, 0], NOISE.numpy()[:, 0]
    centre, scale = observed.mean(), observed.std(ddof=1)
    prior = float(model.mean_module.constant.detach())
    inverse = np.linalg.inv(kernel(model, POINTS, POINTS) + np.diag(noise / scale**2))
    across = kernel(model, points, POINTS)
    mean = across @ inverse @ ((observed - centre) / scale - prior) + prior
    variance = 1 - np.einsum("ij,jk,ik->i", across, inverse, across)
    return centre + scale * mean, scale**2 * variance


def test_the_prior_is_that_of_the_equations(model: SingleTaskGP) -> None:
    points = grid()
    shares = (points - BOUNDS[0]) / (BOUNDS[1] - BOUNDS[0])
    prior = model.covar_module(shares).to_dense().detach().numpy()
    np.testing.assert_allclose(prior, kernel(model, points, points), atol=1e-12)
    means = model.mean_module(shares).detach()
    assert torch.equal(means, means[0].expand_as(means))


def test_the_posterior_is_that_of_the_equations(model: SingleTaskGP) -> None:
    mean, variance = posterior(model, grid())
    wanted_mean, wanted_variance = closed_form(model, grid())
    np.testing.assert_allclose(mean.numpy(), wanted_mean, rtol=1e-6)
    np.testing.assert_allclose(variance.numpy(), wanted_variance, rtol=1e-4, atol=1e-9)
    assert float(variance.max()) > 10 * float(variance.min())  # else a constant would do as well


def test_the_most_improving_point_is_that_of_the_equations(model: SingleTaskGP) -> None:
    best = float(OBJECTIVE.max())
    mean, variance = closed_form(model, grid())
    deviation = np.sqrt(variance)
    z = (mean - best) / deviation
    improvement = (mean - best) * norm.cdf(z) + deviation * norm.pdf(z)
    point, log_improvement = most_improving(model, grid(), best=OBJECTIVE.max())
    assert point[0].tolist() == grid()[improvement.argmax()].tolist()
    assert log_improvement == pytest.approx(np.log(improvement.max()), abs=1e-4)


def test_the_highest_point_is_that_of_the_posterior_mean(model: SingleTaskGP) -> None:
    mean, _ = closed_form(model, grid())
    assert highest(model, grid())[0].tolist() == grid()[mean.argmax()].tolist()
