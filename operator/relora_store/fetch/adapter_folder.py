"""Make the folder of one adapter as the engine reads it, from the verified files."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from relora_contract.digests import FileEntry
from relora_store.errors import IntegrityError
from relora_store.localfiles import translated, write_atomically

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MOST_RANK = 512
"""The highest rank that vLLM can be started for."""


def read_rank(folder: Path, name: str) -> int:
    """Return the highest rank of the adapter in `folder`.

    Args:
        folder: The verified files.
        name: The adapter's served name, for messages.

    Raises:
        IntegrityError: It is not a LoRA adapter in PEFT's form.
    """
    if not (folder / WEIGHTS).is_file():
        raise IntegrityError(f"adapter {name} has no {WEIGHTS}")
    config = _read_config(folder, name)
    if config.get("peft_type") != "LORA":
        raise IntegrityError(f"adapter {name}: peft_type in {CONFIG} is not LORA")
    pattern = config.get("rank_pattern") or {}
    if not isinstance(pattern, dict):
        raise IntegrityError(f"adapter {name}: rank_pattern in {CONFIG} is not an object")
    ranks = [config.get("r"), *pattern.values()]
    if not all(type(rank) is int and 1 <= rank <= MOST_RANK for rank in ranks):
        raise IntegrityError(f"adapter {name}: r in {CONFIG} is not a whole number from 1 to {MOST_RANK}")
    return max(rank for rank in ranks if isinstance(rank, int))


def write_adapter_folder(
    source: Path, files: Mapping[str, FileEntry], destination: Path, *, name: str, base_path: str
) -> None:
    """Write the adapter's folder: its files, and its configuration with the base that is served.

    The weights are hard links to the verified files, which belong to the same pod. `auto_mapping`, which names a
    library to import, is left out of the configuration.

    Args:
        source: The verified files.
        files: Their names.
        destination: The folder to write; an older one is replaced.
        name: The adapter's served name, for messages.
        base_path: Where the engine finds the base.
    """
    config = {key: value for key, value in _read_config(source, name).items() if key != "auto_mapping"}
    config["base_model_name_or_path"] = base_path
    with translated(destination):
        shutil.rmtree(destination, ignore_errors=True)
        for file in files:
            target = destination / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if file != CONFIG:
                _link_or_copy(source / file, target)
    write_atomically(destination / CONFIG, json.dumps(config, indent=2, sort_keys=True).encode())


def _link_or_copy(source: Path, target: Path) -> None:
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)


def _read_config(folder: Path, name: str) -> dict[str, object]:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except FileNotFoundError as error:
        raise IntegrityError(f"adapter {name} has no {CONFIG}") from error
    except ValueError as error:
        raise IntegrityError(f"adapter {name}: {CONFIG} is not JSON") from error
    if not isinstance(config, dict):
        raise IntegrityError(f"adapter {name}: {CONFIG} is not a JSON object")
    return config
