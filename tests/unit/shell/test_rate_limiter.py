import pytest

from relora_operator.kube.limiter import RateLimiter


class Time:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def limiter(time: Time) -> RateLimiter:
    return RateLimiter(rate=50, burst=100, clock=time, sleep=time.sleep)


async def test_a_burst_passes_at_once_and_the_rest_at_the_rate(limiter: RateLimiter, time: Time) -> None:
    for _ in range(100):
        await limiter.acquire()
    assert time.seconds == 0

    for _ in range(50):
        await limiter.acquire()
    assert time.seconds == pytest.approx(1.0)


async def test_a_pause_refills_no_more_than_one_burst(limiter: RateLimiter, time: Time) -> None:
    time.seconds = 3600
    for _ in range(101):
        await limiter.acquire()

    assert time.seconds == pytest.approx(3600.02)


async def test_nothing_passes_while_the_server_asked_for_a_pause(limiter: RateLimiter, time: Time) -> None:
    limiter.pause(7)

    await limiter.acquire()

    assert time.seconds == pytest.approx(7)
