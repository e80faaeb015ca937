"""The ways in which a step ends early: one class per kind of recovery, each with its exit code.

    TrainerError
      ConfigurationError   42  change the request
      DataError            43  change the dataset
      NonFiniteError       44  NaN or infinity in weights, data or loss
      IntegrityError       45  an artifact is damaged or has a forbidden form
      IncompatibleError    46  the adapter cannot be carried to the new base
      TemporaryError       75  try again later
      StoppedError        143  stopped by SIGTERM after a checkpoint

A message names what is wrong and the remedy; it never holds a secret or an example's text.
"""

from typing import ClassVar

from relora_contract.exitcodes import ExitCode


class TrainerError(Exception):
    """An outcome that the step reports and turns into an exit code."""

    exit_code: ClassVar[ExitCode]


class ConfigurationError(TrainerError):
    """The request cannot be carried out as written."""

    exit_code = ExitCode.CONFIGURATION


class DataError(TrainerError):
    """The dataset is missing, unreadable or inconsistent with the task."""

    exit_code = ExitCode.DATA


class NonFiniteError(TrainerError):
    """NaN or infinity appeared in weights, data or loss."""

    exit_code = ExitCode.NON_FINITE


class IntegrityError(TrainerError):
    """A file is damaged, or an artifact holds what it may not hold."""

    exit_code = ExitCode.INTEGRITY


class IncompatibleError(TrainerError):
    """The adapter, the old base and the new base do not fit together."""

    exit_code = ExitCode.INCOMPATIBLE


class TemporaryError(TrainerError):
    """Worth another attempt."""

    exit_code = ExitCode.TEMPORARY


class StoppedError(TrainerError):
    """SIGTERM arrived, and the state was saved."""

    exit_code = ExitCode.STOPPED
