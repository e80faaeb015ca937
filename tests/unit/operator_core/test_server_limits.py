"""What a server can load reaches the Job that makes an adapter for it, and changes nothing else of the request."""

from typing import Any

import pytest

from fleet.builders import make_binding, make_release, make_server
from fleet.world import World
from relora_contract.request import STEP_REQUEST, ReadaptationItem, ReadaptationRequest
from relora_contract.serving import Engine
from relora_contract.wellknown import ANNOTATION_STEP_REQUEST
from relora_operator.core.actions import CreateJob


def requested(**server: object) -> ReadaptationItem:
    """Return what a release asks the binding's Job to do."""
    binding = make_binding()
    world = World().add(make_release("r1"), make_server(**server), binding.on_server().build()).add_target()  # type: ignore[arg-type]  # fields of the spec
    return _request(world)


def _request(world: World) -> ReadaptationItem:
    world.live_on().add(make_release("r2", "r1", minutes=10)).live_on()
    job: Any = [write for write in world.writes if isinstance(write, CreateJob)][-1].manifest
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    request = STEP_REQUEST.validate_json(annotations[ANNOTATION_STEP_REQUEST])
    assert isinstance(request, ReadaptationRequest)
    return request.items[0]


@pytest.mark.parametrize(("spec", "engine"), [({}, Engine.VLLM), ({"engine": "PEFT"}, Engine.PEFT)])
def test_the_engine_of_the_server_reaches_the_trainer(spec: dict[str, str], engine: Engine) -> None:
    assert requested(**spec).engine is engine


def test_the_rank_that_the_server_loads_reaches_the_trainer() -> None:
    assert requested(maxLoRARank=8).max_lora_rank == 8


def test_without_a_server_nothing_limits_the_adapter() -> None:
    world = World().add(make_release("r1"), make_binding().build())
    request = _request(world)
    assert request.engine is None
    assert request.max_lora_rank is None


def test_what_the_server_can_load_is_no_part_of_the_request_digest() -> None:
    limits: tuple[dict[str, object], ...] = ({}, {"engine": "VLLM"}, {"engine": "PEFT"}, {"maxLoRARank": 8})
    assert len({requested(**limit).request_digest for limit in limits}) == 1
