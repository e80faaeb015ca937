"""Jobs that the API server did not let us create: whose that is, and when the next try is due."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from relora_contract.api.meta import Condition
from relora_operator.core.conditions import find
from relora_operator.core.lineage import Refusal
from relora_operator.core.reasons import Reason, parse_reason

REFUSED = (Reason.JOB_REFUSED, Reason.JOB_INVALID)
FORBIDDEN = 403
ANSWER_LIMIT = 512


@dataclass(frozen=True, kw_only=True)
class JobRefusal:
    """The last answer to the creation of a Job."""

    status: int
    """The HTTP status."""
    answer: str
    """The server's words."""
    again_at: datetime
    """When the next try is due."""

    @property
    def reason(self) -> Reason:
        """Whose it is: the rules of the Job's namespace, or the operator's rights and what the profile asks for."""
        if 'cannot create resource "jobs"' in self.answer:
            return Reason.JOB_INVALID
        denied = self.status == FORBIDDEN or "denied" in self.answer
        return Reason.JOB_REFUSED if denied else Reason.JOB_INVALID

    @property
    def message(self) -> str:
        """What people are told."""
        return f"the API server refused the Job: {self.answer[:ANSWER_LIMIT]}"


Refusals = Mapping[str, JobRefusal]
"""The refused Jobs of an object, by their names."""


def recorded(conditions: Iterable[Condition], kind: str) -> Refusal | None:
    """Return the refusal that a condition tells: it holds until the Job exists, also after a restart."""
    condition = find(conditions, kind)
    reason = parse_reason(condition.reason) if condition is not None else None
    return Refusal(reason, condition.message) if condition is not None and reason in REFUSED else None


def due(refusal: JobRefusal | None, now: datetime) -> bool:
    """Tell whether a Job may be created now: it was not refused, or long enough ago."""
    return refusal is None or now >= refusal.again_at
