"""Which bindings may have an active Job: as many as the release allows, shared fairly among namespaces."""

from collections import Counter
from collections.abc import Iterable

from relora_operator.core.actions import Key
from relora_operator.core.participation import Participant


def grants(participants: Iterable[Participant], granted: frozenset[Key], limit: int) -> frozenset[Key]:
    """Return the bindings that hold a slot.

    Who has a Job keeps its slot, and who was given one and has not used it yet. Each free slot goes to the namespace
    that holds the fewest, and there to the oldest binding.
    """
    everyone = list(participants)
    holding = [participant for participant in everyone if participant.holds_slot]
    waiting = [participant for participant in everyone if participant.wants_slot]
    promised = [participant for participant in waiting if participant.key in granted]
    chosen = holding + promised[: max(0, limit - len(holding))]
    keys = {participant.key for participant in chosen}
    queue = sorted(
        (participant for participant in waiting if participant.key not in keys),
        key=lambda participant: (participant.binding.metadata.creation_timestamp, participant.key),
    )
    load = Counter(participant.key.namespace for participant in chosen)
    for _ in range(limit - len(chosen)):
        if not queue:
            break
        chosen_next = min(queue, key=lambda participant: (load[participant.key.namespace], participant.key.namespace))
        queue.remove(chosen_next)
        load[chosen_next.key.namespace] += 1
        keys.add(chosen_next.key)
    return frozenset(keys)
