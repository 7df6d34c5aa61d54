"""The ledger: exact sums by day and scope, and the state record that makes them exact through crashes.

State belongs to a source partition: its totals **and** the next offset it has not seen stand in one record, so a
redelivered event (offset below) is skipped and a gap (offset above) is noticed. Readers add up the partitions they are
assigned now. Money is integers of nano-USD; a day is the event's day in the budget's IANA time zone.

Beside its sums a day has its spend over time (`curve`), and a day that is closed, which it is when it is over and the
grace for late events has passed, says what was booked on it afterwards (`corrections`).
Days that are no longer kept leave the spend by hour of four weeks behind, for forecasts (`history`): for all scopes
together and the `HISTORY_SCOPES` largest ones, which is about 0.6 MB a partition at the most, in a record of its own;
the other scopes have the days kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from datetime import date
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from embedwatch.errors import InvalidEvent
from embedwatch.events import PHASES, BatchEvent, CorrectionEvent
from embedwatch.pricing import SOURCE_GPU_HOUR
from stream_agents.compute.adding import adder
from stream_agents.compute.allocated import Allocation
from stream_agents.compute.corrections import MAX_UNSAID, Unsaid
from stream_agents.compute.curve import BUCKET_SECONDS, HOUR_SECONDS, add_curve, add_spend, hourly, unpacked
from stream_agents.compute.days import day_bounds as day_bounds
from stream_agents.compute.days import day_of as day_of
from stream_agents.compute.days import days_before as days_before
from stream_agents.compute.days import days_of
from stream_agents.compute.history import HISTORY_DAYS, History
from stream_agents.compute.rejections import Rejections
from stream_agents.compute.scopes import ALL, OTHER, parse_scope, scope_key, scopes_of
from stream_agents.compute.sums import BOOKED, Sums

#: 2 added what a day's spend was over time, 3 the corrections that are not said yet, and put the history in a record of
#: its own; 4 added the time zone and what has no price, 5 what was given up, not settled, not counted, or wasted. Older
#: records are read; a newer one is refused.
STATE_VERSION = 5
OLDER_VERSIONS = (1, 2, 3, 4)
#: Today, yesterday and the day before: late events and `report --day yesterday` need no more.
KEEP_DAYS = 3
#: A clock may be wrong by hours (a zone taken for UTC), not by days.
MAX_AHEAD_SECONDS = 86_400.0
#: Above it a JSON number is not exact in every language. No batch has so many texts or costs 9 million USD.
LARGEST_COUNT = 2**53
#: Thirty years. Two absurd ones would add up to infinity, which JSON cannot hold: the pane would be lost for everybody.
LARGEST_SECONDS = 1e9


class DayTotals(Sums):
    """Sums of one day and scope."""

    gpu_hour_nano_usd: int = 0  # the part of the cost that is busy seconds of a machine paid by the hour
    late_events: int = 0  # booked when the day was closed
    late_texts: int = 0  # those of late events; they are in the texts, too
    late_cost_nano_usd: int = 0  # is in the cost, too
    late_unpriced_tokens: int = 0

    def book(self, event: BatchEvent) -> None:
        Sums.book(self, event)
        if event.price_source == SOURCE_GPU_HOUR:
            self.gpu_hour_nano_usd += event.cost_nano_usd

    def merge(self, other: DayTotals) -> None:
        _merge(self, other)


class BookedDay(DayTotals, omit_defaults=True):
    """Sums of one day and scope in one partition, with the spend over time.

    `cost_nano_usd` is the sum of `spend` and `untimed_nano_usd`: what an agent of version 1 booked has no time.
    """

    spend_nano_usd: list[int] = msgspec.field(default_factory=list)
    bucket_seconds: int = BUCKET_SECONDS
    last_correction_seconds: float | None = None

    @property
    def untimed_nano_usd(self) -> int:
        return self.cost_nano_usd - sum(self.spend_nano_usd)

    def correct(self, event: BatchEvent, now: float) -> None:
        """Count an event that was booked as one that came when the day was closed."""
        self.late_events += 1
        self.late_texts += event.texts
        self.late_cost_nano_usd += event.cost_nano_usd
        self.late_unpriced_tokens += event.unpriced_tokens
        self.last_correction_seconds = max(self.last_correction_seconds or 0.0, now)

    def close(self) -> None:
        """The day is over: hours will do."""
        if self.bucket_seconds != HOUR_SECONDS:
            self.spend_nano_usd = hourly(self.spend_nano_usd, self.bucket_seconds)
            self.bucket_seconds = HOUR_SECONDS


_COUNTS = (*BOOKED, "batches", "truncated_texts", "padding_tokens", "cache_errors")
_merge = adder(DayTotals.__struct_fields__)
_counts_of = attrgetter(*_COUNTS)
_seconds_of = attrgetter("busy_seconds", *(f"phase_seconds.{name}" for name in PHASES))


def check_bookable(event: BatchEvent, zone: ZoneInfo, now: float) -> None:
    """Raises `InvalidEvent` for an event that decodes but cannot be booked.

    A time without a date has no day; one far ahead would open a day that nobody looks at or forgets; and one absurd
    number would spoil every sum, and every quotient, that it is in.
    """
    try:
        days_of(zone).of(event.time_seconds)
    except (ValueError, OverflowError, OSError):
        raise InvalidEvent("invalid", f"time_seconds {event.time_seconds:g} is in no year") from None
    if event.time_seconds > now + MAX_AHEAD_SECONDS:
        days = (event.time_seconds - now) / 86_400
        raise InvalidEvent("invalid", f"time_seconds {event.time_seconds:.0f} is {days:.0f} days ahead")
    if not event.model:
        raise InvalidEvent("invalid", "the model has no name")
    counts = _counts_of(event)
    if max(counts) > LARGEST_COUNT:
        raise InvalidEvent("invalid", f"{_COUNTS[counts.index(max(counts))]} is above {LARGEST_COUNT}")
    if max(_seconds_of(event)) > LARGEST_SECONDS:
        raise InvalidEvent("invalid", f"busy_seconds or a phase is above {LARGEST_SECONDS:g}")
    if any(count > LARGEST_COUNT for count in event.errors.values()):
        raise InvalidEvent("invalid", f"a count of errors is above {LARGEST_COUNT}")


class OtherZone(ValueError):
    """A state whose days begin elsewhere: a sum over both would be one of no day."""


class PartitionState(msgspec.Struct):
    """What one source partition has added up, and how far it has read. One record of the state table."""

    next_offset: int
    days: dict[str, dict[str, BookedDay]] = msgspec.field(default_factory=dict)
    #: Days no longer kept. The record names its version only.
    history: History = msgspec.field(default_factory=History)
    events: int = 0
    #: Booked on days that were no longer kept, so that they count in `history` only.
    old_events: int = 0
    old_cost_nano_usd: int = 0
    #: Day and scope: what was booked on closed days and is not said yet.
    unsaid: dict[str, dict[str, Unsaid]] = msgspec.field(default_factory=dict)
    rejected: dict[str, int] = msgspec.field(default_factory=dict)
    #: Those of the last hour, for the alert. Not compared by `rebuild`: when they came is not in the log.
    rejections: Rejections = msgspec.field(default_factory=Rejections)
    accepted_gaps: int = 0
    allocation: Allocation = msgspec.field(default_factory=Allocation)
    #: Whose days these are; None in a state that was written before it was noted.
    timezone: str | None = None
    #: Days that were booked on when they were no longer kept: offset below which nothing of these sums stands.
    reopened: dict[str, int] = msgspec.field(default_factory=dict)
    #: Days that an older version has booked on: what that one did not know is missing in their sums.
    older_days: list[str] = msgspec.field(default_factory=list)
    #: Days with sums that were brought along from another log (`agents restore`): the events are not in this one.
    carried_days: list[str] = msgspec.field(default_factory=list)
    v: int = STATE_VERSION

    def hold_to(self, zone: ZoneInfo) -> None:
        """Its days are those of this zone from now on. Raises `OtherZone` where there are some of another."""
        if self.timezone not in (None, zone.key) and (self.days or self.history.spend or self.allocation.alive_ms):
            raise OtherZone(
                f"its days are those of the time zone {self.timezone}, and budget.timezone is {zone.key}: start with "
                f"--timezone {self.timezone}; for days of {zone.key} start with another --app-id, which counts anew "
                "what the metrics topic still holds"
            )
        self.timezone = zone.key

    def book(
        self, event: BatchEvent, zone: ZoneInfo, max_scopes: int, now: float | None = None, grace_seconds: float = 0.0
    ) -> None:
        """Add an event to its day. Scopes above the cap of a day are added up under `other`.

        With `now`, an event of a day that has been over for `grace_seconds` counts as a correction of it as well.
        """
        name, begin, end = days_of(zone).of(event.time_seconds)
        late_at = now if now is not None and now >= end + grace_seconds else None
        late_keys = []
        if late_at is not None and name < oldest_kept(late_at, zone):
            self.old_events += 1
            self.old_cost_nano_usd += event.cost_nano_usd
            if name not in self.days:
                self.reopened[name] = self.next_offset
        day = self.days.setdefault(name, {})
        overflowed = False
        for scope in scopes_of(event.model, event.tenant):
            key = scope_key(scope)
            if key not in day and len(day) >= max_scopes and scope != ALL:
                if overflowed:
                    continue
                overflowed, key = True, scope_key(OTHER)
            totals = day.get(key)
            if totals is None:
                totals = day[key] = BookedDay()
            totals.book(event)
            bucket = max(int((event.time_seconds - begin) // totals.bucket_seconds), 0)
            if bucket < len(totals.spend_nano_usd):
                totals.spend_nano_usd[bucket] += event.cost_nano_usd
            else:
                add_spend(totals.spend_nano_usd, bucket, event.cost_nano_usd)
            if late_at is not None:
                totals.correct(event, late_at)
                late_keys.append(key)
        if late_at is not None:
            self._owe(name, late_keys, event, late_at)
        self.events += 1

    def _owe(self, day: str, keys: Sequence[str], event: BatchEvent, now: float) -> None:
        scopes = self.unsaid.setdefault(day, {})
        # All scopes of an event or none: `other` and those with a name are the whole then.
        room = sum(map(len, self.unsaid.values())) + len(set(keys) - scopes.keys()) <= MAX_UNSAID
        for key in dict.fromkeys(k if room or k in scopes or k == scope_key(ALL) else scope_key(OTHER) for k in keys):
            if key not in scopes:
                scopes[key] = Unsaid(from_offset=self.next_offset)
            scopes[key].book_late(event, now)

    def corrections(self, app_id: str, partition: int, zone: ZoneInfo) -> list[CorrectionEvent]:
        """What is to be said as of now, by day and scope. Say it when this state is written, and not before."""
        found = []
        for day, scopes in sorted(self.unsaid.items()):
            for scope, unsaid in sorted(scopes.items()):
                booked = self.days.get(day, {}).get(scope)
                # A day that was forgotten already begins anew with what came late, and that is not its sum.
                known = day >= oldest_kept(unsaid.last_seconds, zone)
                found.append(
                    CorrectionEvent(
                        event_id=f"{app_id}:{partition}:{unsaid.from_offset}:{day}:{scope}",
                        time_seconds=unsaid.last_seconds,
                        day=day,
                        timezone=zone.key,
                        scope=scope,
                        partition=partition,
                        from_offset=unsaid.from_offset,
                        until_offset=self.next_offset,
                        events=unsaid.events,
                        added=unsaid.told(),
                        total=booked.told() if booked is not None and known else None,
                    )
                )
        return found

    def said(self, events: Iterable[CorrectionEvent]) -> None:
        """The topic has them; the next record of this state is without them."""
        for event in events:
            scopes = self.unsaid[event.day]
            scopes[event.scope].said(event)
            if not scopes[event.scope].events:
                del scopes[event.scope]
                if not scopes:
                    del self.unsaid[event.day]

    def prune(self, now: float, zone: ZoneInfo, waiting: Collection[str] = ()) -> None:
        """Days that are over shrink to hours; those older than `KEEP_DAYS` to what forecasts ask for, but for those
        that are `waiting` to be said a last time."""
        today = day_of(now, zone)
        oldest = oldest_kept(now, zone)
        if not self.history.frozen:
            for day in [day for day in self.days if day < oldest and day not in waiting]:
                self._remember(day, self.days.pop(day))
                self.reopened.pop(day, None)
            self.history.trim(days_before(today, HISTORY_DAYS))
        for day, scopes in self.days.items():
            if day < today:
                for booked in scopes.values():
                    booked.close()
        self.allocation.prune(min([oldest, *waiting]))
        self.rejections.prune(now)
        self.older_days = [day for day in self.older_days if day in self.days]
        self.carried_days = [day for day in self.carried_days if day in self.days]

    def _remember(self, day: str, scopes: dict[str, BookedDay]) -> None:
        for scope, booked in scopes.items():
            # A day that was spent at unknown hours, in part, would tell a wrong curve.
            if booked.cost_nano_usd and not booked.untimed_nano_usd:
                self.history.add(scope, day, hourly(booked.spend_nano_usd, booked.bucket_seconds))

    def to_record(self) -> dict[str, Any]:
        """Plain data for the table; a copy that later bookings do not touch."""
        bare = copy(self)
        bare.history = _NO_HISTORY  # not to be copied every second
        return {**msgspec.to_builtins(bare), "history": self.history.version}

    @classmethod
    def from_record(cls, record: Mapping[str, Any], histories: Iterable[Mapping[str, Any]] = ()) -> PartitionState:
        """`histories`: the records of them that there are, of which the state names one.

        Raises ValueError for a record of a newer version, or one that is no state.
        """
        history: Any = record.get("history", 0)
        version, days = record.get("v"), record.get("days")
        if version in OLDER_VERSIONS:
            record = {**record, "v": STATE_VERSION, "older_days": sorted(days) if isinstance(days, Mapping) else []}
        if version in (1, 2):
            # All that is new has a default, and sums stay what they were. What version 2 had of earlier days is not
            # in a record of its own yet.
            spend = record.get("history", {})
            history = {"spend": spend, "changed": bool(spend)}
        elif isinstance(history, int):
            history = msgspec.to_builtins(History.named(history, histories))
        record = {**record, "history": history}
        if record.get("v") != STATE_VERSION:
            raise ValueError(f"state of version {record.get('v')!r}; this agent knows {STATE_VERSION}")
        try:
            state = msgspec.convert(record, cls)
            state._check()
        except (msgspec.ValidationError, ValueError) as error:  # the first is a ValueError that names no state
            raise ValueError(f"not a state record: {str(error)[:500]}") from None
        return state

    def _check(self) -> None:
        """Raises ValueError for what the types allow and no agent has written: every answer would fail on it."""
        if self.next_offset < 0:
            raise ValueError(f"next_offset is {self.next_offset}")
        for day in {*self.days, *self.unsaid, *self.reopened, *self.allocation.alive_ms}:
            if date.fromisoformat(day).isoformat() != day:
                raise ValueError(f"{day!r} is not a day as this agent writes it")
        for scopes in self.days.values():
            for scope, booked in scopes.items():
                parse_scope(scope)
                if booked.bucket_seconds not in (BUCKET_SECONDS, HOUR_SECONDS):
                    raise ValueError(f"bucket_seconds is {booked.bucket_seconds}")
        for scope, curves in self.history.spend.items():
            parse_scope(scope)
            for curve in curves.values():
                unpacked(curve)


_NO_HISTORY = History()


def oldest_kept(now: float, zone: ZoneInfo) -> str:
    """The first of the days kept at that time."""
    return days_before(day_of(now, zone), KEEP_DAYS - 1)


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


def past_curves(states: Iterable[PartitionState], days: Sequence[str], scope: str = "all") -> dict[str, list[int]]:
    """Spend by hour of those of the days that are over of which it is known, kept or remembered."""
    out: dict[str, list[int]] = {}
    untimed: set[str] = set()
    for state in states:
        remembered = state.history.spend.get(scope, {})
        for day in days:
            if (text := remembered.get(day)) is not None:
                add_curve(out.setdefault(day, []), unpacked(text))
            if (booked := state.days.get(day, {}).get(scope)) is not None:
                add_curve(out.setdefault(day, []), hourly(booked.spend_nano_usd, booked.bucket_seconds))
                if booked.untimed_nano_usd:
                    untimed.add(day)
    return {day: curve for day, curve in out.items() if any(curve) and day not in untimed}


def last_correction_seconds(states: Iterable[PartitionState], day: str, scope: str = "all") -> float | None:
    """When a day that was over was changed last; None when it never was."""
    found = (state.days.get(day, {}).get(scope) for state in states)
    times = [b.last_correction_seconds for b in found if b is not None and b.last_correction_seconds is not None]
    return max(times, default=None)
