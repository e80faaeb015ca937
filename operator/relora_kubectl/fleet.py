"""The live objects that a plan is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_operator.core.observed import NamespaceView


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Every object of the kinds that decide about a release."""

    releases: Sequence[BaseModelRelease]
    profiles: Sequence[TrainerProfile]
    namespaces: Mapping[str, NamespaceView]
    bindings: Sequence[AdapterBinding]
    servers: Sequence[AdapterServer]
