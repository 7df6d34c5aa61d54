"""Silences: when one holds, and which alerts it is about. Pure; who asks for one and who obeys meet here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from zoneinfo import ZoneInfo

from embedwatch.events import Silence, Verdict

#: What a silence may ask of. A scope that an alert does not have matches no pattern, `*` neither.
LABELS = ("alert_type", "severity", "rule", "model", "tenant", "worker")
DAY_SECONDS = 86_400.0
#: The longest stretch of a silence that comes again; longer ones would run into each other.
MAX_FOR_SECONDS = 7 * DAY_SECONDS
#: How long a silence is kept after its end.
KEEP_SECONDS = 7 * DAY_SECONDS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Years that a bad clock may show, and what a date can hold.
_BOUND_SECONDS = 200_000_000_000.0


def labels(verdict: Verdict) -> dict[str, str]:
    """What a silence's patterns are held against."""
    own = {"alert_type": verdict.alert_type, "severity": verdict.severity, "rule": verdict.rule}
    return {**verdict.scope, **own}


def matches(silence: Silence, of: Mapping[str, str]) -> bool:
    """Every pattern of the silence fits the label it names. Upper and lower case differ, as in the names."""
    return all(name in of and fnmatchcase(of[name], pattern) for name, pattern in silence.match.items())


def quiet_until(silence: Silence, now: float) -> float | None:
    """Unix seconds at which the stretch that holds now ends; None: it does not hold now."""
    if now < silence.starts_seconds or _over(silence, now):
        return None
    if not silence.weekdays:
        return silence.ends_seconds
    ends = (end for start, end in _stretches(silence, now) if start <= now < end)
    latest = max(ends, default=None)
    if latest is None or silence.ends_seconds is None:
        return latest
    return min(latest, silence.ends_seconds)


def next_start(silence: Silence, now: float) -> float | None:
    """Unix seconds at which it begins to hold again; None: never, or it holds now."""
    if _over(silence, now) or quiet_until(silence, now) is not None:
        return None
    if not silence.weekdays:
        return silence.starts_seconds
    after = max(now, silence.starts_seconds)
    if quiet_until(silence, after) is not None:  # its first stretch has begun when the silence does
        return after
    start = min((start for start, _ in _stretches(silence, after) if start > after), default=None)
    if start is None or (silence.ends_seconds is not None and start >= silence.ends_seconds):
        return None
    return start


def is_over(silence: Silence, now: float) -> bool:
    """It never holds again."""
    return quiet_until(silence, now) is None and next_start(silence, now) is None


def forgettable(silence: Silence, now: float) -> bool:
    """It ended so long ago that nobody asks for it, and a clock that is a little wrong does not matter."""
    return silence.ends_seconds is not None and now - silence.ends_seconds >= KEEP_SECONDS


def mistake(silence: Silence) -> str | None:
    """Why it cannot be obeyed, for people; None: it can."""
    unknown = [name for name in silence.match if name not in LABELS]
    if unknown:
        return f"there is no label {unknown[0]!r}; there are: {', '.join(LABELS)}"
    if silence.ends_seconds is not None and silence.ends_seconds < silence.starts_seconds:
        return "it ends before it begins"
    if not silence.weekdays:
        return "it has no end" if silence.ends_seconds is None else None
    if silence.at is None or not 0 < silence.for_seconds <= MAX_FOR_SECONDS:
        return "on weekdays it needs a time of day, and a length of at most 7 days"
    if _zone(silence.timezone) is None:
        return f"there is no time zone {silence.timezone!r}"
    return None


def _over(silence: Silence, now: float) -> bool:
    return silence.ends_seconds is not None and now >= silence.ends_seconds


def _stretches(silence: Silence, now: float) -> Iterator[tuple[float, float]]:
    """Start and end of each stretch that may hold now or begins within the next week.

    It begins when the clock on the wall says so: on the day that clocks go forward over `at`, as much later; on the
    day that they show `at` twice, the first time. It lasts as long as it says on any day.
    """
    zone = _zone(silence.timezone)
    if zone is None or silence.at is None or not abs(now) < _BOUND_SECONDS:
        return
    at = time.fromisoformat(silence.at)
    today = (_EPOCH + timedelta(seconds=now)).astimezone(zone).date()
    back = int(silence.for_seconds // DAY_SECONDS) + 2
    for offset in range(-back, 9):
        day = today + timedelta(days=offset)
        if day.weekday() in silence.weekdays:
            start = _seconds(day, at, zone)
            yield start, start + silence.for_seconds


def _seconds(day: date, at: time, zone: ZoneInfo) -> float:
    return (datetime.combine(day, at, zone).astimezone(UTC) - _EPOCH).total_seconds()


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # what the package raises for names that are no file of it
        return None
