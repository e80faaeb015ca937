"""Live reads before writes: the state may be behind by what the watches have not brought yet."""

from dataclasses import dataclass

from relora_contract.wellknown import LABEL_BINDING, LABEL_MANAGED_BY, LABEL_RELEASE, MANAGED_BY
from relora_operator.core.actions import ApplyServingSet, CreateJob, DeleteJob, Key, Plan, WriteStatus
from relora_operator.kube.client import Client
from relora_operator.kube.errors import JsonObject, NotFoundError
from relora_operator.kube.parse import identity
from relora_operator.kube.resources import DEPLOYMENTS, JOBS, ResourceType
from relora_operator.loop.cache import ObjectId, version_of
from relora_operator.loop.intake import Intake
from relora_operator.loop.state import RECONCILED, State, fallback_id, target_id


@dataclass(frozen=True, kw_only=True)
class LiveReader:
    """Brings the state up to date for one key."""

    state: State
    client: Client
    intake: Intake
    operator_namespace: str

    async def refresh(self, key: Key, plan: Plan) -> None:
        """Read again what the actions of `plan` rest on.

        The object itself is not read where the plan begins with its status: that names the version that was decided
        on, so the server refuses it, and nothing after it is tried, when there is a newer one.

        Raises:
            KubeError: A read failed.
        """
        if not (plan.actions and isinstance(plan.actions[0], WriteStatus) and plan.actions[0].key == key):
            await self._object(RECONCILED[key.kind], key.namespace, key.name)
        if any(isinstance(action, CreateJob | DeleteJob) for action in plan.actions):
            await self._jobs(key)
        for action in plan.actions:
            if isinstance(action, ApplyServingSet):
                await self._object(DEPLOYMENTS, action.namespace, action.name)

    async def refresh_all(self, key: Key) -> None:
        """Read again everything that a plan for `key` could rest on.

        Raises:
            KubeError: A read failed.
        """
        await self._object(RECONCILED[key.kind], key.namespace, key.name)
        if key.kind == "AdapterServer":
            if server := self.state.servers.get(key.namespace, key.name):
                for target in filter(None, (target_id(server), fallback_id(server))):
                    await self._object(DEPLOYMENTS, *target)
        else:
            await self._jobs(key)

    async def _object(self, resource: ResourceType, namespace: str, name: str) -> None:
        cache = self.state.cache_of(resource)
        uid = cache.uid(namespace, name)
        try:
            found = await self.client.get(resource, namespace, name)
        except NotFoundError:
            if uid:
                self.intake.missing(resource, namespace, name, uid, cache.version(namespace, name))
            return
        if uid or resource is not DEPLOYMENTS:
            self.intake.seen(resource, found)

    async def _jobs(self, key: Key) -> None:
        """Read the Jobs of a release or of a binding, and drop those that are gone."""
        label, namespace = (
            (LABEL_RELEASE, self.operator_namespace)
            if key.kind == "BaseModelRelease"
            else (LABEL_BINDING, key.namespace)
        )
        selector = f"{LABEL_MANAGED_BY}={MANAGED_BY},{label}={key.name}"
        listed: list[ObjectId] = []
        version = 0
        async for page in self.client.pages(JOBS, namespace=namespace, label_selector=selector):
            version = version_of(page.resource_version)
            for raw in page.items:
                listed.append(_id(raw))
                self.intake.seen(JOBS, raw)
        for object_id, uid in self.state.jobs.ghosts(listed, version, self.state.jobs.ids_under("owner", key)):
            self.intake.missing(JOBS, *object_id, uid, version)


def _id(raw: JsonObject) -> ObjectId:
    metadata = identity(raw)
    return metadata.namespace, metadata.name
