"""A GitOps tool that applies one manifest again and again."""

import copy
import threading
from pathlib import Path
from typing import Self

from controller.api import Api, Document

MANAGER = "kustomize-controller"


class SelfHeal:
    """Applies a manifest by server-side apply with force, as Flux does, in a thread.

    Attributes:
        answers: The object as it was after each apply.
    """

    def __init__(self, kubeconfig: Path, manifest: Document, *, every_seconds: float) -> None:
        self._api = Api(kubeconfig)
        self._manifest = manifest
        self._every = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-heal")
        self.answers: list[Document] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._api.close()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.answers.append(self._api.apply(copy.deepcopy(self._manifest), f"{MANAGER}&force=true"))
