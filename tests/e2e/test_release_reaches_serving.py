"""A release is applied, and a served adapter changes."""

import pytest

from e2e import facts
from e2e.clusterapi import Json, Ref
from e2e.world import RELORA, STEPS, WORKLOAD, Stage
from relora_contract.digests import hex_part
from relora_contract.names import audit_name

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("reaching")
def test_release_carries_an_adapter_into_serving(stage: Stage) -> None:
    namespace = stage.add_namespace()
    first = stage.apply_first_release()
    server = stage.apply_server(namespace)
    binding = stage.apply_binding(
        "classifier", namespace, work=stage.world.shelf.kind, readaptation=RELORA, server=(namespace, server.name)
    )
    stage.await_served(server, stage.r1, 1)
    seated = stage.await_condition(binding, "Ready", "True")
    assert seated["status"]["current"]["adapter"] == stage.world.shelf.kind.adapter.to_json()

    release = stage.apply_second_release()
    stage.await_condition(release, "Complete", "True")
    stage.await_finished(binding, len(STEPS))
    stage.await_settled(server, binding)
    stage.await_served(server, stage.r2, 1)

    _release_tells_its_progress(stage, first, release)
    _binding_is_on_the_new_base(stage, binding)
    _every_step_reported_once(stage, binding)
    _delta_is_stored(stage, release)
    _set_was_rolled_out(stage, binding, server)
    _kubectl_prints_what_people_want(stage, namespace)
    _no_secret_left_the_secrets(stage, namespace)


def _release_tells_its_progress(stage: Stage, first: Ref, release: Ref) -> None:
    for ref in (first, release):
        assert facts.condition(stage.current(ref), "Accepted") == ("True", "Accepted")
    status = stage.current(release)["status"]
    assert facts.condition(stage.current(release), "Ready") is not None
    assert status["bindings"]["eligible"] == 1
    assert status["bindings"]["promoted"] == 1
    assert status["startTime"] <= status["completionTime"]


def _binding_is_on_the_new_base(stage: Stage, binding: Ref) -> None:
    thing = stage.await_condition(binding, "UpToDate", "True")
    for kind in ("Ready", "Adapted", "Evaluated"):
        found = facts.condition(thing, kind)
        assert found is not None
        assert found[0] == "True", kind
    current = thing["status"]["current"]
    assert current["releaseName"] == stage.r2
    assert current["base"]["digest"] == stage.world.shelf.base_r2.digest
    assert current["quality"][0]["metric"] == "Accuracy"
    assert current["timeToReadinessSeconds"] > 0
    steps = thing["status"]["candidate"]["steps"]
    assert tuple(step["name"] for step in steps) == STEPS
    assert (steps[0]["outcome"], steps[0]["verdict"]) == ("Succeeded", "Failed")
    passed = next(step for step in steps if step.get("verdict") == "Passed")
    assert passed["adapterDigest"] == current["adapter"]["digest"]
    assert float(passed["quality"][0]["value"]) >= 0.9 > float(steps[0]["quality"][0]["value"])
    after = steps[steps.index(passed) + 1 :]
    assert {step["outcome"] for step in after} <= {"Skipped"}
    manifest = stage.world.bucket.manifest(stage.store_uri(binding.namespace), current["adapter"]["digest"])
    assert manifest["kind"] == "Adapter"
    assert manifest["provenance"]["targetBaseDigest"] == stage.world.shelf.base_r2.digest
    assert set(manifest["files"]) >= {"adapter_config.json", "adapter_model.safetensors"}
    assert manifest["fingerprints"]


def _every_step_reported_once(stage: Stage, binding: Ref) -> None:
    candidate = stage.current(binding)["status"]["candidate"]
    reports = stage.world.bucket.reports(stage.store_uri(binding.namespace))
    ran = [step["name"] for step in candidate["steps"] if step["outcome"] == "Succeeded"]
    assert sorted(reports) == sorted(f"{hex_part(candidate['requestDigest'])}/{step}" for step in ran)
    [job] = stage.jobs_ever(binding.namespace, "readaptation")
    assert job["metadata"]["name"] == candidate["jobRef"]["name"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == stage.current(binding)["metadata"]["uid"]
    assert not stage.jobs_ever(binding.namespace, "report")


def _delta_is_stored(stage: Stage, release: Ref) -> None:
    [delta] = stage.current(release)["status"]["deltas"]
    assert delta["sourceReleaseName"] == stage.r1
    assert stage.world.bucket.manifest("s3://models/deltas", delta["digest"])["kind"] == "Delta"


def _set_was_rolled_out(stage: Stage, binding: Ref, server: Ref) -> None:
    workload = Ref("Deployment", server.namespace, WORKLOAD)
    sets = facts.sets_over_time(stage.world.chronicle.history(workload))
    assert sets[0].release == stage.r1
    assert {each.release for each in sets[1:]} == {stage.r2}
    status = stage.current(server)["status"]
    assert status["current"]["setDigest"] == sets[-1].digest
    assert status["previous"]["setDigest"] == sets[-2].digest
    [adapter] = sets[-1].adapters
    assert adapter.digest == stage.current(binding)["status"]["current"]["adapter"]["digest"]
    _pods_hold_that_set(stage, server.namespace, adapter.name, adapter.digest)


def _pods_hold_that_set(stage: Stage, namespace: str, name: str, digest: str) -> None:
    files = stage.world.bucket.manifest(stage.store_uri(namespace), digest)["files"]
    weights = hex_part(files["adapter_model.safetensors"]["digest"])
    [answer] = stage.served_by_pods(namespace)
    assert answer["release"] == stage.r2
    assert answer["base"]
    assert answer["adapters"][name] == weights
    assert audit_name(name, digest)


def _kubectl_prints_what_people_want(stage: Stage, namespace: str) -> None:
    def table(kind: str, name: str, *where: str) -> dict[str, str]:
        header, row = (line.split() for line in stage.world.kubectl("get", kind, name, *where).splitlines())
        return dict(zip(header, row, strict=True))

    release = table("bmr", stage.r2)
    assert (release["MODEL"], release["COMPLETE"], release["ELIGIBLE"], release["PROMOTED"]) == (
        *(stage.model, "True", "1", "1"),
    )
    binding = table("adb", "classifier", "-n", namespace)
    assert (binding["READY"], binding["UPTODATE"], binding["RELEASE"]) == ("True", "True", stage.r2)
    assert 0 <= float(binding["QUALITY"]) <= 1
    server = table("ads", "server", "-n", namespace)
    assert (server["READY"], server["RELEASE"], server["ADAPTERS"]) == ("True", stage.r2, "1")


def _no_secret_left_the_secrets(stage: Stage, namespace: str) -> None:
    secret = stage.world.credentials.secret_key
    seen: list[Json] = []
    for kind in ("AdapterBinding", "AdapterServer", "Deployment", "Event", "Job", "Pod"):
        seen += [version.object for version in stage.world.chronicle.versions(kind, namespace)]
    seen += stage.world.bucket.reports(stage.store_uri(namespace)).values()
    assert seen
    assert not any(secret in facts.text(each) for each in seen)
