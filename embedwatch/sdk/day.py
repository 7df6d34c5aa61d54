"""What the calls of this process cost on the day so far. Pure: times are arguments."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from embedwatch.errors import ConfigError


def zone_of(timezone: str) -> ZoneInfo:
    """Raises `ConfigError` for a name that is none."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise ConfigError(f"timezone {timezone!r} is not known; take a name such as Europe/Berlin") from None


class DayCost:
    """Sums of one day of a time zone, the newest that a call ended on; a call that ended before it is in none.

    `gaps` are calls of it whose cost is not known, or not all of it.
    """

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._day: date | None = None
        self._nano_usd = self._gaps = 0

    def add(self, nano_usd: int, gap: bool, end_seconds: float) -> None:
        """A call that ended at this Unix time."""
        day = datetime.fromtimestamp(end_seconds, self._zone).date()
        if self._day is None or day > self._day:
            self._day, self._nano_usd, self._gaps = day, 0, 0
        if day == self._day:
            self._nano_usd += nano_usd
            self._gaps += gap

    def today(self, now: float) -> tuple[int, int]:
        """Nano-USD and gaps of the day of `now`, which may have begun without a call."""
        if self._day != datetime.fromtimestamp(now, self._zone).date():
            return 0, 0
        return self._nano_usd, self._gaps
