"""What the files of an artifact may hold, checked after their digests and before anything reads them."""

import json
from pathlib import Path

from relora_store.errors import IntegrityError
from relora_store.localfiles import translated
from relora_store.names import Content, check_name
from relora_store.safetensors_header import read_header

_CONFIGS = {"config.json", "tokenizer_config.json", "adapter_config.json", "processor_config.json"}
_CONFIG_BYTES = 16 * 1024 * 1024
_CODE_KEYS = ("auto_map",)
_DISGUISES = {
    b"PK\x03\x04": "a zip archive, as torch.save writes it",
    b"\x1f\x8b": "a gzip archive",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
}
_PARQUET = b"PAR1"


def check_file(path: Path, name: str, content: Content) -> None:
    """Check the form of one local file of an artifact.

    Raises:
        IntegrityError: The name is not allowed; a safetensors file is malformed; another file is a pickle or an
            archive in disguise; a configuration names code that is to be imported.
    """
    check_name(name, content)
    if name.endswith(".safetensors"):
        read_header(path, content.header_limit)
        return
    with translated(path), path.open("rb") as file:
        start = file.read(4)
    if name.endswith(".parquet"):
        if start != _PARQUET:
            raise IntegrityError(f"{name} is not a parquet file")
        return
    for magic, what in _DISGUISES.items():
        if start.startswith(magic):
            raise IntegrityError(f"{name} is {what}; only safetensors weights are read")
    if Path(name).name in _CONFIGS:
        _check_config(path, name)


def _check_config(path: Path, name: str) -> None:
    if path.stat().st_size > _CONFIG_BYTES:
        raise IntegrityError(f"{name} is larger than {_CONFIG_BYTES} bytes")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name} is not JSON") from error
    if not isinstance(config, dict):
        raise IntegrityError(f"{name} is not a JSON object")
    for key in _CODE_KEYS:
        if config.get(key):
            raise IntegrityError(f"{name} has {key}, which names code to import; remove the field")
