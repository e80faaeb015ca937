"""A command's output in a terminal, frame by frame, and the pictures that are made of it."""

import os
import sys
from xml.etree import ElementTree as ET

import pytest

from recordings.__main__ import chosen
from recordings.picture import moving, still
from recordings.terminal import COLUMNS, Frame, frames, record

PROGRAM = """
import time
from rich.console import Console
from rich.live import Live
from rich.text import Text
console = Console(highlight=False)
console.print(f"{console.width} wide, a terminal: {console.is_terminal}")
with Live(auto_refresh=False, console=console) as live:
    for number in range(3):
        live.update(Text(f"first {number}\\n  second {number}", style="red"), refresh=True)
        time.sleep(0.05)
"""
SVG = "{http://www.w3.org/2000/svg}"


def shown(document: str, of: str = "") -> list[str]:
    """Return the texts of a picture, or of one of its groups."""
    root = ET.fromstring(document)  # noqa: S314 - made here
    groups = [group for group in root.iter(f"{SVG}g") if of in {"", group.get("class")}]
    return [(text.text or "").replace("\xa0", " ") for group in groups for text in group.findall(f"{SVG}text")]


def test_each_redrawing_of_a_terminal_is_a_frame() -> None:
    found = record([sys.executable, "-c", PROGRAM], os.environ)
    texts = [frame.text.replace("\x1b[31m", "").replace("\x1b[0m", "") for frame in found]
    assert texts[0].startswith(f"{COLUMNS} wide, a terminal: True\nfirst 0\n  second 0")
    assert texts[1:3] == ["first 1\n  second 1", "first 2\n  second 2"]
    assert "\x1b[31m" in found[1].text
    moments = [frame.seconds for frame in found]
    assert moments == sorted(moments)
    assert moments[2] - moments[0] >= 0.05


def test_characters_of_several_bytes_are_read_whole() -> None:
    bars = "━" * 40_000
    (frame,) = record([sys.executable, "-c", f"print({bars!r})"], os.environ)
    assert frame.text == bars


def test_a_command_that_goes_on_is_ended() -> None:
    with pytest.raises(TimeoutError, match="goes on after 1 s"):
        record(
            [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"],
            os.environ,
            limit_seconds=1,
        )


def test_a_command_that_writes_nothing_is_told() -> None:
    with pytest.raises(ChildProcessError, match="and wrote nothing"):
        record([sys.executable, "-c", "raise SystemExit(3)"], os.environ)


def test_a_frame_has_the_moment_of_its_first_character() -> None:
    back = "\r\x1b[2K\x1b[1A\x1b[2K"
    found = frames([(0.5, "one\r\ntwo"), (1.5, back), (2.5, "three")])
    assert found == [Frame(0.5, "one\ntwo"), Frame(2.5, "three")]


def test_a_still_picture_has_the_command_and_its_output() -> None:
    picture = still("kubectl relora plan", Frame(0, "\x1b[1mORDER\x1b[0m\n  <indented> & 1"))
    assert [text.strip() for text in shown(picture)] == ["$", "kubectl relora plan", "ORDER", "<indented> & 1"]
    assert 'textLength="168.56">&lt;indented' in picture, "a text stands behind its spaces"
    assert "https://" not in picture.replace('xmlns="http', "")
    assert "url(" not in picture


def test_a_moving_picture_shows_one_frame_after_the_other() -> None:
    picture = moving("x", [Frame(0, "a"), Frame(1, "b\nc"), Frame(2, "d")], seconds=1, last_seconds=2, poster=1)
    assert [shown(picture, f"frame{index}")[2:] for index in range(3)] == [["a"], ["b", "c"], ["d"]]
    assert "@keyframes frame0 { 0.000% { opacity: 1 } 25.000% { opacity: 0 } }" in picture
    assert "@keyframes frame1 { 0.000% { opacity: 0 } 25.000% { opacity: 1 } 50.000% { opacity: 0 } }" in picture
    assert "@keyframes frame2 { 0.000% { opacity: 0 } 50.000% { opacity: 1 } }" in picture
    assert ".frame1 { opacity: 1; animation: frame1 4s step-end infinite }" in picture
    assert ".frame2 { opacity: 0; animation: frame2 4s step-end infinite }" in picture


def test_frames_are_chosen_evenly_without_repetitions() -> None:
    frames_of = [Frame(float(second), f"{second // 2}") for second in range(20)]
    assert [frame.text for frame in chosen(frames_of, 20)] == [str(number) for number in range(10)]
    few = chosen(frames_of, 4)
    assert [frame.text for frame in few] == ["0", "3", "6", "9"]
