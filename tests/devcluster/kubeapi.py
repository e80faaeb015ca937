"""Reads single paths of the API server, to see whether the cluster is up. Tests use a real client instead."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any


class ApiReader:
    """Reads paths as the cluster's admin."""

    def __init__(self, pki: Path, address: str, port: int) -> None:
        self._pki = pki
        self._address = address
        self._port = port

    def ready(self) -> bool:
        """Say whether the API server calls itself ready."""
        return self._get("/readyz")[0] == http.HTTPStatus.OK

    def exists(self, path: str) -> bool:
        """Say whether an object exists."""
        return self._get(path)[0] == http.HTTPStatus.OK

    def condition(self, path: str, kind: str) -> bool:
        """Say whether an object's condition ``kind`` is True."""
        status, body = self._get(path)
        if status != http.HTTPStatus.OK:
            return False
        answer: dict[str, Any] = json.loads(body)
        conditions: list[dict[str, str]] = answer.get("status", {}).get("conditions", [])
        return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)

    def _get(self, path: str) -> tuple[int, bytes]:
        """Return status and body; status 0 while nobody answers."""
        context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        connection = http.client.HTTPSConnection(self._address, self._port, timeout=2, context=context)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()
