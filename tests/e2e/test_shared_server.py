"""A server moves to a new base with all of its members, or not at all."""

import pytest

from e2e.world import MILD_GATES, Stage

pytestmark = pytest.mark.e2e


@pytest.mark.scenario("shared")
def test_bindings_of_two_namespaces_move_together_or_not_at_all(stage: Stage) -> None:
    home, guest = stage.add_namespace("home"), stage.add_namespace("guest")
    stage.apply_first_release()
    server = stage.apply_server(
        home, allowedBindings={"from": "Selector", "selector": {"matchLabels": {"e2e-stage": stage.name}}}
    )
    at_home = stage.apply_binding("reviews", home, server=(home, server.name))
    at_guest = stage.apply_binding("reviews", guest, work=stage.world.shelf.kind, server=(home, server.name))
    names = sorted(["reviews", f"{guest}.reviews"])
    stage.await_served(server, stage.r1, 2)

    stage.apply_second_release()
    stage.await_condition(at_guest, "UpToDate", "False", "GateFailed")
    stage.await_condition(at_home, "UpToDate", "False", "ServerBlocked")

    stage.await_blockers(server, {"reviews": "GateFailed"})
    assert all(release == stage.r1 for release, _ in stage.sets(home))
    for ref in (at_home, at_guest):
        assert stage.current(ref)["status"]["current"]["releaseName"] == stage.r1

    before = stage.world.bucket.reports(stage.store_uri(guest))
    stage.apply_binding("reviews", guest, work=stage.world.shelf.kind, gates=MILD_GATES, server=(home, server.name))
    stage.await_served(server, stage.r2, 2)

    full_sets = [each for each in stage.sets(home) if each[1] == names]
    assert full_sets == [(stage.r1, names), (stage.r2, names)]
    assert {release for release, members in stage.sets(home) if members != names} <= {stage.r1}
    for ref in (at_home, at_guest):
        assert stage.await_condition(ref, "UpToDate", "True")["status"]["current"]["releaseName"] == stage.r2
    [answer] = stage.served_by_pods(home)
    assert set(names) <= set(answer["adapters"])
    # Other gates judge again what is stored; the model is not run again.
    after = stage.world.bucket.reports(stage.store_uri(guest))
    assert {key: report["startTime"] for key, report in after.items() if key in before} == {
        key: report["startTime"] for key, report in before.items()
    }
