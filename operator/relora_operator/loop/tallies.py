"""The tallies of the releases, each kept up to date with the bindings that changed since it was looked at last."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from relora_contract.api.binding import AdapterBinding
from relora_contract.api.profile import TrainerProfile
from relora_contract.api.release import BaseModelRelease
from relora_operator.core.actions import Key
from relora_operator.core.lineage import chain
from relora_operator.core.observed import NamespaceView
from relora_operator.core.participation import Participation
from relora_operator.core.tally import Tally
from relora_operator.loop.cache import Change, ObjectId
from relora_operator.loop.state import State


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A tally, what it rests on, and which bindings changed since."""

    model: str
    grounds: tuple[object, ...]
    tally: Tally
    behind: set[ObjectId] = field(default_factory=set)


class Tallies:
    """Makes a tally once, and again when what it rests on is another; in between it takes in single bindings.

    Args:
        state: Whose bindings and namespaces are followed.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._kept: dict[str, _Kept] = {}
        state.bindings.follow(self._binding_changed)
        state.namespaces.follow(self._namespace_changed)

    def of(
        self, release: BaseModelRelease, family: tuple[BaseModelRelease, ...], profiles: Mapping[str, TrainerProfile]
    ) -> Tally:
        """Return the tally of a release as of now. It changes with the next call for the release."""
        name, model = release.metadata.name, release.spec.model
        participation = Participation(release=name, chain=chain(model, family), profiles=profiles)
        grounds = participation.grounds
        kept = self._kept.get(name)
        if kept is None or kept.grounds != grounds:
            everyone = set(self._state.bindings.ids_under("model", model))
            kept = _Kept(model=model, grounds=grounds, tally=Tally(release=name), behind=everyone)
            self._kept[name] = kept
        for object_id in kept.behind:
            self._bring_up(kept, participation, object_id)
        kept.behind.clear()
        return kept.tally

    def forget(self, release: str) -> None:
        """Drop the tally of a release that is gone."""
        self._kept.pop(release, None)

    def _bring_up(self, kept: _Kept, participation: Participation, object_id: ObjectId) -> None:
        binding = self._state.bindings.get(*object_id)
        if binding is not None and binding.spec.model != kept.model:
            binding = None
        namespace = self._state.namespaces.get("", object_id[0])
        found = participation.of(binding, namespace) if binding is not None else None
        kept.tally.put(Key("AdapterBinding", *object_id), binding, found)

    def _binding_changed(self, change: Change[AdapterBinding]) -> None:
        models = {value.spec.model for value in (change.old, change.new) if value is not None}
        for kept in self._kept.values():
            if kept.model in models:
                kept.behind.add(change.id)

    def _namespace_changed(self, change: Change[NamespaceView]) -> None:
        if change.old == change.new:
            return
        members = self._state.bindings.ids_under("namespace", change.id[1])
        for kept in self._kept.values():
            kept.behind.update(members)
