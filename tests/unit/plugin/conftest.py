from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import pytest

from plugin.shelf import Shelf
from relora_kubectl import main as command
from relora_kubectl.cluster import Cluster

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line against a shelf; returns exit code, output and errors."""

    def call(shelf: Shelf, *arguments: str, now: datetime | None = None) -> tuple[int, str, str]:
        @asynccontextmanager
        async def connect(_kubeconfig: str | None, context: str | None) -> AsyncIterator[Cluster]:
            yield Cluster(shelf, context=context or "test", namespace="alpha")

        monkeypatch.setattr(command, "connect", connect)
        if now is not None:
            monkeypatch.setattr(command, "_now", lambda: now)
        monkeypatch.setattr("sys.argv", ["kubectl-relora", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call
