"""The resources that the operator reads and writes, and their paths in the API."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_contract.crd.resource import Resource, Scope
from relora_contract.wellknown import GROUP, LABEL_ADAPTER_SERVER, LABEL_JOB_KIND, LABEL_MANAGED_BY, MANAGED_BY, VERSION


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """One resource of the API.

    Attributes:
        label_selector: Which objects concern the operator; empty for all.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    label_selector: str = ""

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of a collection, of an object, or of an object's subresource.

        Names come from the API server, whose rules leave nothing in them that a path would have to escape.
        """
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        rest = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{rest}"


class _Described(Protocol):
    resource: ClassVar[Resource]


def _own(model: type[_Described]) -> ResourceType:
    described = model.resource
    return ResourceType(
        group=GROUP,
        version=VERSION,
        kind=described.kind,
        plural=described.plural,
        namespaced=described.scope is Scope.NAMESPACED,
    )


_OURS = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_JOB_KIND}"

RELEASES = _own(BaseModelRelease)
BINDINGS = _own(AdapterBinding)
SERVERS = _own(AdapterServer)
PROFILES = _own(TrainerProfile)
JOBS = ResourceType(group="batch", version="v1", kind="Job", plural="jobs", label_selector=_OURS)
PODS = ResourceType(group="", version="v1", kind="Pod", plural="pods", label_selector=_OURS)
DEPLOYMENTS = ResourceType(
    group="apps", version="v1", kind="Deployment", plural="deployments", label_selector=LABEL_ADAPTER_SERVER
)
NAMESPACES = ResourceType(group="", version="v1", kind="Namespace", plural="namespaces", namespaced=False)
LEASES = ResourceType(group="coordination.k8s.io", version="v1", kind="Lease", plural="leases")
EVENTS = ResourceType(group="events.k8s.io", version="v1", kind="Event", plural="events")

WATCHED = (RELEASES, BINDINGS, SERVERS, PROFILES, JOBS, PODS, DEPLOYMENTS, NAMESPACES)
"""What the operator follows, all of it cluster-wide."""
