"""From raw offsets to lag: messages, texts, seconds, rates and a status that is never a guess."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from embedwatch.events import LagStatus

#: Committed offsets that stand still this long, with texts waiting, mean that nobody works on them.
STALL_SECONDS = 60.0
RATE_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class OffsetSample:
    """What was read of one partition. `None` means it could not be read."""

    time_seconds: float
    start_offset: int | None
    committed_offset: int | None  # None: the group has never committed here
    end_offset: int | None
    oldest_timestamp_seconds: float | None = None  # of the first record not yet committed
    texts_per_message: float | None = None  # over the records looked at beyond the commit
    members: int | None = None


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


@dataclass(slots=True)
class LagTracker:
    """One group on one partition. Feed it samples in time order."""

    _history: deque[tuple[float, int, int]] = field(default_factory=deque)  # time, committed, end
    _moved_seconds: float | None = None
    _texts_per_message: float | None = None

    def observe(self, sample: OffsetSample) -> Lag:
        if sample.end_offset is None or sample.start_offset is None:
            return Lag("UNKNOWN", "the log's offsets could not be read", committed_offset=sample.committed_offset)
        end = sample.end_offset
        # A commit below the log's start points at records retention has removed: they are not waiting.
        committed = max(sample.start_offset, sample.committed_offset or 0)
        lag = max(end - committed, 0)
        previous = self._history[-1] if self._history else None
        if previous is None or committed != previous[1] or lag == 0:
            self._moved_seconds = sample.time_seconds
        self._remember(sample.time_seconds, committed, end)
        if sample.texts_per_message is not None:
            self._texts_per_message = sample.texts_per_message
        status, reason = self._status(sample, lag, committed, previous)
        consume, arrival = self._rates()
        age = None
        if lag == 0:
            age = 0.0
        elif sample.oldest_timestamp_seconds is not None:
            age = max(sample.time_seconds - sample.oldest_timestamp_seconds, 0.0)
        drain = 0.0 if lag == 0 else None
        if lag and consume is not None and arrival is not None and consume > arrival:
            drain = lag / (consume - arrival)
        texts = 0 if lag == 0 else None
        if lag and self._texts_per_message is not None:
            texts = round(lag * self._texts_per_message)
        return Lag(status, reason, committed, end, lag, texts, age, consume, arrival, drain)

    def _status(
        self, sample: OffsetSample, lag: int, committed: int, previous: tuple[float, int, int] | None
    ) -> tuple[LagStatus, str | None]:
        if previous is not None and committed < previous[1]:
            return "REWOUND", f"the committed offset went back from {previous[1]} to {committed}"
        if lag and sample.members == 0:
            return "STOPPED", "the group has no members"
        still = 0.0 if self._moved_seconds is None else sample.time_seconds - self._moved_seconds
        if lag and still >= STALL_SECONDS:
            return "STALLED", f"no commit for {still:.0f} s with {lag} messages waiting"
        return "OK", None

    def _remember(self, now: float, committed: int, end: int) -> None:
        if self._history and (committed < self._history[-1][1] or end < self._history[-1][2]):
            self._history.clear()  # rewound or recreated: rates across that would be nonsense
        self._history.append((now, committed, end))
        # The oldest kept is the last one before the window, so that a rate spans the whole of it.
        while len(self._history) > 2 and self._history[1][0] <= now - RATE_WINDOW_SECONDS:
            self._history.popleft()

    def _rates(self) -> tuple[float | None, float | None]:
        """Messages a second consumed and arrived over the window; None with fewer than two samples."""
        if len(self._history) < 2 or self._history[-1][0] <= self._history[0][0]:
            return None, None
        (t0, committed0, end0), (t1, committed1, end1) = self._history[0], self._history[-1]
        return (committed1 - committed0) / (t1 - t0), (end1 - end0) / (t1 - t0)
