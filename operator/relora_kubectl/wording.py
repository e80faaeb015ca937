"""Durations and counts for people."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_FINE = 2 * _MINUTE
"""Up to here seconds matter."""


def human_duration(seconds: float) -> str:
    """Return a duration in at most two units, as in `45 s`, `12 min`, `2 h 10 min` or `3 d 4 h`."""
    if seconds < _FINE:
        return f"{round(seconds)} s"
    minutes = round(seconds / _MINUTE)
    if minutes < _HOUR // _MINUTE:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < _DAY // _HOUR:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, hours = divmod(round(seconds / _HOUR), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 Job` or `3 Jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
