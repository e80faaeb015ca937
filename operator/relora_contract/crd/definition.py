"""The CustomResourceDefinition of a kind, as a JSON document."""

from pydantic.types import JsonValue

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.meta import ApiObject
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_contract.api.server import AdapterServer
from relora_contract.crd.resource import PrinterColumn, Resource
from relora_contract.crd.rules import cel, validations
from relora_contract.crd.schema import Schema, structural_schema
from relora_contract.scalars import LABEL_PATTERN, NAME_LIMIT
from relora_contract.wellknown import CATEGORY, GROUP, VERSION

KINDS: tuple[type[ApiObject], ...] = (BaseModelRelease, AdapterBinding, AdapterServer, TrainerProfile)
"""Every kind of the group, in the order in which a reader meets them."""

SIZE_LIMIT_BYTES = 256 * 1024
"""Client-side `kubectl apply` keeps the object in an annotation, and annotations end at 256 KiB."""

_OBJECT_FIELDS: dict[str, Schema] = {
    "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
    "kind": {"type": "string", "description": "The kind of the object."},
    # Declared so that rules can name the field; the API server allows nothing else to be said about metadata.
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}

_NAME_RULES = validations(
    cel(
        f"self.metadata.name.size() <= {NAME_LIMIT}",
        f"the name has more than {NAME_LIMIT} characters: shorten it, names of Jobs are derived from it",
        field=".metadata.name",
    ),
    cel(
        f"self.metadata.name.matches('{LABEL_PATTERN}')",
        "the name must be a DNS label: lower-case letters, digits and '-', no '.'",
        field=".metadata.name",
    ),
)


def definition(kind: type[ApiObject]) -> dict[str, JsonValue]:
    """Return the CustomResourceDefinition of `kind`."""
    resource = kind.resource
    names: dict[str, JsonValue] = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.singular,
        "shortNames": [resource.short_name],
        "categories": [CATEGORY],
    }
    version: dict[str, JsonValue] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in resource.columns],
        "schema": {"openAPIV3Schema": kind_schema(kind)},
    }
    if resource.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition_name(resource)},
        "spec": {"group": GROUP, "names": names, "scope": resource.scope.value, "versions": [version]},
    }


def definition_name(resource: Resource) -> str:
    """Return the name that the API server demands of the definition."""
    return f"{resource.plural}.{GROUP}"


def kind_schema(kind: type[ApiObject]) -> Schema:
    """Return the structural schema of a whole object of `kind`."""
    schema = structural_schema(kind, given={"metadata": _OBJECT_FIELDS["metadata"]})
    properties = schema["properties"]
    rules = schema.get("x-kubernetes-validations", [])
    name_rules = _NAME_RULES["x-kubernetes-validations"]
    if not (isinstance(properties, dict) and isinstance(rules, list) and isinstance(name_rules, list)):
        raise TypeError(f"the schema of {kind.__name__} is not that of an object")
    if kind.resource.has_status:
        status = properties["status"]
        if not isinstance(status, dict):
            raise TypeError(f"the status of {kind.__name__} is not an object")
        # What the operator has not seen yet must not look as if it had: clients compare it with metadata.generation.
        status["default"] = {"observedGeneration": -1}
    return {
        "description": schema["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {**_OBJECT_FIELDS, **properties},
        "x-kubernetes-validations": [*name_rules, *rules],
    }


def _column(column: PrinterColumn) -> dict[str, JsonValue]:
    shown: dict[str, JsonValue] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    return {**shown, "priority": column.priority} if column.priority else shown
