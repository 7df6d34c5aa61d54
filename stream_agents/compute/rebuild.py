"""The ledger made anew from the events, and compared with the one that is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from embedwatch.codec import decode_metric
from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent, HeartbeatEvent
from stream_agents.compute.curve import hourly
from stream_agents.compute.ledger import KEEP_DAYS, DayTotals, PartitionState, check_bookable, day_of
from stream_agents.compute.scopes import scope_key
from stream_agents.compute.windows import sketches_of

#: Of a day and scope, whenever it was booked.
_SUMS = tuple(name for name in DayTotals.__struct_fields__ if not name.startswith("late_"))
#: Not in a state of a version before 4, or before 5.
_SINCE_4 = (
    "unpriced_texts", "unpriced_saved_tokens", "cancelled_texts", "unsettled_texts", "uncounted_texts",
    "uncached_texts", "wasted_nano_usd",
)  # fmt: skip
#: Not in a state of version 1.
_NEW = ("spend_nano_usd[", "allocated_ms", "gpu_hour_nano_usd", "unpriced_texts", "unpriced_saved_tokens")


#: Records are stamped by clocks that differ: one that was removed may be stamped this much later than the oldest left.
CLOCKS_DIFFER_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Removed:
    """The log of a partition begins at `log_start_offset` only: what stood before it was removed by retention.

    `oldest_left_seconds`: when the oldest record that could be replayed was written; None where none could.
    `next_offset`: up to there the kept state has counted.
    """

    partition: int
    log_start_offset: int
    next_offset: int
    oldest_left_seconds: float | None

    @property
    def uncounted(self) -> int:
        """Offsets that are in no state that is written and in no log: their events may be in no number."""
        return max(self.log_start_offset - self.next_offset, 0)


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of one day and scope, kept by the agents and made anew; None: it is not there."""

    day: str
    scope: str
    number: str
    kept: Any
    rebuilt: Any


def book_record(
    state: PartitionState, offset: int, value: bytes | None, time_seconds: float, zone: ZoneInfo, max_scopes: int
) -> None:
    """What an agents process does with a record that is delivered in order; `time_seconds` is the record's own."""
    try:
        event = decode_metric(value)
        if isinstance(event, BatchEvent):
            check_bookable(event, zone, time_seconds)
            sketches_of(event)
            state.book(event, zone, max_scopes, time_seconds)
        elif isinstance(event, HeartbeatEvent):
            state.allocation.add(event, zone, time_seconds)
    except InvalidEvent as error:
        state.rejected[error.reason] = state.rejected.get(error.reason, 0) + 1
    except Exception:  # as an agents process does
        state.rejected["not_counted"] = state.rejected.get("not_counted", 0) + 1
    state.next_offset = offset + 1


def kept_days(states: Iterable[PartitionState], now: float, zone: ZoneInfo) -> list[str]:
    """The days that the agents still keep, of those with a booking."""
    oldest = (date.fromisoformat(day_of(now, zone)) - timedelta(days=KEEP_DAYS - 1)).isoformat()
    return sorted({day for state in states for day in state.days if day >= oldest})


def whole_days(days: Iterable[str], removed: Iterable[Removed], now: float, zone: ZoneInfo) -> list[str]:
    """Those of the days of which every event is left: where events were removed, the oldest left tells which may lack
    some, its own day with them. Where nothing is left that was counted, none is whole."""
    lacking = [
        min((now if one.oldest_left_seconds is None else one.oldest_left_seconds) + CLOCKS_DIFFER_SECONDS, now)
        for one in removed
    ]
    last_lacking = max((day_of(seconds, zone) for seconds in lacking), default="")
    return [day for day in days if day > last_lacking]


def differences(
    kept: Iterable[PartitionState], rebuilt: Iterable[PartitionState], days: Iterable[str]
) -> list[Difference]:
    """Every number that is not the same in both, summed over partitions: spend by the hour, as days that are over have
    no finer one.

    Left out is what depends on when an event was booked (`late_*`), and, where an agent of state version 1 has booked
    on the day, what that version did not know.
    """
    kept = list(kept)
    left, right = _sums(kept), _sums(rebuilt)
    old = {
        day for state in kept for day, scopes in state.days.items() if any(b.untimed_nano_usd for b in scopes.values())
    }
    older = {day for state in kept for day in state.older_days}
    wanted = set(days)
    return [
        Difference(*key, left.get(key), right.get(key))
        for key in sorted({*left, *right})
        if key[0] in wanted
        and (left.get(key) or 0) != (right.get(key) or 0)
        and not (key[0] in old and key[2].startswith(_NEW))
        and not (key[0] in older and key[2] in _SINCE_4)
    ]


def _sums(states: Iterable[PartitionState]) -> dict[tuple[str, str, str], int]:
    out: dict[tuple[str, str, str], int] = {}
    for state in states:
        for day, scope, name, value in _numbers(state):
            out[day, scope, name] = out.get((day, scope, name), 0) + value
    return out


def _numbers(state: PartitionState) -> Iterator[tuple[str, str, str, int]]:
    """(day, scope, name, value) of everything that is a function of the events."""
    for day, scopes in state.days.items():
        for scope, booked in scopes.items():
            for name in _SUMS:
                yield day, scope, name, getattr(booked, name)
            for hour, spent in enumerate(hourly(booked.spend_nano_usd, booked.bucket_seconds)):
                yield day, scope, f"spend_nano_usd[{hour}]", spent
    for day, models in state.allocation.alive_ms.items():
        for model, alive in models.items():
            yield day, scope_key((("model", model),)), "allocated_ms", alive
