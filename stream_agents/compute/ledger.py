"""The ledger: exact sums by day and scope, and the state record that makes them exact through crashes.

State belongs to a source partition: its totals **and** the next offset it has not seen stand in one record, so a
redelivered event (offset below) is skipped and a gap (offset above) is noticed. Readers add up the partitions they are
assigned now. Money is integers of nano-USD; a day is the event's day in the budget's IANA time zone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent
from stream_agents.compute.adding import adder
from stream_agents.compute.scopes import ALL, OTHER, scope_key, scopes_of

STATE_VERSION = 1
#: Today, yesterday and the day before: late events and `report --day yesterday` need no more.
KEEP_DAYS = 3
#: A clock may be wrong by hours (a zone taken for UTC), not by days.
MAX_AHEAD_SECONDS = 86_400.0
#: Above it a JSON number is not exact in every language. No batch has so many texts or costs 9 million USD.
LARGEST_COUNT = 2**53


class DayTotals(msgspec.Struct):
    """Sums of one day and scope."""

    texts: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    misses: int = 0
    errors: int = 0
    tokens_received: int = 0
    tokens_embedded: int = 0
    tokens_saved: int = 0
    cost_nano_usd: int = 0
    saved_nano_usd: int = 0
    unpriced_tokens: int = 0

    def book(self, event: BatchEvent) -> None:
        _book(self, event)
        if event.errors:
            self.errors += sum(event.errors.values())

    def merge(self, other: DayTotals) -> None:
        _merge(self, other)


_BOOKED = tuple(name for name in DayTotals.__struct_fields__ if name != "errors")
_COUNTS = (*_BOOKED, "batches", "truncated_texts", "padding_tokens", "cache_errors")
_book, _merge = adder(_BOOKED), adder(DayTotals.__struct_fields__)
_counts_of = attrgetter(*_COUNTS)


def day_of(time_seconds: float, zone: ZoneInfo) -> str:
    """ISO date of a moment in a zone."""
    return datetime.fromtimestamp(time_seconds, zone).date().isoformat()


def day_bounds(day: str, zone: ZoneInfo) -> tuple[float, float]:
    """First moment of a day and of the next, Unix seconds: 23, 24 or 25 hours apart, or what the zone did that day."""
    first = date.fromisoformat(day)
    begin, end = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (first, first + timedelta(days=1)))
    return begin.astimezone(UTC).timestamp(), end.astimezone(UTC).timestamp()


def check_bookable(event: BatchEvent, zone: ZoneInfo, now: float) -> None:
    """Raises `InvalidEvent` for an event that decodes but cannot be booked.

    A time without a date has no day; one far ahead would open a day that nobody looks at or forgets; and one absurd
    number would spoil every sum, and every quotient, that it is in.
    """
    try:
        day_of(event.time_seconds, zone)
    except (ValueError, OverflowError, OSError):
        raise InvalidEvent("invalid", f"time_seconds {event.time_seconds:g} is in no year") from None
    if event.time_seconds > now + MAX_AHEAD_SECONDS:
        days = (event.time_seconds - now) / 86_400
        raise InvalidEvent("invalid", f"time_seconds {event.time_seconds:.0f} is {days:.0f} days ahead")
    counts = _counts_of(event)
    if max(counts) > LARGEST_COUNT:
        raise InvalidEvent("invalid", f"{_COUNTS[counts.index(max(counts))]} is above {LARGEST_COUNT}")
    if any(count > LARGEST_COUNT for count in event.errors.values()):
        raise InvalidEvent("invalid", f"a count of errors is above {LARGEST_COUNT}")


class PartitionState(msgspec.Struct):
    """What one source partition has added up, and how far it has read. One record of the state table."""

    next_offset: int
    days: dict[str, dict[str, DayTotals]] = msgspec.field(default_factory=dict)
    events: int = 0
    rejected: dict[str, int] = msgspec.field(default_factory=dict)
    accepted_gaps: int = 0
    v: int = STATE_VERSION

    def book(self, event: BatchEvent, zone: ZoneInfo, max_scopes: int) -> None:
        """Add an event to its day. Scopes above the cap of a day are added up under `other`."""
        day = self.days.setdefault(day_of(event.time_seconds, zone), {})
        overflowed = False
        for scope in scopes_of(event.model, event.tenant):
            key = scope_key(scope)
            if key not in day and len(day) >= max_scopes and scope != ALL:
                if overflowed:
                    continue
                overflowed, key = True, scope_key(OTHER)
            totals = day.get(key)
            if totals is None:
                totals = day[key] = DayTotals()
            totals.book(event)
        self.events += 1

    def prune(self, now: float, zone: ZoneInfo) -> None:
        """Forget days older than `KEEP_DAYS`."""
        oldest = (date.fromisoformat(day_of(now, zone)) - timedelta(days=KEEP_DAYS - 1)).isoformat()
        for day in [day for day in self.days if day < oldest]:
            del self.days[day]

    def to_record(self) -> dict[str, Any]:
        """Plain data for the table; a copy that later bookings do not touch."""
        record: dict[str, Any] = msgspec.to_builtins(self)
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> PartitionState:
        """Raises ValueError for a record of a newer version, or one that is no state."""
        if record.get("v") != STATE_VERSION:
            raise ValueError(f"state of version {record.get('v')!r}; this agent knows {STATE_VERSION}")
        try:
            return msgspec.convert(record, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"not a state record: {error}") from None


def day_totals(states: Iterable[PartitionState], day: str, scope: str = "all") -> DayTotals:
    """Sum over partitions for one day and scope key."""
    out = DayTotals()
    for state in states:
        found = state.days.get(day, {}).get(scope)
        if found is not None:
            out.merge(found)
    return out


def day_scopes(states: Iterable[PartitionState], day: str) -> set[str]:
    """Scope keys with a booking on that day."""
    return {scope for state in states for scope in state.days.get(day, {})}
