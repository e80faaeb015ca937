from collections.abc import Callable, Sequence

import numpy as np
import pytest

from relora_trainer.errors import ConfigurationError
from relora_trainer.search import (
    Box,
    Candidate,
    Observation,
    Search,
    Stop,
    beats_port,
    best,
    dump_history,
    load_history,
)

ITEMS = 512
BOX = Box((0.0, 1.0), (0.0, 3.0))
Surface = Callable[[float, float], float]


def probe(surface: Surface, candidate: Candidate, *, seconds: float = 1.0, seed: int = 0) -> Observation:
    """Losses of examples of various difficulty and sensitivity, whose mean follows the surface."""
    rng = np.random.default_rng(seed)
    difficulty, sensitivity = rng.gamma(1.0, 1.0, ITEMS), rng.gamma(4.0, 0.25, ITEMS)
    losses = 0.2 * difficulty + surface(candidate.alpha, candidate.beta) * sensitivity
    chosen = losses[: candidate.items]
    return Observation(candidate.alpha, candidate.beta, tuple(chosen.tolist()), (1,) * len(chosen), seconds)


def run(search: Search, surface: Surface, **kwargs: float) -> Stop:
    while isinstance(candidate := search.ask(), Candidate):
        search.tell(probe(surface, candidate, seconds=kwargs.get("seconds", 1.0)))
    return candidate


def bowl(alpha: float, beta: float) -> float:
    return 0.3 * (alpha - 0.3) ** 2 + 0.1 * (beta - 1.7) ** 2


def synthetic(seed: int) -> Surface:
    rng = np.random.default_rng(seed)
    alpha_best, beta_best = rng.uniform(0, 0.7), rng.uniform(0.7, 2.2)
    steep_alpha, steep_beta, ripple = rng.uniform(0.2, 2), rng.uniform(0.1, 0.8), rng.uniform(0, 0.03)
    return lambda alpha, beta: float(
        steep_alpha * (alpha - alpha_best) ** 2
        + steep_beta * (beta - beta_best) ** 2
        + ripple * np.sin(3 * alpha + 2 * beta) ** 2
    )


def test_the_port_comes_first_then_the_landmarks_then_screening() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    asked = []
    for _ in range(8):
        candidate = search.ask()
        assert isinstance(candidate, Candidate)
        asked.append(candidate)
        search.tell(probe(bowl, candidate))
    assert asked[:3] == [Candidate(0, 1, ITEMS), Candidate(0, 1.5, ITEMS), Candidate(1, 1, ITEMS)]
    assert [candidate.items for candidate in asked[3:]] == [128] * 5
    assert all((candidate.alpha, candidate.beta) in BOX for candidate in asked)


@pytest.mark.parametrize("seed", range(8))
def test_regret_is_within_what_the_examples_resolve(seed: int) -> None:
    surface = synthetic(seed)
    search = Search(BOX, budget=20, items=ITEMS, seed=seed)
    run(search, surface)
    winner = best(search.history)
    grid = min(surface(alpha, beta) for alpha in np.linspace(0, 1, 51) for beta in np.linspace(0, 3, 151))
    regret = surface(winner.alpha, winner.beta) - grid
    assert regret <= 0.02 * (surface(0, 1) - grid) + 0.005


def test_the_budget_counts_every_probe() -> None:
    for budget in (1, 2, 5):
        search = Search(BOX, budget=budget, items=ITEMS)
        assert run(search, bowl) is Stop.BUDGET
        assert len(search.history) == budget


def test_it_stops_when_nothing_that_could_be_resolved_is_left() -> None:
    search = Search(BOX, budget=100, items=ITEMS)
    assert run(search, bowl) is Stop.RESOLVED
    assert len(search.history) < 25


def test_it_stops_when_it_took_a_quarter_of_the_training_time() -> None:
    search = Search(BOX, budget=20, items=ITEMS, training_seconds=100)
    assert run(search, bowl, seconds=6.0) is Stop.TIME
    assert len(search.history) == 5


def test_at_least_the_port_is_probed_however_short_the_training() -> None:
    search = Search(BOX, budget=20, items=ITEMS, training_seconds=0)
    assert run(search, bowl) is Stop.TIME
    assert [(p.alpha, p.beta) for p in search.history] == [(0, 1)]


def test_an_interrupted_search_asks_the_same_questions() -> None:
    straight = Search(BOX, budget=11, items=ITEMS, seed=3)
    run(straight, bowl)
    for done in (0, 4, 9):
        history = load_history(dump_history(straight.history[:done]))
        resumed = Search(BOX, budget=11, items=ITEMS, seed=3, history=history)
        run(resumed, bowl)
        assert resumed.history == straight.history


def test_screening_probes_cannot_win() -> None:
    full = Observation(0, 1, (1.0, 1.0), (1, 1), 1)
    screened = Observation(0.5, 1, (0.1,), (1,), 1)
    assert best([full, screened]) is full


@pytest.mark.parametrize(
    ("losses", "beats"),
    [
        ([1.0, 2.0, 3.0, 2.0], False),  # worse
        ([0.9, 2.1, 2.9, 2.0], False),  # better by less than a standard error
        ([0.8, 1.9, 2.8, 1.9], True),
    ],
)
def test_the_port_is_beaten_by_more_than_a_standard_error_only(losses: Sequence[float], beats: bool) -> None:  # noqa: FBT001 - a parameter of the table
    port = Observation(0, 1, (1.0, 2.0, 3.0, 2.0), (1, 1, 1, 1), 1)
    other = Observation(0, 1.5, tuple(losses), (1, 1, 1, 1), 1)
    assert beats_port([port, other]) is beats


def test_a_box_without_the_port_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"must contain \(0, 1\)"):
        Box((0.1, 1.0), (0.0, 3.0))
    with pytest.raises(ConfigurationError, match="min 3 must be below max 0"):
        Box((0.0, 1.0), (3.0, 0.0))


def test_landmarks_outside_the_box_are_left_out() -> None:
    search = Search(Box((0.0, 0.5), (0.5, 1.2)), budget=4, items=ITEMS)
    run(search, bowl)
    assert all((p.alpha, p.beta) in search.box for p in search.history)


def test_equal_losses_everywhere_are_no_trouble() -> None:
    search = Search(BOX, budget=10, items=ITEMS)
    run(search, lambda _alpha, _beta: 0.0)
    assert not beats_port(search.history)


def test_the_empty_update_is_never_proposed() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    run(search, lambda alpha, beta: 0.3 * alpha + 0.1 * beta)
    assert all(probe.alpha or probe.beta for probe in search.history)
    assert best(search.history).beta < 0.5
