"""What a CustomResourceDefinition says of a kind beside its schema."""

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """Whether objects of the kind live in namespaces."""

    CLUSTER = "Cluster"
    NAMESPACED = "Namespaced"


@dataclass(frozen=True)
class PrinterColumn:
    """One column of `kubectl get`; columns of priority 1 show with `-o wide` only."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True)
class Resource:
    """Names and table columns of a kind."""

    kind: str
    plural: str
    short_name: str
    scope: Scope
    columns: tuple[PrinterColumn, ...]
    has_status: bool = True

    @property
    def singular(self) -> str:
        """Lower-case kind."""
        return self.kind.lower()
