"""Reads the release that is planned from a file, and says of every field what is wrong with it."""

import difflib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml
from pydantic import ValidationError
from pydantic.types import JsonValue

from relora_contract.api.release import BaseModelRelease
from relora_contract.crd.definition import kind_schema
from relora_contract.crd.schema import Schema
from relora_contract.scalars import LABEL_PATTERN, NAME_LIMIT
from relora_contract.wellknown import API_VERSION
from relora_kubectl.errors import ExitCode, PluginError

_RULES = "x-kubernetes-validations"
_UNCHANGED = "self == oldSelf"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field."""

    field: str
    message: str


class InvalidReleaseError(PluginError):
    """The API server would refuse the release."""

    def __init__(self, where: str, problems: list[Problem]) -> None:
        lines = [f"{where} is not valid", *(f"  {problem.field}: {problem.message}" for problem in problems)]
        super().__init__("\n".join(lines), ExitCode.REFUSED)
        self.problems = problems


def read_release(path: str) -> BaseModelRelease:
    """Return the one BaseModelRelease of a YAML or JSON file; other objects in it are left out.

    Args:
        path: The file; `-` for standard input.

    Raises:
        PluginError: The file cannot be read, or has no release or several.
        InvalidReleaseError: The release is not valid.
    """
    where = "standard input" if path == "-" else path
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PluginError(f"cannot read {where}: {error}", ExitCode.USAGE) from error
    kind = BaseModelRelease.resource.kind
    found = [document for document in documents if isinstance(document, dict) and document.get("kind") == kind]
    if len(found) != 1:
        raise PluginError(f"{where} holds {len(found)} objects of kind {kind}: give one", ExitCode.USAGE)
    return validated(cast("dict[str, JsonValue]", found[0]), where)


def validated(document: dict[str, JsonValue], where: str) -> BaseModelRelease:
    """Return a document as a release.

    Raises:
        InvalidReleaseError: Fields are unknown, missing or malformed.
    """
    schema = kind_schema(BaseModelRelease)
    problems = [*_identity(document), *_unknown(document.get("spec"), _child(schema, "spec"), "spec")]
    release: BaseModelRelease | None = None
    try:
        whole = {**document, "metadata": _given(document.get("metadata")), "status": {}}
        release = BaseModelRelease.model_validate_json(json.dumps(whole, default=str), strict=True)
    except ValidationError as error:
        for found in error.errors():
            names = [str(part) for part in found["loc"]]
            problems.append(Problem(".".join(names), _remedy(schema, names) or found["msg"]))
    if release is None or problems:
        raise InvalidReleaseError(where, sorted(set(problems), key=lambda problem: problem.field))
    return release


def _given(metadata: JsonValue) -> JsonValue:
    """Return metadata without the fields that are null, as templates and exports leave them."""
    return {k: v for k, v in metadata.items() if v is not None} if isinstance(metadata, dict) else metadata


def changed_immutable_fields(before: BaseModelRelease, after: BaseModelRelease) -> list[Problem]:
    """Return the fields that a release that exists does not let change."""
    old, new = before.spec.to_json(), after.spec.to_json()
    final = [Problem("spec.withdrawn", "a withdrawal is final: keep withdrawn: true, or create a new release")]
    return [
        *_immutable(old, new, _child(kind_schema(BaseModelRelease), "spec"), "spec"),
        *(final if before.spec.withdrawn and not after.spec.withdrawn else ()),
    ]


def _identity(document: dict[str, JsonValue]) -> Iterator[Problem]:
    """Check what the models leave to the API server: version and name."""
    if document.get("apiVersion") != API_VERSION:
        yield Problem("apiVersion", f"write {API_VERSION}")
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if isinstance(name, str):
        if len(name) > NAME_LIMIT:
            yield Problem("metadata.name", f"the name has more than {NAME_LIMIT} characters: shorten it")
        if not re.fullmatch(LABEL_PATTERN, name):
            yield Problem("metadata.name", "write a DNS label: lower-case letters, digits and '-'")


def _unknown(value: JsonValue, schema: Schema, path: str) -> Iterator[Problem]:
    """Yield the fields that the kind does not have; the models ignore them, and kubectl refuses them."""
    known = schema.get("properties")
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, _child(schema, "[]"), f"{path}[{index}]")
    if not isinstance(value, dict) or not isinstance(known, dict):
        return
    for name, inner in value.items():
        if name in known:
            yield from _unknown(inner, _child(schema, name), f"{path}.{name}")
        else:
            near = difflib.get_close_matches(name, known, n=1)
            yield Problem(f"{path}.{name}", f"unknown field{f'; {near[0]} is meant?' if near else ''}")


def _immutable(old: JsonValue, new: JsonValue, schema: Schema, path: str) -> Iterator[Problem]:
    rules = [rule for rule in _rules(schema) if rule.get("rule") == _UNCHANGED]
    if rules and old != new:
        yield Problem(path, str(rules[0]["message"]))
    known = schema.get("properties")
    if isinstance(known, dict) and isinstance(old, dict) and isinstance(new, dict):
        for name in known:
            yield from _immutable(old.get(name), new.get(name), _child(schema, name), f"{path}.{name}")


def _remedy(schema: Schema, names: list[str]) -> str:
    """Return what the rules of a field tell the user to write; empty where they tell nothing."""
    for name in names:
        schema = _child(schema, "[]" if name.isdigit() else name)
    remedies = [str(rule["message"]) for rule in _rules(schema) if "matches(" in str(rule["rule"])]
    return remedies[0] if remedies else ""


def _rules(schema: Schema) -> list[Schema]:
    rules = schema.get(_RULES)
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def _child(schema: Schema, name: str) -> Schema:
    """Return the schema of a field, or of a list's items; an empty one where there is none."""
    known = schema.get("properties")
    child = schema.get("items") if name == "[]" else known.get(name) if isinstance(known, dict) else None
    return child if isinstance(child, dict) else {}
