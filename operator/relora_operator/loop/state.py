"""Everything the operator knows of the cluster, kind by kind, and how the kinds refer to each other."""

from collections.abc import Mapping
from functools import partial

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_operator.core.actions import Key
from relora_operator.core.fallback import fallback_target_name
from relora_operator.core.observed import NamespaceView
from relora_operator.kube.parse import parse_namespace, parse_newer, parse_own
from relora_operator.kube.parse_jobs import JobRecord, PodRecord, parse_job, parse_pod
from relora_operator.kube.parse_targets import TargetRecord, parse_target
from relora_operator.kube.resources import (
    BINDINGS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    PODS,
    PROFILES,
    RELEASES,
    SERVERS,
    ResourceType,
)
from relora_operator.loop.cache import Cache, ObjectId

AnyCache = (
    Cache[BaseModelRelease]
    | Cache[AdapterBinding]
    | Cache[AdapterServer]
    | Cache[TrainerProfile]
    | Cache[JobRecord]
    | Cache[PodRecord]
    | Cache[TargetRecord]
    | Cache[NamespaceView]
)

RECONCILED: Mapping[str, ResourceType] = {resource.kind: resource for resource in (RELEASES, BINDINGS, SERVERS)}
"""The kinds with a reconcile of their own."""


class State:
    """One cache per watched kind."""

    def __init__(self) -> None:
        self.releases: Cache[BaseModelRelease] = Cache(
            RELEASES,
            partial(parse_own, BaseModelRelease),
            {
                "model": lambda release: (release.spec.model,),
                "profile": lambda release: (release.spec.profile_ref.name,),
                "supersedes": lambda release: (release.spec.supersedes,) if release.spec.supersedes else (),
            },
            parse_newer=partial(parse_newer, BaseModelRelease),
        )
        self.bindings: Cache[AdapterBinding] = Cache(
            BINDINGS,
            partial(parse_own, AdapterBinding),
            {
                "model": lambda binding: (binding.spec.model,),
                "namespace": lambda binding: (binding.metadata.namespace,),
                "server": lambda binding: filter(None, (server_id(binding),)),
            },
            parse_newer=partial(parse_newer, AdapterBinding),
        )
        self.servers: Cache[AdapterServer] = Cache(
            SERVERS,
            partial(parse_own, AdapterServer),
            {"model": lambda server: (server.spec.model,), "target": lambda server: (target_id(server),)},
            parse_newer=partial(parse_newer, AdapterServer),
        )
        self.profiles: Cache[TrainerProfile] = Cache(PROFILES, partial(parse_own, TrainerProfile))
        self.jobs: Cache[JobRecord] = Cache(
            JOBS,
            parse_job,
            {"owner": lambda job: filter(None, (owner_key(job),)), "uid": lambda job: (job.view.uid,)},
        )
        self.pods: Cache[PodRecord] = Cache(PODS, parse_pod, {"owner": lambda pod: filter(None, (pod.owner_uid,))})
        self.targets: Cache[TargetRecord] = Cache(DEPLOYMENTS, parse_target)
        self.namespaces: Cache[NamespaceView] = Cache(NAMESPACES, parse_namespace)
        self._by_kind = {cache.resource.kind: cache for cache in self.caches}

    @property
    def caches(self) -> tuple[AnyCache, ...]:
        """All of them; profiles and namespaces first, because the others' decisions read them."""
        return (
            self.namespaces,
            self.profiles,
            self.releases,
            self.servers,
            self.bindings,
            self.jobs,
            self.pods,
            self.targets,
        )

    def cache_of(self, resource: ResourceType) -> AnyCache:
        """Return the cache of a watched resource."""
        return self._by_kind[resource.kind]

    def uid(self, key: Key) -> str | None:
        """Return the uid of the object that `key` names, or None."""
        return self.cache_of(RECONCILED[key.kind]).uid(key.namespace, key.name)

    def reconciled(self) -> list[Key]:
        """Return every object that has a reconcile, releases and servers first."""
        return [
            *(Key("BaseModelRelease", *object_id) for object_id in self.releases.ids()),
            *(Key("AdapterServer", *object_id) for object_id in self.servers.ids()),
            *(Key("AdapterBinding", *object_id) for object_id in self.bindings.ids()),
        ]


def server_id(binding: AdapterBinding) -> ObjectId | None:
    """Return namespace and name of the server that a binding names."""
    reference = binding.spec.server_ref
    return (reference.namespace or binding.metadata.namespace, reference.name) if reference else None


def target_id(server: AdapterServer) -> ObjectId:
    """Return namespace and name of the server's workload."""
    return server.metadata.namespace, server.spec.target_ref.name


def fallback_id(server: AdapterServer) -> ObjectId | None:
    """Return namespace and name of the workload for members that stay behind."""
    name = fallback_target_name(server)
    return (server.metadata.namespace, name) if name is not None else None


def owner_key(job: JobRecord) -> Key | None:
    """Return the release or binding that owns a Job."""
    match job.owner_kind:
        case "BaseModelRelease":
            return Key("BaseModelRelease", "", job.owner_name)
        case "AdapterBinding":
            return Key("AdapterBinding", job.view.namespace, job.owner_name)
        case _:
            return None
