"""The searches that the bench puts in the place of the trainer's."""

import pytest

from bench.method.searchers import INITIAL, GridSearch, PaperSearch, T
from relora_trainer.search import PORT, Box, Candidate, Observation, Search, Stop, best

BOX = Box((0.0, 1.0), (0.0, 3.0))
OPTIMUM = (0.25, 1.5)


def searched(searcher: type[Search]) -> Search:
    search = searcher(BOX, budget=3, items=4, seed=0, affordable=0.0)
    while isinstance(asked := search.ask(), Candidate):
        loss = 0.1 + (asked.alpha - OPTIMUM[0]) ** 2 + (asked.beta - OPTIMUM[1]) ** 2
        assert asked.items == 4
        search.tell(Observation(asked.alpha, asked.beta, (loss,) * 4, (1,) * 4, 1.0))
    assert asked is Stop.BUDGET
    return search


def points(search: Search) -> list[tuple[float, float]]:
    return [(probe.alpha, probe.beta) for probe in search.history]


def test_the_grid_has_every_point_once_and_no_untrainable_one() -> None:
    found = points(searched(GridSearch))
    assert found[0] == PORT
    assert len(set(found)) == len(found) == 5 * 7 - 1
    assert (0.0, 0.0) not in found
    assert OPTIMUM in found


def test_the_paper_counts_its_initial_design_outside_of_its_budget() -> None:
    found = points(searched(PaperSearch))
    assert found[0] == PORT
    assert len(set(found)) == len(found) == INITIAL + T


def test_the_paper_s_search_comes_close_to_the_optimum() -> None:
    probe = best(searched(PaperSearch).history)
    assert probe.loss.value == pytest.approx(0.1, abs=0.01)


def test_the_same_seed_gives_the_same_probes() -> None:
    assert points(searched(PaperSearch)) == points(searched(PaperSearch))
