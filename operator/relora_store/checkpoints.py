"""Checkpoints: what an unfinished step continues from, in a part of the store that is the step's own.

    <store>/checkpoints/<hex of the request>/<step>/<sequence>.json      one checkpoint: its files, where they fit
    <store>/checkpoints/<hex of the request>/<step>/blobs/sha256/<hex>   a file under the digest of its bytes

Like an artifact, a checkpoint is written once and its record last. Unlike one it is of no use once its step has ended
or a newer one is complete, and is then removed. That is why its files do not lie among the blobs of artifacts: nothing
outside the step's own part is ever removed, and nothing there is referred to from outside.
"""

import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from relora_contract.digests import FileEntry, canonical_json, hex_part
from relora_contract.model import Model
from relora_contract.scalars import Digest
from relora_store.blobs import blob_key, describe_file, put_described
from relora_store.contents import check_file
from relora_store.errors import IntegrityError, NotFoundError, StoreError, TemporaryError
from relora_store.filesystems import Filesystems
from relora_store.local_objects import LocalObjects
from relora_store.localfiles import translated
from relora_store.names import Content, check_names
from relora_store.objects import AlreadyExistsError
from relora_store.progress import Silent
from relora_store.store import RECORD_LIMIT_BYTES, open_store
from relora_store.transfer import Remote, Transfer

LOG = logging.getLogger(__name__)
FOLDER = "checkpoints"
MOST_WRITERS = 16
"""Sequence numbers that other writers may take from us before we give up."""
MOST_SEQUENCES = 10**8
_RECORD = re.compile(r"(?P<sequence>[0-9]{8})\.json")


class Checkpoint(Model):
    """The record of one checkpoint.

    Attributes:
        request_digest: The request whose step it belongs to.
        step: The step.
        sequence: Counts the step's checkpoints over all attempts.
        conditions: What must be the same for a run to continue from it, such as the version of the code.
        machine: What must be the same for that run to end with the same bits.
        files: Size and digest of every file, by its name.
    """

    contract_version: Literal[1] = 1
    request_digest: Digest
    step: str
    sequence: int
    conditions: dict[str, str]
    machine: dict[str, str]
    files: dict[str, FileEntry]


