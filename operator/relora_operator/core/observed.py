"""Other objects as decisions see them: the few fields that matter, parsed once at the edge."""

from dataclasses import dataclass, field
from datetime import datetime

from relora_contract.report import Notification


@dataclass(frozen=True, kw_only=True, slots=True)
class ContainerView:
    """One container (or init container) of a trainer pod."""

    name: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    """None while the container has not ended."""
    reason: str | None = None
    """`OOMKilled`, `Error`, `Completed`, or the waiting reason (`ImagePullBackOff`, …) while it waits."""
    message: str | None = None
    """The waiting message, or a termination message that is no notification."""
    notification: Notification | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PodView:
    """One pod of a Job."""

    name: str
    uid: str
    phase: str
    created_at: datetime
    scheduled: bool = False
    disrupted: bool = False
    """The pod carries the condition DisruptionTarget."""
    deleting: bool = False
    message: str | None = None
    """Why the pod is not scheduled, in the scheduler's words."""
    containers: tuple[ContainerView, ...] = ()
    """In the order in which they run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JobView:
    """One Job of ours with its pods."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    kind: str
    """Value of the label relora.dev/job-kind: `delta`, `readaptation` or `report`."""
    request_digest_prefix: str
    """Value of the label relora.dev/request."""
    attempt: int
    owner_uid: str | None
    created_at: datetime
    gates_digest_prefix: str = ""
    """Value of the label relora.dev/gates; empty for delta Jobs."""
    started_at: datetime | None = None
    """`status.startTime`: when the Job was created, or last resumed by its queue."""
    pod_lost_at: datetime | None = None
    """When its last pod was seen to go, or when this process began: before that it does not know."""
    suspended: bool = False
    """A queue holds it, or has just let it go and the Job controller has not set `started_at` yet."""
    deleting: bool = False
    complete: bool = False
    failed: bool = False
    failure_reason: str | None = None
    """Reason of the condition Failed: PodFailurePolicy, BackoffLimitExceeded, DeadlineExceeded, …"""
    finished_at: datetime | None = None
    has_ttl: bool = False
    pods: tuple[PodView, ...] = ()

    @property
    def live(self) -> bool:
        """Whether the Job may still start or run a pod."""
        return not (self.complete or self.failed)


@dataclass(frozen=True, kw_only=True)
class TargetView:
    """The workload of an AdapterServer."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int
    observed_generation: int
    consent: str | None
    """Value of the label relora.dev/adapter-server."""
    controlled: bool = False
    """Another object is its controller."""
    paused: bool = False
    replicas: int = 1
    updated_replicas: int = 0
    available_replicas: int = 0
    total_replicas: int = 0
    progress_deadline_exceeded: bool = False
    serving_set: str | None = None
    """Value of the annotation relora.dev/serving-set of the pod template."""
    serving_set_digest: str | None = None
    other_managers: tuple[str, ...] = ()
    """Field managers other than ours that own one of our two annotations."""
    unschedulable: str | None = None
    """Message of a pod of the newest revision that cannot be scheduled."""
    unapplied: str | None = None
    """Digest of the set that our last write could not put there."""
    failing: str | None = None
    """Why pods of the newest revision do not get ready, e.g. `init container relora-fetch: exit code 45`."""

    @property
    def rolled_out(self) -> bool:
        """Whether every pod is of the newest revision and available, and none of an older one is left."""
        return (
            self.observed_generation >= self.generation
            and self.updated_replicas == self.replicas
            and self.total_replicas == self.replicas
            and self.available_replicas == self.replicas
        )


@dataclass(frozen=True, kw_only=True)
class NamespaceView:
    """A namespace."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    terminating: bool = False
