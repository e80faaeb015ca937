"""What decides the order of floating-point sums, and with it the last bits of a result."""

import torch

from relora_trainer.placement import Placement


def machine(device: torch.device) -> dict[str, str]:
    """Return what must be the same for two runs on `device` to have the same bits."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device)}
    return {"device": torch.backends.cpu.get_cpu_capability(), "threads": str(torch.get_num_threads())}


def described(placement: Placement) -> dict[str, str]:
    """Return where a step computes, for people."""
    precision = str(placement.dtype).removeprefix("torch.")
    return {**machine(placement.device), "precision": precision, "attention": placement.attention}


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that an accelerator's tensors have taken in this process; 0 for a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def conditions(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """Return what must be the same for one run to continue another: kind of device and precision."""
    return {"device": device.type, "dtype": str(dtype).removeprefix("torch.")}
