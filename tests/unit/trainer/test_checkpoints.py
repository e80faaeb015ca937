"""When checkpoints are stored, and which of them a step continues from."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from relora_store.checkpoints import CheckpointArea
from relora_store.errors import DeniedError, StoreError, TemporaryError
from relora_store.filesystems import Filesystems
from relora_trainer.checkpoints import LEAST_SECONDS, SHARE, Pace, StepCheckpoints
from relora_trainer.errors import StoppedError
from relora_trainer.ports import StopSignal

DIGEST = "sha256:" + "0" * 64
CPU = {"device": "cpu", "dtype": "float32"}
AVX2 = {"device": "AVX2", "threads": "2"}


class HandClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 1, 12, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


class SlowArea(CheckpointArea):
    """Takes its time to store, or fails."""

    def __init__(self, uri: str, clock: HandClock, seconds: float = 0.0, error: StoreError | None = None) -> None:
        super().__init__(Filesystems(environ={}), uri, DIGEST, "recover")
        self._clock = clock
        self._seconds = seconds
        self._error = error

    def write(self, *arguments: object) -> None:
        self._clock.seconds += self._seconds
        if self._error:
            raise self._error
        super().write(*arguments)  # type: ignore[arg-type] # passed on as they came

    def restore(self, *arguments: object) -> None:
        if isinstance(self._error, DeniedError):
            raise self._error
        return super().restore(*arguments)  # type: ignore[arg-type, return-value] # passed on as they came


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def stop() -> StopSignal:
    return StopSignal()


class Attempts:
    """Makes attempts at one step, each with a folder of its own."""

    def __init__(self, root: Path, clock: HandClock, stop: StopSignal) -> None:
        self.root = root
        self.clock = clock
        self.stop = stop
        self.count = 0

    def next(self, *, seconds: float = 0.0, error: StoreError | None = None, version: str = "1") -> StepCheckpoints:
        self.count += 1
        return StepCheckpoints(
            SlowArea(f"file://{self.root}/store", self.clock, seconds, error),
            self.root / f"work{self.count}",
            clock=self.clock,
            stop=self.stop,
            versions={"relora": version},
        )


@pytest.fixture
def attempts(tmp_path: Path, clock: HandClock, stop: StopSignal) -> Attempts:
    return Attempts(tmp_path, clock, stop)


def test_the_next_checkpoint_is_due_when_the_last_one_is_a_twentieth_of_the_time(clock: HandClock) -> None:
    pace = Pace(clock)
    clock.seconds = LEAST_SECONDS - 1
    assert not pace.is_due()
    clock.seconds = LEAST_SECONDS
    assert pace.is_due()
    start, clock.seconds = clock.seconds, clock.seconds + 10
    pace.spent(start)
    clock.seconds = start + 10 / SHARE - 1
    assert not pace.is_due()
    clock.seconds = start + 10 / SHARE
    assert pace.is_due()


def test_a_cheap_checkpoint_is_not_made_more_often_than_the_least_interval(clock: HandClock) -> None:
    pace = Pace(clock)
    pace.spent(clock.seconds)
    clock.seconds = LEAST_SECONDS - 1
    assert not pace.is_due()


@pytest.mark.parametrize("seconds", [0.1, 1.0, 20.0, 300.0])
def test_a_long_run_spends_a_twentieth_on_checkpoints_at_most(attempts: Attempts, seconds: float) -> None:
    checkpoints = attempts.next(seconds=seconds)
    folder = checkpoints.restore(CPU, AVX2)
    spent = 0.0
    while attempts.clock.seconds < 40 * max(LEAST_SECONDS, seconds / SHARE):
        attempts.clock.seconds += 1.0
        if checkpoints.is_due():
            (folder / "state.json").write_text(f"{attempts.clock.seconds}")
            checkpoints.save()
            spent += seconds
    assert 0 < spent <= SHARE * attempts.clock.seconds + seconds


def test_the_next_attempt_continues_from_what_was_saved(attempts: Attempts) -> None:
    first = attempts.next()
    (first.restore(CPU, AVX2) / "state.json").write_text("1")
    first.save()
    second = attempts.next()
    folder = second.restore(CPU, AVX2)
    assert (folder / "state.json").read_text() == "1"
    assert second.warnings == []
    second.remove()
    assert list(attempts.next().restore(CPU, AVX2).iterdir()) == []


@pytest.mark.parametrize("conditions", [{**CPU, "dtype": "bfloat16"}, {**CPU, "device": "cuda"}, {}])
def test_another_device_or_precision_starts_again(attempts: Attempts, conditions: dict[str, str]) -> None:
    first = attempts.next()
    (first.restore(CPU, AVX2) / "state.json").write_text("1")
    first.save()
    assert list(attempts.next().restore(conditions, AVX2).iterdir()) == []
    assert list(attempts.next(version="2").restore(CPU, AVX2).iterdir()) == []


def test_other_hardware_of_the_same_kind_continues_and_the_report_says_so(attempts: Attempts) -> None:
    first = attempts.next()
    (first.restore(CPU, AVX2) / "state.json").write_text("1")
    first.save()
    second = attempts.next()
    assert (second.restore(CPU, {**AVX2, "device": "AVX512"}) / "state.json").is_file()
    assert second.warnings == [
        "continued on other hardware, which may round differently: device was AVX2 and is AVX512"
    ]


def test_a_store_that_fails_does_not_end_the_step(attempts: Attempts) -> None:
    checkpoints = attempts.next(seconds=5, error=TemporaryError("the network is gone"))
    (checkpoints.restore(CPU, AVX2) / "state.json").write_text("1")
    checkpoints.save()
    attempts.clock.seconds += LEAST_SECONDS
    assert not checkpoints.is_due()  # failing takes time too
    assert checkpoints.store() is False


def test_without_the_right_to_list_a_step_runs_without_checkpoints(attempts: Attempts) -> None:
    checkpoints = attempts.next(error=DeniedError("the store refuses the credentials"))
    (checkpoints.restore(CPU, AVX2) / "state.json").write_text("1")
    checkpoints.save()
    assert checkpoints.store() is True
    checkpoints.remove()
    assert checkpoints.warnings == ["no checkpoints: the store refuses the credentials"]


def test_a_stop_is_always_due_and_ends_the_step_once_the_state_is_stored(attempts: Attempts) -> None:
    checkpoints = attempts.next()
    folder = checkpoints.restore(CPU, AVX2)
    assert not checkpoints.is_due()
    attempts.stop.set()
    assert checkpoints.is_due()
    (folder / "state.json").write_text("1")
    with pytest.raises(StoppedError):
        checkpoints.save()
    assert (attempts.next().restore(CPU, AVX2) / "state.json").is_file()


def test_a_step_that_has_not_begun_has_nothing_to_store(attempts: Attempts) -> None:
    assert attempts.next(error=TemporaryError("the network is gone")).store() is True
