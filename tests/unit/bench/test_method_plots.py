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


def test_a_strategy_that_never_got_ready_is_said_to_be_never_ready(tmp_path: Path) -> None:
    ready = next(name for name in names() if "seconds until ready" in name and name.endswith("ReLoRA"))
    never = ready.replace("ReLoRA", "Scratch")
    found = result([ready]).model_copy(
        update={
            "rows": [*result([ready]).rows, Row(name=never, value=None, unit="s"), Row(name=never, value=0, unit="%")]
        }
    )
    draw(found, tmp_path)
    drawn = (tmp_path / "method-readiness.svg").read_text()
    assert drawn.count("<!-- never -->") == 1
    draw(result([ready]), tmp_path)
    assert "never" not in (tmp_path / "method-readiness.svg").read_text()


def test_an_interval_may_lie_on_one_side_of_its_value(tmp_path: Path) -> None:
    row = Row(name=names()[0], value=1.0, unit="s", low=1.0 + 1e-15, high=2.0)
    draw(result([]).model_copy(update={"rows": [row]}), tmp_path)
    assert (tmp_path / "method-readiness.svg").is_file()


def test_the_same_result_gives_the_same_file(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        draw(result(names()), tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()
