"""The kinds of objects, and how people name them on a command line."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.meta import ApiObject
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_kubectl.errors import ExitCode, PluginError
from relora_operator.kube.resources import BINDINGS, PROFILES, RELEASES, SERVERS, ResourceType

Model_co = TypeVar("Model_co", bound=ApiObject, covariant=True)


@dataclass(frozen=True)
class Kind(Generic[Model_co]):
    """A kind of ours: how its objects are read."""

    model: type[Model_co]
    resource: ResourceType

    @property
    def short_name(self) -> str:
        """The short name, as in `kubectl get adb`."""
        return self.model.resource.short_name

    @property
    def names(self) -> tuple[str, ...]:
        """What kubectl takes for the kind, in lower case."""
        described = self.model.resource
        return described.short_name, described.singular, described.plural


RELEASE = Kind(BaseModelRelease, RELEASES)
BINDING = Kind(AdapterBinding, BINDINGS)
SERVER = Kind(AdapterServer, SERVERS)
PROFILE = Kind(TrainerProfile, PROFILES)

AnyKind = Kind[BaseModelRelease | AdapterBinding | AdapterServer]
"""A kind whose objects the operator brings forward, and people name."""


@dataclass(frozen=True)
class Reference:
    """An object as it was named on the command line."""

    kind: AnyKind
    name: str


def parse_reference(text: str, kinds: tuple[AnyKind, ...]) -> Reference:
    """Return what `KIND/NAME` names.

    Raises:
        PluginError: It has another form, or names another kind.
    """
    word, separator, name = text.partition("/")
    kind = next((one for one in kinds if word.lower() in one.names), None)
    if not separator or not name or kind is None:
        known = ", ".join(f"{one.short_name}/NAME" for one in kinds)
        raise PluginError(f"{text} names no object: write {known}", ExitCode.USAGE)
    return Reference(kind, name)


def full_name(namespace: str, name: str) -> str:
    """Return `namespace/name`, or the name of a cluster-scoped object."""
    return f"{namespace}/{name}" if namespace else name
