"""One story for every documented reason, and what the object's other conditions say then."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fleet.builders import make_binding, make_namespace, make_release, make_server
from fleet.jobs import SimJob, StepEnd, exits, gate_says
from fleet.world import Watched, World
from relora_contract.api.release import BaseModelRelease
from relora_contract.report import Verdict
from relora_operator.core.actions import Key
from relora_operator.core.observed import ContainerView, PodView
from relora_operator.core.reasons import REGISTRY, Blame, Reason

FIRST, SECOND = make_release("r1"), make_release("r2", "r1", minutes=10)
Told = tuple[Watched, str]
"""An object and one of its conditions."""


def alone(**spec: object) -> World:
    """A binding without a server, in use on the first release."""
    return World().add(FIRST, make_binding().with_spec(**spec).build()).live_on()


def served(*teams: str, spec: dict[str, object] | None = None) -> World:
    """Bindings that a server serves on the first release."""
    world = World().add(FIRST, make_server(**(spec or {}))).add_target()  # type: ignore[arg-type]  # fields of the spec
    for team in teams or ("team",):
        world.add(make_binding(namespace=team).on_server().build())
    return world.live_on()


def started(world: World) -> World:
    """The second release, as far as the first re-adaptation Jobs."""
    return world.add(SECOND).settle().run_all().settle()


def of_binding(world: World, kind: str = "UpToDate", namespace: str = "team", name: str = "classifier") -> Told:
    return world.binding(name, namespace), kind


def of_server(world: World, kind: str = "UpToDate", name: str = "vllm") -> Told:
    return world.server(name), kind


def of_release(world: World, kind: str, name: str = "r2") -> Told:
    return world.releases[name], kind


def with_pod(world: World, *, scheduled: bool, reason: str | None = None, phase: str = "Pending") -> World:
    """Give the running Job a pod that waits, or one that runs."""
    for job in world.live_jobs():
        container = ContainerView(name="port", reason=reason, started_at=world.now if phase == "Running" else None)
        pod = PodView(
            name="x", uid="x", phase=phase, created_at=world.now, scheduled=scheduled, containers=(container,)
        )
        job.view = replace(job.view, pods=(pod,))
    return world.settle()


def never_starts(*, scheduled: bool, reason: str | None = None) -> Callable[[], Told]:
    """Every attempt's pod waits until its deadline."""

    def story() -> Told:
        world = started(alone())
        for _ in range(3):
            with_pod(world, scheduled=scheduled, reason=reason).wait(seconds=3601).settle()
            assert all(job.view.deleting for job in world.live_jobs())
            world.collect().wait(seconds=21_600).settle()
        return of_binding(world)

    return story


def ends_with(code: int, *, oom: bool = False) -> Callable[[], Told]:
    def story() -> Told:
        script = (lambda job, step: StepEnd(exit_code=code, oom=oom)) if oom else exits(code)
        return of_binding(started(alone()).run_all(script).settle())

    return story


def attempts_end_with(code: int) -> Told:
    world = started(alone())
    for _ in range(3):
        world.run_all(exits(code)).settle().wait(seconds=21_600).settle()
    return of_binding(world)


def past_its_deadline() -> Told:
    world = started(alone(readaptation={"maxAttempts": 1}))
    for job in world.live_jobs():
        job.view = replace(job.view, failed=True, failure_reason="DeadlineExceeded", finished_at=world.now)
    return of_binding(world.settle().run_all().settle())


def refused_release(name: str, *others: BaseModelRelease) -> Callable[[], Told]:
    def story() -> Told:
        world = World().add(FIRST)
        for release in others:
            world.add(release)
        return of_release(world.settle(), "Accepted", name)

    return story


QUOTA = 403, 'jobs.batch "x" is forbidden: exceeded quota: none, requested: count/jobs.batch=1'
INVALID = 422, 'Job.batch "x" is invalid: spec.template.spec.containers[0].resources: Invalid value'


