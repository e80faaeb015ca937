import itertools

from hypothesis import given
from hypothesis import strategies as st

from relora_trainer.batching import WINDOW_BATCHES, BatchPlan, by_length, runs

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=200)


@given(lengths=lengths, batch_size=st.integers(1, 40), seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 3))
def test_an_epoch_takes_every_example_at_most_once(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    plan = BatchPlan(lengths, batch_size=batch_size, seed=seed)
    first = epoch * plan.steps_per_epoch
    seen = [index for step in range(first, first + plan.steps_per_epoch) for index in plan.batch(step)]
    assert len(seen) == len(set(seen))
    assert len(seen) > len(lengths) - min(batch_size, len(lengths))
    assert set(seen) <= set(range(len(lengths)))


@given(lengths=lengths, batch_size=st.integers(1, 40), seed=st.integers(0, 1000), steps=st.lists(st.integers(0, 500)))
def test_a_batch_depends_on_seed_and_step_only(
    lengths: list[int], batch_size: int, seed: int, steps: list[int]
) -> None:
    one = BatchPlan(lengths, batch_size=batch_size, seed=seed)
    forwards = {step: one.batch(step) for step in sorted(steps)}
    backwards = BatchPlan(lengths, batch_size=batch_size, seed=seed)
    assert forwards == {step: backwards.batch(step) for step in sorted(steps, reverse=True)}


def test_seeds_and_epochs_differ() -> None:
    plans = [BatchPlan(range(1, 101), batch_size=10, seed=seed) for seed in (0, 1)]
    batches = {plan.batch(step) for plan in plans for step in (0, 10)}
    assert len(batches) == 4


def test_a_batch_holds_neighbours_in_length() -> None:
    plan = BatchPlan(range(1, 801), batch_size=10, seed=0)
    spread = [max(batch) - min(batch) for batch in map(plan.batch, range(plan.steps_per_epoch))]
    assert sum(spread) / len(spread) < 800 / WINDOW_BATCHES * 1.5
    means = [sum(plan.batch(step)) / 10 for step in range(20)]
    assert means != sorted(means)


@given(lengths=lengths, batch_size=st.integers(1, 40))
def test_evaluation_takes_every_example_once_short_ones_first(lengths: list[int], batch_size: int) -> None:
    batches = by_length(lengths, batch_size)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[index] for index in order] == sorted(lengths)


@given(lengths=lengths, batch_size=st.integers(1, 40), max_tokens=st.none() | st.integers(1, 2000))
def test_runs_are_as_long_as_they_may_be_and_no_longer(
    lengths: list[int], batch_size: int, max_tokens: int | None
) -> None:
    def fits(run: list[int]) -> bool:
        return len(run) == 1 or (len(run) <= batch_size and (max_tokens is None or len(run) * max(run) <= max_tokens))

    found = [lengths[run] for run in runs(lengths, batch_size, max_tokens)]
    assert list(itertools.chain.from_iterable(found)) == lengths
    assert all(fits(run) for run in found)
    assert not any(fits([*run, following[0]]) for run, following in itertools.pairwise(found))
