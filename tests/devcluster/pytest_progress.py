"""Shows a session fixture's progress at once: a cold build takes minutes, and pytest keeps prints to the end."""

import sys

import pytest

from devcluster.progress import Report


def reporter(config: pytest.Config) -> Report:
    """Return a function that prints a line past pytest's capture."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def report(line: str) -> None:
        if capture is None:
            print(line, file=sys.stderr)
            return
        with capture.global_and_fixture_disabled():
            print(f"\n[devcluster] {line}", file=sys.stderr, flush=True, end="")

    return report
