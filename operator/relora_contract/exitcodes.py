"""Exit codes of the trainer. They are part of the Job contract: `podFailurePolicy` acts on them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a step of a Job ended."""

    DONE = 0
    """The report is stored; its outcome and verdict say the rest."""
    UNEXPECTED = 1
    """A fault of the trainer or of one of its libraries; the step's log has the traceback."""
    CONFIGURATION = 42
    """The request cannot be carried out as written."""
    DATA = 43
    """The dataset is missing, unreadable or inconsistent with the task."""
    NON_FINITE = 44
    """NaN or infinity in weights, data or loss."""
    INTEGRITY = 45
    """A digest does not match, or an artifact has a forbidden form."""
    INCOMPATIBLE = 46
    """The adapter cannot be carried to the new base."""
    TEMPORARY = 75
    """Worth another attempt: the store did not answer, the disk was full."""
    STOPPED = 143
    """Stopped by SIGTERM after a checkpoint."""


TERMINAL = (
    ExitCode.CONFIGURATION,
    ExitCode.DATA,
    ExitCode.NON_FINITE,
    ExitCode.INTEGRITY,
    ExitCode.INCOMPATIBLE,
)
"""Codes after which another attempt with the same request would end the same way."""
