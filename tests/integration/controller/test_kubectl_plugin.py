"""`kubectl relora` as people run it: kubectl finds the installed command and it asks a real API server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.api import Api, Document, condition, eventually
from controller.fleet import Fleet
from controller.kubelet import FakeKubelet, passes_at
from controller.replica import Replica
from devcluster.controlplane import ControlPlane
from samples.kinds import digest, release

pytestmark = pytest.mark.integration

RESYNC = ("--resync-seconds", "2")


class Kubectl:
    """Runs the plugin through kubectl, as one user."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._program = program
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig)}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(self._program), "relora", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, output and errors."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def view(self, *arguments: str) -> Document:
        """Return the JSON that a command prints."""
        code, out, err = self.run(*arguments, "-o", "json")
        assert (code, err) == (0, "")
        view: Document = json.loads(out)
        return view


@pytest.fixture
def kubectl(plane: ControlPlane) -> Kubectl:
    return Kubectl(plane._programs["kubectl"], plane.kubeconfig)


def release_file(path: Path, fleet: Fleet) -> str:
    document = release(
        fleet.r2,
        model=fleet.model,
        weights={"uri": f"s3://models/{fleet.r2}", "digest": digest(fleet.r2)},
        supersedes=fleet.r1,
        profileRef={"name": fleet.model},
        allowedNamespaces={"selector": {}},
    )
    path.write_text(json.dumps(document))
    return str(path)


def data_missing(step: str, request: Document) -> tuple[int, Document]:
    """The delta is made, and then the data of every binding cannot be read."""
    if step == "delta":
        return passes_at("port")(step, request)
    return 43, {"outcome": "Failed", "reason": "InvalidData", "message": "train.jsonl does not exist"}


def test_a_release_is_planned_and_followed_to_its_end(
    start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet, kubectl: Kubectl, tmp_path: Path
) -> None:
    start_replica(*RESYNC).await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")

    plan = kubectl.view("plan", "-f", release_file(tmp_path / "release.json", fleet))

    assert (plan["eligible"], len(plan["jobs"]), len(plan["deltas"])) == (2, 2, 1)
    assert [server["keptBy"] for server in plan["servers"]] == [[]]
    assert fleet.jobs == [], "a plan starts nothing"

    kubelet.paused = True
    fleet.release(fleet.r2, fleet.r1)
    eventually(lambda: len(fleet.jobs) == 1, "the delta Job")
    with kubectl.start("status", fleet.r2, "--watch", "--interval", "0.2") as following:
        assert following.stdout is not None
        first = following.stdout.readline()
        kubelet.paused = False
        lines = [line for line in (first, *following.stdout) if f" release {fleet.r2}: " in line]

    assert following.returncode == 0
    assert len(lines) > 1, "the watch saw no change"
    assert "AllPromoted; 0 pending, 0 queued, 0 running, 0 passed, 2 promoted, 0 failed" in lines[-1]
    (shown,) = kubectl.view("status", fleet.r2)["releases"]
    assert (shown["complete"], shown["eligible"]) == (True, 2)
    history = kubectl.view("history", "one", "-n", fleet.namespace)
    assert [(one["record"], one["releaseName"]) for one in history["entries"]] == [
        ("candidate", fleet.r2),
        ("current", fleet.r2),
        ("earlier", fleet.r1),
    ]
    assert [step.get("verdict") for step in history["steps"]] == ["Passed", None, None, None]
    code, _, err = kubectl.run("retry", "adb/one", "-n", fleet.namespace)
    assert code == 1
    assert "nothing to retry" in err


