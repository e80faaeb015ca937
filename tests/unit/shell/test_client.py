import pytest

from controller.world import ObedientTransport
from relora_operator.kube.client import Client
from relora_operator.kube.errors import ExpiredError, ForbiddenError, JsonObject, KubeError, TemporaryError
from relora_operator.kube.lease import LeaseLostError
from relora_operator.kube.limiter import RateLimiter
from relora_operator.kube.resources import BINDINGS, JOBS, RELEASES

JOB: JsonObject = {"metadata": {"name": "j", "namespace": "team"}}


class Time:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def client_on(transport: ObedientTransport, time: Time, fence: object = None) -> Client:
    def open_fence() -> None:
        return

    limiter = RateLimiter(rate=50, burst=2, clock=time, sleep=time.sleep)
    return Client(transport, limiter=limiter, fence=fence if callable(fence) else open_fence)


async def test_the_fence_is_asked_after_the_wait_for_the_limit() -> None:
    transport, time = ObedientTransport(), Time()

    def fence() -> None:
        if time.seconds > 0:
            raise LeaseLostError("the wait was too long")

    client = client_on(transport, time, fence)
    for _ in range(2):
        await client.create(JOBS, "team", JOB)

    with pytest.raises(LeaseLostError):
        await client.create(JOBS, "team", JOB)
    assert len(transport.writes) == 2


async def test_a_server_that_asks_for_a_pause_gets_it_from_every_write() -> None:
    transport, time = ObedientTransport(), Time()
    client = client_on(transport, time)
    busy = TemporaryError("busy", status=429, retry_after_seconds=9)
    transport.failures["POST", JOBS.path("team")] = busy

    with pytest.raises(TemporaryError):
        await client.create(JOBS, "team", JOB)
    transport.failures.clear()
    await client.create(JOBS, "other", JOB)

    assert time.seconds == pytest.approx(9)


@pytest.mark.parametrize(
    ("error", "pause_seconds"),
    {
        "a page of a load balancer asks for an hour": (
            TemporaryError("maintenance", status=503, retry_after_seconds=3600),
            60,
        ),
        "a policy speaks for one object": (ForbiddenError("denied", status=403, retry_after_seconds=600), 0),
    }.values(),
)
async def test_one_answer_does_not_stop_all_writes_for_long(error: KubeError, pause_seconds: float) -> None:
    transport, time = ObedientTransport(), Time()
    client = client_on(transport, time)
    transport.failures["POST", JOBS.path("team")] = error

    with pytest.raises(type(error)):
        await client.create(JOBS, "team", JOB)
    await client.create(JOBS, "other", JOB)

    assert time.seconds == pytest.approx(pause_seconds)


async def test_reads_need_neither_limit_nor_fence() -> None:
    transport, time = ObedientTransport(), Time()

    def shut() -> None:
        raise LeaseLostError("never")

    client = client_on(transport, time, shut)
    for _ in range(10):
        assert [page.items async for page in client.pages(JOBS)] == [[]]

    assert time.seconds == 0


async def test_a_list_asks_for_the_label_of_its_kind() -> None:
    transport = ObedientTransport()

    assert [page async for page in client_on(transport, Time()).pages(JOBS)]

    query = transport.sent[0].query
    assert query["labelSelector"] == "app.kubernetes.io/managed-by=relora-operator,relora.dev/job-kind"


async def test_a_list_that_took_too_long_is_temporary() -> None:
    transport = ObedientTransport()
    transport.failures["GET", RELEASES.path()] = ExpiredError("too old", status=410)

    with pytest.raises(TemporaryError):
        assert [page async for page in client_on(transport, Time()).pages(RELEASES)]


def test_paths() -> None:
    assert BINDINGS.path("team", "one", "status") == (
        "/apis/relora.dev/v1alpha1/namespaces/team/adapterbindings/one/status"
    )
    assert BINDINGS.path() == "/apis/relora.dev/v1alpha1/adapterbindings"
    assert RELEASES.path("ignored", "r1") == "/apis/relora.dev/v1alpha1/basemodelreleases/r1"
