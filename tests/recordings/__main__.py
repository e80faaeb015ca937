"""`python -m recordings`: record `kubectl relora plan` and `status -w`, and write the pictures of the docs."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from recordings.picture import moving, still
from recordings.scene import Scene, new_release, release_name, scene
from recordings.terminal import Frame, record

_DOCS = Path(__file__).parents[2] / "docs"
_FRAMES = 16
_FRAME_SECONDS, _LAST_SECONDS = 1.5, 6.0


def main(arguments: list[str]) -> int:
    """Record; takes some minutes."""
    parser = argparse.ArgumentParser(prog="python -m recordings", description=__doc__)
    parser.add_argument("--output", type=Path, default=_DOCS, help="the folder of the pictures (%(default)s)")
    folder: Path = parser.parse_args(arguments).output
    with tempfile.TemporaryDirectory(prefix="relora-recordings-") as scratch, scene(Path(scratch), _say) as on:
        _say("creating the fleet")
        on.populate()
        _say("the second release")
        on.pass_over()
        file = Path(scratch) / "release.yaml"
        file.write_text(json.dumps(new_release(3)), encoding="utf-8")
        _say("recording a plan")
        plan = _recorded(on, "plan", "-f", str(file), "--limit", "10")
        on.apply_third()
        _say("recording the third release")
        status = _recorded(on, "status", release_name(3), "--watch", "--interval", "0.5")
    told = chosen(status, _FRAMES)
    (folder / "plan.svg").write_text(
        still("kubectl relora plan -f release.yaml --limit 10", plan[-1]), encoding="utf-8"
    )
    (folder / "status.svg").write_text(
        moving(
            f"kubectl relora status {release_name(3)} --watch",
            told,
            seconds=_FRAME_SECONDS,
            last_seconds=_LAST_SECONDS,
            poster=len(told) // 2,
        ),
        encoding="utf-8",
    )
    return 0


def _recorded(on: Scene, *arguments: str) -> list[Frame]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(on.kubeconfig)}
    return record([str(on.kubectl), "relora", *arguments], environment)


def chosen(frames: Sequence[Frame], most: int) -> list[Frame]:
    """Return at most so many of the frames that differ, evenly over their time, the first and the last among them."""
    different = [frame for before, frame in zip([None, *frames], frames, strict=False) if _text(before) != frame.text]
    if len(different) <= most:
        return different
    first, last = different[0].seconds, different[-1].seconds
    moments = [first + (last - first) * index / (most - 1) for index in range(most)]
    nearest = [min(different, key=lambda frame: abs(frame.seconds - moment)) for moment in moments]
    return list(dict.fromkeys(nearest))


def _text(frame: Frame | None) -> str | None:
    return frame.text if frame is not None else None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
