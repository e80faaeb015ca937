"""A server that moves without a straggler, against a real API server and real Deployments."""

from collections.abc import Callable
from typing import Any

import pytest

from controller.api import Api, Document, condition, eventually
from controller.fleet import Fleet, deployment
from controller.kubelet import Ending, FakeKubelet, artifact_of, digest_of, passes_at
from controller.replica import Replica
from samples.kinds import digest

pytestmark = pytest.mark.integration

RESYNC = ("--resync-seconds", "2")
SET = "relora.dev/serving-set"


def fails_for(name: str) -> Ending:
    """The adapter of one binding passes no gate."""
    passes = passes_at("port")

    def end(step: str, request: Document) -> tuple[int, Document]:
        if step == "delta" or request["items"][0]["adapter"]["digest"] != digest(name):
            return passes(step, request)
        published = {"artifactDigest": artifact_of(step, digest_of(request))}
        quality = [{"metric": "Accuracy", "value": "0.5", "count": 100}]
        return 0, {"outcome": "Succeeded", "verdict": "Failed", "quality": quality, **published}

    return end


def set_of(api: Api, fleet: Fleet, workload: str) -> str:
    found = api.get("Deployment", workload, fleet.namespace)
    text: str = found["spec"]["template"]["metadata"].get("annotations", {}).get(SET, "")
    return text


def asked_of_fallback(fleet: Fleet) -> list[str]:
    fallback: dict[str, Any] = fleet.server["status"].get("fallback", {})
    names: list[str] = fallback.get("servedNames", [])
    return names


def test_a_straggler_stays_on_its_base_until_it_passes(
    start_replica: Callable[..., Replica], fleet: Fleet, api: Api, kubelet: FakeKubelet
) -> None:
    upgrade = {
        "stragglers": "Split",
        "deadlineSeconds": 10,
        "fallbackTargetRef": {"kind": "Deployment", "name": "vllm-old"},
    }
    api.merge("AdapterServer", "vllm", {"spec": {"upgrade": upgrade}}, fleet.namespace)
    start_replica(*RESYNC).await_lead()
    eventually(lambda: fleet.serves(fleet.r1), "the first release is served")
    kubelet.ending, kubelet.serving_ready = fails_for("two"), False

    fleet.release(fleet.r2, fleet.r1)
    eventually(lambda: condition(fleet.server, "UpToDate").get("reason") == "FallbackUnavailable", "the lack is told")
    api.create(deployment("vllm-old", fleet.namespace))
    eventually(lambda: "two-served" in set_of(api, fleet, "vllm-old"), "the fallback gets the straggler")

    assert f'"release":"{fleet.r1}"' in set_of(api, fleet, "vllm-old")
    assert "one-served" not in set_of(api, fleet, "vllm-old")
    assert f'"release":"{fleet.r1}"' in set_of(api, fleet, "vllm")
    assert asked_of_fallback(fleet) == []
    kubelet.serving_ready = True
    eventually(lambda: condition(fleet.server, "UpToDate").get("reason") == "Split", "the server has moved")

    assert asked_of_fallback(fleet) == ["two-served"]
    assert "two-served" not in set_of(api, fleet, "vllm")
    assert f'"release":"{fleet.r2}"' in set_of(api, fleet, "vllm")
    assert condition(fleet.server, "Ready")["status"] == "True"
    straggler = fleet.binding("two")
    assert condition(straggler, "Ready")["status"] == "True"
    assert straggler["status"]["current"]["releaseName"] == fleet.r1

    kubelet.ending = passes_at("port")
    api.merge("AdapterBinding", "two", {"spec": {"readaptation": {"seed": 8}}}, fleet.namespace)
    eventually(lambda: fleet.serves(fleet.r2), "the straggler is back")

    assert "two-served" in set_of(api, fleet, "vllm")
    eventually(lambda: asked_of_fallback(fleet) == [], "nothing is asked of the fallback any more")
    eventually(lambda: fleet.complete(fleet.r2), "the release is complete")
