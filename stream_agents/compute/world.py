"""What the agents know at a moment: windows, the ledger of every partition, workers, queue and cache.

Pure: events and samples go in with the time at which they are applied, numbers come out for a `now`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from zoneinfo import ZoneInfo

from embedwatch.events import BatchEvent, CacheEvent, HeartbeatEvent, LagEvent, ScalingEvent
from embedwatch.pricing import known_nano_usd
from embedwatch.rules import DEFAULT_THRESHOLDS
from stream_agents.compute.budget import FAST, NO_PRICE, Burn, Forecast, UsualDays, burn, forecast
from stream_agents.compute.closing import DEFAULT_GRACE_SECONDS, DEFAULT_LENGTHS, Closer
from stream_agents.compute.counters import Counters
from stream_agents.compute.days import day_bounds
from stream_agents.compute.decisions import Decisions
from stream_agents.compute.energy import Energy
from stream_agents.compute.ledger import DayTotals, PartitionState, day_of, day_totals, last_correction_seconds
from stream_agents.compute.queue_history import QueueHistory
from stream_agents.compute.scopes import Scope, scope_key
from stream_agents.compute.shared_windows import SharedWindows
from stream_agents.compute.windows import pane_start

#: A worker that has been silent this long is no longer listed (WORKER_DOWN has spoken long before).
FORGET_WORKER_SECONDS = 3600.0
#: Windows reach back an hour, and what is delivered late a little more.
FORGET_CALLER_SECONDS = 2 * FORGET_WORKER_SECONDS
#: A lag sample older than this says nothing about now.
STALE_LAG_SECONDS = 30.0
#: A partition is forgotten when others have been sampled for so long without it: a topic made anew may have fewer.
FORGET_PARTITION_SECONDS = 600.0
#: One that has said nothing for longer is listed as silent, whatever it said last: as the built-in rule has it.
SILENT_WORKER_SECONDS = float(DEFAULT_THRESHOLDS["worker_silent_seconds"])
MAX_WORKERS = 20_000
MAX_PARTITIONS = 20_000
#: Where no worker at all is heard of, they are remembered longer: that all are gone is not over after an hour.
FORGET_ALL_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue now, over all its partitions. None: not known (never 0)."""

    status: str
    depth_texts: int | None
    lag_messages: int | None
    lag_seconds: float | None
    drain_seconds: float | None
    arrival_rate_per_s: float | None
    consume_rate_per_s: float | None
    stalled_partitions: int | None
    partitions: int
    reason: str | None = None


