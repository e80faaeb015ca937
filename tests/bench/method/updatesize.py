"""How large the base's updates are, over which everything is compared."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.method.chain import Chain
from bench.results import Row, measured
from relora_trainer.blocks import check_same_blocks, open_base


def rows(chains: Sequence[Chain]) -> Iterator[Row]:
    """Yield the relative change of the weights by each chain's update."""
    for chain in chains:
        title = f"{chain.update} update: ‖ΔW‖ ÷ ‖W‖ over the linear weights of the blocks"
        yield measured(title, 100 * relative_change(chain.old, chain.new), "%")


def relative_change(old: Path, new: Path) -> float:
    """Return ‖W′ − W‖ ÷ ‖W‖, Frobenius norms over the linear weights of all blocks together.

    One tensor of each base is in memory at a time.

    Raises:
        IncompatibleError: The bases differ in the names or shapes of their decoder blocks.
        IntegrityError: A weights file is damaged.
    """
    before, after = open_base(old), open_base(new)
    check_same_blocks(before, after)
    change = weights = 0.0
    for name, weight in before.linear_weights.items():
        tensor = weight.read().double()
        weights += float(tensor.square().sum())
        change += float((after.linear_weights[name].read().double() - tensor).square().sum())
    return math.sqrt(change / weights)
