from pathlib import Path

import pytest

from bench.method import ablations, comparing, quality, readiness, searching
from bench.method.chain import HARD
from bench.method.page import END, FULL, PAGE, QUICK, README, drawn, kept, summary, with_tables
from bench.method.searchers import PAPER
from bench.method.variants import FINE_TUNE, SCRATCH
from bench.results import Result, Row

MARKED = f"<!-- table of {FULL}: generated -->{END}"


def result(*rows: Row) -> Result:
    return Result(bench="method", date="d", versions={}, machine={}, rows=list(rows))


def row(name: str, value: float | None = 1.0, target: str | None = None) -> Row:
    return Row(name=name, value=value, unit="", target=target, met=None if target is None else True)


def test_the_page_shows_the_kept_runs() -> None:
    page = PAGE.read_text()
    assert with_tables(page, kept, plots=drawn()) == page


def test_the_readme_shows_a_summary_of_the_kept_run() -> None:
    readme = README.read_text()
    assert f"<!-- table of {FULL}: generated -->" in readme
    assert with_tables(readme, kept, rows=summary) == readme


def test_a_row_shows_its_interval_and_whether_its_target_was_met() -> None:
    speed = Row(name="speed", value=3.25, unit="×", low=2.0, high=4.0, target="≥ 5", met=False)
    size = Row(name="size", value=1.5e-7, unit="", low=1e-7, high=1.0, target="≤ 1e-06")
    page = with_tables(f"a <!-- table of {FULL}: generated --> old {END} z", lambda name: result(speed, size))
    assert "| speed | 3.25 × | 2 to 4 | ≥ 5 | missed |" in page
    assert "| size | 1.5e-7 | 1e-7 to 1 | ≤ 1e-06 | undecided |" in page
    assert (page[:2], page[-2:]) == ("a ", " z")
    assert "old" not in page


def test_a_table_is_made_anew_in_the_same_place() -> None:
    page = with_tables(MARKED, lambda name: result(row("speed")), plots=["a.svg"])
    assert with_tables(page, lambda name: result(row("speed")), plots=["a.svg"]) == page


def test_a_page_without_the_mark_of_an_end_is_left_alone() -> None:
    with pytest.raises(ValueError, match="end of the table"):
        with_tables(f"<!-- table of {FULL}: generated --> and all that follows", lambda name: None)


def test_the_plots_are_those_of_a_full_run_that_is_kept() -> None:
    quick = MARKED.replace(FULL, QUICK)
    assert "![readiness](readiness.svg)" in with_tables(MARKED, lambda name: result(), plots=["readiness.svg"])
    assert "svg" not in with_tables(MARKED, lambda name: None, plots=["readiness.svg"])
    assert "svg" not in with_tables(quick, lambda name: result(), plots=["readiness.svg"])


def test_only_plots_that_there_are_are_shown(tmp_path: Path) -> None:
    (tmp_path / "method-quality.svg").touch()
    assert drawn(tmp_path) == ["method-quality.svg"]


def test_the_summary_has_the_answers_and_the_targets_of_the_parts() -> None:
    differences = [
        row(f"{quality.difference_name(task, HARD, SCRATCH)}3 seeds", value) for task, value in (("a", 2), ("b", -1))
    ]
    wanted = [
        row(comparing.MEASURED),
        row(f"{readiness.ratio_name(SCRATCH)}in 6 of 8 pairs, 4 tasks", target="≥ 5"),
        row(f"{readiness.ratio_name(FINE_TUNE)}in 8 of 8 pairs, 4 tasks"),
        row(f"{readiness.alone_name('ReLoRA', SCRATCH)}8 pairs"),
        row(f"{readiness.ported_name(HARD)}, 4 adapters"),
        row(f"{quality.mean_name(HARD, SCRATCH)}4 tasks"),
        row(f"{ablations.accuracy_name('no anchor')}, 4 tasks"),
        row(f"{searching.excess_name(PAPER)}4 tasks"),
        row("Π_16 of 4096×4096, full SVD ÷ ours", target="≥ 100"),
    ]
    others = [
        row(f"{readiness.ratio_name(SCRATCH)}in 6 of 8 pairs, 4 tasks, the delta shared by 4 adapters"),
        row(f"{readiness.ratio_name(SCRATCH, kind=readiness.TO_THE_END)}in 6 of 8 pairs, 4 tasks"),
        row(f"{readiness.alone_name('ReLoRA', FINE_TUNE, readiness.TO_THE_END)}8 pairs"),
        row("raw read of both files"),
        row(readiness.seconds_name("a", HARD, SCRATCH)),
    ]
    found = [each.name for each in summary(result(*wanted, *others, *differences))]
    worst = f"the lowest of 2: {differences[1].name}"
    assert sorted(found) == sorted([*(each.name for each in wanted), worst])


def test_a_run_that_is_not_kept_is_said_to_be_missing() -> None:
    assert "No run is kept yet." in with_tables(MARKED, lambda name: None)
