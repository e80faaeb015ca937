"""Makes parsed objects small: what is kept of a fleet's objects is most of the operator's memory.

A binding with a status takes 21 KiB as pydantic and the JSON parser leave it, and less than half of that afterwards.
"""

import sys
from typing import TypeVar

from relora_contract.model import Model

AnyModel = TypeVar("AnyModel", bound=Model)

_FIELD_SETS: dict[frozenset[str], set[str]] = {}
_set = object.__setattr__  # past the guard of a frozen model


def compact(value: AnyModel) -> AnyModel:
    """Return an equal model that shares with others, in all of its parts, what can be shared.

    - Texts: an adapter's digest is in its binding several times, the names of a release and its messages in every one.
    - The sets of the fields that were given: there are only so many different ones. A model is immutable, and a copy
      of one gets a set of its own.
    - The names of the attributes: instances whose attributes are set one by one keep them in a table of their class
      (PEP 412), where pydantic gives each a dictionary of its own.
    """
    return _rebuilt(value, {name: _compact_part(part) for name, part in value.__dict__.items()})


def compact_outside(value: AnyModel) -> AnyModel:
    """Do the same for a model whose parts are compact already."""
    return _rebuilt(value, value.__dict__)


def _compact_part(part: object) -> object:
    if type(part) is str:  # no enumeration
        return sys.intern(part)
    if isinstance(part, Model):
        return compact(part)
    if isinstance(part, list):
        return [_compact_part(one) for one in part]
    if isinstance(part, dict):
        return {_compact_part(name): _compact_part(one) for name, one in part.items()}
    return part


def _rebuilt(value: AnyModel, attributes: dict[str, object]) -> AnyModel:
    names = value.__pydantic_fields_set__
    new = value.__class__.__new__(value.__class__)
    for name, part in attributes.items():
        _set(new, name, part)
    _set(new, "__pydantic_fields_set__", _FIELD_SETS.setdefault(frozenset(names), names))
    _set(new, "__pydantic_extra__", None)
    _set(new, "__pydantic_private__", None)
    return new
