from typing import Any

import pytest

from controller.world import World, binding, deployment
from relora_contract.wellknown import ANNOTATION_SERVING_SET, API_VERSION
from relora_operator.core.actions import Key
from relora_operator.kube.resources import BINDINGS, DEPLOYMENTS, JOBS, NAMESPACES, PODS, PROFILES, RELEASES, SERVERS
from relora_operator.loop.intake import OWN_STATUS_PAUSE_SECONDS
from relora_operator.loop.queue import BINDING_PAUSE_SECONDS, LEAST_PAUSE_SECONDS, PROGRESS_PAUSE_SECONDS
from samples import kinds
from samples.kinds import digest

R1, R2 = (Key("BaseModelRelease", "", f"tiny-{name}") for name in ("r1", "r2"))
ONE, TWO = (Key("AdapterBinding", "team", name) for name in ("one", "two"))
SERVER = Key("AdapterServer", "serving", "vllm")
ALL = {R1, R2, ONE, TWO, SERVER}
ADAPTER = {"uri": "s3://adapters/one", "digest": digest("adapter of one")}
CANDIDATE: dict[str, Any] = {
    **{name: digest(name) for name in ("requestDigest", "gatesDigest", "image")},
    "releaseName": "tiny-r2",
    "base": ADAPTER,
}
TOLD = {"type": "UpToDate", "status": "False", "reason": "Queued", "lastTransitionTime": "2026-11-01T10:00:00Z"}


def release_status(**status: object) -> dict[str, Any]:
    return {**kinds.release("tiny-r2"), "status": status}


def accepted(status: str) -> dict[str, str]:
    return {"type": "Accepted", "status": status, "reason": "Accepted", "lastTransitionTime": "2026-11-01T10:00:00Z"}


async def test_a_new_release_concerns_the_whole_family(world: World) -> None:
    world.fill()

    assert await world.queued() == ALL


async def test_counters_of_a_release_concern_nobody_else(world: World) -> None:
    world.fill()
    world.put(RELEASES, release_status(conditions=[accepted("True")]), version=2)
    await world.settle()

    counted = release_status(conditions=[accepted("True")], bindings={"eligible": 2, "running": 1})
    world.put(RELEASES, counted, version=3)

    assert await world.queued() == {R2}


async def test_a_condition_or_a_delta_of_a_release_concerns_those_who_wait_for_it(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(RELEASES, release_status(conditions=[accepted("True")]), version=2)

    assert await world.queued() == ALL


async def test_what_follows_from_the_counts_of_a_release_concerns_nobody_else(world: World) -> None:
    world.fill()
    await world.settle()

    told = {**accepted("True"), "type": "Complete", "reason": "AllPromoted"}
    world.put(RELEASES, release_status(conditions=[told]), version=2)

    assert await world.queued() == {R2}


async def test_a_bindings_status_concerns_its_release_and_server_but_not_its_neighbours(world: World) -> None:
    world.fill()
    await world.settle()

    document = {**binding("one"), "status": {"observedGeneration": 1}}
    world.put(BINDINGS, document, version=2)

    assert await world.queued() == {ONE, R1, R2, SERVER}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({"conditions": [TOLD]}, False),
        ({"conditions": [TOLD | {"reason": "GateFailed"}]}, True),
        ({"conditions": [TOLD | {"reason": "ServerBlocked"}], "candidate": CANDIDATE | {"adapter": ADAPTER}}, False),
    ],
)
async def test_a_binding_that_keeps_its_server_back_for_good_concerns_its_neighbours(
    world: World, *, status: dict[str, Any], told: bool
) -> None:
    world.fill()
    await world.settle()

    world.put(BINDINGS, {**binding("one"), "status": status}, version=2)

    assert (TWO in await world.queued()) is told


