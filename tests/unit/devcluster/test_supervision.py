import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from devcluster.controlplane import free_port
from devcluster.endpoints import Endpoints, read_endpoints, write_endpoints
from devcluster.errors import DevclusterError
from devcluster.forward import forward, listen
from devcluster.progress import elapsed, run_reported
from devcluster.state import StateFolder, describe
from devcluster.supervision import State, Status, alive, read_status, write_status

_ENDPOINTS = Endpoints(
    api_port=1,
    registry_port=2,
    s3_port=3,
    node_ports={30080: 4},
    s3_access_key="access",
    s3_secret_key="secret",  # noqa: S106 - no real one
)


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    status = Status(State.READY, marks={"node": 4.2}, processes={"etcd": 7})
    write_status(tmp_path / "status.json", status)
    assert read_status(tmp_path / "status.json") == status
    assert read_status(tmp_path / "absent.json") is None


def test_a_cluster_without_a_live_supervisor_is_down(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    write_status(folder.status_file, Status(State.READY, marks={"node": 4.2}))
    folder.pid_file.write_text("999999999")
    assert folder.pid() is None
    assert describe(folder.status()) == "down"
    assert describe(Status(State.READY, marks={"node": 4.2})) == "ready: node 4.2 s"


def test_a_process_number_that_went_to_another_program_is_not_the_supervisor() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "/the/state"]) as process:
        assert _eventually_alive(process.pid, "/the/state")
        assert not alive(process.pid, "/another/state")
        process.kill()
        process.wait()
        assert not alive(process.pid, "/the/state")


def _eventually_alive(pid: int, mark: str) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if alive(pid, mark):
            return True
        time.sleep(0.01)
    return False


def test_endpoints_are_private_and_read_as_they_were_written(tmp_path: Path) -> None:
    write_endpoints(tmp_path, _ENDPOINTS)
    assert read_endpoints(tmp_path) == _ENDPOINTS
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    assert "aws_secret_access_key = secret" in (tmp_path / "s3.credentials").read_text()


def test_endpoints_are_described_without_the_keys() -> None:
    described = _ENDPOINTS.describe()
    assert "127.0.0.1:2" in described
    assert "30080 at 127.0.0.1:4" in described
    assert "secret" not in described
    assert _ENDPOINTS.node_port_url(30080) == "http://127.0.0.1:4"


def test_free_ports_differ() -> None:
    taken: set[int] = set()
    assert len({free_port(taken) for _ in range(50)}) == 50


async def test_connections_are_carried_both_ways_to_their_end() -> None:
    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()
        await _close(writer)

    there = await asyncio.start_server(upper, "127.0.0.1", 0)
    here = listen(free_port(set()))
    async with there, await forward(here, *there.sockets[0].getsockname()):
        reader, writer = await asyncio.open_connection(*here.getsockname())
        writer.write(b"a" * 1_000_000)
        writer.write_eof()
        assert await reader.read() == b"A" * 1_000_000
        await _close(writer)
        await _settle()


async def test_a_connection_to_where_nobody_listens_ends_at_once() -> None:
    here = listen(free_port(set()))
    async with await forward(here, "127.0.0.1", free_port(set())):
        reader, writer = await asyncio.open_connection(*here.getsockname())
        assert await asyncio.wait_for(reader.read(), timeout=5) == b""
        await _close(writer)
        await _settle()


async def _settle() -> None:
    """Wait until the other ends of the connections are closed too."""
    current = asyncio.current_task()
    if others := [task for task in asyncio.all_tasks() if task is not current]:
        await asyncio.wait(others, timeout=5)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def test_a_long_command_that_fails_says_what_it_printed_last() -> None:
    with pytest.raises(DevclusterError, match=r"baking failed \(sh ended with 3\):\nthe oven is cold"):
        run_reported("baking", ["sh", "-c", "echo the oven is cold >&2; exit 3"], print)


def test_a_long_command_that_succeeds_returns_what_it_printed() -> None:
    assert run_reported("baking", ["echo", "bread"], print) == ["bread"]


def test_durations_read_as_minutes_and_seconds() -> None:
    assert elapsed(4.9) == "0:04"
    assert elapsed(325) == "5:25"
