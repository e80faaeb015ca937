"""Names of derived objects. They are deterministic, so that a create that is repeated is refused, not doubled."""

from relora_contract.digests import hex_part

SHORT_DIGEST = 8
DELTA_DIGEST = 6
NAME_LIMIT = 63


def readaptation_job_name(binding: str, request_digest: str, attempt: int) -> str:
    """Return `<binding>-<request digest, 8>-<attempt>`; at most 63 characters for binding names up to 40."""
    return f"{binding}-{hex_part(request_digest)[:SHORT_DIGEST]}-{attempt}"


def report_job_name(job_name: str) -> str:
    """Return the name of the Job that reads stored reports: after `job_name` lost its pod, or in its place."""
    return f"{job_name}-report"


def delta_job_name(release: str, request_digest: str, attempt: int) -> str:
    """Return `<release>-delta-<request digest, 6>-<attempt>`; six digits leave room for the report Job's name."""
    return f"{release}-delta-{hex_part(request_digest)[:DELTA_DIGEST]}-{attempt}"


def audit_name(served_name: str, adapter_digest: str) -> str:
    """Return `<served name>--<adapter digest, 8>`: the second name under which every adapter is loaded."""
    return f"{served_name}--{hex_part(adapter_digest)[:SHORT_DIGEST]}"


def default_served_name(*, binding_namespace: str, binding_name: str, server_namespace: str) -> str:
    """Return the name that clients ask for when the binding gives none."""
    return binding_name if binding_namespace == server_namespace else f"{binding_namespace}.{binding_name}"
