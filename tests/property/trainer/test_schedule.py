import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_wsd_schedule

from relora_trainer.errors import ConfigurationError
from relora_trainer.schedule import Schedule

PAPER = Schedule(100, 20, 5e-4, 1e-5, 1e-3, 1e-4)


@settings(max_examples=30, deadline=None)
@given(
    total=st.integers(2, 200),
    fraction=st.floats(0, 0.99),
    peak=st.floats(1e-5, 1e-2),
    ratio=st.floats(0, 1),
)
def test_equals_the_wsd_schedule_of_transformers(*, total: int, fraction: float, peak: float, ratio: float) -> None:
    stage1 = int(fraction * total)
    schedule = Schedule(total, stage1, peak, peak * ratio, 0.0, 0.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    reference = get_wsd_schedule(
        optimizer,
        num_warmup_steps=0,
        num_stable_steps=stage1,
        num_decay_steps=total - stage1,
        decay_type="cosine",
        min_lr_ratio=ratio,
    )
    for step in range(total):
        assert math.isclose(schedule.learning_rate_at(step), reference.get_last_lr()[0], rel_tol=1e-9, abs_tol=1e-15)
        optimizer.step()
        reference.step()


def test_the_cosine_is_that_of_the_equation() -> None:
    peak, least, start, total = 5e-4, 1e-5, 20, 100
    for step in range(start, total):
        wanted = least + 0.5 * (peak - least) * (1 + math.cos((step - start) * math.pi / (total - start)))
        assert PAPER.learning_rate_at(step) == pytest.approx(wanted, rel=1e-12)


def test_ends_at_the_minimum_and_halfway_in_the_middle() -> None:
    assert PAPER.learning_rate_at(19) == PAPER.learning_rate_at(20) == 5e-4
    assert PAPER.learning_rate_at(60) == pytest.approx((5e-4 + 1e-5) / 2)
    assert PAPER.learning_rate_at(100) == pytest.approx(1e-5)


def test_the_anchor_weakens_with_the_stage() -> None:
    assert [PAPER.anchor_at(step) for step in (0, 19, 20, 99)] == [1e-3, 1e-3, 1e-4, 1e-4]


def test_an_early_end_of_stage_1_starts_the_cosine_there_and_keeps_the_total() -> None:
    early = PAPER.with_stage1_ending_at(8)
    assert early.total_steps == 100
    assert early.learning_rate_at(8) == 5e-4
    assert early.learning_rate_at(9) < 5e-4
    assert early.anchor_at(8) == 1e-4
    assert early.learning_rate_at(54) == pytest.approx((5e-4 + 1e-5) / 2)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ((10, 11, 1e-3, 1e-5, 0, 0), "recoverFraction"),
        ((10, 2, 1e-5, 1e-3, 0, 0), "minLearningRate"),
        ((10, 2, 1e-3, -1e-5, 0, 0), "minLearningRate"),
        ((10, 2, 1e-3, 1e-5, -1, 0), "anchorStrong"),
    ],
)
def test_impossible_settings_name_their_field(
    arguments: tuple[int, int, float, float, float, float], field: str
) -> None:
    with pytest.raises(ConfigurationError, match=field):
        Schedule(*arguments)
