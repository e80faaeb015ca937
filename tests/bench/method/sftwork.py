"""What the process of TRL's SFTTrainer is asked to train; it imports nothing, for two environments share it."""

from typing import TypedDict


class Work(TypedDict):
    """A training run.

    Attributes:
        base: Folder of the base.
        dtype: Of its weights, as torch names it.
        rank: Of the adapter.
        lora_alpha: Of the adapter.
        target_modules: Of the adapter.
        learning_rate: Of AdamW.
        packed_tokens: Length of a packed row; one row is one optimizer step.
        rows: Examples with `input_ids` and `labels`.
    """

    base: str
    dtype: str
    rank: int
    lora_alpha: int
    target_modules: list[str]
    learning_rate: float
    packed_tokens: int
    rows: list[dict[str, list[int]]]