def test_what_failed_is_tried_again(
    start_replica: Callable[..., Replica], fleet: Fleet, kubelet: FakeKubelet, kubectl: Kubectl, api: Api
) -> None:
    start_replica(*RESYNC).await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    kubelet.ending = data_missing
    fleet.release(fleet.r2, fleet.r1)
    eventually(lambda: fleet.complete(fleet.r2), "every binding came to its end")
    code, out, _ = kubectl.run("status", fleet.r2, "--watch")
    assert code == 1
    assert "CompletedWithFailures" in out
    kubelet.ending = passes_at("port")

    code, out, err = kubectl.run("retry", "adb/one", "-n", fleet.namespace)

    assert (code, err) == (0, "")
    assert "starts again (InvalidData)" in out
    eventually(lambda: condition(fleet.binding("one"), "Adapted").get("status") == "True", "the binding is adapted")
    managers = [
        entry["manager"] for entry in api.get("AdapterBinding", "one", fleet.namespace)["metadata"]["managedFields"]
    ]
    assert "relora-kubectl" in managers


@pytest.mark.usefixtures("kubelet")
def test_a_release_is_approved_and_taken_back(
    start_replica: Callable[..., Replica], fleet: Fleet, kubectl: Kubectl, api: Api
) -> None:
    start_replica(*RESYNC).await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    for name in fleet.names:
        api.merge("AdapterBinding", name, {"spec": {"updatePolicy": {"mode": "Manual"}}}, fleet.namespace)
    policy = {"mode": "Manual", "approvedReleaseName": fleet.r1}
    identity = {"apiVersion": "relora.dev/v1alpha1", "kind": "AdapterBinding"}
    metadata = {"name": "one", "namespace": fleet.namespace}
    api.apply({**identity, "metadata": metadata, "spec": {"updatePolicy": policy}}, "kustomize-controller")
    fleet.release(fleet.r2, fleet.r1)
    eventually(
        lambda: all(
            condition(fleet.binding(name), "UpToDate").get("reason") == "AwaitingApproval" for name in fleet.names
        ),
        "the bindings wait for their owner",
    )

    code, out, err = kubectl.run("approve", fleet.r2, "-n", fleet.namespace)

    assert (code, out.count(f"release {fleet.r2} is approved")) == (0, 2)
    assert "warning: " in err
    assert "one: kustomize-controller owned spec.updatePolicy.approvedReleaseName" in err
    eventually(lambda: fleet.serves(fleet.r2), "the approved release is served")
    again = kubectl.view("approve", fleet.r2, "one", "-n", fleet.namespace)
    assert [one["changed"] for one in again["bindings"]] == [False]
    assert kubectl.run("approve", fleet.r1, "one", "-n", fleet.namespace)[0] == 1

    code, out, err = kubectl.run("withdraw", fleet.r2)
    assert code == 2
    assert f"{fleet.namespace}/vllm   2         {fleet.r1}" in out
    assert "give --yes" in err
    assert "withdrawn" not in api.get("BaseModelRelease", fleet.r2)["spec"]

    view = kubectl.view("withdraw", fleet.r2, "--yes")

    assert [one["releaseName"] for one in view["returns"]["servers"]] == [fleet.r1]
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served again")
    assert kubectl.view("withdraw", fleet.r2)["changed"] is False
    code, out, err = kubectl.run("approve", fleet.r2, "one", "-n", fleet.namespace)
    assert (code, out) == (1, "")
    assert "Withdrawn" in err


def test_who_may_not_read_is_told_which_right_is_missing(
    plane: ControlPlane, fleet: Fleet, kubectl: Kubectl, tmp_path: Path
) -> None:
    plane.kubectl("create", "serviceaccount", "eve", "-n", fleet.namespace)
    token = plane.kubectl("create", "token", "eve", "-n", fleet.namespace).strip()
    config: Document = json.loads(plane.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": "eve", "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = "eve"
    path = tmp_path / "eve.kubeconfig"
    path.write_text(json.dumps(config))

    code, out, err = kubectl.run("status", "--kubeconfig", str(path))

    assert (code, out) == (3, "")
    assert "the right to list basemodelreleases.relora.dev in the whole cluster is missing" in err
    assert "cannot list resource" in err


def test_an_absent_object_is_no_absent_kind(fleet: Fleet, kubectl: Kubectl) -> None:
    code, _, err = kubectl.run("history", "absent", "-n", fleet.namespace)
    assert code == 1
    assert f"no AdapterBinding or AdapterServer is named {fleet.namespace}/absent" in err
