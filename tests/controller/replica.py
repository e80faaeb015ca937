"""One process of the operator under test."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import cached_property
from pathlib import Path
from typing import Any

LEASE_SECONDS = 9


def process_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Replica:
    """A running operator.

    Args:
        kubeconfig: Whose rights it has.
        log: Where its output goes.
        command: What is run in place of the installed command.
        arguments: Further arguments of `relora-operator run`.
    """

    def __init__(
        self, kubeconfig: Path, log: Path, *arguments: str, name: str = "replica", command: list[str] | None = None
    ) -> None:
        self.log = log
        self.name = name
        started = command or [str(Path(sys.executable).with_name("relora-operator"))]
        options = [
            *("--kubeconfig", str(kubeconfig), "--namespace", "relora-system", "--identity", name),
            *("--http-port", "0", "--lease-duration-seconds", str(LEASE_SECONDS), "--log-level", "DEBUG"),
        ]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*started, "run", *options, *arguments], stdout=output, stderr=subprocess.STDOUT, env=environment
            )

    def lines(self) -> list[dict[str, Any]]:
        """Return the log's entries."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, text: str) -> bool:
        """Tell whether a message of the log holds `text`."""
        return any(text in line["message"] for line in self.lines())

    @property
    def leads(self) -> bool:
        """Whether this process has become the leader."""
        return self.said("became the leader")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.send(number)
        return self.process.wait(seconds)

    @cached_property
    def port(self) -> int:
        """The port of its endpoints."""
        said = next(line for line in self.lines() if line["message"].startswith("endpoints on port"))
        return int(said["message"].rpartition(" ")[2])

    def fetch(self, path: str) -> tuple[int, str]:
        """Return status and text of one of its endpoints."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, pattern: str) -> float:
        """Return the sum of the samples whose line matches `pattern`."""
        lines = self.fetch("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(pattern, line))

    def writes(self) -> float:
        """Return how many writes were sent, those of the Lease left out."""
        return self.metric(
            r'relora_client_request_seconds_count\{.*resource="(?!leases).*verb="(POST|PATCH|PUT|DELETE)"'
        )

    def resident_mebibytes(self, *, peak: bool = False) -> float:
        """Return the memory in use, or the most that ever was."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        wanted = "VmHWM" if peak else "VmRSS"
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith(wanted))
        return int(kibibytes) / 1024

    def cpu_seconds(self) -> float:
        """Return the processor time used so far."""
        return process_seconds(self.process.pid)

    def await_lead(self, seconds: float = 180) -> None:
        """Wait until this process leads."""
        deadline = time.monotonic() + seconds
        while not self.leads:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"the operator ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}"
                )
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.name} does not lead after {seconds} s:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)
