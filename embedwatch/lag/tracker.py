"""From raw offsets to lag: messages, texts, seconds, rates and a status that is never a guess.

    lag      = end - max(committed, log start) - offsets in between that hold no record for the group
    age      = now - timestamp of the first record not done
    rates    = offsets committed and offsets added, a second, over the last minute
    drain    = lag / (service rate - arrival rate), where that is above 0

Offsets without a record are marks of transactions, records of aborted transactions and what compaction removed. They
are known as far as the reader has looked; beyond that each offset counts as a record, so the lag is at most too large.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from embedwatch.events import LagStatus

#: Committed offsets that stand still this long, with texts waiting, mean that nobody works on them.
STALL_SECONDS = 60.0
#: The same where other partitions move on: their worker may be busy with those.
BUSY_STALL_SECONDS = 300.0
RATE_WINDOW_SECONDS = 60.0
#: From the least to the most worrying.
STATUSES: tuple[LagStatus, ...] = ("OK", "REWOUND", "STALLED", "STOPPED", "UNKNOWN")


class Place(NamedTuple):
    """One partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class OffsetSample:
    """What was read of one partition. `None` means it could not be read."""

    time_seconds: float
    start_offset: int | None
    committed_offset: int | None  # None: the group has never committed here
    end_offset: (
        int | None
    )  # where the group's readers end: without those of open transactions, if it does not read them
    oldest_timestamp_seconds: float | None = None  # of the first record not yet committed
    texts_per_message: float | None = None  # over the records looked at beyond the commit
    members: int | None = None
    skipped_offsets: int = 0  # between commit and end, without a record for the group
    high_watermark: int | None = None  # end of the log, open transactions included
    reason: str | None = None  # why it could not be read


@dataclass(frozen=True, slots=True)
class Lag:
    status: LagStatus
    reason: str | None = None
    committed_offset: int | None = None
    log_end_offset: int | None = None
    lag_messages: int | None = None
    lag_texts: int | None = None
    oldest_age_seconds: float | None = None
    consume_rate_per_s: float | None = None
    arrival_rate_per_s: float | None = None
    drain_seconds: float | None = None
    texts_per_message: float | None = None


@dataclass(frozen=True, slots=True)
class _Point:
    time_seconds: float
    done: int
    end: int


@dataclass(slots=True)
class LagTracker:
    """One group on one partition. Feed it samples in time order."""

    _history: deque[_Point] = field(default_factory=deque)
    _moved_seconds: float | None = None
    _texts_per_message: float | None = None
    _never_committed_at: int | None = None

    #: When the group was last seen to have done something here.
    worked_seconds: float | None = None

    def still_seconds(self, now: float) -> float:
        """For how long no commit moved here."""
        return 0.0 if self._moved_seconds is None else now - self._moved_seconds

    def observe(self, sample: OffsetSample) -> Lag:
        if sample.end_offset is None or sample.start_offset is None:
            why = sample.reason or "the log's offsets could not be read"
            return Lag("UNKNOWN", why, committed_offset=sample.committed_offset)
        end, start = sample.end_offset, sample.start_offset
        committed = sample.committed_offset
        log_end = end if sample.high_watermark is None else max(end, sample.high_watermark)
        beyond = committed is not None and committed > log_end
        # A commit below the log's start points at records retention has removed: they are not waiting. One beyond the
        # end is of another log: nothing of this one is done.
        position = start if committed is None or beyond else max(start, committed)
        lag = max(end - position - sample.skipped_offsets, 0)
        done = self._done(committed, start)
        previous = self._history[-1] if self._history else None
        if previous is None or done != previous.done or lag == 0:
            self._moved_seconds = sample.time_seconds
        if previous is not None and done > previous.done:
            self.worked_seconds = sample.time_seconds
        self._remember(_Point(sample.time_seconds, done, end))
        if sample.texts_per_message is not None:
            self._texts_per_message = sample.texts_per_message
        status, reason = self._status(sample, lag, done, previous, log_end if beyond else None)
        if status == "OK" and committed is not None and committed < start:
            reason = f"{start - committed} offsets were removed from the log before they were done"
        consume, arrival = self._rates()
        age = None
        if lag == 0:
            age = 0.0
        elif sample.oldest_timestamp_seconds is not None:
            age = max(sample.time_seconds - sample.oldest_timestamp_seconds, 0.0)
        texts = 0 if lag == 0 else None
        if lag and self._texts_per_message is not None:
            texts = round(lag * self._texts_per_message)
        drain = drain_seconds(lag, consume, arrival)
        return Lag(status, reason, position, end, lag, texts, age, consume, arrival, drain, self._texts_per_message)

    def _done(self, committed: int | None, start: int) -> int:
        """What moves only when the group works: a log start that moves by retention is no work."""
        if committed is not None:
            self._never_committed_at = None
            return committed
        if self._never_committed_at is None:
            self._never_committed_at = start
        return self._never_committed_at

    def _status(
        self, sample: OffsetSample, lag: int, done: int, previous: _Point | None, beyond_end: int | None
    ) -> tuple[LagStatus, str | None]:
        if beyond_end is not None:
            return "REWOUND", (
                f"the committed offset {sample.committed_offset} lies beyond the end of the log, {beyond_end}: the "
                "topic was made anew or lost records"
            )
        if previous is not None and done < previous.done:
            if sample.committed_offset is None:
                return "REWOUND", f"the commit at {previous.done} is gone: the group or the topic was made anew"
            return "REWOUND", f"the committed offset went back from {previous.done} to {done}"
        # Consumers without a group's protocol commit and are no members: who moves on is not stopped.
        if lag and sample.members == 0 and (previous is None or done <= previous.done):
            return "STOPPED", "the group has no members"
        still = self.still_seconds(sample.time_seconds)
        if lag and still >= STALL_SECONDS:
            return "STALLED", f"no commit for {still:.0f} s with {lag} messages waiting"
        return "OK", None

    def _remember(self, point: _Point) -> None:
        if self._history and (point.done < self._history[-1].done or point.end < self._history[-1].end):
            self._history.clear()  # rewound or recreated: rates across that would be nonsense
        self._history.append(point)
        # The oldest kept is the last one before the window, so that a rate spans the whole of it.
        while len(self._history) > 2 and self._history[1].time_seconds <= point.time_seconds - RATE_WINDOW_SECONDS:
            self._history.popleft()

    def _rates(self) -> tuple[float | None, float | None]:
        """Messages a second consumed and arrived over the window; None with fewer than two samples."""
        first, last = self._history[0], self._history[-1]
        seconds = last.time_seconds - first.time_seconds
        if seconds <= 0:
            return None, None
        return (last.done - first.done) / seconds, (last.end - first.end) / seconds


