"""The precision that is fastest where the trainer runs."""

import time

import pytest
import torch
from torch.nn import functional

from relora_trainer.placement import choose_placement, seconds_of_product


@pytest.mark.parametrize(
    ("bfloat16_seconds", "dtype"),
    [
        pytest.param(0.25, torch.bfloat16, id="units for matrices"),
        pytest.param(0.95, torch.float32, id="no clear gain"),
        pytest.param(2.0, torch.float32, id="slow instructions"),
    ],
)
def test_a_cpu_computes_in_what_it_is_clearly_faster_in(
    monkeypatch: pytest.MonkeyPatch, bfloat16_seconds: float, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    seconds = {torch.float32: 1.0, torch.bfloat16: bfloat16_seconds}
    placement = choose_placement(seconds.__getitem__)
    assert (placement.device.type, placement.dtype) == ("cpu", dtype)


def test_a_gpu_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    placement = choose_placement(lambda _: pytest.fail("the processor was timed"))
    assert (placement.device.type, placement.dtype) == ("cuda", torch.bfloat16)


def test_the_product_is_timed_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    multiply = functional.linear

    def noted(batch: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        threads.append(torch.get_num_threads())
        return multiply(batch, weight)

    monkeypatch.setattr(functional, "linear", noted)
    seconds_of_product.cache_clear()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert all(0 < seconds_of_product(dtype) < 10 for dtype in (torch.float32, torch.bfloat16))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


def test_time_that_others_take_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = functional.linear

    def delayed(batch: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        return multiply(batch, weight)

    seconds_of_product.cache_clear()
    alone = seconds_of_product(torch.float32)
    monkeypatch.setattr(functional, "linear", delayed)
    seconds_of_product.cache_clear()
    assert seconds_of_product(torch.float32) < alone + 0.08
