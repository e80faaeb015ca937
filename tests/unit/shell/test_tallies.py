"""The tallies follow the state: bindings, namespaces, profiles and the other releases."""

import pytest

from controller.world import World, binding
from relora_operator.core.lineage import chain
from relora_operator.core.participation import Participation
from relora_operator.core.tally import Tally, tally_of
from relora_operator.kube.resources import BINDINGS, NAMESPACES, RELEASES
from relora_operator.loop.tallies import Tallies
from samples import kinds


class Kept:
    """The tallies of a world, beside what is made at once of the same."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tallies = Tallies(world.state)

    def of(self, name: str = "tiny-r2") -> Tally:
        state = self.world.state
        release = state.releases.get("", name)
        assert release is not None
        family, profiles = (
            state.releases.find("model", "tiny"),
            {one.metadata.name: one for one in state.profiles.values()},
        )
        kept = self.tallies.of(release, family, profiles)
        participation = Participation(release=name, chain=chain("tiny", family), profiles=profiles)
        namespaces = {view.name: view for view in state.namespaces.values()}
        fresh = tally_of(participation, state.bindings.find("model", "tiny"), namespaces)
        assert (len(kept), +kept.stages, kept.units, kept.on_it) == (
            len(fresh),
            +fresh.stages,
            fresh.units,
            fresh.on_it,
        )
        return kept


@pytest.fixture
def kept(world: World) -> Kept:
    world.fill()
    admitted = {"relora.dev/admitted": "true", "stage": "production"}
    world.put(NAMESPACES, {"metadata": {"name": "team", "labels": admitted}}, version=2)
    return Kept(world)


def test_only_what_changed_is_looked_at_again(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    of = Participation.of

    def counted(self: Participation, binding: object, namespace: object) -> object:
        looked.append(binding.metadata.name)  # type: ignore[attr-defined]
        return of(self, binding, namespace)  # type: ignore[arg-type]

    first = kept.of()
    monkeypatch.setattr(Participation, "of", counted)
    kept.world.put(BINDINGS, binding("one", priority=3), version=7)
    release, family = kept.world.state.releases.get("", "tiny-r2"), kept.world.state.releases.find("model", "tiny")
    assert release is not None
    profiles = {one.metadata.name: one for one in kept.world.state.profiles.values()}

    again = kept.tallies.of(release, family, profiles)

    assert again is first
    assert looked == ["one"]
    assert kept.of() is first


def test_a_binding_comes_and_goes(kept: Kept) -> None:
    assert len(kept.of()) == 2
    kept.world.put(BINDINGS, binding("three"))
    assert len(kept.of()) == 3
    kept.world.intake.missing(BINDINGS, "team", "three", "uid-three", 9)
    assert len(kept.of()) == 2


def test_a_namespace_that_is_no_longer_allowed_takes_its_bindings_out(kept: Kept) -> None:
    assert len(kept.of()) == 2
    kept.world.put(NAMESPACES, {"metadata": {"name": "team", "labels": {}}}, version=5)
    assert len(kept.of()) == 0


def test_a_newer_release_takes_over(kept: Kept) -> None:
    assert len(kept.of()) == 2
    kept.world.put(RELEASES, kinds.release("tiny-r3", supersedes="tiny-r2"))
    assert len(kept.of()) == 0
    assert len(kept.of("tiny-r3")) == 2


def test_a_binding_of_another_model_is_not_counted(kept: Kept) -> None:
    assert len(kept.of()) == 2
    kept.world.put(BINDINGS, binding("one", model="other"), uid="another", version=8)
    assert len(kept.of()) == 1


def test_the_tally_of_a_release_that_is_gone_is_dropped(kept: Kept) -> None:
    first = kept.of()
    kept.tallies.forget("tiny-r2")
    assert kept.of() is not first
