"""What holds a release back for everybody, or for those who are not among its canaries."""

from collections.abc import Mapping

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.release import BaseModelRelease, ReleaseConditionType
from relora_operator.core.conditions import holds
from relora_operator.core.lineage import Refusal
from relora_operator.core.reasons import Reason
from relora_operator.core.serving import Seat


def halted(release: BaseModelRelease) -> bool:
    """Tell whether no Job starts and nothing is promoted for the release."""
    return holds(release.status.conditions, ReleaseConditionType.HALTED)


def brake(release: BaseModelRelease, labels: Mapping[str, str]) -> Refusal | None:
    """Return what holds a release back for the server, or the binding without one, that has `labels`."""
    name, canary, progress = release.metadata.name, release.spec.canary, release.status.canaries
    if halted(release):
        return Refusal(Reason.RELEASE_HALTED, f"release {name} is halted")
    waits = canary is not None and (progress is None or progress.passed_time is None)
    if canary is not None and waits and not canary.selector.matches(dict(labels)):
        return Refusal(Reason.AWAITING_CANARIES, f"release {name} goes to its canaries first")
    return None


def brake_of(release: BaseModelRelease, binding: AdapterBinding, place: Seat | None) -> Refusal | None:
    """Return what holds a release back for a binding: canaries are chosen by the server, where there is one."""
    return brake(release, place.labels if place is not None else binding.metadata.labels)
