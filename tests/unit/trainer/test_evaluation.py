"""Scoring in pieces gives the outcomes of scoring at once, and an interruption loses one piece."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from relora_trainer import evaluation
from relora_trainer.errors import StoppedError
from relora_trainer.evaluation import Evaluation, factors_digest
from relora_trainer.factors import Factors
from relora_trainer.items import Item, ItemSet
from relora_trainer.outcomes import Outcome
from relora_trainer.scoring import Scorer

FACTORS = {"q_proj": Factors(torch.ones(2, 4), torch.ones(3, 2))}


class Counted:
    """Checkpoints that are due after every piece, and stop at one of them."""

    def __init__(self, folder: Path, stop_at: int = 0) -> None:
        self.folder = folder
        self.saved = 0
        self.stop_at = stop_at

    def restore(self, conditions: Mapping[str, str], machine: Mapping[str, str]) -> Path:
        raise AssertionError

    def is_due(self) -> bool:
        return True

    def save(self) -> None:
        self.saved += 1
        if self.saved == self.stop_at:
            raise StoppedError("stopped")


class CountingScorer(Scorer):
    """Counts the examples that it scores."""

    scored = 0

    def outcomes(self, items: ItemSet, progress: Callable[[int, int], None] | None = None) -> list[Outcome]:
        self.scored += len(items.items)
        return super().outcomes(items, progress)


@pytest.fixture
def scorer(make_base: Callable[..., LlamaForCausalLM]) -> CountingScorer:
    return CountingScorer(make_base(), batch_size=4)


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> ItemSet:
    monkeypatch.setattr(evaluation, "PIECE_ITEMS", 8)
    generator = torch.Generator().manual_seed(0)
    lengths = [3 + index * 7 % 11 for index in range(30)]
    return ItemSet(
        tuple(
            Item(f"{index:064d}", tuple(torch.randint(5, 60, (length,), generator=generator).tolist()), index % 3)
            for index, length in enumerate(lengths)
        ),
        ((5, 2), (6, 7, 2), (8, 2)),
        0,
    )


def ignore(_done: int, _total: int) -> None:
    pass


def test_pieces_give_the_outcomes_of_the_whole_in_its_order(
    tmp_path: Path, scorer: CountingScorer, items: ItemSet
) -> None:
    seen: list[int] = []
    found = Evaluation(tmp_path / "e.json", FACTORS, Counted(tmp_path)).run(
        scorer.outcomes, items, lambda done, total: seen.append(done) if total == 30 else pytest.fail("another total")
    )
    whole = scorer.outcomes(items)
    assert [(outcome.key, outcome.prediction) for outcome in found] == [(each.key, each.prediction) for each in whole]
    assert [outcome.nll for outcome in found] == pytest.approx([each.nll for each in whole], rel=1e-5)
    assert seen == sorted(seen)
    assert seen[-1] == 30


def test_an_interrupted_evaluation_repeats_no_piece_and_ends_with_the_same_bits(
    tmp_path: Path, scorer: CountingScorer, items: ItemSet
) -> None:
    want = Evaluation(tmp_path / "straight.json", FACTORS, Counted(tmp_path)).run(scorer.outcomes, items, ignore)
    path = tmp_path / "folder" / "e.json"
    with pytest.raises(StoppedError):
        Evaluation(path, FACTORS, Counted(tmp_path, stop_at=2)).run(scorer.outcomes, items, ignore)
    scorer.scored = 0
    assert Evaluation(path, FACTORS, Counted(tmp_path)).run(scorer.outcomes, items, ignore) == want
    assert scorer.scored == 30 - 2 * 8
    scorer.scored = 0
    assert Evaluation(path, FACTORS, Counted(tmp_path)).run(scorer.outcomes, items, ignore) == want
    assert scorer.scored == 0


def test_outcomes_of_other_factors_are_not_used(tmp_path: Path, scorer: CountingScorer, items: ItemSet) -> None:
    path = tmp_path / "e.json"
    Evaluation(path, FACTORS, Counted(tmp_path)).run(scorer.outcomes, items, ignore)
    scorer.scored = 0
    other = {"q_proj": Factors(torch.ones(2, 4), torch.ones(3, 2) + 1e-6)}
    Evaluation(path, other, Counted(tmp_path)).run(scorer.outcomes, items, ignore)
    assert scorer.scored == 30


def test_outcomes_of_another_head_are_not_used(tmp_path: Path, scorer: CountingScorer, items: ItemSet) -> None:
    path = tmp_path / "e.json"
    for head, scored in ((torch.ones(3, 4), 30), (torch.ones(3, 4), 0), (torch.ones(3, 4) + 1e-6, 30)):
        scorer.scored = 0
        Evaluation(path, FACTORS, Counted(tmp_path), head=head).run(scorer.outcomes, items, ignore)
        assert scorer.scored == scored


def test_the_digest_of_factors_covers_names_shapes_and_values() -> None:
    a, b = torch.ones(2, 4), torch.ones(3, 2)
    digests = [
        factors_digest({"q": Factors(a, b)}),
        factors_digest({"k": Factors(a, b)}),
        factors_digest({"q": Factors(a.reshape(4, 2).T.contiguous() * 2, b)}),
        factors_digest({"q": Factors(torch.ones(2, 3), torch.ones(4, 2))}),
    ]
    assert len(set(digests)) == 4
    assert factors_digest({"q": Factors(a.clone(), b.clone())}) == digests[0]
