"""What the serving engine and the probe are told: `vllm.yaml` and `probe.json`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic.types import JsonValue

from relora_contract.artifacts import Fingerprint
from relora_contract.names import audit_name

VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM's --max-lora-rank accepts."""
MOST_LORAS_PER_BATCH = 8
MOST_LORAS_IN_MEMORY = 32


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter as it lies on the disk of the pod.

    Attributes:
        name: The name that clients ask for.
        digest: The adapter's digest.
        path: Its folder.
        rank: The highest rank of its modules.
        fingerprints: From its manifest; a source folder has none.
    """

    name: str
    digest: str
    path: str
    rank: int
    fingerprints: Sequence[Fingerprint]


def vllm_config(base_path: str, adapters: Sequence[LoadedAdapter]) -> str:
    """Return the text of vLLM's configuration file.

    Every adapter is loaded under the name that clients ask for and under its audit name. `max-loras` and
    `max-cpu-loras` are starting values; arguments of the workload's own override every line of the file.
    """
    lines = [f"model: {json.dumps(base_path)}"]
    if adapters:
        rank = min(rank for rank in VLLM_RANKS if rank >= max(adapter.rank for adapter in adapters))
        lines += [
            "enable-lora: true",
            f"max-lora-rank: {rank}",
            f"max-loras: {min(len(adapters), MOST_LORAS_PER_BATCH)}",
            f"max-cpu-loras: {min(2 * len(adapters), MOST_LORAS_IN_MEMORY)}",
            "lora-modules:",
        ]
        for adapter in adapters:
            for name in (adapter.name, audit_name(adapter.name, adapter.digest)):
                # A list's items become arguments one by one, so each is JSON inside a YAML string.
                lines.append("  - '" + json.dumps({"name": name, "path": adapter.path}).replace("'", "''") + "'")
    return "\n".join(lines) + "\n"


def probe_expectations(base_path: str, adapters: Sequence[LoadedAdapter]) -> str:
    """Return the text of `probe.json`."""
    items: list[JsonValue] = [
        {
            "name": adapter.name,
            "auditName": audit_name(adapter.name, adapter.digest),
            "path": adapter.path,
            "fingerprints": [fingerprint.to_json() for fingerprint in adapter.fingerprints],
        }
        for adapter in adapters
    ]
    return json.dumps({"base": base_path, "adapters": items}, indent=1)