def refusing(world: World, answer: tuple[int, str] = QUOTA, *namespaces: str) -> World:
    """Let the API server refuse every Job of the namespaces."""
    world.refusing |= dict.fromkeys(namespaces or ("team",), answer)
    return world


def stuck(world: World) -> World:
    world.run_all().settle()
    return world.stick(failing="init container relora-fetch: exit code 45").settle().wait(seconds=1801).settle()


def first_set_stuck() -> Told:
    world = World().add(FIRST, make_server(), make_binding().on_server().build()).add_target().settle()
    return of_server(world.stick(failing="crash").settle().wait(seconds=1801).settle(), "Ready")


def superseding() -> Told:
    world = started(alone())
    return of_binding(world.add(make_release("r3", "r2", minutes=20)).settle().run_all(kind="delta").settle())


def lost() -> Told:
    world = started(alone())
    for job in world.live_jobs():
        job.view = replace(job.view, complete=True, finished_at=world.now)
    return of_binding(world.settle())


def conflicting() -> Told:
    world = served()
    target = world.target()
    target.view = replace(target.view, other_managers=("argocd",))
    return of_server(started(world).run_all().settle())


def two_names() -> Told:
    world = served()
    world.add(make_binding("second", minutes=5).on_server().with_spec(servedName="team.classifier").build())
    return of_binding(world.live_on(), "Ready", name="second")


def full() -> Told:
    world = served(spec={"maxAdapters": 1})
    return of_binding(
        world.add(make_binding("second", minutes=5).on_server().build()).live_on(), "Ready", name="second"
    )


def withdrawn(world: World) -> World:
    second = world.releases["r2"]
    return world.add(second.model_copy(update={"spec": second.spec.model_copy(update={"withdrawn": True})})).settle()


def with_canary(*, labels: dict[str, str] | None = None, minutes: float = 0) -> World:
    """A second release with canaries; of two bindings one is such, unless the labels say otherwise."""
    world = alone()
    chosen = make_binding("canary", minutes=minutes).build()
    metadata = chosen.metadata.model_copy(update={"labels": {"canary": "yes"} if labels is None else labels})
    world.add(chosen.model_copy(update={"metadata": metadata})).live_on()
    canary = {"selector": {"matchLabels": {"canary": "yes"}}}
    return world.add(make_release("r2", "r1", minutes=10, rollout={"canary": canary}))


def overspent() -> World:
    """One binding fails, and none may."""
    world = alone().add(make_release("r2", "r1", minutes=10, rollout={"failureBudget": {"maxFailed": "0"}}))
    return world.live_on(gate_says(Verdict.FAILED))


def without_a_way_back() -> Told:
    """The only pair that the binding ever had is for the release that is withdrawn."""
    world = World().add(FIRST, SECOND, make_server(initialReleaseName="r2")).add_target()
    world.add(make_binding(source="r2").on_server().build()).live_on()
    return of_binding(withdrawn(world).live_on())


def two_servers() -> Told:
    world = served()
    world.add(make_server("late", minutes=5, targetRef={"kind": "Deployment", "name": "vllm"})).live_on()
    return of_server(world, "Ready", "late")


def skewed() -> Told:
    """The server is on a release in which the binding takes no part."""
    only = {"selector": {"matchLabels": {"tier": "gold"}}}
    world = World().add(FIRST, make_release("r2", "r1", minutes=10, allowedNamespaces=only))
    world.namespaces["gold"] = make_namespace("gold", tier="gold")
    world.add(make_server(initialReleaseName="r2"), make_binding(namespace="gold", source="r2").on_server().build())
    return of_binding(world.add(make_binding().on_server().build()).add_target().live_on())


def one_fails(world: World) -> World:
    def script(job: SimJob, step: str) -> StepEnd:
        verdict = Verdict.FAILED if job.view.namespace == "beta" else Verdict.PASSED
        return StepEnd(verdict=verdict, adapter=f"{job.request_digest} {step}")

    return world.add(SECOND).live_on(script)


