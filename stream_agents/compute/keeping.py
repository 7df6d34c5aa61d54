"""What is kept of closed days for a year: records of the topic of days. Pure.

A day of a partition is a function of its events below an offset, as the state is that it comes from. So it is said
again, whole, whenever it has changed, under the same key, and whoever goes on from the same state says the same.

A day that is no longer kept and is booked on again begins anew in the state. That is said under a key of its own, by
the offset where it began, and readers add it to what was said before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from zoneinfo import ZoneInfo

import msgspec

from embedwatch.events import DayEvent, DayScope, WindowEvent
from stream_agents.compute.curve import hourly
from stream_agents.compute.days import day_bounds, day_of, days_before
from stream_agents.compute.ledger import BookedDay, DayTotals, PartitionState, oldest_kept
from stream_agents.compute.scopes import parse_scope

#: Of a record. Readers take no larger one than 256 KiB, and brokers none above a megabyte.
MAX_PIECE_BYTES = 200_000
#: Days of a partition that are no longer kept and wait for the topic. More of them are forgotten without being said:
#: an archive that is sent once more must not make a state that cannot be written.
MAX_WAITING_DAYS = 14
HOUR_SECONDS = 3600
#: Of each hour, everything and the models with the most texts.
MAX_HOUR_SCOPES = 50
#: And the tenants with the most texts, of all models together: there may be a thousand of them, and an hour of one
#: takes as much as one of a model, 1.4 kB for 400 days.
MAX_HOUR_TENANTS = 20

Revision = tuple[int, ...]
"""Changes with whatever is booked on a day."""

_encoder = msgspec.json.Encoder()
_FIELDS = tuple(name for name in DayScope.__struct_fields__ if name != "spend_nano_usd")


def measured_before(states: Iterable[PartitionState], today: str) -> bool:
    """Whether anything was booked on a day before today, as far as the states know.

    Before the first event of all nobody knows what was spent: such a day is no day of 0.
    """
    return any(
        any(day < today for day in state.days) or state.history.spend or (state.events and today not in state.days)
        for state in states
    )


def closed_days(
    state: PartitionState, zone: ZoneInfo, now: float, grace_seconds: float, *, measured: bool = True
) -> list[str]:
    """Days of the state that are closed, and yesterday, so that a day without events is told from one not said: unless
    nothing was `measured` before today."""
    days = {*state.days, *([days_before(day_of(now, zone), 1)] if measured else [])}
    return sorted(day for day in days if now >= day_bounds(day, zone)[1] + grace_seconds)


def revision(state: PartitionState, day: str, zone: ZoneInfo, now: float) -> Revision:
    """Of what is to be said of the day. It changes once more when the day is no longer kept: what a process that was
    paused has written over it is set right then, at the latest."""
    booked = state.days.get(day, {}).get("all") or DayTotals()
    alive = sum(state.allocation.alive_ms.get(day, {}).values())
    sums = (getattr(booked, name) for name in DayTotals.__struct_fields__)
    return (*sums, alive, state.reopened.get(day, 0), day < oldest_kept(now, zone))


def forgettable(state: PartitionState, zone: ZoneInfo, now: float) -> list[str]:
    """The days that are no longer kept and may wait until they are said."""
    oldest = oldest_kept(now, zone)
    return sorted(day for day in state.days if day < oldest)[-MAX_WAITING_DAYS:]


def day_events(
    app_id: str, partition: int, partitions: int, state: PartitionState, day: str, zone: ZoneInfo, now: float,
    max_bytes: int = MAX_PIECE_BYTES,
) -> list[DayEvent]:  # fmt: skip
    """A day of a partition as it is now, in as many records as its size asks for."""
    begin, end = day_bounds(day, zone)
    pieces = list(_pieces(state.days.get(day, {}), max_bytes))
    return [
        DayEvent(
            application=app_id,
            day=day,
            timezone=zone.key,
            begin_seconds=begin,
            end_seconds=end,
            partition=partition,
            partitions=partitions,
            from_offset=state.reopened.get(day, 0),
            until_offset=state.next_offset,
            time_seconds=now,
            piece=number,
            pieces=len(pieces),
            scopes=scopes,
            allocated_ms={} if number else dict(state.allocation.alive_ms.get(day, {})),
            last=day < oldest_kept(now, zone),
        )
        for number, scopes in enumerate(pieces)
    ]


def _pieces(scopes: dict[str, BookedDay], max_bytes: int) -> Iterator[dict[str, DayScope]]:
    piece: dict[str, DayScope] = {}
    size = 0
    for key, booked in scopes.items():
        told = DayScope(
            **{name: getattr(booked, name) for name in _FIELDS},
            spend_nano_usd=hourly(booked.spend_nano_usd, booked.bucket_seconds),
        )
        length = len(key.encode()) + len(_encoder.encode(told)) + 4
        if piece and size + length > max_bytes:
            yield piece
            piece, size = {}, 0
        piece[key] = told
        size += length
    yield piece


def hours_kept(windows: Iterable[WindowEvent]) -> list[WindowEvent]:
    """Of closed windows those that are kept as long as days are: hours of everything, of models and of the tenants with
    the most texts of the hour, for how long texts took, where the time went and which errors came. Other tenants have
    exact sums in their days, and no more."""
    kept = []
    seen: Counter[tuple[float, bool]] = Counter()
    for window in sorted(windows, key=lambda window: (window.scope != "all", -window.texts)):
        if window.window_seconds != HOUR_SECONDS or not window.events:
            continue
        names = [name for name, _ in parse_scope(window.scope)]
        place = window.start_seconds, names == ["tenant"]
        most = MAX_HOUR_TENANTS if names == ["tenant"] else MAX_HOUR_SCOPES
        if names in ([], ["model"], ["tenant"]) and seen[place] < most:
            seen[place] += 1
            kept.append(window)
    return kept
