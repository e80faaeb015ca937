"""Floats as the contract's decimal strings."""

import math


def decimal_text(value: float) -> str:
    """Return `value` with six significant digits, as in `"0.8125"` or `"1e-05"`.

    Raises:
        ValueError: NaN and infinity have no decimal form.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} has no decimal form")
    return f"{value:.6g}".replace("e+", "e")


def optional_decimal(value: float | None) -> str | None:
    """Return `value` as `decimal_text` does, or None where it has no decimal form."""
    return decimal_text(value) if value is not None and math.isfinite(value) else None
