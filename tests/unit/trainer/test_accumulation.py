import itertools
from collections.abc import Callable, Sequence

import pytest
import torch

from relora_trainer import accumulation
from relora_trainer.scoring import Batch, collate
from samples.tuners import make_tuner, steps

Collate = Callable[[Sequence[tuple[Sequence[int], Sequence[int]]], torch.device], Batch]


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    whole, parts = make_tuner(dropout=0.0), make_tuner(dropout=0.0, micro_batch_size=3)
    for _ in range(3):
        one, other = whole.step(), parts.step()
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-3)


def test_long_examples_come_in_smaller_passes_with_the_gradient_of_the_whole_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, parts = make_tuner(dropout=0.0), make_tuner(dropout=0.0)
    one = whole.step()
    seen: list[int] = []

    def collated(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device) -> Batch:
        seen.append(len(sequences))
        return collate(sequences, device)

    monkeypatch.setattr(accumulation, "TRAINING_TOKENS", 20)
    monkeypatch.setattr(accumulation, "collate", collated)
    other = parts.step()
    assert len(seen) > 1
    assert sum(seen) == 8
    assert one.loss == pytest.approx(other.loss, rel=1e-4)
    assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-3)


def collating(*, room_for: int, but_at: int | None = None) -> Collate:
    """Return a `collate` for a device with room for so many examples, and for none in the `but_at`-th pass."""
    passes = itertools.count(1)

    def collated(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], device: torch.device) -> Batch:
        if next(passes) == but_at or len(sequences) > room_for:
            raise torch.OutOfMemoryError("tried to allocate 16 GiB")
        return collate(sequences, device)

    return collated


def test_a_step_without_room_for_activations_is_made_again_and_computes_them_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    want = steps(make_tuner(micro_batch_size=4), 4)
    # The second pass of the second step: the first has added its gradient and drawn its random numbers.
    monkeypatch.setattr(accumulation, "collate", collating(room_for=8, but_at=4))
    tuner = make_tuner(micro_batch_size=4)
    found = steps(tuner, 4)
    assert tuner._model.is_activation_checkpointing
    assert tuner._accumulator.micro_batch_size == 4
    assert [step.loss for step in found] == pytest.approx([step.loss for step in want], rel=1e-6)
    assert [step.gradient_norm for step in found] == pytest.approx([step.gradient_norm for step in want], rel=1e-5)


def test_where_that_is_not_enough_passes_are_halved_down_to_one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    want = make_tuner(dropout=0.0).step()
    tuner = make_tuner(dropout=0.0)
    monkeypatch.setattr(accumulation, "collate", collating(room_for=2))
    found = tuner.step()
    assert tuner._accumulator.micro_batch_size == 2
    assert (found.loss, found.gradient_norm) == pytest.approx((want.loss, want.gradient_norm), rel=1e-3)
    monkeypatch.setattr(accumulation, "collate", collating(room_for=0))
    with pytest.raises(torch.OutOfMemoryError):
        tuner.step()
    assert tuner._accumulator.micro_batch_size == 1
