"""A tally that is kept up to date tells what one that is made at once tells, whatever happened on the way."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.builders import BindingBuilder, make_binding, make_namespace, make_profile, make_release
from relora_contract.api.binding import AdapterBinding
from relora_operator.core.actions import Key
from relora_operator.core.lineage import chain
from relora_operator.core.membership import binding_key
from relora_operator.core.observed import NamespaceView
from relora_operator.core.participation import Participation
from relora_operator.core.slots import Pace, grants
from relora_operator.core.tally import Tally, tally_of

R1, R2 = make_release("r1"), make_release("r2", "r1", allowedNamespaces={"selector": {"matchLabels": {"in": "yes"}}})
PARTICIPATION = Participation(release="r2", chain=chain("tiny", [R1, R2]), profiles={"default": make_profile()})
TEAMS = ("alpha", "beta", "gamma")
NAMES = ("x", "y", "z")

Turn = Callable[[BindingBuilder], BindingBuilder]
LIVES: dict[str, Turn] = {
    "new": lambda one: one,
    "waits for the delta": lambda one: one.pursuing("r2").told("UpToDate", "WaitingForDelta"),
    "queued": lambda one: one.pursuing("r2").told("UpToDate", "Queued"),
    "running": lambda one: one.pursuing("r2").with_job().told("UpToDate", "Running"),
    "held by a queue": lambda one: one.pursuing("r2").with_job().told("UpToDate", "Queued"),
    "refused": lambda one: one.pursuing("r2").with_job().told("UpToDate", "JobRefused"),
    "passed": lambda one: one.passed_on("r2").told("UpToDate", "AwaitingServer"),
    "rolled back": lambda one: one.passed_on("r2").told("UpToDate", "RolledBack"),
    "gate failed": lambda one: one.failed_on("r2", "GateFailed").told("UpToDate", "GateFailed"),
    "bad data": lambda one: one.failed_on("r2", "InvalidData").told("UpToDate", "InvalidData"),
    "promoted": lambda one: one.promoted_on("r2", "made"),
    "without a delta": lambda one: one.with_spec(readaptation={"strategy": "Scratch"}).told("UpToDate", "Starting"),
    "manual": lambda one: one.with_spec(updatePolicy={"mode": "Manual"}),
    "approved": lambda one: one.with_spec(updatePolicy={"mode": "Manual", "approvedReleaseName": "r2"}),
    "suspended": lambda one: one.with_spec(suspend=True),
}


@st.composite
def bindings(draw: st.DrawFn) -> AdapterBinding:
    """One of nine bindings, somewhere in its life."""
    name, team = draw(st.sampled_from(NAMES)), draw(st.sampled_from(TEAMS))
    minutes, priority = draw(st.integers(0, 2)), draw(st.integers(-1, 1))
    built = make_binding(name, team, minutes=minutes, priority=priority)
    if draw(st.booleans()):
        built = built.on_server(draw(st.sampled_from(("one", "two"))))
    return LIVES[draw(st.sampled_from(sorted(LIVES)))](built).build()


NAMESPACES = st.builds(
    lambda team, within, terminating: replace(make_namespace(team, **{"in": within}), terminating=terminating),
    st.sampled_from(TEAMS),
    st.sampled_from(("yes", "no")),
    st.booleans(),
)
CHANGES = st.one_of(bindings(), NAMESPACES, st.tuples(st.sampled_from(TEAMS), st.sampled_from(NAMES)))


def told(tally: Tally) -> dict[str, object]:
    """Everything that a tally tells."""
    paces = [
        Pace(in_all=most, in_a_namespace=2, in_queue=3, queued=queued) for most in (1, 4) for queued in (False, True)
    ]
    promised = frozenset(sorted(tally.waiting.turns)[:2])
    return {
        "size": len(tally),
        "stages": +tally.stages,
        "open": tally.open,
        "ended": tally.ended,
        "spent": tally.spent,
        "failures": tally.failures(4),
        "demanded": tally.demanded(),
        "units": tally.units,
        "on it": tally.on_it,
        "slots": [grants(tally, promises, pace) for pace in paces for promises in (frozenset(), promised)],
    }


@settings(max_examples=200, deadline=None)
@given(st.lists(CHANGES, max_size=40))
def test_a_tally_of_many_changes_equals_one_of_the_end(
    changes: list[AdapterBinding | NamespaceView | tuple[str, str]],
) -> None:
    kept, tally = Fleet(), Tally(release="r2")
    for change in changes:
        for key in kept.take_in(change):
            binding = kept.bindings.get(key)
            found = PARTICIPATION.of(binding, kept.namespaces.get(key.namespace)) if binding is not None else None
            tally.put(key, binding, found)

        assert told(tally) == told(tally_of(PARTICIPATION, kept.bindings.values(), kept.namespaces))


class Fleet:
    def __init__(self) -> None:
        self.bindings: dict[Key, AdapterBinding] = {}
        self.namespaces: dict[str, NamespaceView] = {team: make_namespace(team, **{"in": "yes"}) for team in TEAMS}

    def take_in(self, change: AdapterBinding | NamespaceView | tuple[str, str]) -> list[Key]:
        """Return the keys of the bindings that a change concerns."""
        match change:
            case AdapterBinding():
                key = binding_key(change)
                self.bindings[key] = change
                return [key]
            case NamespaceView(name=name):
                self.namespaces[name] = change
                return [key for key in self.bindings if key.namespace == name]
            case team, name:
                key = Key("AdapterBinding", team, name)
                self.bindings.pop(key, None)
                return [key]