def left_behind(*, stragglers: str = "Split", fallback: bool = True) -> World:
    """Of two members one has failed, and its time is over."""
    other = {"kind": "Deployment", "name": "old"}
    upgrade = {"stragglers": stragglers, "deadlineSeconds": 3600, "fallbackTargetRef": other}
    world = served("alpha", "beta", spec={"upgrade": upgrade})
    if fallback:
        world.add_target("old", consent="vllm")
    one_fails(world)
    return one_fails(world.wait(seconds=3600))


def too_large_a_set() -> Told:
    world = World().add(FIRST, make_server(maxAdapters=256)).add_target()
    for index in range(140):
        source = make_binding(f"b{index}").build().spec.source
        long = source.model_copy(update={"uri": "s3://adapters/" + "x" * 1000})
        binding = (
            make_binding(f"b{index}").on_server().with_spec(source=long.model_dump(by_alias=True, exclude_none=True))
        )
        world.add(binding.build())
    world.reconcile(Key("AdapterServer", "serving", "vllm"))
    return of_server(world, "Ready")


STORIES: dict[Reason, Callable[[], Told]] = {
    Reason.ACCEPTED: lambda: of_release(World().add(FIRST).settle(), "Accepted", "r1"),
    Reason.ALL_PROMOTED: lambda: of_release(alone().add(SECOND).live_on(), "Complete"),
    Reason.COMPLETED_WITH_FAILURES: lambda: of_release(
        alone().add(SECOND).live_on(gate_says(Verdict.FAILED)), "Complete"
    ),
    Reason.GATE_PASSED: lambda: of_binding(alone().add(SECOND).live_on(), "Evaluated"),
    Reason.NEWEST_RELEASE: lambda: of_binding(alone()),
    Reason.NO_BINDINGS: lambda: of_server(World().add(FIRST, make_server()).add_target().settle(), "Ready"),
    Reason.PROMOTED: lambda: of_binding(served(), "Ready"),
    Reason.SOURCE_PINNED: lambda: of_binding(alone(), "Adapted"),
    Reason.SUPERSEDED: lambda: of_release(alone().add(SECOND).live_on(), "Complete", "r1"),
    Reason.WITHDRAWN: lambda: of_release(withdrawn(alone().add(SECOND).live_on()), "Complete"),
    Reason.AWAITING_APPROVAL: lambda: of_binding(alone(updatePolicy={"mode": "Manual"}).add(SECOND).settle()),
    Reason.AWAITING_BINDINGS: lambda: of_server(started(served())),
    Reason.AWAITING_CANARIES: lambda: of_binding(with_canary(minutes=5).settle().run_all().settle()),
    Reason.CANARIES_MISSING: lambda: of_release(with_canary(labels={}).settle(), "Halted"),
    Reason.CANARY_DEADLINE_EXCEEDED: lambda: of_release(with_canary().settle().wait(seconds=86_400).settle(), "Halted"),
    Reason.CANARY_FAILED: lambda: of_release(with_canary().live_on(gate_says(Verdict.FAILED)), "Halted"),
    Reason.FAILURE_BUDGET_EXCEEDED: lambda: of_release(overspent(), "Halted"),
    Reason.RELEASE_HALTED: lambda: of_binding(with_canary(labels={}).settle()),
    Reason.AWAITING_SERVER: lambda: of_binding(started(served()).run_all().settle()),
    Reason.IN_PROGRESS: lambda: of_release(started(alone()), "Complete"),
    Reason.QUEUED: lambda: of_binding(
        alone()
        .add(make_binding("second", minutes=5).build())
        .live_on()
        .add(make_release("r2", "r1", minutes=10, rollout={"maxRunningJobs": 1}))
        .settle()
        .run_all()
        .settle(),
        name="second",
    ),
    Reason.RECOVERING_REPORT: lost,
    Reason.RETRYING: lambda: of_binding(started(alone()).run_all(exits(75)).settle()),
    Reason.RETURNING: lambda: of_release(withdrawn(served().add(SECOND).live_on()), "Complete"),
    Reason.ROLLING_BACK: lambda: of_server(stuck(started(served()))),
    Reason.ROLLING_OUT: lambda: of_server(started(served()).run_all().settle()),
    Reason.RUNNING: lambda: of_binding(with_pod(started(alone()), scheduled=True, phase="Running")),
    Reason.STARTING: lambda: of_binding(started(alone())),
    Reason.SUPERSEDING: superseding,
    Reason.SUSPENDED: lambda: of_binding(alone(suspend=True).add(SECOND).settle()),
    Reason.WAITING_FOR_DELTA: lambda: of_binding(alone().add(SECOND).settle()),
    Reason.CYCLE_DETECTED: refused_release("r2", make_release("r2", "r3"), make_release("r3", "r2")),
    Reason.FORKED_LINEAGE: refused_release("r2b", SECOND, make_release("r2b", "r1", minutes=20)),
    Reason.MODEL_MISMATCH: refused_release("r2", make_release("other", model="huge"), make_release("r2", "other")),
    Reason.PREDECESSOR_NOT_ACCEPTED: refused_release(
        "r3b", SECOND, make_release("r2b", "r1", minutes=20), make_release("r3b", "r2b", minutes=30)
    ),
    Reason.PREDECESSOR_NOT_FOUND: refused_release("r2", make_release("r2", "r0")),
    Reason.SECOND_ROOT: refused_release("r2", make_release("r2", minutes=10)),
    Reason.DELTA_FAILED: lambda: of_release(
        alone().add(SECOND).settle().run_all(exits(45, at_step="delta")).settle(), "Ready"
    ),
    Reason.PROFILE_NOT_FOUND: lambda: of_binding(
        alone().add(make_release("r2", "r1", minutes=10, profileRef={"name": "gone"})).settle()
    ),
    Reason.BASE_SKEW: skewed,
    Reason.CONSENT_MISSING: lambda: of_server(
        World().add(FIRST, make_server()).add_target(consent="another").settle(), "Ready"
    ),
    Reason.FIELD_CONFLICT: conflicting,
    Reason.NOT_ADMITTED: lambda: of_binding(served(spec={"allowedBindings": {"from": "Same"}}), "Ready"),
    Reason.NOT_ELIGIBLE: lambda: pytest.fail("a reason of blockers; see below"),
    Reason.RELEASE_NOT_FOUND: lambda: of_binding(World().add(make_binding(source="gone").build()).settle()),
    Reason.RELEASE_WITHDRAWN: without_a_way_back,
    Reason.REQUEST_TOO_LARGE: lambda: of_binding(
        started(alone(task=_huge_task())),
    ),
    Reason.SERVED_NAME_CONFLICT: two_names,
    Reason.SERVER_FULL: full,
    Reason.SERVER_NOT_FOUND: lambda: of_binding(
        World().add(FIRST, make_binding().on_server("gone").build()).settle(), "Ready"
    ),
    Reason.SET_TOO_LARGE: too_large_a_set,
    Reason.TARGET_CONFLICT: two_servers,
    Reason.TARGET_CONTROLLED: lambda: of_server(_controlled(), "Ready"),
    Reason.TARGET_NOT_FOUND: lambda: of_server(World().add(FIRST, make_server()).settle(), "Ready"),
    Reason.FALLBACK_UNAVAILABLE: lambda: of_server(left_behind(fallback=False)),
    Reason.SPLIT: lambda: of_server(left_behind()),
    Reason.UPGRADE_OVERDUE: lambda: of_server(left_behind(stragglers="Block")),
    Reason.ADAPTATION_FAILED: lambda: attempts_end_with(1),
    Reason.DEADLINE_EXCEEDED: past_its_deadline,
    Reason.GATE_FAILED: lambda: of_binding(alone().add(SECOND).live_on(gate_says(Verdict.FAILED))),
    Reason.GATE_INCONCLUSIVE: lambda: of_binding(alone().add(SECOND).live_on(gate_says(Verdict.INCONCLUSIVE))),
    Reason.IMAGE_PULL_FAILED: never_starts(scheduled=True, reason="ImagePullBackOff"),
    Reason.INCOMPATIBLE: ends_with(46),
    Reason.INTEGRITY_FAILED: ends_with(45),
    Reason.INVALID_DATA: ends_with(43),
    Reason.JOB_INVALID: lambda: of_binding(started(refusing(alone(), INVALID))),
    Reason.JOB_REFUSED: lambda: of_binding(started(refusing(alone()))),
    Reason.NON_FINITE_LOSS: ends_with(44),
    Reason.OUT_OF_MEMORY: ends_with(137, oom=True),
    Reason.PREFLIGHT_FAILED: ends_with(42),
    Reason.START_DEADLINE_EXCEEDED: never_starts(scheduled=True),
    Reason.UNSCHEDULABLE: never_starts(scheduled=False),
    Reason.ROLLED_BACK: lambda: of_binding(stuck(started(served())).live_on()),
    Reason.ROLLOUT_FAILED: first_set_stuck,
    Reason.SERVER_BLOCKED: lambda: of_binding(one_fails(served("alpha", "beta")), namespace="alpha"),
}


