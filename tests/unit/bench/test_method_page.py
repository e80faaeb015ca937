from bench.method.page import PAGE, kept, with_table
from bench.results import Result, Row


def test_the_page_shows_the_kept_run() -> None:
    page = PAGE.read_text()
    assert with_table(page, kept()) == page


def test_a_row_shows_its_interval_and_whether_its_target_was_met() -> None:
    row = Row(name="speed", value=3.25, unit="×", low=2.0, high=4.0, target="≥ 5", met=False)
    result = Result(bench="method", date="d", versions={}, machine={}, rows=[row])
    page = with_table("a <!-- table: generated --> old <!-- end of the table --> z", result)
    assert "| speed | 3.25 × | 2 to 4 | ≥ 5 | missed |" in page
    assert (page[:2], page[-2:]) == ("a ", " z")
    assert "old" not in page
