"""Which bindings may be approved for a release, and why the others may not."""

from collections.abc import Iterable

from pydantic import Field

from relora_contract.api.binding import AdapterBinding, UpdateMode
from relora_contract.api.release import BaseModelRelease
from relora_contract.model import Model
from relora_kubectl.errors import ExitCode, PluginError
from relora_kubectl.exclusions import Exclusions
from relora_kubectl.fleet import Fleet
from relora_kubectl.kinds import full_name
from relora_operator.core.lineage import Chain, Refusal, chain
from relora_operator.core.membership import binding_key
from relora_operator.core.reasons import Reason

APPROVED_FIELD = ("spec", "updatePolicy", "approvedReleaseName")


class Approved(Model):
    """A binding whose owner approves the release."""

    namespace: str
    name: str
    changed: bool
    """False when the spec named the release already."""
    reverted_by: list[str]
    """GitOps managers that owned the field: they put back what the repository says."""


class ApprovalView(Model):
    """What was approved."""

    release: str
    bindings: list[Approved]
    failures: list[str] = Field(default_factory=list)
    """Of the others, why they were not approved."""


class Approvals:
    """Judges bindings for an approval of one release.

    Raises:
        PluginError: The release does not exist, is not accepted or is withdrawn.
    """

    def __init__(self, release_name: str, fleet: Fleet) -> None:
        release = next((one for one in fleet.releases if one.metadata.name == release_name), None)
        if release is None:
            raise PluginError(f"BaseModelRelease {release_name} does not exist", ExitCode.REFUSED)
        order = chain(release.spec.model, fleet.releases)
        refusal = _refused(release, order)
        if refusal is not None:
            told = f"release {release_name} cannot be approved: {refusal.reason}: {refusal.message}"
            raise PluginError(told, ExitCode.REFUSED)
        self._release = release
        self._newer = {newer.metadata.name for newer in order.after(release_name, None)}
        profiles = {profile.metadata.name: profile for profile in fleet.profiles}
        self._exclusions = Exclusions(release, order, fleet.namespaces, profiles)

    def awaiting(self, bindings: Iterable[AdapterBinding]) -> list[AdapterBinding]:
        """Return the bindings that only lack the approval; one that is approved for a newer release lacks none."""
        return [
            one
            for one in bindings
            if not self._approved(one)
            and one.spec.effective_update_policy.approved_release_name not in self._newer
            and self.refusal(one) is None
        ]

    def refusal(self, binding: AdapterBinding) -> str | None:
        """Return why a binding cannot be approved for the release; None when it can, or is already."""
        model = self._release.spec.model
        if binding.metadata.deletion_timestamp is not None:
            return "it is being deleted"
        if binding.spec.model != model:
            return f"{Reason.MODEL_MISMATCH}: it is of the model {binding.spec.model}, and the release of {model}"
        if binding.spec.effective_update_policy.mode is not UpdateMode.MANUAL:
            return "spec.updatePolicy.mode is Automatic: it follows releases by itself, and no approval is taken"
        told = self._exclusions.of([binding], frozenset())[binding_key(binding)]
        if told.reason is Reason.AWAITING_APPROVAL or self._approved(binding):
            return None
        return f"{told.reason}: {told.message}"

    def _approved(self, binding: AdapterBinding) -> bool:
        policy = binding.spec.effective_update_policy
        return policy.mode is UpdateMode.MANUAL and binding.spec.approves(self._release.metadata.name)


def _refused(release: BaseModelRelease, order: Chain) -> Refusal | None:
    if release.spec.withdrawn:
        return Refusal(Reason.WITHDRAWN, "it was taken back (spec.withdrawn), for good")
    return order.refused.get(release.metadata.name)


def refusals(approvals: Approvals, bindings: Iterable[AdapterBinding]) -> list[str]:
    """Return a line for each binding that cannot be approved."""
    judged = ((binding.metadata, approvals.refusal(binding)) for binding in bindings)
    return [f"AdapterBinding {full_name(one.namespace, one.name)}: {told}" for one, told in judged if told is not None]


def approval_lines(view: ApprovalView) -> list[str]:
    """Return what was approved, a line for each binding."""
    if not view.bindings and not view.failures:
        return [f"no binding awaits an approval of release {view.release}"]
    return [
        f"AdapterBinding {full_name(one.namespace, one.name)}: release {view.release} "
        f"{'is approved' if one.changed else 'was approved already'}"
        for one in view.bindings
    ]


def warnings(view: ApprovalView) -> list[str]:
    """Return what people must do where the change does not last."""
    return [
        f"AdapterBinding {full_name(one.namespace, one.name)}: {', '.join(one.reverted_by)} owned "
        f"{'.'.join(APPROVED_FIELD)} and would put its value back: commit it to the repository instead"
        for one in view.bindings
        if one.reverted_by
    ]
