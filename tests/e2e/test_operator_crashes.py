"""The operator may die at any moment; another one carries on where it was."""

import pytest

from e2e.clusterapi import Json, Ref
from e2e.world import ALL_STEPS, STEPS, Stage
from relora_contract.digests import hex_part

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("crashes")
def test_killed_operator_changes_no_result(stage: Stage) -> None:
    namespace = stage.add_namespace()
    stage.apply_first_release()
    server = stage.apply_server(namespace)
    binding = stage.apply_binding(
        "classifier",
        namespace,
        work=stage.world.shelf.kind,
        readaptation=ALL_STEPS,
        server=(namespace, server.name),
    )
    stage.await_served(server, stage.r1, 1)

    # A base of its own: deltas are found again by what they are made of.
    release = stage.apply_release(stage.r2, stage.world.shelf.base_r2_again, supersedes=stage.r1)
    stage.wait("the delta's pod", lambda: _delta_runs(stage, release))
    stage.world.operator.kill_leader(stage.api)
    stage.await_container(namespace, "readaptation", "port", "running")
    stage.world.operator.kill_leader(stage.api)
    stage.await_container(namespace, "readaptation", "fuse", "running")
    stage.world.operator.kill_leader(stage.api)
    stage.wait("the new set", lambda: stage.r2 in {each for each, _ in stage.sets(namespace)} or None)
    stage.world.operator.kill_leader(stage.api)

    stage.await_condition(release, "Complete", "True")
    thing = stage.await_finished(binding, len(STEPS))
    stage.await_served(server, stage.r2, 1)

    candidate = thing["status"]["candidate"]
    assert candidate["attempt"] == 1
    assert [(step["name"], step["outcome"]) for step in candidate["steps"]] == [(step, "Succeeded") for step in STEPS]
    [job] = stage.jobs_ever(namespace, "readaptation")
    assert job["metadata"]["name"] == candidate["jobRef"]["name"]
    assert len(_deltas(stage, release)) == 1
    # A container tells of the last step, and its pod ends a little later.
    stage.wait("the pod's end", lambda: _phases_of_jobs(stage, namespace) == ["Succeeded"] or None)
    reports = stage.world.bucket.reports(stage.store_uri(namespace))
    assert sorted(reports) == sorted(f"{hex_part(candidate['requestDigest'])}/{step}" for step in STEPS)
    first, *later = [each for each, _ in stage.sets(namespace)]
    assert (first, set(later)) == (stage.r1, {stage.r2})


def _phases_of_jobs(stage: Stage, namespace: str) -> list[str]:
    return [pod["status"]["phase"] for pod in stage.pods_of_jobs(namespace)]


def _delta_runs(stage: Stage, release: Ref) -> bool | None:
    jobs = {job["metadata"]["name"] for job in _deltas(stage, release)}
    pods = stage.world.chronicle.alive("Pod", stage.world.operator.namespace)
    owners = [owner["name"] for pod in pods for owner in pod["metadata"].get("ownerReferences", [])]
    return not jobs.isdisjoint(owners) or None


def _deltas(stage: Stage, release: Ref) -> list[Json]:
    return [
        job
        for job in stage.jobs_ever(stage.world.operator.namespace, "delta")
        if job["metadata"]["labels"]["relora.dev/release"] == release.name
    ]
