import json
from datetime import UTC, datetime
from typing import cast

import pytest

from relora_contract.report import StepOutcome, Verdict
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import UnreadableError
from relora_operator.kube.parse_jobs import parse_job, parse_pod
from relora_operator.kube.parse_targets import parse_target

DIGEST = "sha256:" + "d" * 64
NOTIFICATION = json.dumps(
    {"requestDigest": DIGEST, "step": "port", "outcome": "Succeeded", "verdict": "Passed", "artifactDigest": DIGEST}
)


def job(status: JsonObject | None = None, **spec: object) -> JsonObject:
    return cast(
        "JsonObject",
        {
            "metadata": {
                "name": "adapter-dddddddd-2",
                "namespace": "tenant",
                "uid": "job-uid",
                "resourceVersion": "7",
                "creationTimestamp": "2026-11-01T10:00:00Z",
                "labels": {
                    "relora.dev/job-kind": "readaptation",
                    "relora.dev/request": "d" * 63,
                    "relora.dev/gates": "e" * 63,
                    "relora.dev/attempt": "2",
                },
                "ownerReferences": [
                    {"apiVersion": "other/v1", "kind": "Cron", "name": "x", "uid": "other"},
                    {"apiVersion": "relora.dev/v1alpha1", "kind": "AdapterBinding", "name": "adapter", "uid": "owner"},
                ],
            },
            "spec": spec,
            "status": status or {},
        },
    )


def test_a_running_job() -> None:
    record = parse_job(job({"startTime": "2026-11-01T10:00:01Z", "active": 1}, suspend=False))
    assert not record.view.suspended

    assert (record.owner_kind, record.owner_name, record.view.owner_uid) == ("AdapterBinding", "adapter", "owner")
    view = record.view
    assert (view.kind, view.attempt, view.request_digest_prefix) == ("readaptation", 2, "d" * 63)
    assert view.gates_digest_prefix == "e" * 63
    assert view.live
    assert not view.has_ttl
    assert view.started_at == datetime(2026, 11, 1, 10, 0, 1, tzinfo=UTC)


def test_a_failed_job_has_its_reason_and_the_time_of_its_end() -> None:
    condition: JsonObject = {
        "type": "Failed",
        "status": "True",
        "reason": "PodFailurePolicy",
        "lastTransitionTime": "2026-11-01T10:05:00Z",
    }
    view = parse_job(job({"conditions": [condition]}, ttlSecondsAfterFinished=600)).view

    assert (view.failed, view.complete, view.failure_reason) == (True, False, "PodFailurePolicy")
    assert view.finished_at == datetime(2026, 11, 1, 10, 5, tzinfo=UTC)
    assert view.has_ttl


def test_a_condition_that_is_not_true_does_not_count() -> None:
    view = parse_job(job({"conditions": [{"type": "Complete", "status": "False"}]})).view

    assert view.live


def pod(**status: object) -> JsonObject:
    return cast(
        "JsonObject",
        {
            "metadata": {
                "name": "p",
                "namespace": "tenant",
                "uid": "pod-uid",
                "resourceVersion": "8",
                "creationTimestamp": "2026-11-01T10:00:02Z",
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "job-uid", "controller": True}
                ],
            },
            "spec": {
                "initContainers": [{"name": "port"}, {"name": "fuse"}],
                "containers": [{"name": "refine"}],
            },
            "status": status,
        },
    )


def ended(name: str, code: int, message: str) -> dict[str, object]:
    times = {"startedAt": "2026-11-01T10:00:03Z", "finishedAt": "2026-11-01T10:00:09Z"}
    reason = "Completed" if code == 0 else "Error"
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}}


def test_containers_come_in_the_order_in_which_they_run_whatever_the_order_of_their_statuses() -> None:
    record = parse_pod(
        pod(
            phase="Pending",
            initContainerStatuses=[
                {"name": "fuse", "state": {"running": {"startedAt": "2026-11-01T10:00:10Z"}}},
                ended("port", 0, NOTIFICATION),
            ],
        )
    )

    port, fuse, refine = record.view.containers
    assert [port.name, fuse.name, refine.name] == ["port", "fuse", "refine"]
    assert port.notification is not None
    assert (port.notification.outcome, port.notification.verdict) == (StepOutcome.SUCCEEDED, Verdict.PASSED)
    assert (port.exit_code, port.message) == (0, None)
    assert (fuse.exit_code, fuse.started_at) == (None, datetime(2026, 11, 1, 10, 0, 10, tzinfo=UTC))
    assert refine.started_at is None
    assert record.owner_uid == "job-uid"


