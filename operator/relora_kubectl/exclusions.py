"""Why bindings of a model take no part in a release."""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.actions import Key
from relora_operator.core.eligibility import admits
from relora_operator.core.lineage import Chain, Refusal
from relora_operator.core.membership import binding_key
from relora_operator.core.observed import NamespaceView
from relora_operator.core.pairs import baseline, releases_after
from relora_operator.core.reasons import Reason


class Exclusions:
    """Explains each namespace once."""

    def __init__(
        self,
        release: BaseModelRelease,
        order: Chain,
        namespaces: Mapping[str, NamespaceView],
        profiles: Mapping[str, TrainerProfile],
    ) -> None:
        self._release = release
        self._order = order
        self._namespaces = namespaces
        self._profiles = profiles
        self._known: dict[str, Refusal | None] = {}

    def of(self, bindings: Iterable[AdapterBinding], taking_part: AbstractSet[Key]) -> dict[Key, Refusal]:
        """Return why bindings take no part; those that are being deleted are left out."""
        return {
            key: self._why(binding)
            for binding in bindings
            if (key := binding_key(binding)) not in taking_part and binding.metadata.deletion_timestamp is None
        }

    def _why(self, binding: AdapterBinding) -> Refusal:
        namespace = binding.metadata.namespace
        if namespace not in self._known:
            self._known[namespace] = self._of_namespace(namespace)
        refusal = self._known[namespace]
        if refusal is not None:
            return refusal
        start = baseline(binding, self._order)
        if start is None:
            source = binding.spec.source.release_name
            return Refusal(
                Reason.RELEASE_NOT_FOUND,
                f"spec.source.releaseName: the model {binding.spec.model} has no release {source}",
            )
        name = self._release.metadata.name
        if all(newer.metadata.name != name for newer in releases_after(start, binding, self._order)):
            return Refusal(Reason.NEWEST_RELEASE, f"the binding is on release {start.release}, which is not older")
        if not binding.spec.approves(name):
            return Refusal(
                Reason.AWAITING_APPROVAL, f"spec.updatePolicy.approvedReleaseName of the binding does not name {name}"
            )
        return Refusal(Reason.SUPERSEDED, f"bindings of namespace {namespace} take part in a newer release")

    def _of_namespace(self, name: str) -> Refusal | None:
        view = self._namespaces.get(name)
        if view is None or view.terminating:
            return Refusal(Reason.NOT_ELIGIBLE, f"namespace {name} is being deleted")
        if not admits(self._release.spec.allowed_namespaces, view):
            return Refusal(
                Reason.NOT_ELIGIBLE, f"spec.allowedNamespaces of the release does not admit namespace {name}"
            )
        profile = self._profiles.get(self._release.spec.profile_ref.name)
        if profile is not None and not admits(profile.spec.allowed_namespaces, view):
            return Refusal(
                Reason.NOT_ELIGIBLE,
                f"spec.allowedNamespaces of TrainerProfile {profile.metadata.name} does not admit namespace {name}",
            )
        return None
