"""The reasons that a condition can carry, who can remove their causes, and what is to be documented of each."""

from dataclasses import dataclass
from enum import StrEnum


class Blame(StrEnum):
    """Who can remove the cause."""

    NOBODY = "Nobody"
    """Someone wants the state, or it passes by itself."""
    OWNER = "Owner"
    """The owner of the object: the tenant of a binding, the owner of a server or of its workload."""
    RELEASE = "Release"
    """The platform team: the release, its weights, its profile or the cluster."""


class Reason(StrEnum):
    """One word for programs; the registry has the sentence for people."""

    # Good
    ACCEPTED = "Accepted"
    ALL_PROMOTED = "AllPromoted"
    COMPLETED_WITH_FAILURES = "CompletedWithFailures"
    GATE_PASSED = "GatePassed"
    NEWEST_RELEASE = "NewestRelease"
    NO_BINDINGS = "NoBindings"
    PROMOTED = "Promoted"
    SOURCE_PINNED = "SourcePinned"
    SUPERSEDED = "Superseded"
    WITHDRAWN = "Withdrawn"
    # On the way
    AWAITING_APPROVAL = "AwaitingApproval"
    AWAITING_BINDINGS = "AwaitingBindings"
    AWAITING_CANARIES = "AwaitingCanaries"
    AWAITING_SERVER = "AwaitingServer"
    IN_PROGRESS = "InProgress"
    QUEUED = "Queued"
    RECOVERING_REPORT = "RecoveringReport"
    RETRYING = "Retrying"
    RETURNING = "Returning"
    ROLLING_BACK = "RollingBack"
    ROLLING_OUT = "RollingOut"
    RUNNING = "Running"
    STARTING = "Starting"
    SUPERSEDING = "Superseding"
    SUSPENDED = "Suspended"
    WAITING_FOR_DELTA = "WaitingForDelta"
    # A release that does not count
    CYCLE_DETECTED = "CycleDetected"
    FORKED_LINEAGE = "ForkedLineage"
    MODEL_MISMATCH = "ModelMismatch"
    PREDECESSOR_NOT_ACCEPTED = "PredecessorNotAccepted"
    PREDECESSOR_NOT_FOUND = "PredecessorNotFound"
    SECOND_ROOT = "SecondRoot"
    # What a release lacks
    DELTA_FAILED = "DeltaFailed"
    PROFILE_NOT_FOUND = "ProfileNotFound"
    # A release that is halted
    CANARIES_MISSING = "CanariesMissing"
    CANARY_DEADLINE_EXCEEDED = "CanaryDeadlineExceeded"
    CANARY_FAILED = "CanaryFailed"
    FAILURE_BUDGET_EXCEEDED = "FailureBudgetExceeded"
    RELEASE_HALTED = "ReleaseHalted"
    # A binding or a server that cannot take part
    BASE_SKEW = "BaseSkew"
    CONSENT_MISSING = "ConsentMissing"
    FIELD_CONFLICT = "FieldConflict"
    NOT_ADMITTED = "NotAdmitted"
    NOT_ELIGIBLE = "NotEligible"
    RELEASE_NOT_FOUND = "ReleaseNotFound"
    RELEASE_WITHDRAWN = "ReleaseWithdrawn"
    REQUEST_TOO_LARGE = "RequestTooLarge"
    SERVED_NAME_CONFLICT = "ServedNameConflict"
    SERVER_FULL = "ServerFull"
    SERVER_NOT_FOUND = "ServerNotFound"
    SET_TOO_LARGE = "SetTooLarge"
    TARGET_CONFLICT = "TargetConflict"
    TARGET_CONTROLLED = "TargetControlled"
    TARGET_NOT_FOUND = "TargetNotFound"
    # A server that moves without some of its members, or waits for them too long
    FALLBACK_UNAVAILABLE = "FallbackUnavailable"
    SPLIT = "Split"
    UPGRADE_OVERDUE = "UpgradeOverdue"
    # A re-adaptation that ended without a passed gate
    ADAPTATION_FAILED = "AdaptationFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    GATE_FAILED = "GateFailed"
    GATE_INCONCLUSIVE = "GateInconclusive"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    INCOMPATIBLE = "Incompatible"
    INTEGRITY_FAILED = "IntegrityFailed"
    INVALID_DATA = "InvalidData"
    JOB_INVALID = "JobInvalid"
    JOB_REFUSED = "JobRefused"
    NON_FINITE_LOSS = "NonFiniteLoss"
    OUT_OF_MEMORY = "OutOfMemory"
    PREFLIGHT_FAILED = "PreflightFailed"
    START_DEADLINE_EXCEEDED = "StartDeadlineExceeded"
    UNSCHEDULABLE = "Unschedulable"
    # A passed gate that does not reach traffic
    ROLLED_BACK = "RolledBack"
    ROLLOUT_FAILED = "RolloutFailed"
    SERVER_BLOCKED = "ServerBlocked"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is documented of a reason."""

    conditions: tuple[str, ...]
    """`<kind>.<condition>` for each place where it appears."""
    meaning: str
    remedy: str = ""
    blame: Blame = Blame.NOBODY
    terminal: bool = False
    """Nothing changes any more unless someone acts."""
    spends_budget: bool = False
    """It is counted by the failure budget of the release: the release may have caused it."""

    @property
    def to_repair(self) -> bool:
        """Whether someone must remove a cause; what someone holds back on purpose has none."""
        return self.terminal and self.blame is not Blame.NOBODY
