"""Asks before a change of many objects, or one that is final."""

import sys

import typer

from relora_kubectl.errors import ExitCode, PluginError


def confirm(question: str, *, yes: bool) -> None:
    """Return when the user agrees; `yes` is the agreement that was given on the command line.

    Raises:
        PluginError: The user does not agree, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise PluginError(f"{question} Nobody can be asked here: give --yes. Nothing was changed", ExitCode.USAGE)
    if not typer.confirm(question, err=True):
        raise PluginError("nothing was changed", ExitCode.REFUSED)
