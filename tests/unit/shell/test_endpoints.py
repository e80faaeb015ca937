import logging
from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from relora_contract.api.binding import AdapterBindingStatus
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer, AdapterServerStatus
from relora_operator.core.actions import Key
from relora_operator.health import HealthServer
from relora_operator.logs import JsonFormatter
from relora_operator.metrics import (
    GATE_VERDICTS,
    ROLLOUTS,
    STEP_DURATION,
    ReleaseStates,
    ServerStates,
    count_transition,
)
from samples.kinds import digest, release, server


def condition(kind: str, reason: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "lastTransitionTime": "2026-11-01T10:00:00Z"}


HALTED = condition("Halted", "CanaryFailed")


@pytest.fixture
async def problems() -> dict[str, str | None]:
    return {"resync": None}


@pytest.fixture
async def url(problems: dict[str, str | None]) -> AsyncIterator[str]:
    registry = CollectorRegistry()
    Gauge("relora_test", "One.", registry=registry).set(1)
    checks = {"resync": lambda: problems["resync"]}
    server = HealthServer(port=0, alive=checks, ready={}, registry=registry)
    yield f"http://127.0.0.1:{await server.start()}"
    await server.stop()


async def fetch(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


async def test_a_healthy_process_says_so(url: str) -> None:
    assert await fetch(f"{url}/healthz") == (200, "resync: ok\n")
    assert await fetch(f"{url}/readyz") == (200, "")


async def test_an_unhealthy_process_says_why(url: str, problems: dict[str, str | None]) -> None:
    problems["resync"] = "the last comparison with the API server is 400 s old"

    assert await fetch(f"{url}/healthz") == (500, "resync: the last comparison with the API server is 400 s old\n")


async def test_metrics_are_served_for_prometheus(url: str) -> None:
    status, text = await fetch(f"{url}/metrics")

    assert status == 200
    assert "relora_test 1.0" in text


def test_bindings_are_counted_by_state_from_the_releases_statuses() -> None:
    document = {**release(), "status": {"bindings": {"eligible": 3, "promoted": 2, "failed": 1}}}
    bindings, _, _ = ReleaseStates(lambda: [BaseModelRelease.model_validate(document)]).collect()

    counts = {sample.labels["state"]: sample.value for sample in bindings.samples}
    assert counts == {
        "pending": 0,
        "queued": 0,
        "running": 0,
        "passed": 0,
        "promoted": 2,
        "failed": 1,
        "skipped": 0,
    }


@pytest.mark.parametrize(("conditions", "value"), [([], 0.0), ([HALTED], 1.0)])
def test_a_halted_release_is_told(conditions: list[dict[str, str]], value: float) -> None:
    status = {"bindings": {"eligible": 3}, "conditions": conditions}
    refused = {**release("refused"), "status": {"conditions": conditions}}
    documents = [{**release("tiny-r2"), "status": status}, refused]
    _, halted, _ = ReleaseStates(lambda: map(BaseModelRelease.model_validate, documents)).collect()
    assert [(sample.labels, sample.value) for sample in halted.samples] == [
        ({"model": "tiny", "release": "tiny-r2"}, value)
    ]


def test_an_accepted_release_that_is_stalled_is_told_with_its_reason() -> None:
    stalled, over = condition("Stalled", "DeltaFailed"), condition("Stalled", "DeltaFailed", "False")
    documents = [
        {**release("tiny-r2"), "status": {"bindings": {"eligible": 3}, "conditions": [stalled]}},
        {**release("tiny-r3"), "status": {"bindings": {"eligible": 3}, "conditions": [over]}},
        {**release("tiny-r4"), "status": {"bindings": {"eligible": 3}}},
        {**release("refused"), "status": {"conditions": [condition("Stalled", "ForkedLineage")]}},
    ]
    _, _, told = ReleaseStates(lambda: map(BaseModelRelease.model_validate, documents)).collect()
    assert [(sample.labels, sample.value) for sample in told.samples] == [
        ({"model": "tiny", "release": "tiny-r2", "reason": "DeltaFailed"}, 1)
    ]


def test_servers_are_counted_by_what_their_statuses_say() -> None:
    def one(name: str, *conditions: dict[str, str], model: str = "tiny") -> AdapterServer:
        return AdapterServer.model_validate({**server(name, model=model), "status": {"conditions": list(conditions)}})

    overdue = condition("UpToDate", "UpgradeOverdue", "False")
    servers = [
        one("a", condition("Ready", "Promoted"), overdue),
        one("b", overdue, condition("Stalled", "TargetNotFound")),
        one("c", condition("UpToDate", "NewestRelease")),
        one("d", overdue, model="huge"),
        one("not-seen-yet"),
    ]
    (family,) = ServerStates(lambda: servers).collect()
    assert {(sample.labels["model"], sample.labels["reason"]): sample.value for sample in family.samples} == {
        ("tiny", "UpgradeOverdue"): 2,
        ("tiny", "NewestRelease"): 1,
        ("huge", "UpgradeOverdue"): 1,
    }
    assert {frozenset(sample.labels) for sample in family.samples} == {frozenset({"model", "reason"})}


def step_status(state: str, attempt: int = 1, *, began: str = "2026-11-01T09:59:00Z") -> AdapterBindingStatus:
    ended = {"outcome": "Succeeded", "verdict": "Passed", "endTime": "2026-11-01T10:01:00Z"}
    step = {"name": "port", "state": state, "startTime": "2026-11-01T10:00:00Z"}
    steps: list[dict[str, str]] = [step | (ended if state == "Finished" else {})]
    candidate: dict[str, object] = {
        "attempt": attempt,
        "startTime": began,
        "releaseName": "r2",
        "requestDigest": digest("q"),
        "gatesDigest": digest("g"),
        "image": digest("i"),
        "base": {"uri": "s3://models/r2", "digest": digest("b")},
    }
    candidate["steps"] = steps
    return AdapterBindingStatus.model_validate({"candidate": candidate})


def seen() -> tuple[float, float]:
    """Return how often the gate of the first step passed, and the seconds of that step."""
    seconds = STEP_DURATION.labels("port", "Succeeded")
    return GATE_VERDICTS.labels("port", "Passed")._value.get(), seconds._sum.get()


def test_an_ended_step_is_counted_once() -> None:
    verdicts, seconds = seen()
    running, finished = step_status("Running"), step_status("Finished")
    count_transition(running, finished)
    count_transition(finished, finished)
    count_transition(finished, step_status("Finished", attempt=2))  # another step failed, and this one is kept

    assert seen() == (verdicts + 1, seconds + 60)


def test_a_step_that_was_stored_before_the_attempt_has_a_verdict_again_and_took_no_time() -> None:
    verdicts, seconds = seen()
    later = "2026-11-02T10:00:00Z"
    count_transition(step_status("Running", began=later), step_status("Finished", began=later))
    assert seen() == (verdicts + 1, seconds)


def test_roll_outs_are_counted_by_how_they_ended() -> None:
    def served(name: str, *failed: str) -> AdapterServerStatus:
        current = {"releaseName": "r", "setDigest": digest(name), "adapters": 1}
        rolled_back = [{"releaseName": "r", "setDigest": digest(one), "time": "2026-11-01T10:00:00Z"} for one in failed]
        return AdapterServerStatus.model_validate({"current": current, "rolledBack": rolled_back})

    before = [ROLLOUTS.labels(outcome)._value.get() for outcome in ("Promoted", "RolledBack")]
    count_transition(served("a"), served("b"))
    count_transition(served("b"), served("b", "c"))

    after = [ROLLOUTS.labels(outcome)._value.get() for outcome in ("Promoted", "RolledBack")]
    assert after == [before[0] + 1, before[1] + 1]


def test_a_log_line_is_json_with_the_key_and_nothing_that_was_not_asked_for() -> None:
    record = logging.makeLogRecord(
        {"msg": "created %s", "args": ("Job",), "levelname": "INFO", "name": "relora_operator.x", "created": 0.0}
    )
    record.key = Key("AdapterBinding", "team", "one")
    record.body = {"token": "secret"}

    assert JsonFormatter().format(record) == (
        '{"time": "1970-01-01T00:00:00.000+00:00", "level": "INFO", "logger": "relora_operator.x", '
        '"message": "created Job", "key": "AdapterBinding/team/one"}'
    )
