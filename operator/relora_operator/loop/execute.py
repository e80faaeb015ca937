"""Carries out a plan, action by action, and stops at the first that fails."""

import logging
from dataclasses import dataclass
from typing import cast

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_contract.model import Model
from relora_contract.wellknown import ANNOTATION_SERVING_SET, ANNOTATION_SERVING_SET_DIGEST
from relora_operator.core.actions import (
    Action,
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
from relora_operator.kube.client import Client
from relora_operator.kube.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    JsonObject,
    KubeError,
    NotFoundError,
)
from relora_operator.kube.events import EventRecorder
from relora_operator.kube.parse_jobs import parse_job
from relora_operator.kube.resources import DEPLOYMENTS, JOBS
from relora_operator.loop.cache import version_of
from relora_operator.loop.grants import Grants
from relora_operator.loop.intake import Intake
from relora_operator.loop.queue import WorkQueue
from relora_operator.loop.refusals import RefusalMemory
from relora_operator.loop.state import RECONCILED, State
from relora_operator.loop.unapplied import UnappliedSets
from relora_operator.metrics import count_transition

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Does what a plan asks for. What the server answers to a write is news like any other."""

    state: State
    client: Client
    intake: Intake
    queue: WorkQueue
    grants: Grants
    refusals: RefusalMemory
    unapplied: UnappliedSets
    events: EventRecorder

    async def execute(self, plan: Plan) -> int:
        """Carry out `plan` and return how many of its actions changed something outside this process.

        Raises:
            KubeError: An action failed; the ones after it were not tried.
            LeaseLostError: This process may no longer write.
        """
        changes = 0
        for action in plan.actions:
            changes += await self._carry_out(action)
        return changes

    async def _carry_out(self, action: Action) -> bool:
        match action:
            case GrantSlots():
                for key in sorted(self.grants.replace(action.release, action.bindings)):
                    self.queue.add_soon(key)
                return False
            case EmitEvent():
                return await self.events.emit(action, self.state.uid(action.key))
            case _:
                return await self._write(action)

    async def _write(self, action: CreateJob | DeleteJob | SetJobTtl | ApplyServingSet | WriteStatus) -> bool:
        match action:
            case CreateJob():
                return await self._create(action)
            case DeleteJob():
                return await self._delete(action)
            case SetJobTtl():
                return await self._set_ttl(action)
            case ApplyServingSet():
                return await self._apply_set(action)
            case WriteStatus():
                return await self._write_status(action)

    async def _create(self, action: CreateJob) -> bool:
        manifest = cast("JsonObject", action.manifest)
        try:
            created = await self.client.create(JOBS, action.namespace, manifest)
        except (ForbiddenError, InvalidError) as error:
            logger.warning("the API server refused a Job: %s", error, extra={"key": action.owner})
            self.refusals.record(action.owner, action.name, error)
            self.queue.add(action.owner)
            return False
        except AlreadyExistsError as error:
            self.refusals.forget(action.owner, action.name)
            found = await self.client.get(JOBS, action.namespace, action.name)
            self.intake.seen(JOBS, found)
            if parse_job(found).view.owner_uid != _owner_uid(manifest):
                raise ConflictError(
                    f"Job {action.namespace}/{action.name} exists and belongs to another object; "
                    "it is created once that Job is gone"
                ) from error
            return False
        self.refusals.forget(action.owner, action.name)
        self.intake.seen(JOBS, created)
        logger.info("created Job", extra={"job": f"{action.namespace}/{action.name}", "job_uid": _uid(created)})
        return True

    async def _delete(self, action: DeleteJob) -> bool:
        try:
            answer = await self.client.delete(
                JOBS, action.namespace, action.name, uid=action.uid, resource_version=action.resource_version
            )
        except NotFoundError:
            version = version_of(action.resource_version)
            self.intake.missing(JOBS, action.namespace, action.name, action.uid, version)
            return False
        if answer.get("kind") == JOBS.kind:
            self.intake.seen(JOBS, answer)
        logger.info("deleted Job", extra={"job": f"{action.namespace}/{action.name}", "job_uid": action.uid})
        return True

    async def _set_ttl(self, action: SetJobTtl) -> bool:
        patch: JsonObject = {
            "metadata": {"uid": action.uid},
            "spec": {"ttlSecondsAfterFinished": action.seconds},
        }
        try:
            self.intake.seen(JOBS, await self.client.merge(JOBS, action.namespace, action.name, patch))
        except NotFoundError:
            return False
        return True

    async def _apply_set(self, action: ApplyServingSet) -> bool:
        annotations: JsonObject = {
            ANNOTATION_SERVING_SET: action.serving_set,
            ANNOTATION_SERVING_SET_DIGEST: action.digest,
        }
        body: JsonObject = {
            "apiVersion": DEPLOYMENTS.api_version,
            "kind": DEPLOYMENTS.kind,
            "metadata": {
                "name": action.name,
                "namespace": action.namespace,
                "resourceVersion": action.resource_version,
            },
            "spec": {"template": {"metadata": {"annotations": annotations}}},
        }
        target = (action.namespace, action.name)
        try:
            applied = await self.client.apply(DEPLOYMENTS, *target, body)
        except KubeError:
            self.unapplied.failed(target, action.digest)
            raise
        self.unapplied.applied(target)
        self.intake.seen(DEPLOYMENTS, applied)
        logger.info("applied serving set", extra={"target": f"{action.namespace}/{action.name}", "set": action.digest})
        return True

    async def _write_status(self, action: WriteStatus) -> bool:
        key, resource = action.key, RECONCILED[action.key.kind]
        old = self._status(key)
        if old == action.status:
            return False
        metadata: JsonObject = {"name": key.name, "resourceVersion": action.resource_version}
        if key.namespace:
            metadata["namespace"] = key.namespace
        body: JsonObject = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": metadata,
            "status": action.status.to_json(),
        }
        written = await self.client.apply(resource, key.namespace, key.name, body, subresource="status", force=True)
        self.intake.seen(resource, written)
        if old is not None:
            count_transition(old, action.status)
        return True

    def _status(self, key: Key) -> Model | None:
        cache = self.state.cache_of(RECONCILED[key.kind])
        match cache.get(key.namespace, key.name):
            case BaseModelRelease(status=status) | AdapterBinding(status=status) | AdapterServer(status=status):
                return status
            case _:
                return None


def _owner_uid(manifest: JsonObject) -> object:
    match manifest:
        case {"metadata": {"ownerReferences": [{"uid": uid}, *_]}}:
            return uid
        case _:
            return None


def _uid(raw: JsonObject) -> object:
    match raw:
        case {"metadata": {"uid": uid}}:
            return uid
        case _:
            return None
