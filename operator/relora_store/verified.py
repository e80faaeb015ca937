"""Remember that a local folder was verified, so that the next container of a pod need not read it all again.

`<folder>/.verified` holds what was fetched and, for every file, size, modification time and inode. A file that was
changed or replaced since has another of these, and is fetched again.
"""

from pathlib import Path

from pydantic import ValidationError

from relora_contract.digests import FileEntry, canonical_json
from relora_contract.model import Model
from relora_store.localfiles import write_atomically

LEDGER = ".verified"


class VerifiedFile(Model):
    """One verified file and what identifies its present content."""

    entry: FileEntry
    mtime_ns: int
    inode: int


class Ledger(Model):
    """What a folder holds."""

    digest: str
    manifest: str | None = None
    files: dict[str, VerifiedFile]

    def stands(self, folder: Path) -> bool:
        """Tell whether every file still is the one that was verified."""
        return all(_identify(folder / name, file.entry) == file for name, file in self.files.items())


def read_ledger(folder: Path) -> Ledger | None:
    """Return the ledger of a folder, or None where there is none that we can read."""
    try:
        return Ledger.model_validate_json((folder / LEDGER).read_bytes())
    except (OSError, ValidationError):
        return None


def write_ledger(folder: Path, digest: str, manifest: str | None, files: dict[str, FileEntry]) -> None:
    """Record that `files` lie verified in `folder`.

    Args:
        folder: The folder.
        digest: The artifact's digest.
        manifest: The bytes of its manifest as text, when it has one.
        files: Every file, by its name.
    """
    seen = {name: _identify(folder / name, entry) for name, entry in files.items()}
    ledger = Ledger(
        digest=digest, manifest=manifest, files={name: file for name, file in seen.items() if file is not None}
    )
    write_atomically(folder / LEDGER, canonical_json(ledger.to_json()))


def _identify(path: Path, entry: FileEntry) -> VerifiedFile | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    if status.st_size != entry.size:
        return None
    return VerifiedFile(entry=entry, mtime_ns=status.st_mtime_ns, inode=status.st_ino)
