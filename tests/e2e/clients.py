"""A client of one adapter: it asks for it where the server's status says, all the time."""

import json
import threading
import time
from dataclasses import dataclass
from typing import Self

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from e2e import manifests
from e2e.clusterapi import ClusterApi, Ref
from e2e.world import WORKLOAD, Stage

_PAUSE_SECONDS = 0.5
_TRIES = 5
"""A pod may have ended since it was listed: a client goes on to the next."""


@dataclass(frozen=True)
class Answer:
    """What a client was told.

    Attributes:
        workload: The Deployment that it asked.
        release: The release of the base on which the adapter is served; None when no pod has the adapter.
    """

    workload: str
    release: str | None


class Client:
    """Asks for one served name as long as the context lasts, by the status of its server.

    Args:
        stage: Where the server is.
        server: The AdapterServer.
        name: The served name.
    """

    def __init__(self, stage: Stage, server: Ref, name: str) -> None:
        self._stage = stage
        self._server = server
        self._name = name
        self._answers: list[Answer] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, name=f"client of {name}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    @property
    def path(self) -> list[Answer]:
        """The answers in order, without repetitions."""
        answers = list(self._answers)
        return [answer for before, answer in zip([None, *answers], answers, strict=False) if answer != before]

    def await_answer(self, answer: Answer, seconds: float = 120) -> None:
        """Wait until the last answer is this one."""
        deadline = time.monotonic() + seconds
        while self.path[-1:] != [answer]:
            assert time.monotonic() < deadline, f"{answer} was not given: {self.path}"
            time.sleep(_PAUSE_SECONDS)

    def _ask_on(self) -> None:
        api = ClusterApi(self._stage.world.kubeconfig)
        while not self._closing.wait(_PAUSE_SECONDS):
            self._answers.append(self._ask(api))
        api.close()

    def _ask(self, api: ClusterApi) -> Answer:
        for _ in range(_TRIES):
            workload = self._workload()
            for pod in self._stage.serving_pods(self._server.namespace, workload):
                try:
                    told = json.loads(api.ask_pod(Ref.of("Pod", pod), manifests.SERVER_PORT, "/served"))
                except (ApiException, HTTPError):
                    continue
                if self._name in told["adapters"]:
                    return Answer(workload, told["release"])
            time.sleep(_PAUSE_SECONDS)
        return Answer(workload, None)

    def _workload(self) -> str:
        fallback = self._stage.current(self._server)["status"].get("fallback") or {}
        asked_there = self._name in fallback.get("servedNames", [])
        name: str = fallback["targetName"] if asked_there else WORKLOAD
        return name
