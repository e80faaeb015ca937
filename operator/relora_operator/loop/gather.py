"""Builds the snapshots. Everything comes from the state, except what no watch covers: that is read live."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_operator.core.actions import Key
from relora_operator.core.observed import JobView, NamespaceView, TargetView
from relora_operator.core.snapshot import BindingSnapshot, ReleaseSnapshot, ServerContext, ServerSnapshot
from relora_operator.kube.client import Client
from relora_operator.kube.errors import NotFoundError
from relora_operator.kube.parse_targets import TargetRecord, parse_target
from relora_operator.kube.resources import DEPLOYMENTS
from relora_operator.loop.cache import ObjectId
from relora_operator.loop.fanout import binding_key, release_key
from relora_operator.loop.grants import Grants
from relora_operator.loop.lostpods import LostPods
from relora_operator.loop.refusals import RefusalMemory
from relora_operator.loop.rollout import describe_rollout
from relora_operator.loop.state import State, fallback_id, server_id, target_id
from relora_operator.loop.tallies import Tallies
from relora_operator.loop.unapplied import UnappliedSets

Snapshot = ReleaseSnapshot | BindingSnapshot | ServerSnapshot


class IncompleteError(Exception):
    """A snapshot would leave out an object that this version cannot read, and so decide as if it were not there."""


@dataclass(frozen=True, kw_only=True)
class Gatherer:
    """Builds snapshots for keys."""

    state: State
    client: Client
    grants: Grants
    refusals: RefusalMemory
    unapplied: UnappliedSets
    lost_pods: LostPods
    tallies: Tallies
    operator_namespace: str

    async def gather(self, key: Key) -> Snapshot | None:
        """Return what a decision for `key` needs to know, or None when its object is gone or unreadable.

        Raises:
            IncompleteError: A member of the server cannot be read.
            KubeError: A live read failed.
        """
        match key.kind:
            case "BaseModelRelease":
                release = self.state.releases.get("", key.name)
                return self._of_release(release) if release else None
            case "AdapterBinding":
                binding = self.state.bindings.get(key.namespace, key.name)
                return await self._of_binding(binding) if binding else None
            case "AdapterServer":
                server = self.state.servers.get(key.namespace, key.name)
                return await self._of_server(server) if server else None

    def _of_release(self, release: BaseModelRelease) -> ReleaseSnapshot:
        model = release.spec.model
        family = self._family(model)
        return ReleaseSnapshot(
            release=release,
            family=family,
            profile=self.state.profiles.get("", release.spec.profile_ref.name),
            tally=self.tallies.of(release, family, self._profiles(family)),
            delta_jobs=self._jobs(release_key(release), release.metadata.uid),
            operator_namespace=self.operator_namespace,
            granted=self.grants.of(release.metadata.name),
            servers=self.state.servers.under("model", model),
            refusals=self.refusals.of(release_key(release)),
        )

    async def _of_binding(self, binding: AdapterBinding) -> BindingSnapshot:
        key = binding_key(binding)
        family = self._family(binding.spec.model)
        namespace = binding.metadata.namespace
        named = server_id(binding)
        server = self.state.servers.get(*named) if named else None
        return BindingSnapshot(
            binding=binding,
            namespace=self.state.namespaces.get("", namespace) or NamespaceView(name=namespace),
            family=family,
            profiles=self._profiles(family),
            server=await self._context(server) if server else None,
            jobs=self._jobs(key, binding.metadata.uid),
            granted=self.grants.holds(key),
            refusals=self.refusals.of(key),
        )

    async def _of_server(self, server: AdapterServer) -> ServerSnapshot:
        members = self._members(server)
        family = self._family(server.spec.model)
        rivals = self.state.servers.find("target", target_id(server))
        target = await self._target(target_id(server))
        beside = fallback_id(server)
        fallback = await self._target(beside) if beside else None
        return ServerSnapshot(
            server=server,
            target=await self._described(target) if target else None,
            rivals=tuple(rival for rival in rivals if rival.metadata.uid != server.metadata.uid),
            members=members,
            family=family,
            namespaces=self._namespaces_of(server, members),
            profiles=self._profiles(family),
            fallback=await self._described(fallback) if fallback else None,
        )

    async def _described(self, record: TargetRecord) -> TargetView:
        view = await describe_rollout(self.client, record)
        return replace(view, unapplied=self.unapplied.of((view.namespace, view.name)))

    async def _context(self, server: AdapterServer) -> ServerContext:
        members = self._members(server)
        target = await self._target(target_id(server))
        beside = fallback_id(server) if server.status.fallback is not None else None
        fallback = await self._target(beside) if beside else None
        return ServerContext(
            server=server,
            target=target.view if target else None,
            fallback=fallback.view if fallback else None,
            members=members,
            namespaces=self._namespaces_of(server, members),
        )

    def _members(self, server: AdapterServer) -> tuple[AdapterBinding, ...]:
        key = (server.metadata.namespace, server.metadata.name)
        self._refuse_unreadable_members(key)
        return self.state.bindings.find("server", key)

    def _namespaces_of(self, server: AdapterServer, members: Iterable[AdapterBinding]) -> dict[str, NamespaceView]:
        return self._namespaces([server.metadata.namespace, *(member.metadata.namespace for member in members)])

    def _refuse_unreadable_members(self, server: ObjectId) -> None:
        """Raise if a binding of the server cannot be read: a set without it would drop a tenant's adapter."""
        for (namespace, name), found in self.state.bindings.unreadable.items():
            spec = found.spec if isinstance(found.spec, dict) else {}
            reference = spec.get("serverRef")
            named = reference if isinstance(reference, dict) else {}
            if (named.get("namespace") or namespace, named.get("name")) == server:
                raise IncompleteError(f"AdapterBinding {namespace}/{name} cannot be read by this version")

    async def _target(self, target: ObjectId) -> TargetRecord | None:
        """Return the Deployment; live when it has not the label that says its owner's consent, as no watch has it."""
        if known := self.state.targets.get(*target):
            return known
        try:
            return parse_target(await self.client.get(DEPLOYMENTS, *target))
        except NotFoundError:
            return None

    def _family(self, model: str) -> tuple[BaseModelRelease, ...]:
        members = self.state.releases.find("model", model)
        names = {member.metadata.name for member in members}
        named = {member.spec.supersedes for member in members if member.spec.supersedes} - names
        strangers = (self.state.releases.get("", name) for name in sorted(named))
        return (*members, *filter(None, strangers))

    def _profiles(self, family: Iterable[BaseModelRelease]) -> dict[str, TrainerProfile]:
        names = {release.spec.profile_ref.name for release in family}
        found = {name: self.state.profiles.get("", name) for name in sorted(names)}
        return {name: profile for name, profile in found.items() if profile}

    def _namespaces(self, names: Iterable[str]) -> dict[str, NamespaceView]:
        found = {name: self.state.namespaces.get("", name) for name in sorted(set(names))}
        return {name: namespace for name, namespace in found.items() if namespace}

    def _jobs(self, owner: Key, owner_uid: str) -> tuple[JobView, ...]:
        jobs = [job.view for job in self.state.jobs.find("owner", owner) if job.view.owner_uid == owner_uid]
        return tuple(self._with_pods(job) for job in sorted(jobs, key=lambda job: (job.created_at, job.name)))

    def _with_pods(self, job: JobView) -> JobView:
        pods = [pod.view for pod in self.state.pods.find("owner", job.uid)]
        in_order = tuple(sorted(pods, key=lambda pod: (pod.created_at, pod.name)))
        return replace(job, pods=in_order, pod_lost_at=self.lost_pods.last_of(job.uid))
