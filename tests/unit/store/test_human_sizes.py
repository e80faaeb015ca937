"""Sizes as people read them."""

import pytest

from relora_store.sizes import human_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1_020_000, "996 KiB"),
        (1_048_000, "1023 KiB"),
        (272_629_760, "260 MiB"),
        (16_060_556_376, "15 GiB"),
        (5 * 1024**5, "5120 TiB"),
    ],
)
def test_sizes_have_three_digits(size: int, text: str) -> None:
    assert human_size(size) == text
