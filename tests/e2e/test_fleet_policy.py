"""A release moves at the pace and within the failures that the platform team sets, and can be taken back."""

import pytest

from e2e import facts
from e2e.clients import Answer, Client
from e2e.clusterapi import Ref
from e2e.world import MILD_GATES, SERVER, WORKLOAD, Stage

pytestmark = pytest.mark.e2e

CANARY = {"e2e-canary": "true"}
DRAIN_SECONDS = 5
FALLBACK = "engine-old"


@pytest.mark.scenario("canary")
def test_failed_canary_halts_the_release_until_its_failure_is_accepted(stage: Stage) -> None:
    first, rest = stage.add_namespace("first"), stage.add_namespace("rest")
    stage.apply_first_release()
    canary = stage.apply_binding("canary", first, labels=CANARY)
    other = stage.apply_binding("other", rest)
    for ref in (canary, other):
        stage.await_condition(ref, "Ready", "True")

    rollout = {"canary": {"selector": {"matchLabels": CANARY}}}
    weights = stage.world.shelf.base_beyond_repair
    release = stage.apply_release(stage.r2, weights, supersedes=stage.r1, rollout=rollout)
    stage.await_condition(canary, "UpToDate", "False", "GateFailed")
    halted = stage.await_condition(release, "Halted", "True", "CanaryFailed")
    waiting = stage.await_condition(other, "UpToDate", "False", "ReleaseHalted")

    assert facts.condition(halted, "Ready") == ("False", "CanaryFailed")
    assert facts.condition(waiting, "Ready") == ("True", "Promoted")
    assert stage.jobs_ever(rest, "readaptation") == []

    stage.api.merge(release, {"spec": {"rollout": {"failureBudget": {"acceptedFailures": 1}}}})
    stage.await_condition(other, "UpToDate", "False", "GateFailed")
    done = stage.await_condition(release, "Complete", "True", "CompletedWithFailures")

    assert len(stage.jobs_ever(rest, "readaptation")) == 1
    assert done["status"]["canaries"]["passedTime"]
    for ref in (canary, other):
        assert stage.current(ref)["status"]["current"]["releaseName"] == stage.r1


@pytest.mark.scenario("withdrawn")
def test_withdrawn_release_is_left_by_all_servers_without_a_failed_request(stage: Stage) -> None:
    homes = [stage.add_namespace("one"), stage.add_namespace("two")]
    stage.apply_first_release()
    servers = [stage.apply_server(home, drain_seconds=DRAIN_SECONDS) for home in homes]
    bindings = [stage.apply_binding("classifier", server.namespace, server=_seat(server)) for server in servers]
    for server in servers:
        stage.await_served(server, stage.r1, 1)
    before = [stage.sets(home)[-1] for home in homes]
    for home in homes:
        stage.apply_traffic(home, "classifier")
    _await_answers(stage, homes, stage.r1)

    release = stage.apply_second_release()
    for server in servers:
        stage.await_served(server, stage.r2, 1)
    _await_answers(stage, homes, stage.r2)
    stage.api.merge(release, {"spec": {"withdrawn": True}})
    for server in servers:
        stage.await_served(server, stage.r1, 1)
    stage.await_condition(release, "Complete", "True", "Withdrawn")
    _await_answers(stage, homes, stage.r1)

    assert [stage.sets(home)[-1] for home in homes] == before
    for binding, home in zip(bindings, homes, strict=True):
        seated = stage.await_condition(binding, "Ready", "True")
        assert seated["status"]["current"]["adapter"] == stage.world.shelf.mood.adapter.to_json()
        assert [answer["release"] for answer in stage.served_by_pods(home)] == [stage.r1]
        _never_without_a_ready_pod(stage, home)
        _no_request_failed(stage, home)


@pytest.mark.scenario("split")
def test_split_keeps_a_straggler_served_on_the_old_base_throughout(stage: Stage) -> None:
    home = stage.add_namespace()
    stage.apply_first_release()
    stage.apply_workload(FALLBACK, home, consent=SERVER, drain_seconds=DRAIN_SECONDS)
    fallback = {"kind": "Deployment", "name": FALLBACK}
    upgrade = {"stragglers": "Split", "deadlineSeconds": 30, "fallbackTargetRef": fallback}
    server = stage.apply_server(home, drain_seconds=DRAIN_SECONDS, upgrade=upgrade)
    mover = stage.apply_binding("mover", home, server=_seat(server))
    straggler = stage.apply_binding("straggler", home, work=stage.world.shelf.kind, server=_seat(server))
    stage.await_served(server, stage.r1, 2)
    stage.apply_traffic(home, "mover")
    stage.await_answers(home, stage.r1)

    with Client(stage, server, "straggler") as client:
        client.await_answer(Answer(WORKLOAD, stage.r1))
        stage.apply_second_release()
        stage.await_condition(straggler, "UpToDate", "False", "GateFailed")
        split = stage.await_condition(server, "UpToDate", "False", "Split")
        client.await_answer(Answer(FALLBACK, stage.r1))

        assert facts.condition(split, "Ready") == ("True", "Promoted")
        assert stage.await_condition(mover, "UpToDate", "True")["status"]["current"]["releaseName"] == stage.r2
        stayed = stage.await_condition(straggler, "Ready", "True", "Promoted")
        assert stayed["status"]["current"]["releaseName"] == stage.r1
        assert stage.sets(home)[-2:] == [(stage.r1, ["mover", "straggler"]), (stage.r2, ["mover"])]
        assert stage.sets(home, FALLBACK) == [(stage.r1, ["straggler"])]

        stage.apply_binding("straggler", home, work=stage.world.shelf.kind, gates=MILD_GATES, server=_seat(server))
        stage.await_served(server, stage.r2, 2)
        client.await_answer(Answer(WORKLOAD, stage.r2))

    assert client.path == [Answer(WORKLOAD, stage.r1), Answer(FALLBACK, stage.r1), Answer(WORKLOAD, stage.r2)]
    assert stage.sets(home)[-1] == (stage.r2, ["mover", "straggler"])
    assert stage.sets(home, FALLBACK) == [(stage.r1, ["straggler"])]
    stage.await_answers(home, stage.r2)
    assert [request for request in stage.requests(home) if not request["ok"]] == []


def _seat(server: Ref) -> tuple[str, str]:
    return server.namespace, server.name


def _await_answers(stage: Stage, homes: list[str], release: str) -> None:
    for home in homes:
        stage.await_answers(home, release)


def _no_request_failed(stage: Stage, namespace: str) -> None:
    """Requests went through the Service from the first release to the second and back, and each was answered."""
    requests = stage.requests(namespace)
    assert [request for request in requests if not request["ok"]] == []
    answers = [request["answer"] for request in requests]
    assert (answers[0], answers[-1]) == (stage.r1, stage.r1)
    assert set(answers) == {stage.r1, stage.r2}


def _never_without_a_ready_pod(stage: Stage, namespace: str) -> None:
    """From the moment when the first pod was there, one always was."""
    history = stage.world.chronicle.history(Ref("Deployment", namespace, WORKLOAD))
    available = [version.object.get("status", {}).get("availableReplicas", 0) for version in history]
    since = available[next(index for index, count in enumerate(available) if count) :]
    assert 0 not in since
