"""relora-fetch: from a serving set to a folder that an engine starts from, or to nothing at all."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from relora_contract.artifacts import ArtifactKind, ArtifactRef
from relora_contract.digests import FileEntry, folder_digest
from relora_contract.serving import ServedAdapter, ServingSet
from relora_store.blobs import blob_key
from relora_store.fetch import cli, probe
from relora_store.fetch.engine_config import LoadedAdapter, vllm_config
from relora_store.fetch.lines import LineProgress
from relora_store.localfiles import file_digest
from relora_store.manifests import publish_folder
from samples.artifacts import D1, D2, adapter_config, fingerprint, provenance, write_adapter, write_base
from samples.places import Gateway, Place

PRINTS = [fingerprint([1, 2], {3: "-0.5"}, {3: "-1.5"})]


class Pod:
    """A place with a base, and the files of a pod that is to serve from it."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.set_path = folder / "set.json"
        self.output = folder / "relora"
        self.base = self.upload(write_base(folder / "base-source", nested=True), "bases/r2")
        self.adapters: list[ServedAdapter] = []

    def upload(self, source: Path, name: str) -> ArtifactRef:
        files = {}
        for path in source.rglob("*"):
            if path.is_file():
                key = path.relative_to(source).as_posix()
                files[key] = FileEntry(size=path.stat().st_size, digest=file_digest(path))
                self.place.put(f"{name}/{key}", path.read_bytes())
        return ArtifactRef(uri=f"{self.place.uri}/{name}", digest=folder_digest(files))

    def publish(self, name: str, *, base_digest: str = "", kind: ArtifactKind = "Adapter", rank: int = 4) -> None:
        source = write_adapter(self.folder / f"{name}-source", rank=rank, fill=name[:1].encode())
        made = provenance(base_digest or self.base.digest)
        self.add(name, publish_folder(self.place.store, source, kind=kind, provenance=made, fingerprints=PRINTS))

    def add(self, name: str, ref: ArtifactRef) -> None:
        self.adapters.append(ServedAdapter(name=name, uri=ref.uri, digest=ref.digest))

    def write_set(self) -> ServingSet:
        serving_set = ServingSet.of("r2", self.base, self.adapters)
        self.set_path.write_text(serving_set.to_annotation())
        return serving_set


