"""How the command ends without a result."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command; part of its interface."""

    DONE = 0
    REFUSED = 1
    """What was asked about failed, or would be refused."""
    USAGE = 2
    UNREACHABLE = 3
    """The cluster could not be asked: no connection, no right, or no such kind."""


class PluginError(Exception):
    """An end that one line explains to the user."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code
