"""`kubectl relora history`: what the statuses of bindings and servers record."""

import json

import pytest

from fleet.builders import make_binding, make_release, make_server
from fleet.stories import split
from fleet.world import World
from plugin.shelf import Shelf
from plugin.stories import apply_r2, ended, fleet, half_way, rolled_back
from relora_kubectl.history import binding_history, server_history
from unit.plugin.conftest import Run


def records(shelf: Shelf, run: Run, *arguments: str) -> list[tuple[str, str, str]]:
    code, out, err = run(shelf, "history", *arguments, "-o", "json")
    assert (code, err) == (0, "")
    return [(one["record"], one["releaseName"], one["state"]) for one in json.loads(out)["entries"]]


def test_a_binding_that_failed_keeps_its_pair_and_tells_every_step(run: Run) -> None:
    shelf = Shelf.of(half_way())
    assert records(shelf, run, "classifier", "-n", "beta") == [
        ("candidate", "r2", "GateFailed"),
        ("current", "r1", "Promoted"),
    ]
    _, out, _ = run(shelf, "history", "adb/classifier", "-n", "beta", "-o", "json")
    steps = [(step["name"], step["outcome"], step["verdict"], step["seconds"]) for step in json.loads(out)["steps"]]
    assert steps == [(name, "Succeeded", "Failed", 600) for name in ("port", "fuse", "recover", "refine")]


def test_a_pair_that_gave_way_is_recorded(run: Run) -> None:
    world = half_way().add(make_release("r3", "r2", minutes=50)).settle()
    assert records(Shelf.of(world), run, "classifier")[-1] == ("superseded", "r2", "Passed")


def test_what_was_in_use_before_is_recorded(run: Run) -> None:
    assert records(Shelf.of(ended()), run, "classifier") == [
        ("candidate", "r2", "Passed"),
        ("current", "r2", "Promoted"),
        ("earlier", "r1", "Promoted"),
    ]


@pytest.mark.parametrize(
    ("world", "expected"),
    [
        (ended(), [("current", "r2", "Promoted"), ("previous", "r1", "Promoted")]),
        (rolled_back(), [("current", "r1", "Promoted"), ("rolled back", "r2", "RolledBack")]),
        (
            split(),
            [("current", "r2", "Promoted"), ("previous", "r1", "Promoted"), ("fallback", "r1", "Promoted")],
        ),
    ],
    ids=["promoted", "rolled back", "split"],
)
def test_the_sets_of_a_server(run: Run, world: World, expected: list[tuple[str, str, str]]) -> None:
    assert records(Shelf.of(world), run, "ads/vllm", "-n", "serving") == expected


def test_a_roll_out_under_way_is_the_first_record() -> None:
    world = apply_r2(fleet("alpha", "beta")).run_all().settle()
    first, *_ = server_history(world.server()).entries
    assert (first.record, first.release_name, first.state, first.adapters) == ("candidate", "r2", "RollingOut", 2)


def test_the_namespace_of_the_context_is_the_default(run: Run) -> None:
    code, out, _ = run(Shelf.of(ended()), "history", "classifier")
    assert code == 0
    assert out.startswith("AdapterBinding alpha/classifier: NewestRelease: ")


def test_what_the_operator_has_not_seen_has_no_history(run: Run) -> None:
    shelf = Shelf()
    shelf.put(make_binding("new", "alpha").build())
    assert run(shelf, "history", "new")[1].splitlines() == [
        "AdapterBinding alpha/new: NotSeen",
        "",
        "nothing is recorded yet",
    ]
    assert binding_history(make_binding().build()).entries == []


def test_one_name_of_two_objects_needs_its_kind(run: Run) -> None:
    shelf = Shelf()
    shelf.put(make_binding("same", "alpha").build(), make_server("same", "alpha"))
    code, _, err = run(shelf, "history", "same")
    assert code == 2
    assert "write adb/same or ads/same" in err
    assert run(shelf, "history", "AdapterServer/same")[0] == 0


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("absent", 1, "no AdapterBinding or AdapterServer is named alpha/absent"),
        ("ads/absent", 1, "no AdapterServer is named alpha/absent"),
        ("bmr/r2", 2, "write adb/NAME, ads/NAME"),
    ],
)
def test_what_has_no_history_is_an_error(run: Run, name: str, code: int, told: str) -> None:
    ended_with, out, err = run(Shelf.of(ended()), "history", name)
    assert (ended_with, out) == (code, "")
    assert told in err
