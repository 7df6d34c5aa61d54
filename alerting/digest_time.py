"""When the daily digest is due: a time of day in a zone. Pure.

Each local date has one such moment, on the days of 23 and 25 hours too: a time that the clocks leave out is meant by
the clock before they change (half past two is half past three), of a time that comes twice it is the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

DAY_SECONDS = 86_400.0
#: A clock that was ahead by more than this when a digest was made was wrong, and holds up no other.
WRONG_SECONDS = 2 * DAY_SECONDS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """`quiet`: a day without anything to tell is told, too."""

    at: time
    zone: tzinfo
    quiet: bool = False

    def latest(self, now: float) -> float | None:
        """Unix seconds of the newest moment that is not later than now; None in years that no calendar has."""
        try:
            today = (_EPOCH + timedelta(seconds=now)).astimezone(self.zone).date()
            for back in range(3):  # a time that is left out may lie on the next day
                wall = datetime.combine(today - timedelta(days=back), self.at, self.zone)
                moment = wall.timestamp()
                if moment <= now:
                    return moment
        except (OverflowError, ValueError):
            pass
        return None

    def due(self, since_seconds: float, now: float) -> bool:
        """Whether a digest of what happened since then is to be made. However many were missed, it is one."""
        moment = self.latest(now)
        return (moment is not None and moment > since_seconds) or since_seconds - now > WRONG_SECONDS
