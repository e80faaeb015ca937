"""String and number types that several models share, with the bounds that the CRD schemas carry."""

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from relora_contract.crd.rules import INT_OR_STRING, remedy

DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NAME_LIMIT = 40
"""Longest name of an object of ours, in characters; the names of its Jobs add up to 23 to it."""
DECIMAL_PATTERN = r"^-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})?(e-?[0-9]{1,2})?$"

Digest = Annotated[
    str,
    StringConstraints(pattern=DIGEST_PATTERN, max_length=71),
    Field(
        json_schema_extra=remedy(
            "write sha256: and 64 lower-case hexadecimal digits, as `relora digest URI` prints them"
        )
    ),
]
"""`sha256:` and 64 lower-case hexadecimal digits."""

Name = Annotated[
    str,
    StringConstraints(pattern=LABEL_PATTERN, min_length=1, max_length=NAME_LIMIT),
    Field(json_schema_extra=remedy("write a DNS label: lower-case letters, digits and '-'")),
]
"""Name of one of our objects: a DNS label that leaves room for the suffixes of derived names."""

ObjectName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253),
    Field(json_schema_extra=remedy("write the name of an object: lower-case letters, digits, '-' and '.'")),
]
"""Name of any other Kubernetes object."""

LabelledName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=63),
    Field(json_schema_extra=remedy("write a name that fits a label: lower-case letters, digits, '-' and '.'")),
]
"""Name of an object to which labels refer."""

Namespace = Annotated[
    str,
    StringConstraints(pattern=LABEL_PATTERN, min_length=1, max_length=63),
    Field(json_schema_extra=remedy("write the name of a namespace: lower-case letters, digits and '-'")),
]

ServedName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=104),
    Field(json_schema_extra=remedy("write lower-case letters, digits, '-' and '.'; it becomes a folder's name")),
]
"""What clients put into the `model` field of a request: a name, or `<namespace>.<name>`."""

S3Uri = Annotated[
    str,
    StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._=+-]+)*$", max_length=1024),
    Field(json_schema_extra=remedy("write s3://bucket/key without a slash at the end, a query or an endpoint")),
]
"""Bucket and key. Tenants name no endpoint; that is the platform team's, in the TrainerProfile."""

S3Template = Annotated[
    str,
    StringConstraints(
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/([A-Za-z0-9._=+-]|\{namespace\})+)*$", max_length=1024
    ),
    Field(json_schema_extra=remedy("write s3://bucket/key, with {namespace} in the key and no slash at the end")),
]
"""An S3 URI in which `{namespace}` stands for the namespace of the binding."""

StoreUri = Annotated[str, StringConstraints(pattern=r"^(s3|file)://[^\x00-\x20?#]+$", max_length=1024)]
"""Where the trainer reads and writes: an S3 URI, or a `file://` folder on a laptop."""

Decimal = Annotated[
    str,
    StringConstraints(pattern=DECIMAL_PATTERN, max_length=32),
    Field(json_schema_extra=remedy('write a decimal number as a string, as in "0.81" or "5e-4"')),
]
"""A decimal number as a string, as in `"0.81"` or `"5e-4"`: the Kubernetes API has no portable floats."""


def written_as_number(value: object) -> object:
    """Return a number as the text that it would be in quotes: YAML reads `cpu: 2` as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


CountOrPercentage = Annotated[
    str,
    StringConstraints(pattern=r"^(0|[1-9][0-9]{0,5}|(0|[1-9][0-9]?|100)%)$", max_length=6),
    BeforeValidator(written_as_number),
    Field(json_schema_extra={**INT_OR_STRING, **remedy("write a number, as in 25, or a percentage, as in 10%")}),
]
"""A number of things, or a percentage of all of them."""

Seconds = Annotated[int, Field(ge=0, le=2_147_483_647)]
Timestamp = Annotated[str, StringConstraints(max_length=32), Field(json_schema_extra={"format": "date-time"})]
"""RFC 3339 in UTC, as the API server writes it."""
