"""What an adapter did on each example, and how two such records are paired."""

from collections.abc import Sequence
from dataclasses import dataclass

from relora_trainer.errors import DataError

ANOTHER_ANSWER = -1


@dataclass(frozen=True)
class Outcome:
    """One scored example.

    Attributes:
        key: The example's content hash.
        label: Index of the right choice; 0 for a generative task.
        prediction: Index of the most likely choice. For a generative task: 0 for the expected answer, −1 for another.
        nll: Sum of the right completion's negative log-likelihoods, in nats.
        tokens: Number of completion tokens.
    """

    key: str
    label: int
    prediction: int
    nll: float
    tokens: int

    @property
    def correct(self) -> bool:
        """Whether the answer is the right one."""
        return self.prediction == self.label


def pair(new: Sequence[Outcome], old: Sequence[Outcome]) -> list[tuple[Outcome, Outcome]]:
    """Return the outcomes of the same examples side by side, in the order of `new`.

    Raises:
        DataError: The two do not cover the same examples, or count other tokens for one: the reference was measured
            with other data or another tokenizer.
    """
    by_key = {outcome.key: outcome for outcome in old}
    if by_key.keys() != {outcome.key for outcome in new} or len(old) != len(new):
        raise DataError(
            f"the reference was measured on {len(old)} other examples than the {len(new)} of the test set; "
            "it must be measured again"
        )
    pairs = [(outcome, by_key[outcome.key]) for outcome in new]
    if any(mine.tokens != theirs.tokens or mine.label != theirs.label for mine, theirs in pairs):
        raise DataError("the reference was measured with another tokenizer or other labels; it must be measured again")
    return pairs
