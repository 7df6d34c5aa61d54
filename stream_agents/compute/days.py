"""Days of an IANA time zone: which one a moment lies in, and when it begins and ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo


def day_of(time_seconds: float, zone: ZoneInfo) -> str:
    """ISO date of a moment in a zone."""
    return datetime.fromtimestamp(time_seconds, zone).date().isoformat()


@lru_cache(maxsize=256)
def day_bounds(day: str, zone: ZoneInfo) -> tuple[float, float]:
    """First moment of a day and of the next, Unix seconds: 23, 24 or 25 hours apart, or what the zone did that day."""
    first = date.fromisoformat(day)
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (first, first + timedelta(days=1)))
    return begin.astimezone(UTC).timestamp(), end.astimezone(UTC).timestamp()


def days_before(day: str, count: int) -> str:
    """The ISO date so many days earlier."""
    return (date.fromisoformat(day) - timedelta(days=count)).isoformat()
