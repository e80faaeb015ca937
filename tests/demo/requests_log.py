"""Follows the traffic pod's log: every request with its outcome."""

import json
import subprocess
import threading
from dataclasses import dataclass
from typing import Any

from demo import places
from devcluster.node import Node


@dataclass(frozen=True)
class Request:
    """One request that the traffic pod made."""

    time: float
    model: str
    ok: bool
    seconds: float
    answer: str
    error: str


class RequestsLog:
    """The requests so far, read in a thread."""

    def __init__(self, node: Node) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._process = subprocess.Popen(
            [
                *(str(node.programs["kubectl"]), "--kubeconfig", str(node.kubeconfig)),
                *("logs", "--follow", "--namespace", places.SERVING_NAMESPACE, places.TRAFFIC),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def requests(self) -> list[Request]:
        """Return the requests so far."""
        with self._lock:
            return list(self._requests)

    def close(self) -> None:
        """Stop following."""
        self._process.terminate()
        self._process.wait()

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            try:
                record: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            request = Request(
                time=record["time"],
                model=record["model"],
                ok=record["ok"],
                seconds=record["seconds"],
                answer=record.get("answer", ""),
                error=record.get("error", ""),
            )
            with self._lock:
                self._requests.append(request)
