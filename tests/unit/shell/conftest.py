import pytest

from controller.world import ObedientTransport, World
from relora_operator.kube.client import Client
from relora_operator.kube.limiter import RateLimiter
from relora_operator.loop.intake import Intake
from relora_operator.loop.queue import Backoff, WorkQueue
from relora_operator.loop.state import State


@pytest.fixture
def world() -> World:
    transport, seconds = ObedientTransport(), [0.0]

    def clock() -> float:
        return seconds[0]

    state = State()
    queue = WorkQueue(clock=clock, backoff=Backoff(first=1, most=60), jitter=lambda: 0.0)
    queue.open(())
    client = Client(transport, limiter=RateLimiter(rate=50, burst=100, clock=clock), fence=lambda: None)
    return World(transport, state, queue, Intake(state, queue), client, seconds)
