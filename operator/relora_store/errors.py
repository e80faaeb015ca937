"""The ways in which a store fails: one class per kind of recovery, each with its exit code.

    StoreError
      TemporaryError       75  try again later
      NotFoundError        42  correct the URI
      DeniedError          42  correct the credentials
      ConfigurationError   42  correct what was asked for
      IntegrityError       45  replace the artifact

A message names what is wrong and the remedy; it never holds a credential.
"""

from typing import ClassVar

from relora_contract.exitcodes import ExitCode


class StoreError(Exception):
    """An operation on a store that could not be carried out."""

    exit_code: ClassVar[ExitCode]


class TemporaryError(StoreError):
    """The store did not answer in time, asked for less, or the local disk is full."""

    exit_code = ExitCode.TEMPORARY


class NotFoundError(StoreError):
    """Nothing lies at the URI."""

    exit_code = ExitCode.CONFIGURATION


class DeniedError(StoreError):
    """The store refuses the credentials, or there are none."""

    exit_code = ExitCode.CONFIGURATION


class ConfigurationError(StoreError):
    """The URI, the credentials' folder or an option cannot be used as written."""

    exit_code = ExitCode.CONFIGURATION


class IntegrityError(StoreError):
    """Bytes differ from their digest, or an artifact has a forbidden form."""

    exit_code = ExitCode.INTEGRITY