class World:
    """What one agent process knows of all partitions, its own and those of others. Not thread-safe: one event loop
    owns it."""

    def __init__(
        self, *, zone: ZoneInfo, max_scopes: int, lag_group: str, lag_topic: str,
        window_lengths: Sequence[int] = DEFAULT_LENGTHS, late_grace_seconds: float = DEFAULT_GRACE_SECONDS,
        gpu_usd_per_hour: Decimal | None = None,
    ) -> None:  # fmt: skip
        self.zone = zone
        self.gpu_usd_per_hour = gpu_usd_per_hour
        self.max_scopes = max_scopes
        self.lag_group = lag_group
        self.lag_topic = lag_topic
        self.windows = SharedWindows(max_scopes=max_scopes)
        self.closer = Closer(window_lengths, grace_seconds=late_grace_seconds)
        self.counters = Counters()
        self.energy = Energy()
        self.usual_days = UsualDays()
        self.partitions: dict[int, PartitionState] = {}
        self.workers: dict[str, HeartbeatEvent] = {}
        #: When each was heard of last, by our clock: theirs may be wrong, and we may be behind.
        self.heard: dict[str, float] = {}
        #: Processes with the SDK, by when they were heard of last: known also when they have said goodbye, as what they
        #: did is still in the windows.
        self.callers: dict[str, float] = {}
        self.caches: dict[str, CacheEvent] = {}
        self.lags: dict[int, LagEvent] = {}
        self.decisions = Decisions(lag_group, lag_topic)
        self.queue_history = QueueHistory()
        self.last_batch_seconds: float | None = None
        self.started_seconds: float | None = None

    def apply_batch(self, event: BatchEvent, now: float, partition: int = 0, offset: int | None = None) -> None:
        """Into the windows only, once; the ledger is booked by the owner of the partition's state. Without an offset
        it is the partition's next event."""
        if offset is None:
            offset = self.windows.part(partition).next_offset
        self.closer.before_event(self.windows, event, now)
        scopes = self.windows.count(event, now, partition, offset)
        if scopes is not None:  # else it is in a pane already: what another process has counted is in what it told
            self.closer.add(event, scopes, now)
            self.counters.add(event)
        self.last_batch_seconds = max(self.last_batch_seconds or 0.0, min(event.time_seconds, now))

    def apply_heartbeat(self, event: HeartbeatEvent, now: float | None = None) -> None:
        """`now`: when it was heard of; its own time where that is left out."""
        if event.role == "caller" and (event.worker in self.callers or len(self.callers) < MAX_WORKERS):
            self.callers[event.worker] = event.time_seconds if now is None else now
        known = self.workers.get(event.worker)
        if known is not None and known.time_seconds > event.time_seconds:
            return  # heartbeats of one worker may come through two partitions after a repartition
        self.energy.add(event, known)
        if event.state == "stopping":
            self.workers.pop(event.worker, None)
            self.heard.pop(event.worker, None)
            self.caches.pop(event.worker, None)
        elif known is not None or len(self.workers) < MAX_WORKERS:
            self.workers[event.worker] = event
            # Other processes tell what they know again and again: that is no sign of life.
            if known is None or (known.event_id, known.time_seconds) != (event.event_id, event.time_seconds):
                self.heard[event.worker] = event.time_seconds if now is None else now

    def apply_cache(self, event: CacheEvent) -> None:
        known = self.caches.get(event.worker)
        if len(self.caches) < MAX_WORKERS if known is None else known.time_seconds <= event.time_seconds:
            self.caches[event.worker] = event

    def apply_lag(self, event: LagEvent) -> None:
        if event.group != self.lag_group or event.topic != self.lag_topic:
            return
        known = self.lags.get(event.partition)
        if len(self.lags) < MAX_PARTITIONS if known is None else known.time_seconds <= event.time_seconds:
            self.lags[event.partition] = event

    def apply_scaling(self, event: ScalingEvent) -> None:
        self.decisions.add(event)

    def tidy(self, now: float, waiting: Callable[[int], Collection[str]] = lambda _: ()) -> None:
        """Forget what no question asks about any more. Call it every few seconds.

        `waiting`: by partition, the days that are not to be forgotten yet.
        """
        self.queue_history.look(self, now)
        self.closer.before_prune(self.windows, pane_start(now) - self.windows.keep_seconds)
        self.windows.prune(now)
        self.energy.tidy(now)
        for partition, state in self.partitions.items():
            state.prune(now, self.zone, waiting(partition))
        for caller in [name for name, heard in self.callers.items() if now - heard > FORGET_CALLER_SECONDS]:
            del self.callers[caller]
        alive = any(now - heard <= FORGET_WORKER_SECONDS for heard in self.heard.values())
        for worker, heard in list(self.heard.items()):
            if now - heard > (FORGET_WORKER_SECONDS if alive else FORGET_ALL_SECONDS):
                del self.workers[worker], self.heard[worker]
        newest = max((lag.time_seconds for lag in self.lags.values()), default=0.0)
        for partition, lag in list(self.lags.items()):
            # Others are sampled still and this one is not: the partition is gone.
            if newest - lag.time_seconds > FORGET_PARTITION_SECONDS:
                del self.lags[partition]
        for worker, sample in list(self.caches.items()):
            if now - sample.time_seconds > FORGET_WORKER_SECONDS:
                del self.caches[worker]

    def today(self, now: float) -> str:
        return day_of(now, self.zone)

    def day(self, day: str, scope: Scope = ()) -> DayTotals:
        return day_totals(self.partitions.values(), day, scope_key(scope))

    def last_correction_seconds(self, day: str, scope: Scope = ()) -> float | None:
        return last_correction_seconds(self.partitions.values(), day, scope_key(scope))

    def forecast(self, now: float, scope: Scope = ()) -> Forecast:
        """What the day of `now` will have spent when it is over."""
        today = self.today(now)
        begin, end = day_bounds(today, self.zone)
        usual = self.usual_days.of(self.partitions, self.zone, scope_key(scope), now)
        day = self.day(today, scope)
        spent = known_nano_usd(day.cost_nano_usd, day.unpriced_tokens)
        if spent is None:
            return Forecast(None, NO_PRICE)
        return forecast(spent, now - begin, end - begin, usual)

    def burn(self, now: float, scope: Scope = ()) -> tuple[Burn, Burn]:
        """Spend of the last 15 minutes and of the last two hours, as far as they are of today."""
        begin, _ = day_bounds(self.today(now), self.zone)
        watched = self.started_seconds is not None and self.started_seconds <= max(now - FAST.seconds, begin)
        panes = self.windows.cost_nano_usd(scope, FAST.seconds, now, begin) if watched else None
        return burn(self.partitions.values(), scope_key(scope), self.zone, now, panes)

    def queue(self, now: float) -> Queue:
        """Sum over partitions. One partition that is not known makes the sums unknown: half a queue is not a queue."""
        lags = list(self.lags.values())
        if not lags:
            return Queue("UNKNOWN", None, None, None, None, None, None, None, 0, "no lag sample yet")
        oldest_sample = min(lag.time_seconds for lag in lags)
        if now - oldest_sample > STALE_LAG_SECONDS:
            reason = f"the last lag sample is {now - oldest_sample:.0f} s old"
            return Queue("UNKNOWN", None, None, None, None, None, None, None, len(lags), reason)
        unknown = next((lag for lag in lags if lag.status == "UNKNOWN"), None)
        worst = max(lags, key=lambda lag: _BADNESS.index(lag.status))
        arrival, consume = _sum(lag.arrival_rate_per_s for lag in lags), _sum(lag.consume_rate_per_s for lag in lags)
        messages = _sum(lag.lag_messages for lag in lags)
        drain = 0.0 if messages == 0 else None
        if messages and arrival is not None and consume is not None and consume > arrival:
            drain = messages / (consume - arrival)
        ages = [lag.oldest_age_seconds for lag in lags]
        # The age goes on between samples: what waited then and is not known to be done waits still. A sample may be of
        # later than now, where a clock was set back.
        grown = [None if age is None else age + (max(now - lag.time_seconds, 0.0) if age else 0.0)
                 for age, lag in zip(ages, lags, strict=True)]  # fmt: skip
        known_ages = [age for age in grown if age is not None]
        return Queue(
            status=worst.status,
            depth_texts=_int(_sum(lag.lag_texts for lag in lags)),
            lag_messages=_int(messages),
            lag_seconds=max(known_ages) if len(known_ages) == len(lags) else None,
            drain_seconds=drain,
            arrival_rate_per_s=arrival,
            consume_rate_per_s=consume,
            stalled_partitions=None if unknown else sum(lag.status in ("STALLED", "STOPPED") for lag in lags),
            partitions=len(lags),
            reason=worst.reason,
        )

    def silent_workers(self, now: float) -> list[tuple[str, float]]:
        """(worker, seconds since it was heard of), the longest silence first."""
        silences = [(name, max(now - heard, 0.0)) for name, heard in self.heard.items()]
        return sorted(silences, key=lambda pair: -pair[1])


_BADNESS = ("OK", "REWOUND", "STALLED", "STOPPED", "UNKNOWN")


def _sum(values: Iterable[float | None]) -> float | None:
    total = 0.0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _int(value: float | None) -> int | None:
    return None if value is None else int(value)
