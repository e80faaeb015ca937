"""The plots find their rows: the names are made by the same functions, which is tried here with a whole run."""

from pathlib import Path

from bench.method.plots import draw, panels
from bench.results import Result, Row

TASKS = ["sentiment", "news"]


def names() -> list[str]:
    return [
        begin
        for every in panels(TASKS).values()
        for panel in every
        for begins in panel.series.values()
        for begin in begins
    ]


def result(names: list[str]) -> Result:
    rows = [Row(name=f"{name}, 3 seeds", value=2.0, unit="", low=1.0, high=3.0) for name in names]
    return Result(bench="method", date="d", versions={}, machine={}, rows=rows)


def test_every_plot_is_drawn_from_a_whole_run(tmp_path: Path) -> None:
    draw(result(names()), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"method-{name}.svg" for name in panels(TASKS)}


def test_a_plot_without_rows_is_not_drawn(tmp_path: Path) -> None:
    draw(result([name for name in names() if "seconds until ready" in name]), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["method-readiness.svg"]


def test_the_same_result_gives_the_same_file(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        draw(result(names()), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
