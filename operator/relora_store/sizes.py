"""Sizes as people read them."""

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
STEP = 1024
THREE_DIGITS = 1000


def human_size(size: float) -> str:
    """Return a number of bytes with a binary unit and about three digits, as in `1.25 GiB`."""
    unit = 0
    while size >= STEP and unit < len(UNITS) - 1:
        size /= STEP
        unit += 1
    return f"{size:.3g} {UNITS[unit]}" if size < THREE_DIGITS else f"{size:.0f} {UNITS[unit]}"
