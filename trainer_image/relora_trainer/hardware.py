"""What decides the order of floating-point sums, and with it the last bits of a result."""

import torch


def machine(device: torch.device) -> dict[str, str]:
    """Return what must be the same for two runs on `device` to have the same bits."""
    if device.type == "cuda":
        return {"device": torch.cuda.get_device_name(device)}
    return {"device": torch.backends.cpu.get_cpu_capability(), "threads": str(torch.get_num_threads())}


def conditions(device: torch.device, dtype: torch.dtype) -> dict[str, str]:
    """Return what must be the same for one run to continue another: kind of device and precision."""
    return {"device": device.type, "dtype": str(dtype).removeprefix("torch.")}
