"""What a decision knows: everything that was gathered for one key, at one moment."""

from collections.abc import Collection
from dataclasses import dataclass, field

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_operator.core.actions import Key
from relora_operator.core.observed import JobView, NamespaceView, TargetView
from relora_operator.core.refusals import Refusals
from relora_operator.core.tally import Tally


@dataclass(frozen=True, kw_only=True, eq=False)
class ReleaseSnapshot:
    """For one BaseModelRelease. It equals no other one: its tally and its servers change with the fleet."""

    release: BaseModelRelease
    family: tuple[BaseModelRelease, ...]
    """Every release of the same model, this one included, and the releases that they name in `supersedes`."""
    profile: TrainerProfile | None
    tally: Tally
    """What is to be known of those that take part."""
    delta_jobs: tuple[JobView, ...]
    """Delta Jobs owned by the release."""
    operator_namespace: str
    granted: frozenset[Key] = frozenset()
    """The bindings that hold a slot of the release at the moment."""
    servers: Collection[AdapterServer] = ()
    """Every server of the model, in any order."""
    refusals: Refusals = field(default_factory=dict)
    """Delta Jobs that the API server refused."""


@dataclass(frozen=True, kw_only=True)
class ServerContext:
    """A server with its target, as a binding sees it."""

    server: AdapterServer
    target: TargetView | None
    fallback: TargetView | None = None
    """The workload of `status.fallback`."""
    members: tuple[AdapterBinding, ...] = ()
    """Every binding that names the server, admitted or not."""
    namespaces: dict[str, NamespaceView] = field(default_factory=dict)
    """Those of the members."""


@dataclass(frozen=True, kw_only=True)
class BindingSnapshot:
    """For one AdapterBinding."""

    binding: AdapterBinding
    namespace: NamespaceView
    family: tuple[BaseModelRelease, ...]
    """As in `ReleaseSnapshot`."""
    profiles: dict[str, TrainerProfile]
    """By name; those that the family's releases name."""
    server: ServerContext | None
    """None when the binding names no server or the server does not exist."""
    jobs: tuple[JobView, ...]
    """Every Job owned by the binding."""
    granted: bool
    """The release's planner allows this binding to have an active Job."""
    refusals: Refusals = field(default_factory=dict)
    """Jobs of the binding that the API server refused."""


@dataclass(frozen=True, kw_only=True)
class ServerSnapshot:
    """For one AdapterServer."""

    server: AdapterServer
    target: TargetView | None
    rivals: tuple[AdapterServer, ...]
    """Other servers of the namespace with the same target."""
    members: tuple[AdapterBinding, ...]
    """Every binding that names the server, admitted or not."""
    family: tuple[BaseModelRelease, ...]
    namespaces: dict[str, NamespaceView] = field(default_factory=dict)
    """Those of the members and of the server."""
    profiles: dict[str, TrainerProfile] = field(default_factory=dict)
    """By name; those that the family's releases name."""
    fallback: TargetView | None = None
    """The workload for members that stay behind, where `fallback_target_name` has one."""
