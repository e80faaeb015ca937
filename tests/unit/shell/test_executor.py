from datetime import UTC, datetime
from typing import Any

import pytest

from controller.world import World
from relora_contract.api.binding import AdapterBindingStatus
from relora_contract.wellknown import API_VERSION
from relora_operator.core.actions import (
    ApplyServingSet,
    CreateJob,
    DeleteJob,
    EmitEvent,
    GrantSlots,
    Key,
    Plan,
    SetJobTtl,
    WriteStatus,
)
from relora_operator.kube.errors import AlreadyExistsError, ConflictError, ForbiddenError, NotFoundError, TemporaryError
from relora_operator.kube.events import EventRecorder
from relora_operator.kube.resources import JOBS
from relora_operator.loop.execute import Executor
from relora_operator.loop.grants import Grants
from relora_operator.loop.refusals import RefusalMemory
from relora_operator.loop.unapplied import UnappliedSets

NOW = datetime(2026, 11, 1, 10, tzinfo=UTC)
ONE = Key("AdapterBinding", "team", "one")
JOBS_PATH = "/apis/batch/v1/namespaces/team/jobs"
STATUS_PATH = "/apis/relora.dev/v1alpha1/namespaces/team/adapterbindings/one/status"


@pytest.fixture
def executor(world: World) -> Executor:
    world.fill()
    events = EventRecorder(world.client, instance="one", now=lambda: NOW)
    return Executor(
        state=world.state,
        client=world.client,
        intake=world.intake,
        queue=world.queue,
        grants=Grants(),
        refusals=RefusalMemory(lambda: NOW),
        unapplied=UnappliedSets(),
        events=events,
    )


def manifest(owner_uid: str = "uid-one") -> dict[str, Any]:
    owner = {"apiVersion": API_VERSION, "kind": "AdapterBinding", "name": "one", "uid": owner_uid, "controller": True}
    return {"metadata": {"name": "one-1", "namespace": "team", "ownerReferences": [owner]}, "spec": {}}


CREATE = CreateJob(owner=ONE, namespace="team", name="one-1", manifest=manifest())
STATUS = WriteStatus(key=ONE, resource_version="1", status=AdapterBindingStatus(observed_generation=1))


async def test_a_created_job_is_known_before_any_watch_tells_of_it(executor: Executor, world: World) -> None:
    assert await executor.execute(Plan(actions=(CREATE,))) == 1

    assert [job.view.name for job in world.state.jobs.find("owner", ONE)] == ["one-1"]


async def test_a_job_that_exists_already_and_is_ours_is_success(executor: Executor, world: World) -> None:
    world.put(JOBS, manifest(), uid="earlier")
    world.transport.failures["POST", JOBS_PATH] = AlreadyExistsError("there is one")

    assert await executor.execute(Plan(actions=(CREATE,))) == 0


async def test_a_job_of_that_name_with_another_owner_is_not_taken_for_ours(executor: Executor, world: World) -> None:
    world.put(JOBS, manifest("uid-of-a-predecessor"), uid="earlier")
    world.transport.failures["POST", JOBS_PATH] = AlreadyExistsError("there is one")

    with pytest.raises(ConflictError, match="belongs to another object"):
        await executor.execute(Plan(actions=(CREATE,)))


