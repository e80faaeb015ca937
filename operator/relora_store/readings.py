"""Gate readings: which gates were asked about which steps on one file of test examples.

A reading is an empty object below the digest of the file, made before the examples are scored and never removed: a test
set wears out by being asked, whatever the answer was. They are counted by one listing; in which order they were made is
not known.
"""

from contextlib import suppress
from dataclasses import dataclass

from relora_contract.digests import hex_part
from relora_contract.report import SplitUse
from relora_store.filesystems import Filesystems
from relora_store.local_objects import UNFINISHED
from relora_store.objects import AlreadyExistsError
from relora_store.store import open_store

FOLDER = "readings"
SHORT = 16
"""Digits of the gates' digest in a key, below the request's in full."""


@dataclass(frozen=True)
class Reading:
    """That gates are asked about a step's adapter.

    Attributes:
        test_digest: Of the file of test examples.
        request_digest: Of the re-adaptation.
        step: Whose adapter is judged.
        gates_digest: Of the gates; changed ones read the stored outcomes again.
    """

    test_digest: str
    request_digest: str
    step: str
    gates_digest: str


def note_reading(filesystems: Filesystems, store_uri: str, reading: Reading) -> SplitUse:
    """Record a reading, and return the other ones of the same file in this store.

    A repeated reading is the same one: an interrupted step that is carried out again asks nothing new.

    Raises:
        TemporaryError: The store did not answer.
    """
    root = f"{store_uri.rstrip('/')}/{FOLDER}/{hex_part(reading.test_digest)}"
    objects = open_store(filesystems, root).objects
    request = hex_part(reading.request_digest)
    own = f"{request}/{reading.step}-{hex_part(reading.gates_digest)[:SHORT]}"
    with suppress(AlreadyExistsError):
        objects.create(own, b"")
    others = [key for key in objects.sizes() if key != own and not _is_unfinished(key)]
    return SplitUse(readings=len(others), requests=len({key.partition("/")[0] for key in others} - {request}))


def _is_unfinished(key: str) -> bool:
    """Tell whether this is what a writer to a folder left that was killed before its file had its name."""
    return key.rpartition("/")[2].startswith(UNFINISHED)
