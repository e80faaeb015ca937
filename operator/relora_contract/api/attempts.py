"""What a status keeps of the Jobs of one request, so that a restart of the operator loses nothing."""

from typing import Annotated

from pydantic import Field, StringConstraints

from relora_contract.api.meta import LocalRef
from relora_contract.model import Model
from relora_contract.scalars import Digest, Timestamp


class Attempts(Model):
    """The running attempt at a request, and how earlier ones ended."""

    request_digest: Digest = Field(description="Names the Job, its reports and its outputs.")
    attempt: int = Field(default=1, description="Number of the last attempt; it is part of the Job's name.")
    job_ref: LocalRef | None = Field(default=None, description="The Job of the last attempt, once it was started.")
    start_time: Timestamp | None = Field(default=None, description="When the Job of the last attempt was created.")
    end_time: Timestamp | None = Field(default=None, description="When the last attempt ended. Absent while it runs.")
    failures: int = Field(default=0, description="Attempts that failed for a reason that may pass.")
    reason: Annotated[str, StringConstraints(max_length=63)] | None = Field(
        default=None, description="Why the request ended without success, as one word. Absent while attempts are left."
    )
    message: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        default=None, description="How the last attempt that failed ended, as a sentence."
    )
    retry_requested_at: Annotated[str, StringConstraints(max_length=253)] | None = Field(
        default=None, description="Value of the annotation relora.dev/retryRequestedAt that was last acted on."
    )
    active_seconds: int = Field(default=0, description="Time in which pods of all attempts ran.")
