"""Which managers own a field of an object, and which of them would take a change back."""

from collections.abc import Iterable, Sequence

from pydantic import Field
from pydantic.types import JsonValue

from relora_contract.model import Model
from relora_operator.kube.errors import JsonObject
from relora_operator.kube.parse import validated

GITOPS = ("argocd-controller", "helm-controller", "kustomize-controller")
"""Managers of Argo CD and Flux, which put back what the repository says."""


class _Entry(Model):
    manager: str = ""
    fields_v1: dict[str, JsonValue] = Field(default_factory=dict, alias="fieldsV1")


class _Metadata(Model):
    managed_fields: list[_Entry] = Field(default_factory=list)


class _Managed(Model):
    metadata: _Metadata


def gitops_owners(raw: JsonObject, field: Sequence[str]) -> tuple[str, ...]:
    """Return the managers of a repository that own a field, as in `("spec", "withdrawn")`.

    Raises:
        UnreadableError: The object's `metadata.managedFields` have another form.
    """
    entries = validated(_Managed, raw).metadata.managed_fields
    return tuple(dict.fromkeys(entry.manager for entry in entries if entry.manager in GITOPS and _owns(entry, field)))


def _owns(entry: _Entry, field: Iterable[str]) -> bool:
    at: JsonValue = entry.fields_v1
    for name in field:
        if not isinstance(at, dict) or f"f:{name}" not in at:
            return False
        at = at[f"f:{name}"]
    return True
