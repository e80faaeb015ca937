from pathlib import Path

import pytest

from relora_operator.settings import parse_arguments

IN_A_POD = {"POD_NAMESPACE": "relora-system", "POD_NAME": "relora-operator-0"}


def test_a_pod_needs_no_flag() -> None:
    settings = parse_arguments(["run"], IN_A_POD)

    assert (settings.namespace, settings.identity, settings.kubeconfig) == ("relora-system", "relora-operator-0", None)
    times = settings.lease_times
    assert (times.duration, times.renew_deadline, times.retry, times.timeout) == (15, 10, 2, 5)


def test_flags_win_over_the_environment() -> None:
    line = ["run", "--namespace", "other", "--kubeconfig", "x", "--resync-seconds", "5", "--http-port", "0"]
    settings = parse_arguments(line, {**IN_A_POD, "KUBECONFIG": "y"})

    assert (settings.namespace, settings.kubeconfig) == ("other", Path("x"))
    assert (settings.resync_seconds, settings.http_port) == (5, 0)


def test_the_other_times_follow_from_the_duration_of_the_lease() -> None:
    times = parse_arguments(["run", "--lease-duration-seconds", "6"], IN_A_POD).lease_times

    assert times.retry < times.renew_deadline < times.duration
    assert times.timeout == 2


@pytest.mark.parametrize(
    ("line", "environ", "message"),
    [
        (["run"], {}, "set --namespace or $POD_NAMESPACE"),
        (["run", "--resync-seconds", "0"], IN_A_POD, "not a positive number"),
        (["run", "--resync-seconds", "nan"], IN_A_POD, "not a positive number"),
        (["run", "--workers", "0"], IN_A_POD, "not 1 or more"),
        (["run", "--http-port", "70000"], IN_A_POD, "no port"),
        (["run", "--log-level", "LOUD"], IN_A_POD, "invalid choice"),
        ([], IN_A_POD, "required"),
    ],
)
def test_a_wrong_line_names_the_flag(
    line: list[str], environ: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(line, environ)

    assert message in f"{ended.value}{capsys.readouterr().err}"
    assert ended.value.code != 0


def test_the_help_tells_how_to_run_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["run", "--help"], {})

    text = capsys.readouterr().out
    assert "Run two replicas" in text
    assert "/healthz" in text
    assert "--kubeconfig ~/.kube/config" in text
