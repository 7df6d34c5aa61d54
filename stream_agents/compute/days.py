"""Days of an IANA time zone: which one a moment lies in, and when it begins and ends."""

from __future__ import annotations

import math
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


class Days:
    """Days of one zone, one after the other: events come in time, so that the day of the last one is mostly the next
    one's, and looking at a calendar was a good part of the time it takes to book one."""

    __slots__ = ("_begin", "_day", "_end", "zone")

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._day, self._begin, self._end = "", math.inf, -math.inf

    def of(self, time_seconds: float) -> tuple[str, float, float]:
        """ISO date of a moment, and the day's bounds. Raises what `day_of` and `day_bounds` raise."""
        if not self._begin <= time_seconds < self._end:
            day = day_of(time_seconds, self.zone)
            begin, end = day_bounds(day, self.zone)
            self._day, self._begin, self._end = day, begin, end
        return self._day, self._begin, self._end


@lru_cache(maxsize=16)
def days_of(zone: ZoneInfo) -> Days:
    return Days(zone)


def days_before(day: str, count: int) -> str:
    """The ISO date so many days earlier."""
    return (date.fromisoformat(day) - timedelta(days=count)).isoformat()
