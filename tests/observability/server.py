"""A running Prometheus that scrapes one operator."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

_READY_SECONDS = 120


class PrometheusServer:
    """Prometheus as a context manager.

    Args:
        programs: The folder of the program.
        folder: Where it keeps its configuration, its data and its log.
        target: Port of the operator on this machine.
        rules: A rule file.
    """

    def __init__(self, programs: Path, folder: Path, *, target: int, rules: Path) -> None:
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {"job_name": "relora-operator", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        self._log = folder / "prometheus.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{free.getsockname()[1]}"
        self._command = [
            str(programs / "prometheus"),
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={self._address}",
        ]

    def __enter__(self) -> Self:
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers("/-/ready"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise AssertionError(f"Prometheus does not answer:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now.

        Raises:
            AssertionError: Prometheus refuses the expression.
        """
        result: list[dict[str, Any]] = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        return result

    def value(self, expression: str) -> float:
        """Return the value of an expression that has one series; NaN for none."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression}: {found}"
        return float(found[0]["value"][1]) if found else float("nan")

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules with their state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}", timeout=30) as answer:
                data: dict[str, Any] = json.load(answer)["data"]
                return data
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from error

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}{path}", timeout=5):
                return True
        except OSError:
            return False
