import subprocess
import sys
from pathlib import Path

from devcluster.state import StateFolder, stop

_LEAVES_SLOWLY = """
import pathlib, shutil, signal, sys, time

def leave(*_):
    (root / "supervisor.pid").unlink()
    time.sleep(0.5)
    shutil.rmtree(root)
    sys.exit()

root = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
signal.pause()
"""


def test_a_supervisor_that_removes_its_own_folder_is_waited_for(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "cluster")
    folder.root.mkdir()
    command = [sys.executable, "-c", _LEAVES_SLOWLY, str(folder.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == "up\n"
        folder.pid_file.write_text(str(supervisor.pid))

        stop(supervisor.pid, folder)

        assert not folder.root.exists()
        supervisor.returncode = 0  # `stop` has taken it
