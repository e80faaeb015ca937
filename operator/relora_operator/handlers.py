"""kopf as the source of events, and nothing else: its handlers take the news in and return.

They patch nothing and raise nothing, so kopf keeps no state on objects, adds no finalizer and retries nothing. What
kopf misses, the resync finds. When one of its watches dies, kopf ends, and the process with it.
"""

import logging
from typing import cast

import kopf

from relora_contract.wellknown import GROUP
from relora_operator.kube.connect import Login
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import UnreadableError
from relora_operator.kube.resources import WATCHED, ResourceType
from relora_operator.loop.intake import Intake
from relora_operator.storages import NoDiffBase, NoProgress

logger = logging.getLogger(__name__)

CHUNK_SIZE = 250
_SERVER_SECONDS = 300
_CLIENT_SECONDS = 310
_IDLE_SECONDS = 0.5
"""How long kopf's worker of an object waits for its next event, and keeps the last one as it was sent: with kopf's five
seconds every object of a fleet is held whole while the fleet is read, which was two thirds of the memory of one."""


def build_registry(intake: Intake, login: Login) -> kopf.OperatorRegistry:
    """Return kopf's handlers: one login, and one per watched resource that feeds `intake`."""
    registry = kopf.OperatorRegistry()

    async def log_in(**_: object) -> kopf.ConnectionInfo:
        return await login()

    kopf.on.login(registry=registry)(log_in)
    for resource in WATCHED:
        _follow(registry, resource, intake)
    return registry


def _follow(registry: kopf.OperatorRegistry, resource: ResourceType, intake: Intake) -> None:
    async def take_in(event: kopf.RawEvent, **_: object) -> None:
        raw = cast("JsonObject", event["object"])
        try:
            if event["type"] == "DELETED":
                intake.gone(resource, raw)
            else:
                intake.seen(resource, raw)
        except UnreadableError as error:
            logger.warning("an event of %s has no usable metadata: %s", resource.plural, error)

    kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)(take_in)


def build_settings() -> kopf.OperatorSettings:
    """Return settings under which kopf only lists and watches."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.persistence.finalizer = f"{GROUP}/unused"  # kopf removes its finalizer from what it sees: not another's
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.queueing.idle_timeout = _IDLE_SECONDS
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.client_timeout = _CLIENT_SECONDS
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = CHUNK_SIZE
    for resource in WATCHED:
        if resource.label_selector:
            key = (resource.group, resource.version, resource.plural)
            settings.watching.label_selectors[key] = resource.label_selector
    return settings