class CheckpointArea:
    """The checkpoints of one step of one request."""

    def __init__(self, filesystems: Filesystems, store_uri: str, request_digest: str, step: str) -> None:
        self._request_digest = request_digest
        self._step = step
        uri = f"{store_uri.rstrip('/')}/{FOLDER}/{hex_part(request_digest)}/{step}"
        self._objects = open_store(filesystems, uri).objects
        self._newest: Checkpoint | None = None
        self._next = 0
        self._stored: set[str] = set()

    def restore(self, folder: Path, fits: Callable[[Checkpoint], bool]) -> Checkpoint | None:
        """Make `folder` hold the newest checkpoint that is whole and fits; without one it is made empty.

        Every byte is verified before the folder shows it. A checkpoint that lacks a file, is damaged, or belongs to
        another request is passed over, for the one before it.

        Args:
            folder: Belongs to us; what lies there is removed.
            fits: Tells whether this run can continue from a checkpoint.

        Raises:
            TemporaryError: The store did not answer, or the disk is full.
        """
        sequences = self._sequences()
        self._next = max(sequences, default=-1) + 1
        for sequence in sorted(sequences, reverse=True):
            checkpoint = self._read(sequence)
            if checkpoint is None or not fits(checkpoint):
                continue
            try:
                self._bring(checkpoint, folder)
            except (IntegrityError, NotFoundError) as error:
                LOG.warning("checkpoint %d of %s is not whole and is passed over: %s", sequence, self._step, error)
                continue
            self._newest = checkpoint
            self._stored = {entry.digest for entry in checkpoint.files.values()}
            return checkpoint
        _empty(folder)
        return None

    def write(self, folder: Path, conditions: Mapping[str, str], machine: Mapping[str, str]) -> None:
        """Store the files of `folder` as the newest checkpoint, unless they are those of the one before, or none.

        Raises:
            IntegrityError: A file changed meanwhile, or may not be part of a checkpoint.
            TemporaryError: The store did not answer; the checkpoint before stands.
        """
        files = {name: describe_file(folder / name) for name in sorted(LocalObjects(folder).sizes())}
        if files == (self._newest.files if self._newest else {}):
            return
        check_names(files, Content.STATE)
        for name, entry in files.items():
            if entry.digest not in self._stored:
                self._put(folder / name, entry)
        before = self._newest
        self._newest = self._record(files, conditions, machine)
        self._stored = {entry.digest for entry in files.values()}
        # The one before is kept too, in case the newest turns out to be damaged.
        self._tidy([self._newest] if before is None else [before, self._newest])

    def _put(self, path: Path, entry: FileEntry) -> None:
        """Store a file, also in place of a damaged one that a checkpoint left which was passed over."""
        try:
            put_described(self._objects, path, entry)
        except IntegrityError:
            self._objects.remove(blob_key(entry.digest))
            put_described(self._objects, path, entry)

    def remove(self) -> None:
        """Remove every checkpoint of the step: its report is stored."""
        self._tidy([])

    def _record(
        self, files: Mapping[str, FileEntry], conditions: Mapping[str, str], machine: Mapping[str, str]
    ) -> Checkpoint:
        for sequence in range(self._next, self._next + MOST_WRITERS):
            checkpoint = Checkpoint(
                request_digest=self._request_digest,
                step=self._step,
                sequence=sequence,
                conditions=dict(conditions),
                machine=dict(machine),
                files=dict(files),
            )
            try:
                self._objects.create(_record_key(sequence), canonical_json(checkpoint.to_json()))
            except AlreadyExistsError:
                continue  # a pod that is cut off from the cluster still writes
            self._next = sequence + 1
            return checkpoint
        raise TemporaryError(f"other attempts write checkpoints of {self._step}; this one's was not stored")

    def _sequences(self) -> list[int]:
        return [number for key in self._objects.sizes() if (number := _sequence(key)) is not None]

    def _read(self, sequence: int) -> Checkpoint | None:
        key = _record_key(sequence)
        try:
            checkpoint = Checkpoint.model_validate_json(self._objects.read(key, RECORD_LIMIT_BYTES))
            check_names(checkpoint.files, Content.STATE)
        except (IntegrityError, NotFoundError, ValidationError):
            LOG.warning("%s of %s is not a checkpoint that this version reads", key, self._step)
            return None
        if (checkpoint.request_digest, checkpoint.step) != (self._request_digest, self._step):
            LOG.warning("%s of %s is a checkpoint of another request or step", key, self._step)
            return None
        return checkpoint

    def _bring(self, checkpoint: Checkpoint, folder: Path) -> None:
        _empty(folder)
        remotes = {
            name: Remote(self._objects, blob_key(entry.digest), entry.size, entry.digest)
            for name, entry in checkpoint.files.items()
        }
        Transfer(remotes, folder, None, Silent()).run()
        for name in checkpoint.files:
            check_file(folder / name, name, Content.STATE)

    def _tidy(self, kept: Sequence[Checkpoint]) -> None:
        """Remove what is older than `kept`, or everything: records first, so that none names a file that is gone.

        A record newer than ours is another attempt's. It stays; should it name a file that is removed here, its
        reader passes it over. What cannot be removed is of no use and does no harm.
        """
        needed = {blob_key(entry.digest) for checkpoint in kept for entry in checkpoint.files.values()}
        first_kept = min((checkpoint.sequence for checkpoint in kept), default=MOST_SEQUENCES)
        try:
            keys = self._objects.sizes()
            records = [key for key in keys if (number := _sequence(key)) is not None and number < first_kept]
            files = [key for key in keys if _sequence(key) is None and key not in needed]
            for key in records + files:
                self._objects.remove(key)
        except StoreError as error:
            LOG.warning("old checkpoints of %s could not be removed: %s", self._step, error)


def _record_key(sequence: int) -> str:
    return f"{sequence:08d}.json"


def _sequence(key: str) -> int | None:
    match = _RECORD.fullmatch(key)
    return int(match["sequence"]) if match else None


def _empty(folder: Path) -> None:
    with translated(folder):
        if folder.is_dir():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