def _huge_task() -> dict[str, object]:
    """Choices that alone fill more than an annotation."""
    task = make_binding().build().spec.task.model_dump(by_alias=True, exclude_none=True)
    return {**task, "choices": [f"{index:03d}" + "\N{SNOWMAN}" * 190 for index in range(256)]}


def _controlled() -> World:
    world = World().add(FIRST, make_server()).add_target()
    world.target().view = replace(world.target().view, controlled=True)
    return world.settle()


def test_every_reason_has_a_story_and_an_entry() -> None:
    assert set(STORIES) == set(REGISTRY) == set(Reason)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.NOT_ELIGIBLE], ids=str)
def test_the_story_leads_to_the_reason(reason: Reason) -> None:
    one, kind = STORIES[reason]()
    conditions = {condition.type: condition for condition in one.status.conditions}

    assert conditions[kind].reason == reason
    assert f"{one.resource.kind}.{kind}" in REGISTRY[reason].conditions
    assert conditions[kind].message
    entry = REGISTRY[reason]
    if entry.terminal:
        assert conditions[kind].status == ("True" if kind == "Halted" else "False")
    if conditions["Ready" if "Ready" in conditions else kind].status == "False":
        # Someone must act, or it goes on by itself: never both, and never neither.
        assert ("Stalled" in conditions) != ("Reconciling" in conditions)
        assert ("Stalled" in conditions) == REGISTRY[Reason(conditions["Ready"].reason)].terminal
    elif entry.terminal and entry.blame is not Blame.OWNER and kind != "Complete":
        assert "Stalled" not in conditions, "a release turns nobody's GitOps red"