@pytest.fixture
def pod(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Pod:
    if place.uri.startswith("s3://"):
        gateway: Gateway = request.getfixturevalue("gateway")
        monkeypatch.setenv("AWS_ENDPOINT_URL", gateway.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests-secret")
    return Pod(place, tmp_path)


@pytest.fixture
def local_pod(local_place: Place, tmp_path: Path) -> Pod:
    return Pod(local_place, tmp_path)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    termination = tmp_path / "termination-log"
    termination.touch()
    monkeypatch.setattr(cli, "TERMINATION_LOG", termination)

    def call(pod: Pod, *arguments: str) -> tuple[int, str, str]:
        options = ["--set", str(pod.set_path), "--output", str(pod.output), *arguments]
        monkeypatch.setattr(sys, "argv", ["relora-fetch", *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        code = int(ended.value.code or 0)
        if code:
            assert termination.read_text() == printed.err.rstrip("\n")
            assert printed.err.count("\n") == 1
            assert not (pod.output / "vllm.yaml").exists()
        return code, printed.out, printed.err

    return call


def test_a_set_becomes_a_folder_that_an_engine_starts_from(pod: Pod, run: Run) -> None:
    pod.publish("reviews", rank=12)
    pod.publish("team-a.mails")
    source = write_adapter(pod.folder / "old")
    pod.add("old", pod.upload(source, "adapters/old/v1"))
    serving_set = pod.write_set()
    code, out, err = run(pod)
    assert code == 0, err
    assert serving_set.digest in out
    output = pod.output

    config = yaml.safe_load((output / "vllm.yaml").read_text())
    modules = [json.loads(item) for item in config.pop("lora-modules")]
    assert config == {
        "model": str(output / "base"),
        "enable-lora": True,
        "max-lora-rank": 16,
        "max-loras": 3,
        "max-cpu-loras": 6,
    }
    expected = []
    for adapter in serving_set.adapters:
        path = str(output / "adapters" / adapter.name)
        expected += [
            {"name": adapter.name, "path": path},
            {"name": f"{adapter.name}--{adapter.digest[7:15]}", "path": path},
        ]
    assert modules == expected

    assert (output / "base" / "templates" / "chat.jinja").is_file()
    for name, original in {"reviews": "reviews-source", "team-a.mails": "team-a.mails-source", "old": "old"}.items():
        folder = output / "adapters" / name
        rewritten = json.loads((folder / "adapter_config.json").read_text())
        before = json.loads((pod.folder / original / "adapter_config.json").read_text())
        assert rewritten == {**before, "base_model_name_or_path": str(output / "base")}
        weights = "adapter_model.safetensors"
        assert (folder / weights).read_bytes() == (pod.folder / original / weights).read_bytes()

    told = json.loads((output / "probe.json").read_text())
    assert told["base"] == str(output / "base")
    assert {item["name"]: len(item["fingerprints"]) for item in told["adapters"]} == {
        "old": 0,
        "reviews": 1,
        "team-a.mails": 1,
    }
    assert told["adapters"][1]["fingerprints"] == [PRINTS[0].to_json()]
    assert (output / "probe.py").read_bytes() == Path(probe.__file__).read_bytes()


def test_what_is_fetched_can_be_read_by_the_servers_user(local_pod: Pod, run: Run) -> None:
    local_pod.publish("reviews")
    local_pod.write_set()
    before = os.umask(0o077)
    try:
        assert run(local_pod)[0] == 0
    finally:
        os.umask(before)
    files = [path for path in local_pod.output.rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o644"}


def test_a_restarted_container_reads_nothing_again(local_pod: Pod, run: Run) -> None:
    local_pod.publish("reviews")
    local_pod.write_set()
    assert run(local_pod)[0] == 0
    before = (local_pod.output / "vllm.yaml").read_text()
    for folder in ("blobs", "bases"):
        (local_pod.folder / "store" / folder).rename(local_pod.folder / folder)
    code, out, _ = run(local_pod)
    assert code == 0
    assert "base:" not in out
    assert (local_pod.output / "vllm.yaml").read_text() == before


def test_another_set_leaves_nothing_of_the_first(local_pod: Pod, run: Run) -> None:
    local_pod.publish("reviews")
    local_pod.write_set()
    assert run(local_pod)[0] == 0
    local_pod.adapters.clear()
    local_pod.publish("mails")
    local_pod.write_set()
    assert run(local_pod)[0] == 0
    for folder in ("adapters", ".fetched"):
        assert [path.name for path in (local_pod.output / folder).iterdir()] == ["mails"]


def test_a_set_without_adapters_is_the_base_alone(local_pod: Pod, run: Run) -> None:
    local_pod.write_set()
    assert run(local_pod)[0] == 0
    assert yaml.safe_load((local_pod.output / "vllm.yaml").read_text()) == {"model": str(local_pod.output / "base")}


def test_two_names_may_serve_one_adapter(local_pod: Pod, run: Run) -> None:
    local_pod.publish("reviews")
    local_pod.add("also", local_pod.adapters[0])
    local_pod.write_set()
    assert run(local_pod)[0] == 0
    assert len(yaml.safe_load((local_pod.output / "vllm.yaml").read_text())["lora-modules"]) == 4


def test_an_adapter_of_another_base_is_refused_before_the_base_is_read(local_pod: Pod, run: Run) -> None:
    local_pod.publish("reviews")
    local_pod.publish("mails", base_digest=D2)
    local_pod.write_set()
    code, _, err = run(local_pod)
    assert code == 45
    assert f"adapter mails was made for the base {D2}, the set's is {local_pod.base.digest}" in err
    assert not (local_pod.output / "base").exists()


def test_what_is_no_adapter_is_refused(local_pod: Pod, run: Run) -> None:
    local_pod.publish("delta", kind="Delta")
    local_pod.write_set()
    code, _, err = run(local_pod)
    assert code == 45
    assert "is a Delta, not an adapter" in err


@pytest.mark.parametrize("what", ["base", "source", "manifest"])
def test_a_wrong_digest_is_refused(pod: Pod, run: Run, what: str) -> None:
    if what == "base":
        pod.base = ArtifactRef(uri=pod.base.uri, digest=D1)
    elif what == "source":
        ref = pod.upload(write_adapter(pod.folder / "old"), "adapters/old")
        pod.add("old", ArtifactRef(uri=ref.uri, digest=D1))
    else:
        pod.publish("reviews")
        good = pod.adapters.pop()
        key = blob_key(file_digest(pod.folder / "reviews-source" / "adapter_model.safetensors"))
        pod.place.put(key, b"\0" * pod.place.objects.size(key))
        pod.add("reviews", good)
    pod.write_set()
    code, _, err = run(pod)
    assert code == 45
    assert "expected" in err


def test_a_missing_artifact_is_named(pod: Pod, run: Run) -> None:
    pod.add("reviews", ArtifactRef(uri=f"{pod.place.uri}/nowhere", digest=D1))
    pod.write_set()
    code, _, err = run(pod)
    assert code == 42
    assert "nowhere holds no files" in err


def test_a_failure_takes_an_earlier_configuration_away(local_pod: Pod, run: Run) -> None:
    local_pod.publish("reviews")
    local_pod.write_set()
    assert run(local_pod)[0] == 0
    local_pod.set_path.unlink()
    assert run(local_pod)[0] == 42


REF = {"uri": "s3://bucket/x", "digest": D1}
NAMED = {**REF, "name": "a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "mount the pod's annotation relora.dev/serving-set"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("{", "not a serving set"),
        ('{"release": "r2"}', "not a serving set: base"),
        (json.dumps({"release": "r", "base": {**REF, "digest": "sha256:1"}, "adapters": []}), "base.digest"),
        (json.dumps({"release": "r", "base": {**REF, "uri": "http://x"}, "adapters": []}), "base.uri"),
        (json.dumps({"release": "r", "base": REF, "adapters": [{**REF, "name": "../a"}]}), "adapters.0.name"),
        (json.dumps({"release": "r", "base": REF, "adapters": [NAMED, NAMED]}), "two adapters"),
        (
            json.dumps({"release": "r", "base": REF, "adapters": [NAMED, {**REF, "name": "a--11111111"}]}),
            "two adapters that would be served as a--11111111",
        ),
        ("x" * 200_000, "more than 131072 bytes"),
    ],
)
def test_no_set_or_a_bad_one_ends_with_42(local_pod: Pod, run: Run, text: str | None, message: str) -> None:
    if text is not None:
        local_pod.set_path.write_text(text)
    code, _, err = run(local_pod)
    assert code == 42
    assert message in err


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "has no adapter_config.json"),
        (b"[]", "not a JSON object"),
        (adapter_config(peft_type="IA3"), "peft_type"),
        (adapter_config(r=0), "r in adapter_config.json"),
        (adapter_config(r="8"), "r in adapter_config.json"),
        (adapter_config(r=True), "r in adapter_config.json"),
        (adapter_config(r=1024), "r in adapter_config.json"),
        (adapter_config(rank_pattern=[1]), "rank_pattern"),
    ],
)
def test_a_source_adapter_must_be_a_lora(local_pod: Pod, run: Run, config: bytes | None, message: str) -> None:
    source = write_adapter(local_pod.folder / "old")
    (source / "adapter_config.json").unlink()
    if config is not None:
        (source / "adapter_config.json").write_bytes(config)
    local_pod.add("old", local_pod.upload(source, "adapters/old"))
    local_pod.write_set()
    code, _, err = run(local_pod)
    assert code == 45
    assert message in err


def test_an_adapter_without_weights_is_refused(local_pod: Pod, run: Run) -> None:
    source = write_adapter(local_pod.folder / "old")
    (source / "adapter_model.safetensors").unlink()
    local_pod.add("old", local_pod.upload(source, "adapters/old"))
    local_pod.write_set()
    assert "has no adapter_model.safetensors" in run(local_pod)[2]


def test_a_library_to_import_is_left_out_of_the_configuration(local_pod: Pod, run: Run) -> None:
    source = write_adapter(local_pod.folder / "old")
    (source / "adapter_config.json").write_bytes(adapter_config(auto_mapping={"parent_library": "os"}))
    local_pod.add("old", local_pod.upload(source, "adapters/old"))
    local_pod.write_set()
    assert run(local_pod)[0] == 0
    assert "parent_library" not in (local_pod.output / "adapters" / "old" / "adapter_config.json").read_text()


def test_a_second_pod_of_the_node_needs_no_store(local_pod: Pod, run: Run) -> None:
    local_pod.publish("reviews")
    local_pod.write_set()
    cache = str(local_pod.folder / "cache")
    assert run(local_pod, "--cache", cache)[0] == 0
    (local_pod.folder / "store" / "blobs").rename(local_pod.folder / "blobs")
    (local_pod.folder / "store" / "bases").rename(local_pod.folder / "bases")
    local_pod.output = local_pod.folder / "second"
    code, out, err = run(local_pod, "--cache", cache)
    assert code == 0, err
    assert "base: complete" in out


@pytest.mark.integration
def test_credentials_by_prefix(gateway: Gateway, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "wrong")
    pod = Pod(Place("s3://relora-tests/by-prefix", gateway.filesystems), tmp_path)
    pod.publish("reviews")
    pod.write_set()
    endpoint = ("--endpoint", gateway.endpoint)
    assert run(pod, *endpoint, "--credentials", f"s3://relora-tests/={gateway.secret}")[0] == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", gateway.endpoint)
    pod.output = tmp_path / "other"
    code, _, err = run(pod, "--credentials", f"s3://other/={gateway.secret}")
    assert code == 42
    assert "refuses the credentials" in err


@pytest.mark.parametrize("text", ["s3://x", "x=/y", "s3://x=relative", ""])
def test_malformed_credentials_are_told(local_pod: Pod, run: Run, text: str) -> None:
    local_pod.write_set()
    code, _, err = run(local_pod, "--credentials", text)
    assert code == 42
    assert "--credentials" in err


@pytest.mark.parametrize(("rank", "expected"), [(1, 1), (2, 8), (8, 8), (9, 16), (64, 64), (129, 256), (512, 512)])
def test_the_rank_is_one_that_vllm_accepts(rank: int, expected: int) -> None:
    adapter = LoadedAdapter("a", D1, "/relora/adapters/a", 4, ())
    config = yaml.safe_load(vllm_config("/relora/base", [adapter, replace(adapter, name="b", rank=rank)]))
    assert config["max-lora-rank"] == max(expected, 8)


def test_slots_are_bounded() -> None:
    adapters = [LoadedAdapter(f"a{number}", D1, f"/relora/adapters/a{number}", 4, ()) for number in range(256)]
    config = yaml.safe_load(vllm_config("/relora/base", adapters))
    assert (config["max-loras"], config["max-cpu-loras"], len(config["lora-modules"])) == (8, 32, 512)


def test_paths_with_quotes_stay_one_argument() -> None:
    config = yaml.safe_load(vllm_config("/it's/base", [LoadedAdapter("a", D1, "/it's/a", 4, ())]))
    assert config["model"] == "/it's/base"
    assert json.loads(config["lora-modules"][0]) == {"name": "a", "path": "/it's/a"}


def test_progress_is_a_line_every_few_seconds() -> None:
    lines: list[str] = []
    now = [0.0]
    progress = LineProgress("base", lines.append, lambda: now[0])
    progress.begin(2, 100 * 1024**2)
    for _ in range(10):
        now[0] += 1
        progress.advance(5 * 1024**2)
    progress.done("model.safetensors", 99 * 1024**2, 10.0, "downloaded")
    progress.done("config.json", 1024**2, 0.1, "downloaded")
    assert lines == [
        "base: 2 files, 100 MiB",
        "base: 25 MiB of 100 MiB (25 %), 5 s",
        "base: 50 MiB of 100 MiB (50 %), 10 s",
        "base: model.safetensors downloaded, 99 MiB in 10.0 s",
        "base: complete, 100 MiB in 10.0 s",
    ]
