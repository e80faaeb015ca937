"""Baselines: where the outcomes of an adapter on its own base lie, so that one request measures them for all."""

from contextlib import suppress

from pydantic import ValidationError

from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import canonical_json, hex_part
from relora_store.errors import IntegrityError
from relora_store.objects import AlreadyExistsError
from relora_store.store import Store, read_record

FOLDER = "baselines"


def find_baseline(store: Store, key: str) -> ArtifactRef | None:
    """Return the outcomes that were noted under `key`, or None.

    Args:
        store: Where to look.
        key: Digest of everything that determines the outcomes.

    Raises:
        IntegrityError: What is stored there is no reference to an artifact.
    """
    data = read_record(store, _path(key))
    if data is None:
        return None
    try:
        return ArtifactRef.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(f"{_path(key)} does not name an artifact") from error


def note_baseline(store: Store, key: str, outcomes: ArtifactRef) -> None:
    """Note where outcomes lie. The first note stands: who measures the same beside us finds the same."""
    with suppress(AlreadyExistsError):
        store.objects.create(_path(key), canonical_json(outcomes.to_json()))


def _path(key: str) -> str:
    return f"{FOLDER}/{hex_part(key)}.json"
