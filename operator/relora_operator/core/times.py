"""RFC 3339 in UTC, whole seconds, as the API server writes it."""

from datetime import UTC, datetime
from functools import lru_cache

from relora_contract.scalars import Timestamp


def timestamp(moment: datetime) -> Timestamp:
    """Format an aware moment, cut to whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=4096)
def moment(text: Timestamp) -> datetime:
    """Parse what `timestamp` or the API server wrote.

    Raises:
        ValueError: `text` is no RFC 3339 date-time.
    """
    return datetime.fromisoformat(text).astimezone(UTC)


def seconds_between(start: Timestamp, end: datetime) -> float:
    """Return the seconds from `start` to `end`, never negative."""
    return max(0.0, (end - moment(start)).total_seconds())
