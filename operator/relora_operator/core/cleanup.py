"""Jobs that are no longer needed: what still runs is deleted, what ended gets a time to live."""

from collections.abc import Iterable, Iterator

from relora_contract.api.attempts import Attempts
from relora_operator.core.actions import DeleteJob, SetJobTtl
from relora_operator.core.attempts import JobsOfRequest, active
from relora_operator.core.observed import JobView

SUCCESS_TTL_SECONDS = 3600
FAILURE_TTL_SECONDS = 7 * 86_400


def deletion(job: JobView) -> DeleteJob:
    """Return the deletion of a Job as it was seen."""
    return DeleteJob(namespace=job.namespace, name=job.name, uid=job.uid, resource_version=job.resource_version)


def ends(unneeded: Iterable[JobView]) -> Iterator[DeleteJob]:
    """Yield the deletion of every Job that may still run a pod."""
    return (deletion(job) for job in unneeded if job.live and not job.deleting)


def expiries(recorded: Iterable[JobView]) -> Iterator[SetJobTtl]:
    """Yield the time to live of every finished Job; the caller passes those whose outcome is in the status."""
    for job in recorded:
        if not job.live and not job.has_ttl and not job.deleting:
            seconds = SUCCESS_TTL_SECONDS if job.complete else FAILURE_TTL_SECONDS
            yield SetJobTtl(namespace=job.namespace, name=job.name, uid=job.uid, seconds=seconds)


def settlement(mine: JobsOfRequest, record: Attempts, *, stored: bool) -> Iterator[DeleteJob | SetJobTtl]:
    """Yield what becomes of the Jobs of a record's last attempt once that has ended.

    What did not start in time is deleted, also when an earlier look failed to do so. The times to live wait until the
    record is `stored` as it is: without its Jobs it could not be made again.
    """
    own = [job for job in (mine.current, mine.report) if job is not None]
    if record.end_time is not None:
        yield from ends(own)
    if stored and not active(record):
        yield from expiries(own)
