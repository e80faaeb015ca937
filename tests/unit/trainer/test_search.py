from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from botorch.exceptions.errors import ModelFittingError

from relora_trainer.errors import ConfigurationError
from relora_trainer.paired import paired_difference
from relora_trainer.search import (
    Box,
    Candidate,
    Observation,
    Search,
    Stop,
    best,
    dump_history,
    is_better,
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


def run(search: Search, surface: Surface) -> Stop:
    while isinstance(candidate := search.ask(), Candidate):
        search.tell(probe(surface, candidate))
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


def cost(search: Search) -> float:
    """Return the cost of a search in full probes."""
    return sum(len(probe.nll) for probe in search.history) / search.items


def test_the_port_comes_first_then_the_landmarks_on_a_quarter_of_the_examples() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    asked = []
    for _ in range(4):
        candidate = search.ask()
        assert isinstance(candidate, Candidate)
        asked.append(candidate)
        search.tell(probe(bowl, candidate))
    assert asked == [
        Candidate(0, 1, ITEMS),
        Candidate(0, 2, ITEMS // 4),
        Candidate(0.5, 1.5, ITEMS // 4),
        Candidate(1, 1, ITEMS // 4),
    ]


def test_few_examples_are_not_screened() -> None:
    search = Search(BOX, budget=20, items=48)
    for _ in range(6):
        candidate = search.ask()
        assert isinstance(candidate, Candidate)
        assert candidate.items == 48
        search.tell(probe(bowl, candidate))


@pytest.mark.parametrize("seed", range(8))
def test_regret_is_below_what_the_examples_resolve_at_the_cost_of_six_probes(seed: int) -> None:
    surface = synthetic(seed)
    search = Search(BOX, budget=20, items=ITEMS, seed=seed)
    run(search, surface)
    grid = [(alpha, beta) for alpha in np.linspace(0, 1, 51) for beta in np.linspace(0, 3, 151)]
    optimum = probe(surface, Candidate(*min(grid, key=lambda point: surface(*point)), ITEMS))
    gain = paired_difference(optimum.nll, search.history[0].nll, optimum.tokens)
    assert best(search.history).loss.value - optimum.loss.value < gain.standard_error
    assert cost(search) <= 6


def test_what_screening_did_not_see_is_predicted_from_the_full_probes() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    for candidate in (Candidate(0, 1, ITEMS), Candidate(0, 2, ITEMS), Candidate(0.5, 1.5, ITEMS // 4)):
        search.tell(probe(bowl, candidate))
    whole = probe(bowl, Candidate(0.5, 1.5, ITEMS)).loss.value
    objective, noise = search._observations()
    assert float(objective[2].exp()) == pytest.approx(1 / whole, rel=1e-9)
    assert search.history[2].loss.value != pytest.approx(whole, abs=1e-3)
    assert float(noise[2]) < 1e-6


def test_the_noise_of_screening_is_that_of_drawing_the_examples() -> None:
    rng = np.random.default_rng(0)
    port, other = rng.gamma(1.0, 1.0, ITEMS), rng.gamma(1.0, 1.0, ITEMS)
    errors, claimed = [], []
    for _ in range(200):
        order = rng.permutation(ITEMS)
        search = Search(BOX, budget=20, items=ITEMS)
        search.tell(Observation(0, 1, tuple(port[order].tolist()), (1,) * ITEMS, 1))
        search.tell(Observation(0, 2, tuple(other[order][: ITEMS // 4].tolist()), (1,) * (ITEMS // 4), 1))
        objective, noise = search._observations()
        errors.append(float(objective[1]) + float(np.log(other.mean())))
        claimed.append(float(noise[1]))
    assert np.mean(claimed) == pytest.approx(np.var(errors), rel=0.25)


def test_the_budget_counts_every_probe() -> None:
    for budget in (1, 2, 5):
        search = Search(BOX, budget=budget, items=ITEMS)
        assert run(search, bowl) is Stop.BUDGET
        assert len(search.history) == budget


def test_it_stops_when_nothing_that_could_be_resolved_is_left() -> None:
    search = Search(BOX, budget=100, items=ITEMS)
    assert run(search, bowl) is Stop.RESOLVED
    assert len(search.history) < 25


def test_it_stops_when_it_cost_what_it_may() -> None:
    search = Search(BOX, budget=20, items=ITEMS, affordable=2.75)
    assert run(search, bowl) is Stop.COST
    assert cost(search) == 2.75
    assert [len(probe.nll) == ITEMS for probe in search.history] == [True, False, False, False, True]


def test_the_time_that_probes_take_decides_nothing() -> None:
    histories = []
    for seconds in (0.01, 1000.0):
        search = Search(BOX, budget=20, items=ITEMS, affordable=4)
        while isinstance(candidate := search.ask(), Candidate):
            search.tell(probe(bowl, candidate, seconds=seconds))
        histories.append([(each.alpha, each.beta, each.nll) for each in search.history])
    assert histories[0] == histories[1]


@pytest.mark.parametrize("budget", [2, 3, 4, 5])
def test_the_last_probe_is_a_full_one_because_screening_cannot_win(budget: int) -> None:
    search = Search(BOX, budget=budget, items=ITEMS)
    run(search, bowl)
    assert [len(p.nll) == ITEMS for p in search.history] == [True, *[False] * (budget - 2), True]
    assert is_better(best(search.history), search.history[0])


@pytest.mark.parametrize("affordable", [2.1, 2.3, 2.6, 3.9])
def test_the_last_probe_that_can_be_afforded_is_a_full_one(affordable: float) -> None:
    search = Search(BOX, budget=20, items=ITEMS, affordable=affordable)
    run(search, bowl)
    assert len(search.history) > 1
    assert len(search.history[-1].nll) == ITEMS
    assert cost(search) <= affordable


def test_at_least_the_port_is_probed_however_short_the_training() -> None:
    search = Search(BOX, budget=20, items=ITEMS, affordable=0)
    assert run(search, bowl) is Stop.COST
    assert [(p.alpha, p.beta) for p in search.history] == [(0, 1)]


def test_an_interrupted_search_asks_the_same_questions() -> None:
    straight = Search(BOX, budget=11, items=ITEMS, seed=3)
    run(straight, bowl)
    for done in (0, 4, 9):
        history = load_history(dump_history(straight.history[:done]))
        resumed = Search(BOX, budget=11, items=ITEMS, seed=3, history=history)
        run(resumed, bowl)
        assert resumed.history == straight.history


def test_the_best_probe_has_the_lowest_loss_on_all_examples() -> None:
    points = [(0.0, 1.0), (0.3, 1.7), (1.0, 1.0), (0.2, 1.4)]
    history = [probe(bowl, Candidate(*point, ITEMS)) for point in points]
    exact = [np.asarray(each.nll, dtype=np.float64).mean() for each in history]
    assert best(history) is history[int(np.argmin(exact))]


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
def test_better_is_better_by_more_than_a_standard_error(losses: Sequence[float], beats: bool) -> None:  # noqa: FBT001 - a parameter of the table
    port = Observation(0, 1, (1.0, 2.0, 3.0, 2.0), (1, 1, 1, 1), 1)
    other = Observation(0, 1.5, tuple(losses), (1, 1, 1, 1), 1)
    assert is_better(other, port) is beats
    assert not is_better(port, port)


def test_a_box_without_the_port_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"must contain \(0, 1\)"):
        Box((0.1, 1.0), (0.0, 3.0))
    with pytest.raises(ConfigurationError, match="min 3 must be below max 0"):
        Box((0.0, 1.0), (3.0, 0.0))


def test_landmarks_outside_the_box_are_left_out() -> None:
    search = Search(Box((0.0, 0.5), (0.5, 1.2)), budget=4, items=ITEMS)
    run(search, bowl)
    assert all((p.alpha, p.beta) in search.box for p in search.history)
    assert len({(p.alpha, p.beta) for p in search.history}) == 4


def test_the_surface_is_what_the_model_believes_after_the_last_probe() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    run(search, bowl)
    surface = search.surface()
    assert surface is not None
    assert (float(surface.alpha[-1]), float(surface.beta[-1])) == (1.0, 3.0)
    exact = [
        [probe(bowl, Candidate(float(a), float(b), ITEMS)).loss.value for a in surface.alpha] for b in surface.beta
    ]
    near = surface.deviation < 0.1
    assert int(near.sum()) > 50
    np.testing.assert_allclose(surface.loss[near], np.array(exact)[near], rtol=0.35)
    assert float(surface.deviation[:, -1].mean()) > float(surface.deviation.min())


def test_there_is_no_surface_without_a_model() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    assert search.surface() is None
    search.tell(probe(bowl, Candidate(0, 1, ITEMS)))
    assert search.surface() is None
    search.tell(Observation(0.5, 1.5, search.history[0].nll, search.history[0].tokens, 1.0))
    assert search.surface() is None


def test_what_was_probed_in_full_does_not_compete_again() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    everything = search._choices(torch.empty(0, 2, dtype=torch.float64))
    again = search._choices(everything[7:10_000:100])
    assert len(again) == len(everything) - 100
    assert not (again == everything[7]).all(dim=1).any()


def test_equal_losses_everywhere_are_no_trouble() -> None:
    search = Search(BOX, budget=10, items=ITEMS)
    run(search, lambda _alpha, _beta: 0.0)
    assert not is_better(best(search.history), search.history[0])


def test_the_empty_update_is_never_proposed() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    run(search, lambda alpha, beta: 0.3 * alpha + 0.1 * beta)
    assert all(probe.alpha or probe.beta for probe in search.history)
    assert best(search.history).beta < 0.5


def test_a_loss_that_is_not_finite_is_no_rival() -> None:
    search = Search(BOX, budget=20, items=ITEMS)
    while isinstance(candidate := search.ask(), Candidate):
        measured = probe(bowl, candidate)
        far = candidate.alpha + candidate.beta > 1.9 and (candidate.alpha, candidate.beta) != (0, 1)
        high = tuple(3 * value + 1 for value in search.history[0].nll[: candidate.items]) if far else measured.nll
        search.tell(replace(measured, nll=high, rejected=far))
    full = [each for each in search.history[1:] if len(each.nll) == ITEMS]
    assert any(each.rejected for each in search.history)
    assert any(not each.rejected for each in full)
    assert load_history(dump_history(search.history)) == search.history


def test_a_history_that_no_model_fits_ends_the_search_and_not_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ModelFittingError("all attempts to fit the model have failed")

    monkeypatch.setattr("relora_trainer.search.fit_surrogate", fail)
    search = Search(BOX, budget=20, items=ITEMS)
    assert run(search, bowl) is Stop.UNKNOWN
    assert best(search.history).loss.value <= search.history[0].loss.value