def test_a_member_that_takes_no_part_in_a_release_is_named_among_the_blockers() -> None:
    world = served("team", "gold")
    world.namespaces["gold"] = make_namespace("gold", tier="gold")
    only = {"selector": {"matchLabels": {"tier": "gold"}}}
    world.add(make_release("r2", "r1", minutes=10, allowedNamespaces=only)).live_on()

    assert [(one.namespace, one.reason) for one in world.server().status.blockers] == [("team", Reason.NOT_ELIGIBLE)]
    assert world.condition(world.binding(namespace="gold"), "UpToDate") == "False/ServerBlocked"
    assert world.condition(world.binding(namespace="team"), "UpToDate") == "True/NewestRelease"


@pytest.mark.parametrize("reason", [reason for reason in Reason if REGISTRY[reason].terminal], ids=str)
def test_what_someone_must_resolve_has_a_remedy(reason: Reason) -> None:
    assert REGISTRY[reason].remedy


@pytest.mark.parametrize("reason", [reason for reason in Reason if REGISTRY[reason].terminal], ids=str)
def test_what_nobody_is_to_blame_for_is_what_someone_wanted(reason: Reason) -> None:
    assert (REGISTRY[reason].blame is Blame.NOBODY) == (reason in {Reason.AWAITING_APPROVAL, Reason.SUSPENDED})
