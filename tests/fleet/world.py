"""A cluster in memory: plans are carried out in it, and Jobs and roll-outs end as a story tells them to.

After every write it checks what must always hold, so that each story is also a test of safety.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from fleet.builders import START, make_namespace, make_profile
from fleet.invariants import check
from fleet.jobs import Script, SimJob, all_pass, run
from fleet.writes import execute
from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_contract.report import Notification
from relora_contract.serving import ServingSet
from relora_operator.core.actions import Action, EmitEvent, Key, Plan
from relora_operator.core.decide import DECISIONS
from relora_operator.core.fallback import fallback_target_name
from relora_operator.core.lineage import chain
from relora_operator.core.membership import server_key
from relora_operator.core.observed import JobView, NamespaceView, TargetView
from relora_operator.core.participation import Participation
from relora_operator.core.refusals import JobRefusal
from relora_operator.core.snapshot import BindingSnapshot, ReleaseSnapshot, ServerContext, ServerSnapshot
from relora_operator.core.tally import tally_of

Watched = BaseModelRelease | AdapterBinding | AdapterServer

OPERATOR_NAMESPACE = "relora-system"
MANY = 40
"""More rounds of reconciling than any story needs between two events."""


class CrashedError(Exception):
    """The operator was killed."""


class NotSettledError(AssertionError):
    """The decisions keep writing although nothing happens."""


def key_of(one: Watched) -> Key:
    """Return the key of an object."""
    match one:
        case BaseModelRelease():
            return Key("BaseModelRelease", "", one.metadata.name)
        case AdapterBinding():
            return Key("AdapterBinding", one.metadata.namespace, one.metadata.name)
        case AdapterServer():
            return Key("AdapterServer", one.metadata.namespace, one.metadata.name)


@dataclass
class SimTarget:
    """A Deployment, and what its pods really serve."""

    view: TargetView
    serving: ServingSet | None = None


@dataclass
class World:
    """The cluster and the operator's memory."""

    releases: dict[str, BaseModelRelease] = field(default_factory=dict)
    bindings: dict[Key, AdapterBinding] = field(default_factory=dict)
    servers: dict[Key, AdapterServer] = field(default_factory=dict)
    profiles: dict[str, TrainerProfile] = field(default_factory=lambda: {"default": make_profile()})
    namespaces: dict[str, NamespaceView] = field(default_factory=dict)
    jobs: dict[tuple[str, str], SimJob] = field(default_factory=dict)
    targets: dict[tuple[str, str], SimTarget] = field(default_factory=dict)
    grants: dict[str, frozenset[Key]] = field(default_factory=dict)
    refusing: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and words of the API server's answer to every creation of a Job, by namespace."""
    refusals: dict[tuple[Key, str], JobRefusal] = field(default_factory=dict)
    denies_sets: bool = False
    """Whether the API server refuses every write to a Deployment, as when a policy's webhook is away."""
    unapplied: dict[tuple[str, str], str] = field(default_factory=dict)
    """Digest of the set that the operator could not write, by workload."""
    reports: dict[tuple[str, str], Notification] = field(default_factory=dict)
    """What the store holds, by request digest and step."""
    executed: list[tuple[str, str]] = field(default_factory=list)
    """Steps that really ran, by request digest."""
    events: list[EmitEvent] = field(default_factory=list)
    writes: list[Action] = field(default_factory=list)
    now: datetime = START
    version: int = 0
    passed: set[tuple[str, str]] = field(default_factory=set)
    """Bases and digests of every adapter that passed its gate on them."""
    pinned: set[tuple[str, str]] = field(default_factory=set)
    """Releases and digests of every adapter that a binding ever pinned."""
    crash_after: int | None = None
    """Number of further actions after which the operator dies, for once."""
    crash_after_writes: int | None = None
    """The operator dies when it has written so often to the cluster since the account of writes began."""

    # ---- what people do ----

    def add(self, *objects: Watched | TrainerProfile) -> World:
        """Create objects, or change them."""
        for one in objects:
            if isinstance(one, TrainerProfile):
                self.profiles[one.metadata.name] = one
            else:
                self.put(one)
        return self

    def put(self, one: Watched) -> None:
        """Store an object under a new version, and a new generation where its spec is another."""
        key = key_of(one)
        known, metadata = self.get(key), one.metadata
        generation = metadata.generation if known is None else known.metadata.generation + (one.spec != known.spec)
        update = {"resource_version": self.next_version(), "generation": generation}
        stored = one.model_copy(update={"metadata": metadata.model_copy(update=update)})
        match stored:
            case BaseModelRelease():
                self.releases[metadata.name] = stored
                return
            case AdapterBinding():
                self.bindings[key] = stored
            case AdapterServer():
                self.servers[key] = stored
        self.namespaces.setdefault(metadata.namespace, make_namespace(metadata.namespace))

    def get(self, key: Key) -> Watched | None:
        """Return an object."""
        if key.kind == "BaseModelRelease":
            return self.releases.get(key.name)
        return self.bindings.get(key) if key.kind == "AdapterBinding" else self.servers.get(key)

    def next_version(self) -> str:
        self.version += 1
        return str(self.version)

    def add_target(self, name: str = "vllm", namespace: str = "serving", *, consent: str | None = None) -> World:
        """Create a Deployment whose one pod runs without a set."""
        self.targets[namespace, name] = SimTarget(
            TargetView(
                name=name,
                namespace=namespace,
                uid=f"target-{name}-{self.version}",
                resource_version=self.next_version(),
                generation=1,
                observed_generation=1,
                consent=name if consent is None else consent,
                updated_replicas=1,
                available_replicas=1,
                total_replicas=1,
            )
        )
        return self

    def annotate(self, one: Watched, **annotations: str) -> World:
        """Set annotations of the group relora.dev."""
        named = {f"relora.dev/{key}": value for key, value in annotations.items()}
        self.put(one.model_copy(update={"metadata": one.metadata.model_copy(update={"annotations": named})}))
        return self

    def delete_binding(self, name: str, namespace: str = "team") -> None:
        """Delete a binding; the garbage collector takes its Jobs."""
        binding = self.bindings.pop(Key("AdapterBinding", namespace, name))
        for key, job in list(self.jobs.items()):
            if job.view.owner_uid == binding.metadata.uid:
                del self.jobs[key]

    def restart_operator(self) -> None:
        """Lose everything that the operator has in memory."""
        self.grants = {}
        self.refusals = {}
        self.unapplied = {}
        self.crash_after = None

    def wait(self, *, seconds: float) -> World:
        self.now += timedelta(seconds=seconds)
        return self

    # ---- what is read ----

    def binding(self, name: str = "classifier", namespace: str = "team") -> AdapterBinding:
        return self.bindings[Key("AdapterBinding", namespace, name)]

    def server(self, name: str = "vllm", namespace: str = "serving") -> AdapterServer:
        return self.servers[Key("AdapterServer", namespace, name)]

    def target(self, name: str = "vllm", namespace: str = "serving") -> SimTarget:
        return self.targets[namespace, name]

    def serving(self, server: AdapterServer) -> Iterator[SimTarget]:
        """Yield the workloads that serve something for a server: the main one first."""
        namespace, names = server.metadata.namespace, (server.spec.target_ref.name, fallback_target_name(server))
        found = (self.targets.get((namespace, name)) for name in names if name is not None)
        yield from (target for target in found if target is not None and target.serving is not None)

    def condition(self, one: Watched, kind: str) -> str:
        """Return `<status>/<reason>` of a condition, or `-`."""
        for condition in one.status.conditions:
            if condition.type == kind:
                return f"{condition.status}/{condition.reason}"
        return "-"

    def live_jobs(self, kind: str = "readaptation") -> list[SimJob]:
        return [job for job in self.jobs.values() if job.view.live and job.view.kind == kind]

    # ---- the loop ----

    def keys(self) -> Iterator[Key]:
        yield from (Key("BaseModelRelease", "", name) for name in sorted(self.releases))
        yield from sorted(self.bindings)
        yield from sorted(self.servers)

    def settle(self) -> World:
        """Reconcile everything until nothing is written any more; a crash restarts the operator."""
        for _ in range(MANY):
            before, crashed = len(self.writes), False
            for key in list(self.keys()):
                try:
                    self.reconcile(key)
                except CrashedError:
                    self.restart_operator()
                    crashed = True
            if len(self.writes) == before and not crashed:
                return self
        raise NotSettledError([str(write)[:300] for write in self.writes[-6:]])

    def reconcile(self, key: Key) -> Plan:
        plan = DECISIONS.decide(self.snapshot(key), self.now)
        for action in plan.actions:
            if self.crash_after is not None:
                if self.crash_after == 0:
                    raise CrashedError
                self.crash_after -= 1
            if not execute(self, action):
                break
            check(self)
            if self.crash_after_writes is not None and len(self.writes) >= self.crash_after_writes:
                raise CrashedError
        return plan

    def snapshot(self, key: Key) -> BindingSnapshot | ReleaseSnapshot | ServerSnapshot:
        family = tuple(self.releases.values())
        if key.kind == "BaseModelRelease":
            release = self.releases[key.name]
            order = chain(release.spec.model, family)
            participation = Participation(release=key.name, chain=order, profiles=self.profiles)
            return ReleaseSnapshot(
                release=release,
                family=family,
                profile=self.profiles.get(release.spec.profile_ref.name),
                tally=tally_of(participation, self.bindings.values(), self.namespaces),
                delta_jobs=self._jobs_of(release.metadata.uid),
                operator_namespace=OPERATOR_NAMESPACE,
                granted=self.grants.get(key.name, frozenset()),
                servers=tuple(self.servers.values()),
                refusals=self._refusals_of(key),
            )
        if key.kind == "AdapterServer":
            server = self.servers[key]
            return ServerSnapshot(
                server=server,
                target=self._target_of(server),
                rivals=tuple(
                    other
                    for other in self.servers.values()
                    if other is not server
                    and other.metadata.namespace == server.metadata.namespace
                    and other.spec.target_ref == server.spec.target_ref
                ),
                members=self._members(key),
                family=family,
                namespaces=self.namespaces,
                profiles=self.profiles,
                fallback=self._fallback_of(server),
            )
        binding = self.bindings[key]
        named = server_key(binding)
        found = self.servers.get(named) if named else None
        context = None
        if found is not None and named is not None:
            context = ServerContext(
                server=found,
                target=self._target_of(found),
                fallback=self._fallback_of(found) if found.status.fallback is not None else None,
                members=self._members(named),
                namespaces=self.namespaces,
            )
        return BindingSnapshot(
            binding=binding,
            namespace=self.namespaces[key.namespace],
            family=family,
            profiles=self.profiles,
            server=context,
            jobs=self._jobs_of(binding.metadata.uid),
            granted=any(key in granted for granted in self.grants.values()),
            refusals=self._refusals_of(key),
        )

    def _refusals_of(self, key: Key) -> dict[str, JobRefusal]:
        return {job: refusal for (owner, job), refusal in self.refusals.items() if owner == key}

    def _members(self, server: Key) -> tuple[AdapterBinding, ...]:
        return tuple(binding for binding in self.bindings.values() if server_key(binding) == server)

    def _target_of(self, server: AdapterServer) -> TargetView | None:
        return self._view_of(server.metadata.namespace, server.spec.target_ref.name)

    def _fallback_of(self, server: AdapterServer) -> TargetView | None:
        return self._view_of(server.metadata.namespace, fallback_target_name(server) or "")

    def _view_of(self, namespace: str, name: str) -> TargetView | None:
        found = self.targets.get((namespace, name))
        return replace(found.view, unapplied=self.unapplied.get((namespace, name))) if found else None

    def _jobs_of(self, uid: str) -> tuple[JobView, ...]:
        return tuple(job.view for job in self.jobs.values() if job.view.owner_uid == uid)

    # ---- what the cluster does ----

    def collect(self) -> World:
        """Remove the Jobs that are being deleted."""
        for key, job in list(self.jobs.items()):
            if job.view.deleting:
                del self.jobs[key]
        return self

    def run_all(self, script: Script = all_pass, *, kind: str | None = None) -> World:
        """Let every live Job, or those of one kind, run to its end."""
        for job in list(self.jobs.values()):
            if job.view.live and not job.view.deleting and kind in {None, job.view.kind}:
                run(self, job, script)
        return self

    def roll_out(self, name: str = "vllm", namespace: str = "serving") -> World:
        """Let the Deployment controller replace every pod, successfully."""
        target = self.target(name, namespace)
        target.view = replace(
            target.view,
            observed_generation=target.view.generation,
            updated_replicas=target.view.replicas,
            available_replicas=target.view.replicas,
            total_replicas=target.view.replicas,
            failing=None,
            unschedulable=None,
        )
        if target.view.serving_set is not None:
            target.serving = ServingSet.model_validate_json(target.view.serving_set)
        return self

    def stick(self, name: str = "vllm", *, failing: str | None = None, unschedulable: str | None = None) -> World:
        """Let the newest pod not get ready while the old ones serve on."""
        target = self.target(name)
        target.view = replace(
            target.view,
            observed_generation=target.view.generation,
            updated_replicas=1,
            total_replicas=2,
            failing=failing,
            unschedulable=unschedulable,
        )
        return self

    def live_on(self, script: Script = all_pass, *, rounds: int = 12) -> World:
        """Let everything happen that would happen by itself: Jobs run, roll-outs end, deletions finish."""
        for _ in range(rounds):
            before = len(self.writes)
            self.settle().collect().run_all(script).wait(seconds=1)
            for namespace, name in self.targets:
                self.roll_out(name, namespace)
            self.settle()
            if len(self.writes) == before:
                return self
        return self
