from bench.method.page import END, FULL, PAGE, README, kept, with_tables
from bench.results import Result, Row


def result(*rows: Row) -> Result:
    return Result(bench="method", date="d", versions={}, machine={}, rows=list(rows))


def test_the_page_shows_the_kept_runs() -> None:
    page = PAGE.read_text()
    assert with_tables(page, kept) == page


def test_the_readme_shows_the_targets_of_the_kept_run() -> None:
    readme = README.read_text()
    assert f"<!-- table of {FULL}: generated -->" in readme
    assert with_tables(readme, kept, targets_only=True) == readme


def test_a_row_shows_its_interval_and_whether_its_target_was_met() -> None:
    row = Row(name="speed", value=3.25, unit="×", low=2.0, high=4.0, target="≥ 5", met=False)
    page = with_tables(f"a <!-- table of {FULL}: generated --> old {END} z", lambda name: result(row))
    assert "| speed | 3.25 × | 2 to 4 | ≥ 5 | missed |" in page
    assert (page[:2], page[-2:]) == ("a ", " z")
    assert "old" not in page


def test_rows_without_a_target_can_be_left_out() -> None:
    rows = Row(name="speed", value=3.25, unit="×"), Row(name="size", value=1.0, unit="", target="≤ 2", met=True)
    page = with_tables(f"<!-- table of {FULL}: generated -->{END}", lambda name: result(*rows), targets_only=True)
    assert "speed" not in page
    assert "| size | 1 |  | ≤ 2 | met |" in page


def test_a_run_that_is_not_kept_is_said_to_be_missing() -> None:
    page = with_tables(f"<!-- table of {FULL}: generated -->{END}", lambda name: None)
    assert "No run is kept yet." in page
