"""Digests name stored results for years: a changed value here means that every stored result is lost."""

import hashlib
import unicodedata

import pytest

from relora_contract.api.binding import TaskSpec
from relora_contract.artifacts import ArtifactRef, manifest_ref
from relora_contract.digests import FileEntry, canonical_json, folder_digest, hex_part, json_digest, sha256_digest
from relora_contract.readaptation import Granularity, Plan, Readaptation, plan
from relora_contract.request import DatasetRefs, delta_digest, gates_digest, readaptation_digest
from relora_contract.serving import ServedAdapter, ServingSet
from relora_contract.task import Gate, Message, Metric, Task, TaskKind

BASE_1, BASE_2, ADAPTER = (sha256_digest(word) for word in (b"base 1", b"base 2", b"adapter"))
IMAGE = f"registry.example/trainer@{sha256_digest(b'image')}"


def artifact(word: str) -> ArtifactRef:
    return ArtifactRef(uri=f"s3://data/{word}.jsonl", digest=sha256_digest(word.encode()))


DATASET = DatasetRefs(train=artifact("train"), validation=artifact("validation"), test=artifact("test"))
TASK = Task.model_validate(
    {"kind": "CausalLM", "promptTemplate": "{text} –", "completionField": "label", "choices": [" a", " ü"]}
)


def request_digest(
    *, dataset: DatasetRefs = DATASET, task: Task = TASK, wanted: Plan | None = None, image: str = IMAGE
) -> str:
    return readaptation_digest(
        source_base_digest=BASE_1,
        target_base_digest=BASE_2,
        adapter_digest=ADAPTER,
        dataset=dataset,
        task=task,
        plan=wanted or Plan(),
        image=image,
    )


def test_a_classification_is_another_request() -> None:
    assert request_digest(task=TASK.model_copy(update={"kind": TaskKind.SEQUENCE_CLASSIFICATION})) != request_digest()


def test_canonical_json_is_compact_sorted_utf8() -> None:
    assert canonical_json({"b": [1, True, None], "a": {"é": "x", "Z": "y"}}) == (
        '{"a":{"Z":"y","é":"x"},"b":[1,true,null]}'.encode()
    )


@pytest.mark.parametrize("value", [1.0, [0.5], {"a": {"b": [float("nan")]}}])
def test_canonical_json_refuses_floats(value: float | list[object] | dict[str, object]) -> None:
    with pytest.raises(TypeError, match="decimal strings"):
        canonical_json(value)  # type: ignore[arg-type] # the point of the test


def test_digest_of_bytes_is_plain_sha256() -> None:
    assert sha256_digest(b"relora") == f"sha256:{hashlib.sha256(b'relora').hexdigest()}"
    assert hex_part(sha256_digest(b"relora")) == hashlib.sha256(b"relora").hexdigest()


def test_folder_digest_is_the_documented_one() -> None:
    entry = FileEntry(size=3, digest=sha256_digest(b"abc"))
    text = '{"files":{"a/b.json":{"digest":"%s","size":3},"c":{"digest":"%s","size":3}}}'
    expected = sha256_digest((text % (entry.digest, entry.digest)).encode())
    assert folder_digest({"c": entry, "a/b.json": entry}) == expected
    assert folder_digest({"a/b.json": entry, "c": entry}) == expected
    assert expected == "sha256:794d5265a20e110f52010435811780d9fa38eae820ae9fc2f19e2520bbc9a1b3"


def test_names_are_compared_byte_by_byte_without_unicode_normalisation() -> None:
    composed, decomposed = "é", unicodedata.normalize("NFD", "é")
    assert json_digest(composed) != json_digest(decomposed)


def test_digest_of_a_delta() -> None:
    digest = delta_digest(source_base_digest=BASE_1, target_base_digest=BASE_2, image=IMAGE)
    assert digest == "sha256:5b8186f648340756bb0b7245cf558a90f6fe9704df2d64f2867e42f6a2781d5a"
    assert digest != delta_digest(source_base_digest=BASE_2, target_base_digest=BASE_1, image=IMAGE)
    assert digest != delta_digest(source_base_digest=BASE_1, target_base_digest=BASE_2, image=None)


