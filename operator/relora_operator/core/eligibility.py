"""Which release a binding is to be carried to."""

from collections.abc import Mapping, Sequence

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.meta import NamespaceAdmission
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.lineage import Chain
from relora_operator.core.observed import NamespaceView


def admits(admission: NamespaceAdmission | None, namespace: NamespaceView) -> bool:
    """Tell whether a namespace takes part; without a selector all do."""
    return admission is None or admission.selector.matches(namespace.labels)


def open_to(release: BaseModelRelease, namespace: NamespaceView, profiles: Mapping[str, TrainerProfile]) -> bool:
    """Tell whether the bindings of `namespace` may take part in an accepted release.

    A profile that does not exist refuses nobody: the release says that it is missing.
    """
    profile = profiles.get(release.spec.profile_ref.name)
    return (
        not release.spec.withdrawn
        and admits(release.spec.allowed_namespaces, namespace)
        and (profile is None or admits(profile.spec.allowed_namespaces, namespace))
    )


def eligible(
    release: BaseModelRelease,
    binding: AdapterBinding,
    namespace: NamespaceView,
    profiles: Mapping[str, TrainerProfile],
) -> bool:
    """Tell whether a binding takes part in an accepted release."""
    return binding.spec.approves(release.metadata.name) and open_to(release, namespace, profiles)


def newest_eligible(
    chain: Chain, binding: AdapterBinding, namespace: NamespaceView, profiles: Mapping[str, TrainerProfile]
) -> BaseModelRelease | None:
    """Return the newest release in which a binding of `namespace` takes part."""
    return next(
        (release for release in reversed(chain.releases) if eligible(release, binding, namespace, profiles)),
        None,
    )


def newest_open(
    releases: Sequence[BaseModelRelease], namespace: NamespaceView, profiles: Mapping[str, TrainerProfile]
) -> BaseModelRelease | None:
    """Return the newest of `releases`, oldest first, in which bindings of `namespace` may take part."""
    return next((release for release in reversed(releases) if open_to(release, namespace, profiles)), None)
