"""In which order and when Jobs would start: the slots of a release, played through with expected durations."""

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from relora_operator.core.actions import Key
from relora_operator.core.slots import Pace


@dataclass(frozen=True, kw_only=True)
class Task:
    """One Job that is to start."""

    key: Key
    created: str
    """When its binding was created: of equal priorities the older ones of a namespace come first."""
    priority: int = 0
    """That of its binding: within a namespace the higher ones come first."""
    seconds: float
    """How long it is expected to run."""
    ready_seconds: float = 0.0
    """When what it needs is there."""

    def not_before(self, seconds: float) -> "Task":
        """Return the task as one that is not ready before a moment."""
        return replace(self, ready_seconds=max(self.ready_seconds, seconds))


@dataclass(frozen=True, kw_only=True)
class Start:
    """When a Job starts, counted from the release."""

    key: Key
    start_seconds: float
    end_seconds: float


def schedule(tasks: Iterable[Task], pace: Pace, *, running: Iterable[Task] = ()) -> list[Start]:
    """Return the starts in their order; `running` are Jobs that hold a slot from the beginning.

    Slots are given as in `core/slots.py`, at a pace that lets at least one Job start. A Job that ends frees its slot
    before the next one is given. The cost is O(n log n) for n tasks.
    """
    queue = _Queue(pace.in_a_namespace)
    coming = deque(sorted(tasks, key=lambda task: task.ready_seconds))
    held: list[tuple[float, str]] = []
    for task in running:
        heapq.heappush(held, (task.seconds, task.key.namespace))
        queue.hold(task.key.namespace)
    starts: list[Start] = []
    now = 0.0
    while coming or len(queue):
        while held and held[0][0] <= now:
            queue.freed(heapq.heappop(held)[1])
        ready: list[Task] = []
        while coming and coming[0].ready_seconds <= now:
            ready.append(coming.popleft())
        queue.add(ready)
        while len(held) < pace.in_all and (first := queue.take()) is not None:
            heapq.heappush(held, (now + first.seconds, first.key.namespace))
            starts.append(Start(key=first.key, start_seconds=now, end_seconds=now + first.seconds))
        moments = [held[0][0]] if held else []
        now = min([*moments, coming[0].ready_seconds] if coming else moments, default=now)
    return starts


class _Queue:
    """Waiting tasks by namespace, and a heap of the namespaces by how many slots they hold.

    An entry of the heap that is out of date is dropped when it comes up: each change of a load pushes a new one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[str, list[tuple[tuple[int, str, Key], Task]]] = {}
        self._load: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, tasks: Sequence[Task]) -> None:
        """Let tasks wait."""
        for task in tasks:
            turn = (-task.priority, task.created, task.key)
            heapq.heappush(self._waiting.setdefault(task.key.namespace, []), (turn, task))
            self._count += 1
        for namespace in {task.key.namespace for task in tasks}:
            self._offer(namespace)

    def take(self) -> Task | None:
        """Return the next task, whose namespace holds one slot more; None while no namespace may hold another."""
        while self._heap and self._heap[0][0] < self._limit:
            load, namespace = heapq.heappop(self._heap)
            if load == self._load.get(namespace, 0) and self._waiting.get(namespace):
                self._load[namespace] = load + 1
                self._count -= 1
                task = heapq.heappop(self._waiting[namespace])[1]
                self._offer(namespace)
                return task
        return None

    def hold(self, namespace: str) -> None:
        """Count a slot that is held already."""
        self._load[namespace] = self._load.get(namespace, 0) + 1

    def freed(self, namespace: str) -> None:
        """Take back a slot."""
        self._load[namespace] -= 1
        self._offer(namespace)

    def _offer(self, namespace: str) -> None:
        if self._waiting.get(namespace):
            heapq.heappush(self._heap, (self._load.get(namespace, 0), namespace))
