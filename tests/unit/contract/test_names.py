import re

from relora_contract.digests import sha256_digest
from relora_contract.names import (
    NAME_LIMIT,
    audit_name,
    default_served_name,
    delta_job_name,
    readaptation_job_name,
    report_job_name,
)
from relora_contract.scalars import LABEL_PATTERN
from relora_contract.scalars import NAME_LIMIT as OBJECT_NAME_LIMIT

DIGEST = sha256_digest(b"request")
LONGEST = "a" * OBJECT_NAME_LIMIT
MOST_ATTEMPTS = 999


def test_names_of_jobs_are_labels_for_the_longest_object_name() -> None:
    longest = (
        readaptation_job_name(LONGEST, DIGEST, MOST_ATTEMPTS),
        report_job_name(readaptation_job_name(LONGEST, DIGEST, MOST_ATTEMPTS)),
        delta_job_name(LONGEST, DIGEST, MOST_ATTEMPTS),
    )
    for name in longest:
        # The Job controller puts the name into a label of the pods: 63 characters at most.
        assert len(name) <= NAME_LIMIT
        assert re.fullmatch(LABEL_PATTERN, name)


def test_every_request_and_attempt_has_a_job_of_its_own() -> None:
    other = sha256_digest(b"other")
    names = {
        readaptation_job_name("x", DIGEST, 1),
        readaptation_job_name("x", DIGEST, 2),
        readaptation_job_name("x", other, 1),
        report_job_name(readaptation_job_name("x", DIGEST, 1)),
        delta_job_name("x", DIGEST, 1),
        delta_job_name("x", other, 1),
    }
    assert len(names) == 6


def test_served_name_carries_the_namespace_where_it_could_be_ambiguous() -> None:
    assert default_served_name(binding_namespace="a", binding_name="x", server_namespace="a") == "x"
    assert default_served_name(binding_namespace="a", binding_name="x", server_namespace="b") == "a.x"


def test_audit_name_shows_which_adapter_it_is() -> None:
    assert audit_name("a.x", DIGEST) == f"a.x--{DIGEST.removeprefix('sha256:')[:8]}"
