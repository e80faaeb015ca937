"""Whatever happens to a fleet: what must always hold holds after every write, and in the end it comes to rest."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.builders import digest, make_binding, make_profile, make_release, make_server
from fleet.jobs import Script, StepEnd, all_pass, exits, gate_says, run
from fleet.world import Watched, World
from relora_contract.report import Verdict
from relora_operator.core.actions import Key
from relora_operator.core.reasons import REGISTRY, Reason

TEAMS = ("alpha", "beta")
SCRIPTS: tuple[Script, ...] = (
    all_pass,
    gate_says(Verdict.FAILED),
    gate_says(Verdict.INCONCLUSIVE),
    exits(75),
    exits(43, at_step="fuse"),
    exits(1, at_step="recover"),
    lambda job, step: StepEnd(exit_code=137, oom=True),
)
Event = Callable[[World], object]


def _run_one(index: int, *, lose_pod: bool) -> Event:
    def event(world: World) -> None:
        for job in [job for job in world.jobs.values() if job.view.live and not job.view.deleting][:1]:
            run(world, job, SCRIPTS[index], lose_pod=lose_pod)

    return event


def _delete_job(world: World) -> None:
    for key in list(world.jobs)[:1]:
        del world.jobs[key]


def _release(name: str, before: str) -> Event:
    def event(world: World) -> None:
        if name not in world.releases:
            world.add(make_release(name, before, minutes=(world.now.timestamp() % 10_000) / 60))

    return event


def _edit(team: str, **spec: object) -> Event:
    def event(world: World) -> None:
        key = Key("AdapterBinding", team, "classifier")
        if key in world.bindings:
            binding = world.bindings[key]
            fields = {**binding.spec.model_dump(by_alias=True, exclude_none=True), **spec}
            changed = type(binding.spec).model_validate(fields)
            metadata = binding.metadata.model_copy(update={"generation": binding.metadata.generation + 1})
            world.add(binding.model_copy(update={"spec": changed, "metadata": metadata}))

    return event


def _gates(team: str, threshold: str) -> Event:
    return _edit(team, quality={"gates": [{"metric": "Accuracy", "threshold": threshold}]})


def _new_source(team: str, release: str) -> Event:
    source = {"releaseName": release, "uri": "s3://adapters/new", "digest": digest(f"new {team} {release}")}
    return _edit(team, source=source)


def _delete_binding(team: str) -> Event:
    def event(world: World) -> None:
        if Key("AdapterBinding", team, "classifier") in world.bindings:
            world.delete_binding("classifier", team)

    return event


def _add_binding(team: str, *, served: bool) -> Event:
    def event(world: World) -> None:
        if Key("AdapterBinding", team, "classifier") not in world.bindings:
            binding = make_binding(namespace=team)
            binding = binding.on_server() if served else binding
            uid = f"binding-{team}-{world.next_version()}"
            built = binding.build()
            world.add(built.model_copy(update={"metadata": built.metadata.model_copy(update={"uid": uid})}))

    return event


def _stuck(world: World) -> None:
    if world.targets and world.target().view.serving_set is not None and world.server().status.candidate is not None:
        world.stick(failing="crash").settle().wait(seconds=1801)


def _target(world: World) -> None:
    world.targets.clear()
    world.settle().add_target()


def _retry(world: World) -> None:
    everything: list[Watched] = [*world.releases.values(), *world.bindings.values(), *world.servers.values()]
    for one in everything:
        world.annotate(one, retryRequestedAt=str(world.version))


def _crash(after: int) -> Event:
    def event(world: World) -> None:
        world.crash_after = after

    return event


def _turn(index: int) -> Event:
    def event(world: World) -> None:
        keys = list(world.keys())
        world.crash_after = None
        world.reconcile(keys[index % len(keys)])

    return event


def _roll_out(world: World) -> None:
    if world.targets:
        world.roll_out()


def _terminate(team: str, *, terminating: bool) -> Event:
    def event(world: World) -> None:
        if team in world.namespaces:
            world.namespaces[team] = replace(world.namespaces[team], terminating=terminating)

    return event


EVENTS: dict[str, st.SearchStrategy[Event]] = {
    "settle": st.just(World.settle),
    "turn": st.builds(_turn, st.integers(0, 6)),
    "collect": st.just(World.collect),
    "run": st.builds(_run_one, st.integers(0, len(SCRIPTS) - 1), lose_pod=st.booleans()),
    "delete job": st.just(_delete_job),
    "release": st.sampled_from([_release("r2", "r1"), _release("r3", "r2")]),
    "delete release": st.just(lambda world: world.releases.pop("r2", None)),
    "gates": st.builds(_gates, st.sampled_from(TEAMS), st.sampled_from(["0.7", "0.85"])),
    "source": st.builds(_new_source, st.sampled_from(TEAMS), st.sampled_from(["r1", "r2"])),
    "image": st.builds(lambda image: lambda world: world.add(make_profile(image=image)), st.sampled_from("ab")),
    "delete binding": st.builds(_delete_binding, st.sampled_from(TEAMS)),
    "add binding": st.builds(_add_binding, st.sampled_from(TEAMS), served=st.booleans()),
    "roll out": st.just(_roll_out),
    "stuck": st.just(_stuck),
    "target": st.just(_target),
    "retry": st.just(_retry),
    "restart": st.just(World.restart_operator),
    "crash": st.builds(_crash, st.integers(0, 12)),
    "wait": st.builds(lambda seconds: lambda world: world.wait(seconds=seconds), st.sampled_from([30, 700, 90_000])),
    "terminate": st.builds(_terminate, st.sampled_from(TEAMS), terminating=st.booleans()),
}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(sorted(EVENTS)).flatmap(lambda name: st.tuples(st.just(name), EVENTS[name])), max_size=14)
)
def test_any_history_is_safe_and_comes_to_rest(history: list[tuple[str, Event]]) -> None:
    world = World().add(make_release("r1"), make_server()).add_target()
    for team in TEAMS:
        world.add(make_binding(namespace=team).on_server().build())
    world.live_on()
    for _, event in history:
        event(world)

    for team in TEAMS:
        _terminate(team, terminating=False)(world)
    world.restart_operator()
    for _ in range(4):
        world.live_on(rounds=30).wait(seconds=7 * 3600)
    writes = len(world.writes)
    world.settle()

    assert len(world.writes) == writes, "it is not at rest"
    for binding in world.bindings.values():
        told = next(one for one in binding.status.conditions if one.type == "UpToDate")
        entry = REGISTRY[Reason(told.reason)]
        assert told.status == "True" or entry.terminal, (told.reason, told.message)
