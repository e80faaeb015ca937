"""Which releases of a model count, and in which order.

A model's accepted releases form one chain. Of two releases that claim the same place the older one keeps it.
A release that was accepted stays so when its predecessors are deleted: pruning old releases is housekeeping.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from relora_contract.api.meta import ConditionStatus
from relora_contract.api.release import BaseModelRelease, ReleaseConditionType
from relora_contract.artifacts import ArtifactRef
from relora_contract.scalars import Timestamp
from relora_operator.core.reasons import Reason
from relora_operator.core.times import moment


@dataclass(frozen=True)
class Refusal:
    """Why something does not take part."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Chain:
    """The accepted releases of one model, oldest first, and why the others are not accepted."""

    releases: tuple[BaseModelRelease, ...]
    refused: dict[str, Refusal]
    known: dict[str, BaseModelRelease]
    """Every release of the model by name, accepted or not."""

    @cached_property
    def bases(self) -> dict[str, ArtifactRef]:
        """The weights of every release of the model where they lie now: each binding asks for them several times."""
        return {
            name: ArtifactRef(uri=release.spec.weights.uri, digest=release.spec.weights.digest)
            for name, release in self.known.items()
        }

    def accepts(self, name: str) -> bool:
        """Tell whether the release is on the chain."""
        return any(release.metadata.name == name for release in self.releases)

    def withdrawn(self, name: str) -> bool:
        """Tell whether the release was taken back."""
        release = self.known.get(name)
        return release is not None and bool(release.spec.withdrawn)

    def before(self, name: str) -> tuple[BaseModelRelease, ...]:
        """Return the accepted releases that are older than `name`, newest first."""
        names = [release.metadata.name for release in self.releases]
        return self.releases[: names.index(name)][::-1] if name in names else ()

    def after(self, name: str, since: Timestamp | None) -> tuple[BaseModelRelease, ...]:
        """Return the accepted releases that are newer than `name`, oldest first.

        A release that is no longer on the chain has a place in it while its successor is, which names it. Without
        one the newer releases are those that were created after `since`, when its pair was promoted.
        """
        names = [release.metadata.name for release in self.releases]
        if name in names:
            return self.releases[names.index(name) + 1 :]
        named = [release.spec.supersedes for release in self.releases]
        if name in named:
            return self.releases[named.index(name) :]
        if since is None:
            return ()
        return tuple(
            release for release in self.releases if moment(release.metadata.creation_timestamp) > moment(since)
        )


def seniority(release: BaseModelRelease) -> tuple[str, str]:
    """Sort key: the older release first, by creation, then by name."""
    return release.metadata.creation_timestamp, release.metadata.name


def chain(model: str, releases: Iterable[BaseModelRelease]) -> Chain:
    """Order the releases of `model`. Releases of other models only explain a wrong `supersedes`."""
    all_known = {release.metadata.name: release for release in releases}
    known = {name: release for name, release in all_known.items() if release.spec.model == model}
    refused: dict[str, Refusal] = {}
    accepted: list[BaseModelRelease] = []
    for start in _starts(known, all_known, refused):
        accepted.extend(_descend(start, known, refused))
    for name in sorted(known.keys() - refused.keys() - {release.metadata.name for release in accepted}):
        refused[name] = _orphan(name, known)
    return Chain(releases=tuple(accepted), refused=refused, known=known)


def _starts(
    known: dict[str, BaseModelRelease],
    all_known: dict[str, BaseModelRelease],
    refused: dict[str, Refusal],
) -> list[BaseModelRelease]:
    """Return where the chain begins, and again after each gap that a deleted release left."""
    roots: list[BaseModelRelease] = []
    gaps: list[BaseModelRelease] = []
    for release in sorted(known.values(), key=seniority):
        name, predecessor = release.metadata.name, release.spec.supersedes
        if predecessor is None:
            roots.append(release)
        elif predecessor not in all_known:
            if _was_accepted(release):
                gaps.append(release)
            else:
                refused[name] = Refusal(
                    Reason.PREDECESSOR_NOT_FOUND, f"spec.supersedes names {predecessor}, which does not exist"
                )
        elif predecessor not in known:
            other = all_known[predecessor].spec.model
            refused[name] = Refusal(
                Reason.MODEL_MISMATCH, f"spec.supersedes names {predecessor}, a release of the model {other}"
            )
    starts = sorted(gaps, key=seniority)
    if roots and not (gaps and seniority(gaps[0]) < seniority(roots[0])):
        starts.insert(0, roots.pop(0))
    for root in roots:
        refused[root.metadata.name] = Refusal(
            Reason.SECOND_ROOT,
            f"the model already has a first release, {starts[0].metadata.name}; spec.supersedes must name the newest",
        )
    return starts


def _was_accepted(release: BaseModelRelease) -> bool:
    return any(
        condition.type == ReleaseConditionType.ACCEPTED and condition.status is ConditionStatus.TRUE
        for condition in release.status.conditions
    )


def _descend(
    start: BaseModelRelease, known: dict[str, BaseModelRelease], refused: dict[str, Refusal]
) -> list[BaseModelRelease]:
    """Follow `supersedes` from a release to its successors; of several successors the oldest is accepted."""
    line = [start]
    while True:
        parent = line[-1].metadata.name
        children = sorted((child for child in known.values() if child.spec.supersedes == parent), key=seniority)
        if not children:
            return line
        line.append(children[0])
        for child in children[1:]:
            refused[child.metadata.name] = Refusal(
                Reason.FORKED_LINEAGE,
                f"{parent} is already superseded by {children[0].metadata.name}; a model's releases form one chain",
            )


def _orphan(name: str, known: dict[str, BaseModelRelease]) -> Refusal:
    """Explain a release that no accepted release leads to: its ancestors form a cycle, or one was refused."""
    seen: list[str] = []
    at: str | None = name
    while at is not None and at in known and at not in seen:
        seen.append(at)
        at = known[at].spec.supersedes
    if at == name:
        return Refusal(Reason.CYCLE_DETECTED, f"spec.supersedes leads back to this release: {' -> '.join([*seen, at])}")
    return Refusal(
        Reason.PREDECESSOR_NOT_ACCEPTED, f"spec.supersedes names {known[name].spec.supersedes}, which is not accepted"
    )
