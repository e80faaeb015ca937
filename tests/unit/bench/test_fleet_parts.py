import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.fleet import objects
from bench.fleet.census import JobCensus, Verdict
from bench.fleet.course import Course, Takeover
from bench.fleet.operators import Usage
from bench.fleet.passage import Passage
from bench.fleet.report import rows
from bench.fleet.sampled import Sampler
from controller.api import Document
from controller.kubelet import digest_of, ended_status, passes_at
from relora_operator.kube.parse_jobs import parse_notification


def test_a_fleet_has_servers_of_every_size_and_a_seat_for_every_binding() -> None:
    bindings = list(objects.bindings(2 * objects.STEP))
    seats = Counter((one["metadata"]["namespace"], one["spec"]["serverRef"]["name"]) for one in bindings)
    servers = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one, _ in objects.servers(2 * objects.STEP)}

    assert len(bindings) == 2 * objects.STEP
    assert len({one["spec"]["source"]["digest"] for one in bindings}) == len(bindings)
    assert seats.keys() == servers
    assert Counter(seats.values()) == {50: 2, 10: 8, 1: 20}
    namespaces = {one["metadata"]["name"] for one in objects.namespaces(2 * objects.STEP)}
    assert {namespace for namespace, _ in servers} == namespaces
    assert len(namespaces) == 2 * objects.STEP / 50


def job(name: str, uid: str, binding: str = "one", kind: str = "readaptation") -> Document:
    labels = {"relora.dev/job-kind": kind, "relora.dev/release": "r2", "relora.dev/binding": binding}
    return {"metadata": {"name": name, "uid": uid, "namespace": "team", "labels": labels}}


def test_the_census_tells_a_job_that_is_seen_again_from_one_that_is_made_again() -> None:
    census = JobCensus()
    census.note(job("one-1", "a"))
    census.note(job("one-1", "a"))
    census.note(job("two-1", "b", "two"))
    assert (census.jobs("r2"), census.duplicates("r2")) == (2, 0)

    census.note(job("one-1", "c"))  # deleted and made again under its name
    assert (census.jobs("r2"), census.duplicates("r2")) == (3, 1)


def passage(*, seconds: float, promoted: int = 100, jobs: int = 100, writes: int = 1000) -> Passage:
    return Passage(
        verdict=Verdict(bindings=100, promoted=promoted),
        jobs=jobs,
        duplicates=0,
        seconds=seconds,
        first_job_seconds=1,
        first_readaptation_seconds=2,
        usage=Usage(cpu_seconds=1, requests=Counter({("PATCH", "adapterbindings"): writes, ("GET", "jobs"): 500})),
        peak_mebibytes=100,
    )


def course(real: Passage, bindings: int = 100) -> Course:
    takeover = Takeover(passage=passage(seconds=30), seconds=17)
    return Course(bindings=bindings, real=real, takeover=takeover, alone_seconds=9)


@pytest.mark.parametrize(
    ("real", "missed"),
    [
        (passage(seconds=10), set()),
        (passage(seconds=11), {"share of it with the operator"}),
        (passage(seconds=10, promoted=99), {"lost bindings of 100"}),
        (passage(seconds=10, jobs=101), {"duplicate Jobs"}),
        (passage(seconds=10, writes=1201), {"API writes per binding and release"}),
    ],
)
def test_the_table_says_which_target_was_missed(real: Passage, missed: set[str]) -> None:
    assert {row.name for row in rows([course(real)]) if row.met is False} == missed


def test_the_table_tells_what_the_operators_time_goes_to_and_whether_a_plan_is_quick_enough() -> None:
    measured = Course(bindings=100, real=passage(seconds=10), plan_seconds=6, samples={"decide": 30, "event loop": 10})

    found = {(row.name, row.value, row.met) for row in rows([measured])}

    assert found >= {
        ("kubectl relora plan for 100 bindings", 6, False),
        ("of the operator's processor time: decide", 75, None),
        ("of the operator's processor time: event loop", 25, None),
    }


def test_samples_are_counted_by_the_innermost_part_that_has_a_name() -> None:
    sampler = Sampler()
    code = "def called():\n    look()\n"
    core: dict[str, Any] = {"look": lambda: sampler.look(0, sys._getframe(1))}
    exec(compile(code, "/src/relora_operator/core/pairs.py", "exec"), core)  # noqa: S102 - a frame of another file
    other: dict[str, Any] = {"look": core["called"]}
    exec(compile(code, "/lib/json/encoder.py", "exec"), other)  # noqa: S102 - same

    core["called"]()
    other["called"]()
    other["look"] = lambda: sampler.look(0, sys._getframe(1))
    other["called"]()

    assert sampler.parts == {"decide": 2, "the rest": 1}


def test_the_sampled_operator_is_the_operator_and_writes_its_samples_at_the_end(tmp_path: Path) -> None:
    samples = tmp_path / "samples.json"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    command = [sys.executable, "-m", "bench.fleet.sampled", str(samples), "run", "--help"]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    assert "--resync-seconds" in ended.stdout
    assert isinstance(json.loads(samples.read_text()), dict)


def test_a_pods_steps_end_with_notifications_that_the_operator_reads() -> None:
    digest = f"sha256:{'a' * 64}"
    names = ("port", "fuse", "recover", "refine")
    request = f'{{"kind":"Readaptation","items":[{{"requestDigest":"{digest}"}}]}}'
    containers = [{"name": name} for name in names]
    pod = {
        "metadata": {"annotations": {"relora.dev/step-request": request}},
        "spec": {"initContainers": containers[:-1], "containers": containers[-1:]},
    }

    status = ended_status(pod, passes_at("port"))

    ended = [*status["initContainerStatuses"], *status["containerStatuses"]]
    told = [parse_notification(one["state"]["terminated"]["message"]) for one in ended]
    assert [(one.step, one.outcome, one.verdict) for one in told if one] == [
        ("port", "Succeeded", "Passed"),
        *((name, "Skipped", None) for name in names[1:]),
    ]
    assert {one.request_digest for one in told if one} == {digest_of({"kind": "Delta", "requestDigest": digest})}
    assert status["phase"] == "Succeeded"
