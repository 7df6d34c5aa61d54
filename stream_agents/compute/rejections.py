"""Events that could not be counted in the last hour: how many, why, and whose. Pure.

They are part of a partition's state, so that an alert lasts through a restart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from embedwatch.rules import MAX_WINDOW_SECONDS
from stream_agents.compute.scopes import short_name

MINUTE_SECONDS = 60
#: Reasons and workers told apart in a minute. Whoever sends nonsense may make up a worker for each record.
MAX_KINDS = 20
UNKNOWN_WORKER = "unknown"
OTHER_WORKERS = "other"


class _Sender(msgspec.Struct):
    worker: str = UNKNOWN_WORKER
    event_id: Any = None


_decoder = msgspec.json.Decoder(_Sender)


def sender_of(value: bytes | None) -> str:
    """The worker that a record names, as far as it can be read; "unknown" otherwise. A long name is cut."""
    try:
        return short_name(_decoder.decode(value or b"").worker[:256]) or UNKNOWN_WORKER
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNKNOWN_WORKER


def event_id_of(value: bytes | None) -> str | None:
    """The event's own id, for the log, as far as it can be read; cut."""
    try:
        found = _decoder.decode(value or b"").event_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found[:256] if isinstance(found, str) and found else None


class Rejections(msgspec.Struct):
    """Counts by minute, reason and worker, of the last hour."""

    #: Start of the minute in seconds as text, as keys of a JSON object are; in it reason, then worker.
    minutes: dict[str, dict[str, dict[str, int]]] = msgspec.field(default_factory=dict)

    def add(self, reason: str, worker: str, now: float) -> None:
        """`reason` is one of a bounded set (`InvalidEvent.reason`)."""
        kinds = self.minutes.setdefault(str(_minute(now)), {})
        workers = kinds.setdefault(reason, {})
        if worker not in workers and sum(map(len, kinds.values())) >= MAX_KINDS:
            worker = OTHER_WORKERS
        workers[worker] = workers.get(worker, 0) + 1
        if len(self.minutes) > MAX_WINDOW_SECONDS // MINUTE_SECONDS + 1:
            self.prune(now)

    def prune(self, now: float) -> None:
        """Forget what no window reaches any more, and what a clock that was set back left in the future."""
        oldest, newest = _minute(now) - MAX_WINDOW_SECONDS, _minute(now) + MAX_WINDOW_SECONDS
        self.minutes = {start: kinds for start, kinds in self.minutes.items() if oldest < int(start) <= newest}


def rejected(parts: Iterable[Rejections], window_seconds: int, now: float) -> tuple[Counter[str], Counter[str]]:
    """Events by reason and by worker of the minutes that a window ending at `now` touches."""
    reasons: Counter[str] = Counter()
    workers: Counter[str] = Counter()
    for part in parts:
        for start, kinds in part.minutes.items():
            if not now - window_seconds < int(start) + MINUTE_SECONDS <= now + 2 * MINUTE_SECONDS:
                continue
            for reason, counts in kinds.items():
                reasons[reason] += sum(counts.values())
                workers.update(counts)
    return reasons, workers


def _minute(now: float) -> int:
    return int(now // MINUTE_SECONDS) * MINUTE_SECONDS
