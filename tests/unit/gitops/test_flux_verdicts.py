"""What Flux makes of every status that the operator writes. A release, whatever becomes of it, fails no one's Git."""

import pytest

from gitops.kstatus import Document, Verdict, verdict
from gitops.recorded import PLAYED, recorded
from relora_contract.api.binding import AdapterBindingStatus
from relora_contract.api.release import BaseModelReleaseStatus
from relora_contract.api.server import AdapterServerStatus
from relora_contract.model import Model
from relora_operator.core.reasons import REGISTRY, Blame, Reason

CURRENT, IN_PROGRESS, FAILED = Verdict.CURRENT, Verdict.IN_PROGRESS, Verdict.FAILED
UPGRADE = {"AdapterBinding": "UpToDate", "AdapterServer": "UpToDate", "BaseModelRelease": "Complete"}
"""The condition whose reason tells what goes on while Ready is True."""

State = tuple[str, bool]
"""A kind, and whether an object of it has a pair or a set in use."""

VERDICTS: dict[State, dict[Verdict, str]] = {
    ("BaseModelRelease", False): {
        CURRENT: """AllPromoted CompletedWithFailures InProgress NoBindings Returning Superseded Suspended
            Withdrawn""",
        FAILED: """CanariesMissing CanaryDeadlineExceeded CanaryFailed CycleDetected DeltaFailed FailureBudgetExceeded
            ForkedLineage JobInvalid JobRefused ModelMismatch PredecessorNotAccepted PredecessorNotFound
            ProfileNotFound SecondRoot""",
    },
    ("AdapterBinding", False): {
        IN_PROGRESS: "AwaitingServer Queued Starting Suspended WaitingForDelta",
        FAILED: """BaseSkew ConsentMissing ModelMismatch NotAdmitted ReleaseNotFound ServedNameConflict ServerFull
            ServerNotFound TargetConflict TargetControlled TargetNotFound""",
    },
    ("AdapterBinding", True): {
        CURRENT: """AdaptationFailed AwaitingApproval AwaitingCanaries AwaitingServer ConsentMissing DeltaFailed
            FieldConflict GateFailed GateInconclusive ImagePullFailed Incompatible IntegrityFailed JobInvalid
            NewestRelease NonFiniteLoss OutOfMemory ProfileNotFound Queued RecoveringReport ReleaseHalted
            ReleaseWithdrawn Retrying RolledBack Running ServerBlocked StartDeadlineExceeded Starting Superseding
            Suspended TargetConflict TargetControlled Unschedulable WaitingForDelta""",
        FAILED: """DeadlineExceeded FallbackUnavailable InvalidData JobRefused PreflightFailed RequestTooLarge
            ServerNotFound TargetNotFound""",
    },
    ("AdapterServer", False): {
        CURRENT: "NoBindings",
        IN_PROGRESS: "RollingOut Suspended",
        FAILED: """ConsentMissing ReleaseNotFound RolloutFailed SetTooLarge TargetConflict TargetControlled
            TargetNotFound""",
    },
    ("AdapterServer", True): {
        CURRENT: """AwaitingBindings AwaitingCanaries NewestRelease NoBindings ReleaseHalted ReleaseWithdrawn
            RolledBack RollingBack RollingOut Split Suspended UpgradeOverdue""",
        FAILED: """ConsentMissing FallbackUnavailable FieldConflict RolloutFailed TargetConflict TargetControlled
            TargetNotFound""",
    },
}

Row = tuple[State, str, Verdict]
TABLE = {
    (state, reason, outcome)
    for state, by_verdict in VERDICTS.items()
    for outcome, reasons in by_verdict.items()
    for reason in reasons.split()
}


def row(document: Document) -> Row | None:
    """Return the row of the table that a status fills; None before the first reconcile."""
    conditions = {condition["type"]: condition for condition in document["status"].get("conditions", [])}
    if not conditions:
        return None
    kind = document["kind"]
    told = conditions["Ready"] if conditions["Ready"]["status"] != "True" else conditions[UPGRADE[kind]]
    return (kind, "current" in document["status"]), told["reason"], verdict(document)


@pytest.mark.parametrize("name", PLAYED)
def test_every_status_that_was_ever_written_has_its_verdict(name: str) -> None:
    assert {found for document in recorded(name) if (found := row(document))} - TABLE == set()


def test_every_verdict_was_seen() -> None:
    seen = {found for name in PLAYED for document in recorded(name) if (found := row(document))}
    assert TABLE - seen == set()


def test_every_documented_reason_has_its_verdict() -> None:
    documented = {
        (kind, reason)
        for reason, entry in REGISTRY.items()
        for kind, _, condition in (place.partition(".") for place in entry.conditions)
        if condition in {"Ready", UPGRADE.get(kind)}
    }
    # While Ready is True, the other condition tells more.
    ready = {("BaseModelRelease", "Accepted"), ("AdapterBinding", "Promoted"), ("AdapterServer", "Promoted")}
    assert documented - {(kind, reason) for (kind, _), reason, _ in TABLE} == ready


def test_what_is_in_use_is_never_in_progress_and_failed_only_where_its_owner_must_act() -> None:
    for (kind, in_use), reason, outcome in TABLE:
        entry = REGISTRY[Reason(reason)]
        if outcome is FAILED:
            assert entry.terminal
            assert entry.remedy
            assert entry.blame is Blame.OWNER or not in_use
        elif in_use:
            assert outcome is CURRENT
        assert outcome is not FAILED or kind == "BaseModelRelease" or entry.blame is Blame.OWNER


@pytest.mark.parametrize("status", [AdapterBindingStatus(), AdapterServerStatus(), BaseModelReleaseStatus()])
def test_what_no_operator_has_seen_yet_is_in_progress(status: Model) -> None:
    assert verdict({"metadata": {"generation": 1}, "status": status.to_json()}) is IN_PROGRESS


def test_a_changed_spec_is_in_progress_until_the_operator_has_seen_it() -> None:
    document = next(document for document in recorded("Promoted") if verdict(document) is CURRENT)
    changed = {**document, "metadata": {**document["metadata"], "generation": 2}}
    assert verdict(changed) is IN_PROGRESS
    assert verdict({**changed, "metadata": {**changed["metadata"], "deletionTimestamp": "now"}}) is Verdict.TERMINATING


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, CURRENT),
        ({"Ready": "True"}, CURRENT),
        ({"Ready": "False"}, IN_PROGRESS),
        ({"Ready": "Unknown"}, IN_PROGRESS),
        ({"Ready": "True", "Reconciling": "True"}, IN_PROGRESS),
        ({"Ready": "True", "Stalled": "True"}, FAILED),
        ({"Ready": "True", "Stalled": "False", "Reconciling": "False"}, CURRENT),
        ({"Stalled": "True", "Reconciling": "True"}, FAILED),
        ({"Reconciling": "True", "Stalled": "True"}, IN_PROGRESS),
    ],
)
def test_the_reader_follows_the_rules_of_kstatus(conditions: dict[str, str], expected: Verdict) -> None:
    given = [{"type": kind, "status": status} for kind, status in conditions.items()]
    assert verdict({"metadata": {"generation": 1}, "status": {"conditions": given}}) is expected
