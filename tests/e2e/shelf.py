"""What the scenarios' objects point to: bases, adapters and data in the store, good ones and bad ones."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e import damage, tinytask
from e2e.bucket import Bucket, folder
from e2e.manifests import Task
from relora_contract.artifacts import ArtifactRef
from relora_contract.digests import sha256_digest

MAX_RANK = 8
"""`maxLoRARank` of the servers that refuse an adapter for its rank."""


@dataclass(frozen=True)
class BadAdapters:
    """Adapters that must be refused."""

    with_pickle: ArtifactRef
    with_code: ArtifactRef
    truncated: ArtifactRef
    with_nan: ArtifactRef
    of_other_shapes: ArtifactRef
    of_higher_rank: ArtifactRef
    of_other_digest: ArtifactRef


@dataclass(frozen=True)
class Shelf:
    """References to everything in the store."""

    base_r1: ArtifactRef
    base_r2: ArtifactRef
    base_r2_again: ArtifactRef
    """Another base after the first one, of which no other scenario has the delta made."""
    base_with_nan: ArtifactRef
    base_of_other_digest: ArtifactRef
    adapter: ArtifactRef
    bad: BadAdapters
    task: Task
    data_missing: ArtifactRef
    data_with_strange_label: ArtifactRef


def fill(bucket: Bucket) -> Shelf:
    """Make the models and put everything into the store."""
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(__file__).with_name("tinymodel.py")
        subprocess.run([sys.executable, str(program), scratch], check=True, capture_output=True)
        bases = {name: folder(Path(scratch) / name) for name in ("r1", "r2", "r2-again")}
        adapter = folder(Path(scratch) / "adapter")
    bucket.make("models", "adapters", "data")
    r1, r2, again = (bucket.put_folder(f"s3://models/tiny-{name}", files) for name, files in bases.items())
    strange = [*tinytask.examples(64, 3), {"text": "abc", "label": "mineral"}]

    def put(name: str, files: damage.Files) -> ArtifactRef:
        return bucket.put_folder(f"s3://adapters/sources/{name}", files)

    good = put("good", adapter)
    other = sha256_digest(b"something else")
    return Shelf(
        base_r1=r1,
        base_r2=r2,
        base_r2_again=again,
        base_with_nan=bucket.put_folder("s3://models/tiny-nan", damage.with_nan(bases["r2"])),
        base_of_other_digest=ArtifactRef(uri=r2.uri, digest=other),
        adapter=good,
        bad=BadAdapters(
            with_pickle=put("pickle", damage.with_pickle(adapter)),
            with_code=put("code", damage.with_code(adapter)),
            truncated=put("truncated", damage.truncated(adapter)),
            with_nan=put("nan", damage.with_nan(adapter)),
            of_other_shapes=put("shapes", damage.of_other_shapes(adapter)),
            of_higher_rank=put("rank", damage.of_rank(adapter, 2 * MAX_RANK)),
            of_other_digest=ArtifactRef(uri=good.uri, digest=other),
        ),
        task=Task(
            fields=tinytask.task_fields(),
            train=bucket.put_file("s3://data/train.jsonl", tinytask.jsonl(tinytask.examples(96, 1))),
            validation=bucket.put_file("s3://data/validation.jsonl", tinytask.jsonl(tinytask.examples(64, 2))),
            test=bucket.put_file("s3://data/test.jsonl", tinytask.jsonl(tinytask.examples(64, 4))),
        ),
        data_missing=ArtifactRef(uri="s3://data/nowhere.jsonl", digest=other),
        data_with_strange_label=bucket.put_file("s3://data/strange.jsonl", tinytask.jsonl(strange)),
    )