async def test_a_deletion_names_the_job_that_was_seen(executor: Executor, world: World) -> None:
    world.put(JOBS, manifest(), uid="u", version=7)

    await executor.execute(Plan(actions=(DeleteJob(namespace="team", name="one-1", uid="u", resource_version="7"),)))

    (sent,) = [sent for sent in world.transport.sent if sent.verb == "DELETE"]
    assert sent.body is not None
    assert sent.body["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert sent.body["propagationPolicy"] == "Foreground"


async def test_a_job_that_is_gone_already_is_forgotten(executor: Executor, world: World) -> None:
    world.put(JOBS, manifest(), uid="u", version=7)
    world.transport.failures["DELETE", f"{JOBS_PATH}/one-1"] = NotFoundError("gone")
    delete = DeleteJob(namespace="team", name="one-1", uid="u", resource_version="7")

    assert await executor.execute(Plan(actions=(delete,))) == 0
    assert world.state.jobs.find("owner", ONE) == ()


async def test_the_time_to_live_is_set_on_the_very_job(executor: Executor, world: World) -> None:
    world.put(JOBS, manifest(), uid="u")

    await executor.execute(Plan(actions=(SetJobTtl(namespace="team", name="one-1", uid="u", seconds=3600),)))

    assert world.transport.sent[-1].body == {"metadata": {"uid": "u"}, "spec": {"ttlSecondsAfterFinished": 3600}}


async def test_a_set_that_did_not_reach_its_workload_is_remembered_until_one_does(
    executor: Executor, world: World
) -> None:
    path, target = "/apis/apps/v1/namespaces/serving/deployments/vllm", ("serving", "vllm")
    apply = ApplyServingSet(namespace=target[0], name=target[1], resource_version="5", serving_set="{}", digest="d")
    world.transport.failures["PATCH", path] = TemporaryError("the webhook is away", status=500)

    with pytest.raises(TemporaryError):
        await executor.execute(Plan(actions=(apply,)))
    assert executor.unapplied.of(target) == "d"

    world.transport.failures.clear()
    await executor.execute(Plan(actions=(apply,)))
    assert executor.unapplied.of(target) is None


async def test_a_serving_set_is_two_annotations_applied_without_force(executor: Executor, world: World) -> None:
    apply = ApplyServingSet(namespace="serving", name="vllm", resource_version="5", serving_set="{}", digest="sha256:d")
    world.transport.objects["/apis/apps/v1/namespaces/serving/deployments/vllm"] = {
        "metadata": {"name": "vllm", "namespace": "serving"}
    }

    await executor.execute(Plan(actions=(apply,)))

    sent = world.transport.sent[-1]
    assert (sent.verb, sent.query) == ("PATCH", {"fieldManager": "relora-operator", "force": "false"})
    assert sent.body == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vllm", "namespace": "serving", "resourceVersion": "5"},
        "spec": {
            "template": {
                "metadata": {
                    "annotations": {"relora.dev/serving-set": "{}", "relora.dev/serving-set-digest": "sha256:d"}
                }
            }
        },
    }


async def test_a_status_is_written_whole_and_only_over_the_version_that_was_read(
    executor: Executor, world: World
) -> None:
    assert await executor.execute(Plan(actions=(STATUS,))) == 1

    sent = world.transport.sent[-1]
    assert (sent.path, sent.query["force"]) == (STATUS_PATH, "true")
    assert sent.body is not None
    assert sent.body["metadata"] == {"name": "one", "namespace": "team", "resourceVersion": "1"}
    assert sent.body["status"] == {"observedGeneration": 1, "conditions": [], "history": []}


async def test_a_status_that_did_not_change_is_not_written(executor: Executor, world: World) -> None:
    await executor.execute(Plan(actions=(STATUS,)))
    sent = len(world.transport.sent)

    assert await executor.execute(Plan(actions=(STATUS,))) == 0
    assert len(world.transport.sent) == sent


async def test_nothing_follows_an_action_that_failed(executor: Executor, world: World) -> None:
    world.transport.failures["PATCH", STATUS_PATH] = ConflictError("changed")

    with pytest.raises(ConflictError):
        await executor.execute(Plan(actions=(STATUS, CREATE)))

    assert world.transport.writes == [("PATCH", STATUS_PATH)]


async def test_an_event_is_told_once_an_hour(executor: Executor, world: World) -> None:
    event = EmitEvent(key=ONE, type="Normal", reason="Promoted", message="on tiny-r2")

    assert await executor.execute(Plan(actions=(event, event))) == 1

    (sent,) = world.transport.sent
    assert sent.path == "/apis/events.k8s.io/v1/namespaces/team/events"
    assert sent.body is not None
    assert sent.body["regarding"] == {
        "apiVersion": API_VERSION,
        "kind": "AdapterBinding",
        "name": "one",
        "namespace": "team",
        "uid": "uid-one",
    }


@pytest.mark.parametrize("error", [ForbiddenError("no"), TemporaryError("no answer"), AlreadyExistsError("twice")])
async def test_an_event_that_fails_stops_nothing(executor: Executor, world: World, error: Exception) -> None:
    world.transport.failures["POST", "/apis/events.k8s.io/v1/namespaces/team/events"] = error  # type: ignore[assignment] # all are KubeErrors
    event = EmitEvent(key=ONE, type="Normal", reason="Promoted", message="on tiny-r2")

    assert await executor.execute(Plan(actions=(event, CREATE))) == 1


async def test_new_slots_wake_those_who_got_them(executor: Executor, world: World) -> None:
    await world.settle()

    await executor.execute(Plan(actions=(GrantSlots(release="tiny-r2", bindings=frozenset({ONE})),)))
    assert await world.queued() == {ONE}
    assert executor.grants.holds(ONE)
