import io
import stat
from pathlib import Path

import pytest

from realdata.cache import Build, Product, cache_root, obtain
from realdata.progress import Stage


def write(build: Build) -> None:
    (build.folder / "a.txt").write_text("a")
    (build.folder / "a.txt").chmod(0o600)


def product(recipe: int = 1, *inputs: Product) -> Product:
    return Product("letters", {"version": recipe}, write, inputs)


def test_cache_lies_below_the_configured_folder() -> None:
    assert cache_root({"RELORA_CACHE": "/c"}) == Path("/c/realdata")
    assert cache_root({}) == Path.home() / ".cache" / "relora" / "realdata"


def test_key_follows_recipe_and_inputs() -> None:
    keys = {product(1).key, product(2).key, product(1, product(1)).key, product(1, product(2)).key}
    assert len(keys) == 4
    assert product(1).key == product(1).key


def test_key_follows_what_the_machine_adds() -> None:
    said = {"precision": "float64"}
    made = Product("letters", {"version": 1}, write, machine=lambda: said)
    assert made.key != product(1).key
    said.clear()
    assert made.key == product(1).key


def test_present_product_is_not_built_again(tmp_path: Path) -> None:
    first = obtain(product(), tmp_path)
    (first / "a.txt").write_text("kept")
    assert (obtain(product(), tmp_path) / "a.txt").read_text() == "kept"


def test_absent_product_is_built_again(tmp_path: Path) -> None:
    first = obtain(product(), tmp_path)
    (first / "a.txt").unlink()
    first.rmdir()
    assert (obtain(product(), tmp_path) / "a.txt").read_text() == "a"


def test_every_user_can_read_a_product(tmp_path: Path) -> None:
    folder = obtain(product(), tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o644


def test_inputs_are_built_first_and_handed_over(tmp_path: Path) -> None:
    def copy(build: Build) -> None:
        (build.folder / "b.txt").write_text((build.inputs["letters"] / "a.txt").read_text() * 2)

    made = obtain(Product("pairs", {}, copy, (product(),)), tmp_path)
    assert (made / "b.txt").read_text() == "aa"


def test_failed_build_leaves_nothing_that_looks_like_a_product(tmp_path: Path) -> None:
    def fail(build: Build) -> None:
        write(build)
        raise RuntimeError("no")

    broken = Product("letters", {}, fail)
    with pytest.raises(RuntimeError, match="no"):
        obtain(broken, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_progress_is_said_at_most_once_in_an_interval() -> None:
    stream = io.StringIO()
    running = Stage("work", stream, interval_seconds=3600.0, started=0.0, last_said=float("-inf"))
    running.update("first")
    running.update("second")
    assert "work: first" in stream.getvalue()
    assert "second" not in stream.getvalue()