def test_digest_of_a_readaptation() -> None:
    assert request_digest() == "sha256:a99e4614071caa3f69730d3ce7f8978fd0aaf9fd850103db99ad598529e04b64"


def test_request_digest_pins_contents_not_places() -> None:
    moved = ArtifactRef(uri="s3://elsewhere/train.jsonl", digest=DATASET.train.digest)
    assert request_digest(dataset=DATASET.model_copy(update={"train": moved})) == request_digest()


def test_request_digest_covers_every_field_of_the_task() -> None:
    assert set(Task.model_fields) == {
        *("kind", "prompt_template", "messages", "completion_field", "choices", "max_length")
    }


def test_request_digest_of_a_tenants_task_covers_no_places_or_secrets() -> None:
    where = {"uri": "s3://data/x.jsonl", "digest": sha256_digest(b"x")}
    dataset = {"train": where, "validation": where, "test": where, "secretRef": {"name": "reader"}}
    assert request_digest(task=TaskSpec.model_validate({**TASK.to_json(), "dataset": dataset})) == request_digest()


@pytest.mark.parametrize(
    "changed",
    [
        request_digest(dataset=DATASET.model_copy(update={"test": artifact("other")})),
        request_digest(task=TASK.model_copy(update={"prompt_template": "{text} -"})),
        request_digest(task=TASK.model_copy(update={"choices": [" ü", " a"]})),
        request_digest(task=TASK.model_copy(update={"choices": None})),
        request_digest(task=TASK.model_copy(update={"messages": [Message(role="user", content="{text}")]})),
        request_digest(task=TASK.model_copy(update={"completion_field": "section"})),
        request_digest(task=TASK.model_copy(update={"max_length": 511})),
        request_digest(wanted=Plan(seed=1)),
        request_digest(wanted=Plan(learning_rate="4e-4")),
        request_digest(wanted=Plan(granularity=Granularity.PER_MODULE)),
        request_digest(image=IMAGE.replace("trainer", "other")),
    ],
)
def test_what_determines_the_result_changes_the_digest(changed: str) -> None:
    assert changed != request_digest()


def test_writing_a_default_out_changes_nothing() -> None:
    written = Readaptation.model_validate(
        {"strategy": "ReLoRA", "search": {"budget": 20, "beta": {"min": "0", "max": "3"}}, "tuning": {"epochs": 2}}
    )
    assert request_digest(wanted=plan(written)) == request_digest(wanted=plan(Readaptation()))
    assert request_digest(task=TASK.model_copy(update={"max_length": 512})) == request_digest()


def test_digest_of_gates_does_not_depend_on_their_order() -> None:
    accuracy, loss = Gate(metric=Metric.ACCURACY, threshold="0.81"), Gate(metric=Metric.LOSS, max_regression="0.1")
    assert gates_digest([accuracy, loss]) == gates_digest([loss, accuracy])
    assert gates_digest([accuracy, loss]) == "sha256:a27f0c56811f468aa165be12ade9d581965c58c17579b034c929d82ecff1aede"
    assert gates_digest([accuracy]) != gates_digest([Gate(metric=Metric.ACCURACY, threshold="0.80")])


def test_serving_set_is_canonical() -> None:
    first, second = (
        ServedAdapter(name=name, uri=f"s3://adapters/{name}", digest=sha256_digest(name.encode()))
        for name in ("a.first", "b.second")
    )
    base = ArtifactRef(uri="s3://models/r1", digest=BASE_1)
    serving = ServingSet.of("r1", base, [second, first])
    assert [adapter.name for adapter in serving.adapters] == ["a.first", "b.second"]
    assert (
        serving.digest
        == ServingSet.of("r1", base, [first, second]).digest
        == "sha256:80e3c3b76c9d9178a784fae0215e73b2be48d734f5c92c40e2db0a169c8af8df"
    )
    assert ServingSet.model_validate_json(serving.to_annotation()) == serving


def test_manifests_are_told_from_folders_by_their_place() -> None:
    manifest = manifest_ref("s3://adapters/team/", ADAPTER)
    assert manifest.uri == f"s3://adapters/team/manifests/sha256/{hex_part(ADAPTER)}.json"
    assert manifest.is_manifest
    assert not ArtifactRef(uri="s3://adapters/v1", digest=ADAPTER).is_manifest