@dataclass(slots=True)
class GroupTracker:
    """One group on all its partitions."""

    _trackers: dict[Place, LagTracker] = field(default_factory=dict)

    def observe(self, samples: Mapping[Place, OffsetSample]) -> dict[Place, Lag]:
        """Partitions that are not among the samples any more are forgotten."""
        self._trackers = {place: self._trackers.get(place) or LagTracker() for place in samples}
        found = {place: self._trackers[place].observe(sample) for place, sample in samples.items()}
        return {place: self._judged(place, lag, samples[place].time_seconds) for place, lag in found.items()}

    def _judged(self, place: Place, lag: Lag, now: float) -> Lag:
        """A worker reads its partitions in turn: while others move on, one may wait for minutes and nobody hangs."""
        if lag.status != "STALLED":
            return lag
        moved = max((t.worked_seconds for t in self._trackers.values() if t.worked_seconds is not None), default=None)
        still = self._trackers[place].still_seconds(now)
        if moved is None or now - moved >= STALL_SECONDS or still >= BUSY_STALL_SECONDS:
            return lag
        reason = f"no commit for {still:.0f} s, while other partitions move on"
        return replace(lag, status="OK", reason=reason)


@dataclass(frozen=True, slots=True)
class Total:
    """All partitions together. What is not known of one is not known of all: half a queue is not a queue."""

    status: LagStatus  # the most worrying one
    reason: str | None
    partitions: int
    statuses: dict[LagStatus, int]
    lag_messages: int | None = None
    lag_texts: int | None = None
    oldest_age_seconds: float | None = None
    consume_rate_per_s: float | None = None
    arrival_rate_per_s: float | None = None
    drain_seconds: float | None = None


def total(lags: Iterable[Lag]) -> Total:
    """Sums, the oldest age, and the time to drain the whole at the rates of the whole."""
    found = list(lags)
    if not found:
        return Total("UNKNOWN", "there is no partition", 0, {})
    counts = {status: sum(lag.status == status for lag in found) for status in STATUSES}
    worst = max(found, key=lambda lag: STATUSES.index(lag.status))
    messages = _sum(lag.lag_messages for lag in found)
    texts = _sum(lag.lag_texts for lag in found)
    consume, arrival = _sum(lag.consume_rate_per_s for lag in found), _sum(lag.arrival_rate_per_s for lag in found)
    ages = [lag.oldest_age_seconds for lag in found]
    known = [age for age in ages if age is not None]
    return Total(
        worst.status, worst.reason, len(found), {status: count for status, count in counts.items() if count},
        None if messages is None else int(messages), None if texts is None else int(texts),
        max(known) if len(known) == len(ages) else None,
        consume, arrival, None if messages is None else drain_seconds(int(messages), consume, arrival),
    )  # fmt: skip


def drain_seconds(lag_messages: int, consume_per_s: float | None, arrival_per_s: float | None) -> float | None:
    """None while rates are not known, and where the queue does not get shorter."""
    if lag_messages == 0:
        return 0.0
    if consume_per_s is None or arrival_per_s is None or consume_per_s <= arrival_per_s:
        return None
    return lag_messages / (consume_per_s - arrival_per_s)


def _sum(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if len(known) == len(found) else None
