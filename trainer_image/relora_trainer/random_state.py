"""The states of the generators that dropout draws from."""

from collections.abc import Mapping

import torch
from torch import Tensor

CPU, CUDA = "random.cpu", "random.cuda"


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states by name: that of the CPU, and that of the device if it is a GPU."""
    state = {CPU: torch.get_rng_state()}
    if device.type == "cuda":
        state[CUDA] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on from what `random_state` returned; a run that comes from a CPU has none of a GPU."""
    torch.set_rng_state(state[CPU])
    if device.type == "cuda" and CUDA in state:
        torch.cuda.set_rng_state(state[CUDA], device)
