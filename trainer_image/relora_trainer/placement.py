"""Where and in which precision the trainer computes: chosen once, at the start."""

from dataclasses import dataclass

import torch

SHORT_TEXT_ATTENTION = "eager"
"""On a CPU, faster than the fused kernels for texts of up to a few hundred tokens."""


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


def choose_placement() -> Placement:
    """Return the GPU in bfloat16; without one, the CPU, in bfloat16 where it has units for matrices of it (AMX).

    Other processors with instructions for bfloat16 multiply such matrices at half the speed of float32.
    """
    if torch.cuda.is_available():
        return Placement(torch.device("cuda"), torch.bfloat16)
    has_matrix_units = torch.cpu.get_capabilities().get("amx_bf16", False)
    return Placement(torch.device("cpu"), torch.bfloat16 if has_matrix_units else torch.float32)