async def test_a_bindings_spec_concerns_its_neighbours_on_the_server(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(BINDINGS, binding("one", servedName="two"), version=2)

    assert TWO in await world.queued()


async def test_a_binding_that_changes_its_server_concerns_the_old_and_the_new(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(BINDINGS, binding("one", serverRef={"name": "other"}), version=2)

    assert {SERVER, Key("AdapterServer", "team", "other")} <= await world.queued()


async def test_a_deleted_binding_concerns_its_server(world: World) -> None:
    world.fill()
    await world.settle()

    world.intake.missing(BINDINGS, "team", "one", "uid-one", 9)

    assert {SERVER, TWO, R2} <= await world.queued()


async def test_a_profile_concerns_the_releases_that_name_it_and_their_bindings(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(PROFILES, kinds.profile(serviceAccountName="other"), version=2)

    assert await world.queued() == {R1, R2, ONE, TWO}


async def test_labels_of_a_namespace_concern_what_lives_there(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(NAMESPACES, {"metadata": {"name": "team", "labels": {}}}, version=2)

    assert await world.queued() == {ONE, TWO, SERVER, R1, R2}


async def test_anything_else_about_a_namespace_concerns_nobody(world: World) -> None:
    world.fill()
    await world.settle()

    labels = {"relora.dev/admitted": "true"}
    world.put(NAMESPACES, {"metadata": {"name": "team", "labels": labels, "annotations": {"a": "b"}}}, version=2)

    assert await world.queued() == set()


def with_set(document: dict[str, Any]) -> dict[str, Any]:
    document["spec"]["template"]["metadata"]["annotations"] = {ANNOTATION_SERVING_SET: "{}"}
    return document


async def test_progress_of_a_workload_concerns_its_server_and_another_set_the_members_too(world: World) -> None:
    world.fill()
    world.put(DEPLOYMENTS, deployment(available=0), version=2)
    await world.settle()

    world.put(DEPLOYMENTS, deployment(available=2), version=3)
    assert await world.queued() == {SERVER}

    world.put(DEPLOYMENTS, with_set(deployment(available=2)), version=4)
    assert await world.queued() == {SERVER, ONE, TWO}


async def test_progress_of_a_fallback_workload_concerns_its_server_and_another_set_the_members_too(
    world: World,
) -> None:
    world.fill()
    world.put(DEPLOYMENTS, deployment("old", available=0), version=2)
    await world.settle()

    world.put(DEPLOYMENTS, deployment("old", available=2), version=3)
    assert await world.queued() == {SERVER}

    world.put(DEPLOYMENTS, with_set(deployment("old", available=2)), version=4)
    assert await world.queued() == {SERVER, ONE, TWO}


async def test_a_second_server_on_one_target_concerns_the_first(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(SERVERS, kinds.server("rival", "serving"))

    assert {SERVER, Key("AdapterServer", "serving", "rival"), R1, R2} == await world.queued()


async def test_labels_of_a_server_concern_the_releases_that_choose_canaries_by_them(world: World) -> None:
    world.fill()
    await world.settle()

    labelled = kinds.server("vllm", "serving")
    labelled["metadata"]["labels"] = {"canary": "yes"}
    world.put(SERVERS, labelled, version=2)

    assert await world.queued() == ALL


async def test_canaries_that_passed_concern_those_who_wait_for_them_and_their_number_nobody(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(RELEASES, release_status(canaries={"matched": 2, "promoted": 1}), version=2)
    assert await world.queued() == {R2}

    passed = {"matched": 2, "promoted": 2, "passedTime": "2026-11-01T10:00:00Z"}
    world.put(RELEASES, release_status(canaries=passed), version=3)
    assert await world.queued() == ALL


def job(owner_kind: str, owner: str, namespace: str) -> dict[str, Any]:
    reference = {"apiVersion": API_VERSION, "kind": owner_kind, "name": owner, "uid": "o", "controller": True}
    return {"metadata": {"name": "j", "namespace": namespace, "ownerReferences": [reference]}, "spec": {}}


async def test_a_job_and_its_pods_concern_the_owner_of_the_job(world: World) -> None:
    world.fill()
    await world.settle()
    world.put(JOBS, job("AdapterBinding", "one", "team"), uid="job-uid")
    assert await world.queued() == {ONE}

    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job-uid", "controller": True}
    pod = {"metadata": {"name": "p", "namespace": "team", "ownerReferences": [reference]}, "spec": {}}
    world.put(PODS, pod)

    assert await world.queued() == {ONE}


async def test_a_delta_job_concerns_its_release(world: World) -> None:
    world.fill()
    await world.settle()

    world.put(JOBS, job("BaseModelRelease", "tiny-r2", "relora-system"))

    assert await world.queued() == {R2}


async def test_blockers_of_a_server_concern_no_member(world: World) -> None:
    world.fill()
    await world.settle()

    blockers = [{"namespace": "team", "name": "one", "reason": "Running"}]
    world.put(SERVERS, {**kinds.server("vllm", "serving"), "status": {"blockers": blockers}}, version=2)

    assert await world.queued() == {SERVER}


async def test_a_promoted_set_concerns_every_member(world: World) -> None:
    world.fill()
    await world.settle()

    current = {"releaseName": "tiny-r1", "setDigest": kinds.digest("set"), "adapters": 2}
    world.put(SERVERS, {**kinds.server("vllm", "serving"), "status": {"current": current}}, version=2)

    assert await world.queued() == {SERVER, ONE, TWO}


@pytest.mark.parametrize(
    ("status", "soon"),
    [
        ({"conditions": [TOLD]}, False),
        ({"candidate": CANDIDATE | {"jobRef": {"name": "one-1"}}}, False),
        ({"candidate": CANDIDATE | {"adapter": ADAPTER}}, True),
        ({"candidate": CANDIDATE | {"reason": "GateFailed"}}, True),
        ({"current": {"releaseName": "tiny-r2", "base": ADAPTER, "adapter": ADAPTER}}, True),
    ],
)
async def test_how_far_a_binding_is_reaches_its_server_later_than_what_it_decides_by(
    world: World, *, status: dict[str, Any], soon: bool
) -> None:
    world.fill()
    world.put(BINDINGS, {**binding("one"), "status": {"candidate": CANDIDATE}}, version=2)
    await world.settle()

    world.put(BINDINGS, {**binding("one"), "status": {"candidate": CANDIDATE} | status}, version=3)
    assert (SERVER in await within(world, LEAST_PAUSE_SECONDS)) is soon
    assert soon or SERVER in await world.queued()


CURRENT = {"releaseName": "tiny-r1", "setDigest": digest("set"), "adapters": 2}
NEXT = CURRENT | {"releaseName": "tiny-r2", "state": "RollingOut", "startTime": "2026-11-01T10:00:00Z"}
BLOCKERS = [{"namespace": "team", "name": "one", "reason": "Running"}]
NEXT_RELEASE = {"releaseName": "tiny-r2", "startTime": "2026-11-01T10:00:00Z"}


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        ({"blockers": BLOCKERS, "conditions": [TOLD]}, PROGRESS_PAUSE_SECONDS),
        ({"current": CURRENT}, OWN_STATUS_PAUSE_SECONDS),
        ({"candidate": NEXT}, OWN_STATUS_PAUSE_SECONDS),
        ({"next": NEXT_RELEASE}, OWN_STATUS_PAUSE_SECONDS),
    ],
)
async def test_a_server_gathers_news_before_it_is_looked_at_after_its_own_status(
    world: World, *, status: dict[str, Any], seconds: float
) -> None:
    world.fill()
    await world.settle()

    world.put(SERVERS, {**kinds.server("vllm", "serving"), "status": status}, version=2)

    assert SERVER not in await within(world, seconds - 0.1)
    assert SERVER in await within(world, 0.1)


@pytest.mark.parametrize(
    ("status", "seconds"),
    [
        ({"bindings": {"eligible": 2, "running": 1}}, PROGRESS_PAUSE_SECONDS),
        ({"conditions": [TOLD | {"type": "Complete"}]}, PROGRESS_PAUSE_SECONDS),
        ({"conditions": [TOLD | {"type": "Ready"}]}, OWN_STATUS_PAUSE_SECONDS),
        ({"startTime": "2026-11-01T10:00:00Z"}, OWN_STATUS_PAUSE_SECONDS),
        ({"canaries": {"matched": 2, "promoted": 1}}, OWN_STATUS_PAUSE_SECONDS),
    ],
)
async def test_a_release_gathers_news_before_it_is_looked_at_after_its_own_status(
    world: World, *, status: dict[str, Any], seconds: float
) -> None:
    world.fill()
    await world.settle()

    world.put(RELEASES, release_status(**status), version=2)

    assert R2 not in await within(world, seconds - 0.1)
    assert R2 in await within(world, 0.1)


@pytest.mark.parametrize(
    "metadata",
    [
        {"labels": {"a": "b"}},
        {"annotations": {"relora.dev/retry-requested-at": "2026-11-01T10:00:00Z"}},
        {"deletionTimestamp": "2026-11-01T10:00:00Z"},
        {"generation": 7},
    ],
)
async def test_what_somebody_wants_of_a_server_is_looked_at_at_once(world: World, metadata: dict[str, Any]) -> None:
    world.fill()
    await world.settle()
    document = {**kinds.server("vllm", "serving"), "status": {"blockers": BLOCKERS}}
    document["metadata"] |= metadata

    world.put(SERVERS, document, version=2)

    assert SERVER in await within(world, 0)


@pytest.mark.parametrize(("status", "soon"), [({"current": CURRENT}, True), ({"candidate": NEXT}, False)])
async def test_that_a_roll_out_has_begun_reaches_the_members_later_than_its_end(
    world: World, *, status: dict[str, Any], soon: bool
) -> None:
    world.fill()
    await world.settle()

    world.put(SERVERS, {**kinds.server("vllm", "serving"), "status": status}, version=2)

    assert ({ONE, TWO} <= await within(world, BINDING_PAUSE_SECONDS)) is soon
    assert soon or {ONE, TWO} <= await within(world, PROGRESS_PAUSE_SECONDS)


@pytest.mark.parametrize("consent", [True, False])
async def test_another_set_of_a_workload_reaches_the_members_later_than_another_owner(
    world: World, *, consent: bool
) -> None:
    world.fill()
    await world.settle()
    document = deployment(available=2)
    if consent:
        world.put(DEPLOYMENTS, with_set(document), version=2)
    else:
        world.put(DEPLOYMENTS, {**document, "metadata": document["metadata"] | CONTROLLED}, version=2)

    assert ({ONE, TWO} <= await within(world, BINDING_PAUSE_SECONDS)) is not consent
    assert not consent or {ONE, TWO} <= await within(world, PROGRESS_PAUSE_SECONDS)


CONTROLLED: dict[str, Any] = {
    "ownerReferences": [{"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "o", "controller": True}]
}


async def within(world: World, seconds: float) -> set[Key]:
    """Let time pass, and take what is due then."""
    world.seconds[0] += seconds
    world.queue._move_due()
    return {await take(world) for _ in range(len(world.queue))}


async def take(world: World) -> Key:
    key, _ = await world.queue.take()
    world.queue.done(key)
    return key
