"""The records of the topic of days, put together: what each closed day came to. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from embedwatch.codec import decode_kept
from embedwatch.errors import InvalidEvent
from embedwatch.events import DayEvent, DayScope, ScalingEvent, WindowEvent
from embedwatch.scopes import parse_scope

#: Sums of a day and scope that add up over partitions, scopes and days.
FIELDS = tuple(name for name in DayScope.__struct_fields__ if name not in ("spend_nano_usd", "last_correction_seconds"))


@dataclass(slots=True)
class Sums:
    """Exact sums. Money in nano-USD, of what has a price."""

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
    unpriced_texts: int = 0
    unpriced_saved_tokens: int = 0
    cancelled_texts: int = 0
    unsettled_texts: int = 0
    uncounted_texts: int = 0
    uncached_texts: int = 0
    wasted_nano_usd: int = 0
    gpu_hour_nano_usd: int = 0
    late_events: int = 0
    late_texts: int = 0
    late_cost_nano_usd: int = 0
    late_unpriced_tokens: int = 0

    def add(self, other: Sums | DayScope, sign: int = 1) -> None:
        for name in FIELDS:
            setattr(self, name, getattr(self, name) + sign * getattr(other, name))

    @classmethod
    def of(cls, parts: Iterable[Sums | DayScope]) -> Sums:
        out = cls()
        for part in parts:
            out.add(part)
        return out

    def without(self, parts: Iterable[Sums]) -> Sums:
        out = Sums.of([self])
        for part in parts:
            out.add(part, -1)
        return out

    def any(self) -> bool:
        return any(getattr(self, name) for name in FIELDS)


@dataclass(slots=True)
class KeptDay:
    """One day by scope key. `lacking`: partitions that have not said theirs."""

    day: str
    scopes: dict[str, Sums] = field(default_factory=dict)
    allocated_ms: dict[str, int] = field(default_factory=dict)
    lacking: int = 0
    running: bool = False  # not over, or not closed: these are the sums so far


@dataclass(slots=True)
class _Part:
    """What one partition says with one `from_offset`: the newest that is whole, and the pieces of a newer one."""

    whole: tuple[DayEvent, ...] = ()
    pieces: dict[int, DayEvent] = field(default_factory=dict)

    def take(self, event: DayEvent) -> None:
        if self.whole and event.until_offset < self.whole[0].until_offset:
            return  # of a process that did not know yet that it is behind
        if any(_identity(other) != _identity(event) for other in self.pieces.values()):
            self.pieces = {}
        self.pieces[event.piece] = event
        if len(self.pieces) == event.pieces:  # each is below that number, else it was refused
            self.whole, self.pieces = tuple(self.pieces.values()), {}


def _identity(event: DayEvent) -> tuple[int, float, int]:
    return event.until_offset, event.time_seconds, event.pieces


#: A number of so many digits is no sum of anything, and may be more than a float holds.
_ENDLESS = re.compile(rb"[:\[,]\s*\d{40}")


def _fits(event: DayEvent | WindowEvent | ScalingEvent) -> bool:
    """Whether it is what its types cannot say: a piece of so many, and sums of scopes."""
    if isinstance(event, ScalingEvent):
        return True
    try:
        for key in event.scopes if isinstance(event, DayEvent) else (event.scope,):
            parse_scope(key)
    except ValueError:
        return False
    return not isinstance(event, DayEvent) or event.piece < event.pieces


class Kept:
    """Takes in records in the order of the topic; holds those of some days. Another application's are passed over."""

    def __init__(self, application: str, timezone: str, days: Collection[str]) -> None:
        self.application = application
        self.timezone = timezone
        self.days = frozenset(days)
        self.refused = 0
        self.other_zones: set[str] = set()
        self._parts: dict[tuple[str, int, int], _Part] = {}
        self._partitions: dict[str, int] = {}
        self._hours: dict[tuple[float, str, bool], WindowEvent] = {}
        self._changes: dict[str, ScalingEvent] = {}

    def take(self, key: bytes | None, value: bytes | None, wanted_seconds: tuple[float, float]) -> None:
        """`wanted_seconds`: from and to, of hours and decisions. Never raises for what a record holds."""
        # An application's id may have a bar in it only before the first kind.
        kind, name = self._named(key)
        if not kind or (kind == "day" and name.partition("|")[0] not in self.days):
            return
        try:
            event = decode_kept(value)
        except InvalidEvent:
            self.refused += 1
            return
        if _ENDLESS.search(value or b"") or not _fits(event):
            self.refused += 1
            return
        low, high = wanted_seconds
        if isinstance(event, DayEvent):
            self._take_day(event)
        elif isinstance(event, WindowEvent):
            if low <= event.start_seconds < high:
                self._hours[event.start_seconds, event.scope, event.partial] = event
        elif low <= event.time_seconds < high:
            self._changes[event.event_id] = event

    def _named(self, key: bytes | None) -> tuple[str, str]:
        text = (key or b"").decode(errors="replace")
        if not text.startswith(f"{self.application}|"):
            return "", ""
        kind, _, name = text[len(self.application) + 1 :].partition("|")
        return kind, name

    def _take_day(self, event: DayEvent) -> None:
        if event.timezone != self.timezone:
            self.other_zones.add(event.timezone)
            return
        self._parts.setdefault((event.day, event.partition, event.from_offset), _Part()).take(event)
        self._partitions[event.day] = max(self._partitions.get(event.day, 0), event.partitions)

    def closed_days(self) -> dict[str, KeptDay]:
        """By date, of the days of which anything was said."""
        out: dict[str, KeptDay] = {}
        told: dict[str, set[int]] = {}
        for (day, partition, _), part in self._parts.items():
            if not part.whole:
                continue
            told.setdefault(day, set()).add(partition)
            found = out.setdefault(day, KeptDay(day))
            for event in part.whole:
                for scope, sums in event.scopes.items():
                    found.scopes.setdefault(scope, Sums()).add(sums)
                for model, alive in event.allocated_ms.items():
                    found.allocated_ms[model] = found.allocated_ms.get(model, 0) + alive
        for day, found in out.items():
            found.lacking = max(self._partitions[day] - len(told[day]), 0)
        return out

    def hours(self) -> Iterator[WindowEvent]:
        """Closed hours; of one that was seen whole and in part, the whole one."""
        for (start, scope, partial), event in sorted(self._hours.items(), key=lambda item: item[0]):
            if not (partial and (start, scope, False) in self._hours):
                yield event

    def changes(self) -> list[ScalingEvent]:
        """Decisions that asked for another number of workers than the one before."""
        out: list[ScalingEvent] = []
        for event in sorted(self._changes.values(), key=lambda event: event.time_seconds):
            if not out or out[-1].desired_workers != event.desired_workers:
                out.append(event)
        return out
