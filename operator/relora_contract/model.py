"""The base class of every model that leaves the process: camelCase in JSON, snake_case in Python."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic.types import JsonValue
from typing_extensions import override


class Model(BaseModel):
    """An immutable value with camelCase JSON names.

    Unknown fields are ignored: objects written by a newer version must stay readable after a downgrade.
    Absent and null are the same; null is never written.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Name the fields in the table of attributes that CPython keeps for a class.

        It takes in what its first thirty instances are given, and pydantic gives an instance a dictionary as a whole.
        """
        first = cls.__new__(cls)
        for name in cls.model_fields:
            object.__setattr__(first, name, None)

    def to_json(self) -> dict[str, JsonValue]:
        """Return the JSON form: JSON names, no nulls."""
        dumped: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return dumped
