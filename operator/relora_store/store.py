"""A store: blobs, manifests, reports and records below one URI. What is written once is never replaced."""

from dataclasses import dataclass

from relora_store.errors import NotFoundError
from relora_store.filesystems import Filesystems
from relora_store.objects import AlreadyExistsError, Objects

RECORD_LIMIT_BYTES = 8 * 1024 * 1024
"""Longest manifest, report or record."""


@dataclass(frozen=True)
class Store:
    """The objects below a store's URI."""

    uri: str
    objects: Objects


def open_store(filesystems: Filesystems, uri: str) -> Store:
    """Return the store at `uri`. Nothing is asked of it yet."""
    return Store(uri.rstrip("/"), filesystems.open(uri))


def create_or_read(store: Store, key: str, data: bytes) -> bytes:
    """Write a record if its key is free, and return what is stored: `data`, or what was there before.

    Two writers of one key are both told what the first of them wrote.
    """
    try:
        store.objects.create(key, data)
    except AlreadyExistsError:
        return store.objects.read(key, RECORD_LIMIT_BYTES)
    return data


def read_record(store: Store, key: str) -> bytes | None:
    """Return a record, or None where there is none."""
    try:
        return store.objects.read(key, RECORD_LIMIT_BYTES)
    except NotFoundError:
        return None
