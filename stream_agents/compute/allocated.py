"""How long machines were there, whether they worked or not: the seconds between the heartbeats of worker processes.

The price by the hour (`pricing.gpu_usd_per_hour`) is that of the machine of one worker process, as a batch's cost is
its busy seconds at that price. So allocated seconds are counted a process, by model, from its first heartbeat to its
last, and split at midnight. Heartbeats come through the same partition in order, so that they are booked exactly, once,
with the partition's next offset. What a process takes until its first heartbeat is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

import msgspec

from embedwatch.events import HeartbeatEvent
from stream_agents.compute.days import day_bounds, day_of
from stream_agents.compute.scopes import short_name

#: Heartbeats come at least once a minute (`worker.heartbeat_seconds`). After a longer silence the process was not
#: there, as far as anybody can tell, and counting starts anew.
MAX_GAP_MS = 90_000
#: By the senders' clocks, which differ: an entry this much older than the newest is of a process that is gone.
FORGET_MS = 3_600_000
MAX_AHEAD_SECONDS = 3600.0
MAX_PROCESSES = 4000
#: Models of a day that are told apart; a sender that makes them up must not make a record that cannot be written.
MAX_MODELS = 300
OTHER_MODELS = "other"
LONGEST_INCARNATION = 64


class Allocation(msgspec.Struct, omit_defaults=True):
    """What one partition has counted. `alive_ms` is by day and model; `last_ms` by worker: incarnation and time."""

    alive_ms: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    last_ms: dict[str, tuple[str, int]] = msgspec.field(default_factory=dict)

    def add(self, event: HeartbeatEvent, zone: ZoneInfo, now: float) -> None:
        """Count the time since the heartbeat before. One that came out of order, or that of a wrong clock, is none."""
        if event.role != "worker" or not 0 <= event.time_seconds <= now + MAX_AHEAD_SECONDS:
            return
        at_ms = round(event.time_seconds * 1000)
        incarnation = event.event_id.rpartition(":")[0][-LONGEST_INCARNATION:]
        worker = short_name(event.worker)
        known, last = self.last_ms.get(worker, ("", 0))
        if known == incarnation:
            if at_ms < last:
                return
            if at_ms - last <= MAX_GAP_MS:
                self._book(last, at_ms, short_name(event.model), zone)
        if event.state == "stopping":
            self.last_ms.pop(worker, None)
        elif worker in self.last_ms or len(self.last_ms) < MAX_PROCESSES:
            self.last_ms[worker] = (incarnation, at_ms)

    def _book(self, begin_ms: int, end_ms: int, model: str, zone: ZoneInfo) -> None:
        while begin_ms < end_ms:
            day = day_of(begin_ms / 1000, zone)
            until = min(end_ms, max(round(day_bounds(day, zone)[1] * 1000), begin_ms + 1))
            models = self.alive_ms.setdefault(day, {})
            known = model if model in models or len(models) < MAX_MODELS else OTHER_MODELS
            models[known] = models.get(known, 0) + until - begin_ms
            begin_ms = until

    def prune(self, oldest_day: str) -> None:
        """Forget days before this one, and processes that are gone."""
        for day in [day for day in self.alive_ms if day < oldest_day]:
            del self.alive_ms[day]
        newest = max((at_ms for _, at_ms in self.last_ms.values()), default=0)
        for worker, (_, at_ms) in list(self.last_ms.items()):
            if at_ms < newest - FORGET_MS:
                del self.last_ms[worker]


def allocated_ms(allocations: Iterable[Allocation], day: str) -> dict[str, int]:
    """Milliseconds that worker processes were there on that day, by model."""
    out: dict[str, int] = {}
    for allocation in allocations:
        for model, alive in allocation.alive_ms.get(day, {}).items():
            out[model] = out.get(model, 0) + alive
    return out
