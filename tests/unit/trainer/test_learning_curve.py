from relora_contract.report import MAX_POINTS, Look
from relora_trainer.learning_curve import POINTS, CurveRecorder


def pull() -> tuple[float, float]:
    return 0.5, 0.25


def record(recorder: CurveRecorder, first: int, last: int) -> None:
    for step in range(first, last + 1):
        recorder.step(step, float(step), pull)


def test_every_step_of_a_short_training_is_a_point() -> None:
    recorder = CurveRecorder.for_steps(20)
    record(recorder, 1, 20)
    curve = recorder.curve(None)
    assert curve is not None
    assert curve.steps == list(range(1, 21))
    assert (curve.loss[4], curve.drift[4], curve.penalty[4]) == ("5", "0.5", "0.25")
    assert (curve.looks, curve.look_reference) == ([], None)


def test_a_long_training_is_thinned_to_means_and_its_end_is_kept() -> None:
    recorder = CurveRecorder.for_steps(10 * POINTS)
    record(recorder, 1, 25)
    recorder.end(25, pull)
    recorder.end(25, pull)
    curve = recorder.curve(None)
    assert curve is not None
    assert curve.steps == [10, 20, 25]
    assert curve.loss == ["5.5", "15.5", "23"]
    record(recorder, 26, 10 * POINTS)
    curve = recorder.curve(None)
    assert curve is not None
    assert len(curve.steps) <= MAX_POINTS


def test_the_last_of_many_looks_is_kept() -> None:
    recorder = CurveRecorder.for_steps(5)
    record(recorder, 1, 1)
    recorder.looks = [Look(step=step, value="0.5", ready=False) for step in range(2 * POINTS + 1)]
    curve = recorder.curve("0.75")
    assert curve is not None
    assert curve.looks[-1].step == 2 * POINTS
    assert len(curve.looks) <= POINTS
    assert curve.look_reference == "0.75"


def test_an_interrupted_recording_goes_on_as_if_nothing_had_happened() -> None:
    whole, first = CurveRecorder.for_steps(3 * POINTS), CurveRecorder.for_steps(3 * POINTS)
    record(whole, 1, 20)
    record(first, 1, 10)
    second = CurveRecorder.model_validate_json(first.model_dump_json())
    record(second, 11, 20)
    assert second == whole


def test_no_step_no_curve() -> None:
    assert CurveRecorder.for_steps(0).curve(None) is None
