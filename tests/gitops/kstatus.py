"""The verdict of kstatus on an object of a kind that it does not know, which is how Flux waits for ours.

A port of `Compute` of github.com/fluxcd/cli-utils v1.4.0, pkg/kstatus/status (generic.go and status.go), without its
rules for the kinds of Kubernetes itself.
"""

from enum import StrEnum
from typing import Any

Document = dict[str, Any]


class Verdict(StrEnum):
    """What Flux makes of an object."""

    CURRENT = "Current"
    """Done: the health check passes."""
    IN_PROGRESS = "InProgress"
    """Flux waits, and fails at its timeout."""
    FAILED = "Failed"
    """Flux fails at once."""
    TERMINATING = "Terminating"


def verdict(document: Document) -> Verdict:
    """Return the verdict on an object as the API server returns it."""
    metadata, status = document["metadata"], document.get("status", {})
    if metadata.get("deletionTimestamp"):
        return Verdict.TERMINATING
    observed = status.get("observedGeneration")
    if "generation" in metadata and observed is not None and observed != metadata["generation"]:
        return Verdict.IN_PROGRESS
    conditions = status.get("conditions", [])
    # The first of the two that is True decides, in the order of the list.
    for condition in conditions:
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return Verdict.IN_PROGRESS
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return Verdict.FAILED
    for condition in conditions:
        if condition["type"] == "Ready":
            return Verdict.CURRENT if condition["status"] == "True" else Verdict.IN_PROGRESS
    return Verdict.CURRENT