@pytest.mark.parametrize("message", ["Traceback: …", '{"step": "port"}', "[]", "null"])
def test_a_termination_message_that_is_no_notification_stays_a_message(message: str) -> None:
    port = parse_pod(pod(initContainerStatuses=[ended("port", 1, message)])).view.containers[0]

    assert port.notification is None
    assert (port.exit_code, port.message) == (1, message)


def test_a_pod_that_cannot_be_scheduled_says_why() -> None:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    view = parse_pod(pod(phase="Pending", conditions=[condition])).view

    assert (view.scheduled, view.message, view.disrupted) == (False, "0/1 nodes", False)


def test_an_evicted_pod_is_told_from_a_failed_one() -> None:
    view = parse_pod(pod(phase="Failed", conditions=[{"type": "DisruptionTarget", "status": "True"}])).view

    assert view.disrupted


def test_a_container_that_waits_after_an_end_tells_how_it_ended() -> None:
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    status = {"name": "port", "state": state, "lastState": {"terminated": {"exitCode": 45, "message": "bad digest"}}}
    port = parse_pod(pod(initContainerStatuses=[status])).view.containers[0]

    assert (port.reason, port.message, port.exit_code) == ("CrashLoopBackOff", "exit code 45: bad digest", None)


def deployment(*managed: JsonObject, **status: object) -> JsonObject:
    return cast(
        "JsonObject",
        {
            "metadata": {
                "name": "vllm",
                "namespace": "tenant",
                "uid": "dep-uid",
                "resourceVersion": "9",
                "generation": 3,
                "labels": {"relora.dev/adapter-server": "server"},
                "managedFields": list(managed),
            },
            "spec": {
                "replicas": 2,
                "selector": {
                    "matchLabels": {"app": "vllm"},
                    "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}],
                },
                "template": {
                    "metadata": {"annotations": {"relora.dev/serving-set": "{}", "relora.dev/serving-set-digest": "s"}}
                },
            },
            "status": status,
        },
    )


def annotation_fields(manager: str, annotation: str) -> JsonObject:
    fields: JsonObject = {"f:spec": {"f:template": {"f:metadata": {"f:annotations": {f"f:{annotation}": {}}}}}}
    return {"manager": manager, "operation": "Apply", "fieldsV1": fields}


def test_a_target_with_its_selector_and_its_set() -> None:
    record = parse_target(deployment(observedGeneration=3, replicas=2, updatedReplicas=2, availableReplicas=2))

    assert record.pod_selector == "app=vllm,tier in (a,b)"
    view = record.view
    assert (view.consent, view.serving_set, view.serving_set_digest) == ("server", "{}", "s")
    assert view.rolled_out


@pytest.mark.parametrize(
    "behind",
    [{"observedGeneration": 2}, {"updatedReplicas": 1}, {"availableReplicas": 1}, {"replicas": 3}],
)
def test_a_target_is_not_rolled_out_while_anything_is_behind(behind: dict[str, int]) -> None:
    done = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}

    assert not parse_target(deployment(**(done | behind))).view.rolled_out


def test_other_managers_are_those_of_our_two_annotations_only() -> None:
    managed: list[JsonObject] = [
        annotation_fields("relora-operator", "relora.dev/serving-set"),
        annotation_fields("kubectl-edit", "relora.dev/serving-set-digest"),
        annotation_fields("flux", "prometheus.io/scrape"),
        {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}},
    ]

    assert parse_target(deployment(*managed)).view.other_managers == ("kubectl-edit",)


@pytest.mark.parametrize("parse", [parse_job, parse_pod, parse_target])
def test_an_object_of_another_form_is_unreadable(parse: object) -> None:
    with pytest.raises(UnreadableError, match=r"metadata|spec"):
        cast("type[object]", parse)({"metadata": {"name": 5}, "spec": []})  # type: ignore[call-arg] # any parser
