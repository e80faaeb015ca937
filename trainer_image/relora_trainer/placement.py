"""Where and in which precision the trainer computes: chosen once, at the start."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch.nn import functional

SHORT_TEXT_ATTENTION = "eager"
"""On a CPU, faster than the fused kernels for texts of up to a few hundred tokens."""

LEAST_GAIN = 1.2
"""How much faster bfloat16 must be; attempts on one machine must agree, or a later one cannot continue an earlier."""
PRODUCT_ROWS, PRODUCT_SIZE, PRODUCT_ROUNDS = 512, 1024, 5


@dataclass(frozen=True)
class Placement:
    """A device, and the precision of what need not be computed in float32."""

    device: torch.device
    dtype: torch.dtype

    @property
    def attention(self) -> str:
        """The attention implementation of transformers."""
        return SHORT_TEXT_ATTENTION if self.device.type == "cpu" else "sdpa"

    def __str__(self) -> str:
        return f"{self.device.type}, {str(self.dtype).removeprefix('torch.')}, {self.attention} attention"


@cache
def seconds_of_product(dtype: torch.dtype) -> float:
    """Return the least processor time of some products of a batch and a weight, after one that is not timed.

    Processor time of one thread: what else runs beside it must not change the choice. On the clock, a processor that
    takes 1.7 times as long in bfloat16 was seen to take anything from 0.4 to 3 times as long, with four more such runs
    beside it. Timed once a process.
    """
    batch, weight = (torch.ones(rows, PRODUCT_SIZE, dtype=dtype) for rows in (PRODUCT_ROWS, PRODUCT_SIZE))
    times = []
    with _one_thread():
        for _ in range(1 + PRODUCT_ROUNDS):
            start = time.thread_time()
            functional.linear(batch, weight)
            times.append(time.thread_time() - start)
    return min(times[1:])


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def cpu_precision(seconds: Callable[[torch.dtype], float] = seconds_of_product) -> torch.dtype:
    """Return bfloat16 or float32, whichever a CPU multiplies matrices faster in.

    That has to be measured. Instructions for bfloat16 say little: with those of AVX-512 and no more, processors were
    measured that take half of float32's time for it, and others that take twice that time; without any, eight times.

    Args:
        seconds: How long one thread of the CPU takes for some product in a precision.
    """
    gain = seconds(torch.float32) / seconds(torch.bfloat16)
    return torch.bfloat16 if gain > LEAST_GAIN else torch.float32


def choose_placement(seconds: Callable[[torch.dtype], float] = seconds_of_product) -> Placement:
    """Return the GPU in bfloat16; without one, the CPU in its faster precision.

    Args:
        seconds: As for `cpu_precision`.
    """
    if torch.cuda.is_available():
        return Placement(torch.device("cuda"), torch.bfloat16)
    return Placement(torch.device("cpu"), cpu_precision(seconds))
