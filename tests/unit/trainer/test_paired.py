import math

import numpy as np
import pytest

from relora_trainer.paired import paired_difference, token_mean


def test_the_mean_is_weighted_by_tokens() -> None:
    estimate = token_mean([2.0, 9.0], [1, 3])
    assert estimate.value == pytest.approx(11 / 4)
    assert estimate.count == 2


def test_equal_lengths_give_the_plain_standard_error() -> None:
    losses = [1.0, 2.0, 4.0, 5.0]
    estimate = token_mean(losses, [1, 1, 1, 1])
    assert estimate.standard_error == pytest.approx(np.std(losses, ddof=1) / 2)


def test_the_standard_error_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(0)

    def sample() -> tuple[list[float], list[int]]:
        tokens = rng.integers(1, 6, 200)
        return (rng.gamma(1.0, 1.0, 200) * tokens).tolist(), tokens.tolist()

    estimates = [token_mean(*sample()) for _ in range(400)]
    spread = np.std([estimate.value for estimate in estimates])
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(spread, rel=0.15)


def test_a_constant_shift_has_no_uncertainty() -> None:
    difference = paired_difference([1.5, 3.5], [1.0, 2.5], [1, 2])
    assert difference.value == pytest.approx(0.5)
    assert difference.standard_error == pytest.approx(0)


def test_one_example_says_nothing_about_the_spread() -> None:
    assert token_mean([1.0], [2]).standard_error == math.inf


@pytest.mark.parametrize(
    ("new", "old", "tokens"), [([1.0], [1.0, 2.0], [1, 1]), ([1.0, 2.0], [1.0, 2.0], [1]), ([], [], [])]
)
def test_lists_that_do_not_pair_are_refused(new: list[float], old: list[float], tokens: list[int]) -> None:
    with pytest.raises(ValueError, match=r"paired|same examples"):
        paired_difference(new, old, tokens)
