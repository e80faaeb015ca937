"""Bring a serving set to the disk: verified, of one base, in the form that the engine reads."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from relora_contract.serving import ServedAdapter, ServingSet
from relora_store.errors import IntegrityError
from relora_store.fetch import probe
from relora_store.fetch.adapter_folder import read_rank, write_adapter_folder
from relora_store.fetch.engine_config import LoadedAdapter, probe_expectations, vllm_config
from relora_store.fetching import fetch_artifact
from relora_store.filesystems import Filesystems
from relora_store.localfiles import translated, write_atomically
from relora_store.manifests import read_manifest
from relora_store.names import Content
from relora_store.node_cache import NodeCache
from relora_store.progress import Progress

ADAPTERS_AT_ONCE = 8
FETCHED_FOLDER = ".fetched"
"""Below the output: the adapters' files as they were published. The engine reads `adapters/`."""
ENGINE_FILES = ("vllm.yaml", "probe.json", "probe.py")


def assemble(
    filesystems: Filesystems,
    serving_set: ServingSet,
    output: Path,
    *,
    cache: NodeCache | None,
    progress_of: Callable[[str], Progress],
) -> None:
    """Write base, adapters and the engine's configuration below `output`.

    `vllm.yaml` is removed first and written last: where anything fails, there is nothing to start a server with.

    Args:
        filesystems: Opens URIs.
        serving_set: What to bring.
        output: The folder that the serving container mounts at the same path.
        cache: The node's cache of files.
        progress_of: Makes the progress of one artifact from its name.

    Raises:
        StoreError: Something could not be fetched or verified.
        IntegrityError: Also: an adapter was made for another base.
    """
    remove_engine_files(output)
    base_path = output / "base"

    def bring(adapter: ServedAdapter) -> LoadedAdapter:
        return _bring_adapter(filesystems, adapter, output, cache, progress_of(adapter.name))

    with ThreadPoolExecutor(ADAPTERS_AT_ONCE) as pool:
        # Before the base, which is the large part: a set of mixed bases fails in seconds.
        list(pool.map(lambda adapter: _check_base(filesystems, adapter, serving_set), serving_set.adapters))
        adapters = list(pool.map(bring, serving_set.adapters))
    for folder in ("adapters", FETCHED_FOLDER):
        _remove_others(output / folder, {adapter.name for adapter in adapters})
    fetch_artifact(filesystems, serving_set.base, base_path, Content.BASE, cache=cache, progress=progress_of("base"))
    write_atomically(output / "probe.json", probe_expectations(str(base_path), adapters).encode())
    write_atomically(output / "probe.py", Path(probe.__file__).read_bytes())
    write_atomically(output / "vllm.yaml", vllm_config(str(base_path), adapters).encode())


def remove_engine_files(output: Path) -> None:
    """Remove what a server could be started with."""
    with translated(output):
        output.mkdir(parents=True, exist_ok=True)
        for name in ENGINE_FILES:
            (output / name).unlink(missing_ok=True)


def _check_base(filesystems: Filesystems, adapter: ServedAdapter, serving_set: ServingSet) -> None:
    """Compare the base that an adapter was made for with the set's. A source folder tells none: its digest pins it."""
    if not adapter.is_manifest:
        return
    manifest = read_manifest(filesystems, adapter)
    if manifest.kind != "Adapter":
        raise IntegrityError(f"adapter {adapter.name}: {adapter.uri} is a {manifest.kind}, not an adapter")
    made_for = manifest.provenance.target_base_digest
    if made_for != serving_set.base.digest:
        raise IntegrityError(
            f"adapter {adapter.name} was made for the base {made_for}, the set's is {serving_set.base.digest}"
        )


def _bring_adapter(
    filesystems: Filesystems, adapter: ServedAdapter, output: Path, cache: NodeCache | None, progress: Progress
) -> LoadedAdapter:
    source = output / FETCHED_FOLDER / adapter.name
    fetched = fetch_artifact(filesystems, adapter, source, Content.ADAPTER, cache=cache, progress=progress)
    rank = read_rank(source, adapter.name)
    folder = output / "adapters" / adapter.name
    write_adapter_folder(source, fetched.files, folder, name=adapter.name, base_path=str(output / "base"))
    return LoadedAdapter(
        name=adapter.name,
        digest=adapter.digest,
        path=str(folder),
        rank=rank,
        fingerprints=fetched.manifest.fingerprints if fetched.manifest else (),
    )


def _remove_others(folder: Path, names: set[str]) -> None:
    with translated(folder):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in names:
                shutil.rmtree(path)
