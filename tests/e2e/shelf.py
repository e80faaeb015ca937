"""What the scenarios' objects point to: bases, adapters and data in the store, good ones and bad ones."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e import damage
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
    with_huge_header: ArtifactRef
    with_nan: ArtifactRef
    of_other_shapes: ArtifactRef
    of_higher_rank: ArtifactRef
    of_other_digest: ArtifactRef


@dataclass(frozen=True)
class Work:
    """An adapter and the task that it was trained for, on the first base."""

    adapter: ArtifactRef
    task: Task


@dataclass(frozen=True)
class Shelf:
    """References to everything in the store.

    The bases answer questions in a small language. The second release means other words by the same answers to the
    question for the kind, so `kind` must be re-adapted to it; `mood` is as good on it as before.
    """

    base_r1: ArtifactRef
    base_r2: ArtifactRef
    base_r2_again: ArtifactRef
    """The second base under another digest: its delta and its adapters are found under no other scenario's."""
    base_beyond_repair: ArtifactRef
    """A base on which no adapter passes a gate."""
    base_with_nan: ArtifactRef
    base_of_other_digest: ArtifactRef
    base_of_other_tokenizer: ArtifactRef
    kind: Work
    mood: Work
    bad: BadAdapters
    data_missing: ArtifactRef
    data_with_strange_label: ArtifactRef
    data_without_field: ArtifactRef


def fill(bucket: Bucket) -> Shelf:
    """Make the tiny models unless they are there, and put everything into the store."""
    made = _make_tiny()
    bucket.make("models", "adapters", "data")
    r2, mood = made["tiny-r2"], made["tiny-adapter-mood"]
    second = bucket.put_folder("s3://models/tiny-r2", r2)
    good = _put_work(bucket, made, "mood")
    examples = made["tiny-task-mood"]["test.jsonl"]
    strange = examples + b'{"text": "the owl sings .", "label": "nowhere"}\n'
    nameless = examples + b'{"sentence": "the owl sings .", "label": "hill"}\n'

    def put(name: str, files: damage.Files) -> ArtifactRef:
        return bucket.put_folder(f"s3://adapters/sources/{name}", files)

    other = sha256_digest(b"something else")
    return Shelf(
        base_r1=bucket.put_folder("s3://models/tiny-r1", made["tiny-r1"]),
        base_r2=second,
        base_r2_again=bucket.put_folder("s3://models/tiny-r2-again", {**r2, "NOTICE": b"The second base once more.\n"}),
        base_beyond_repair=bucket.put_folder("s3://models/tiny-r2-bad", made["tiny-r2-bad"]),
        base_with_nan=bucket.put_folder("s3://models/tiny-nan", damage.with_nan(r2)),
        base_of_other_digest=ArtifactRef(uri=second.uri, digest=other),
        base_of_other_tokenizer=bucket.put_folder("s3://models/tiny-tokenizer", damage.of_other_tokenizer(r2)),
        kind=_put_work(bucket, made, "kind"),
        mood=good,
        bad=BadAdapters(
            with_pickle=put("pickle", damage.with_pickle(mood)),
            with_code=put("code", damage.with_code(mood)),
            truncated=put("truncated", damage.truncated(mood)),
            with_huge_header=put("header", damage.with_huge_header(mood)),
            with_nan=put("nan", damage.with_nan(mood)),
            of_other_shapes=put("shapes", damage.of_other_shapes(mood)),
            of_higher_rank=put("rank", damage.of_rank(mood, 2 * MAX_RANK)),
            of_other_digest=ArtifactRef(uri=good.adapter.uri, digest=other),
        ),
        data_missing=ArtifactRef(uri="s3://data/nowhere.jsonl", digest=other),
        data_with_strange_label=bucket.put_file("s3://data/strange.jsonl", strange),
        data_without_field=bucket.put_file("s3://data/nameless.jsonl", nameless),
    )


def _put_work(bucket: Bucket, made: dict[str, damage.Files], name: str) -> Work:
    task = made[f"tiny-task-{name}"]
    train, validation, test = (
        bucket.put_file(f"s3://data/{name}/{part}.jsonl", task[f"{part}.jsonl"])
        for part in ("train", "validation", "test")
    )
    adapter = bucket.put_folder(f"s3://adapters/sources/{name}", made[f"tiny-adapter-{name}"])
    fields = json.loads(task["task.json"])
    return Work(adapter, Task(fields=fields, train=train, validation=validation, test=test))


def _make_tiny() -> dict[str, damage.Files]:
    """Return the files of every tiny product by its name; a process of its own makes them, so torch is not in ours."""
    command = [sys.executable, "-W", "ignore", "-m", "realdata", "build", "tiny"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    folders = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    return {name: folder(Path(path)) for name, path in folders}
