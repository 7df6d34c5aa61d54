"""From what the agents know to a decision about the number of workers. Pure; the policy is `embedwatch.scaling.policy`.

What a busy worker can do is not a setting but measured: see `capacity_texts_per_s`. What is not known makes a decision
of cause `unknown`, by which nothing is to be changed; so do a queue that stands still and texts that fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

from msgspec import structs

from embedwatch.events import LagStatus, ScalingEvent
from embedwatch.rules import PANE_SECONDS
from embedwatch.scaling.policy import Aims, Decision, Load, Scaler
from stream_agents.compute.decisions import SAY_AGAIN_SECONDS, differ
from stream_agents.compute.windows import pane_start
from stream_agents.compute.worker_panes import WorkerSums
from stream_agents.compute.world import Queue, World

CAPACITY_WINDOW_SECONDS = 300
#: With fewer texts in a window what was measured before is as good.
MIN_TEXTS = 20
ERRORS_WINDOW_SECONDS = 120
RATE_WINDOW_SECONDS = 60
#: From the start of a process to where it loads the model, and from there to its first text.
START_SECONDS = 5.0
#: A worker that was asked for is taken to be on its way for twice the warm-up, and at least this long.
ON_THE_WAY_SECONDS = 30.0


class Heard(NamedTuple):
    """Workers by the state in their heartbeats, those that fell silent left out; callers (the SDK) are none."""

    running: int
    starting: int

    @property
    def all(self) -> int:
        return self.running + self.starting


def heard(world: World, now: float, silent_seconds: float) -> Heard:
    states = [
        beat.state
        for beat in world.workers.values()
        if beat.role == "worker" and now - beat.time_seconds <= silent_seconds
    ]
    return Heard(states.count("running"), states.count("starting"))


def by_workers(world: World, window_seconds: int, now: float) -> WorkerSums:
    """What workers did in a window: programs with the SDK take nothing from the queue, so that neither their speed nor
    their failures say what a worker would do with it.

    Above the cap on workers it is not known who did it; that is left out where there are such programs.
    """
    out = WorkerSums()
    for name, sums in world.windows.workers_window(window_seconds, now).by_name().items():
        if name not in world.callers if name is not None else not world.callers:
            out.merge(sums)
    return out


def capacity_texts_per_s(sums: WorkerSums) -> float | None:
    """Texts a second of one worker that is busy all the time; None when it worked on none.

    `busy_seconds` are forward passes only, and a worker does more: it looks up, tokenises, publishes. These are three
    steps in three threads (`workers.pipeline`), each on another cycle, so they overlap, and a worker that is busy all
    the time does as many texts as its slowest step: lookup and tokenising, or embedding, or publishing and the write to
    the cache. Of each the events have the wall seconds; texts over those of the slowest is the capacity, a little less
    than one worker's best, as no step runs quite without a break. Not in those seconds are polls and, with exactly-once
    delivery, commits.

    Texts from the cache and copies count as done, too, and their time is in the steps: so it is the capacity for texts
    of the mix that arrived, and a fuller cache makes it higher. Texts that failed do not: what is refused at once says
    nothing of how fast the others are done. Fewer texts arrive than could be done: then
    batches are thin and it comes out low; how low is bounded by `worker.max_wait_ms`, for which a thin poll waits for
    more. An endpoint that takes long however few texts it gets is the exception: `scaling.worker_texts_per_s`.
    """
    slowest = max(sums.before_seconds, sums.embed_seconds, sums.after_seconds, sums.busy_seconds)
    done = done_texts(sums)
    return done / slowest if done and slowest > 0 else None


def done_texts(sums: WorkerSums) -> int:
    """Of those whose steps are timed, the ones that got a vector."""
    return max(sums.timed_texts - sums.errors, 0)


def texts_per_message(world: World, queue: Queue, now: float, known: float | None = None) -> float | None:
    """Of what waits; where nothing does, of what was done in the last minute; where that is little, what was known."""
    waiting = [(lag.lag_messages, lag.lag_texts) for lag in world.lags.values() if lag.lag_messages and lag.lag_texts]
    if waiting:
        return sum(texts or 0 for _, texts in waiting) / sum(messages or 0 for messages, _ in waiting)
    sums = by_workers(world, RATE_WINDOW_SECONDS, now)
    if not queue.consume_rate_per_s or not sums.texts:
        return known
    if sums.texts < MIN_TEXTS and known is not None:
        return known
    begun = max(float(pane_start(now) - RATE_WINDOW_SECONDS + PANE_SECONDS), sums.first_seconds)
    # Messages hold one text at least; the two rates are not of quite the same minute.
    return max(sums.texts / max(now - begun, 1.0) / queue.consume_rate_per_s, 1.0)


@dataclass(slots=True)
class Brain:
    """Decides for one queue, in the process that speaks for the whole. Call `resume`, then `decide` at a steady pace;
    what `is_due` is to be published, and `said` when it is out."""

    aims: Aims
    silent_seconds: float = 20.0
    worker_texts_per_s: float | None = None
    _scaler: Scaler = field(init=False)
    _last: ScalingEvent | None = None  # published
    _desired: int | None = None  # asked for last, held decisions left out
    _asked: tuple[float, int] | None = None  # since when more are asked for than are heard of, and how many in all
    _warm_up_seconds: float | None = None
    _capacity: float | None = None
    _texts_per_message: float | None = None
    _met: bool = False  # whether a worker was ever heard of

    def __post_init__(self) -> None:
        self._scaler = Scaler(self.aims)

    def resume(self, world: World) -> None:
        """Go on where another process, or this one before, has left off. What it had seen of the last minutes is seen
        anew: until then there are no fewer workers."""
        self._scaler = Scaler(self.aims)
        self._last, self._desired = world.decisions.newest, world.decisions.last_desired()
        self._asked = None
        if self._last is not None:
            self._capacity = self._capacity or self._last.capacity_texts_per_s

    def decide(self, world: World, now: float, not_ready: Sequence[str] = ()) -> ScalingEvent:
        """`not_ready`: why the numbers are not to be relied on now."""
        there = heard(world, now, self.silent_seconds)
        self._met = self._met or there.all > 0
        self._arrived(world, there, now)
        load = self.load(world, now, there, not_ready)
        decision = self._scaler.decide(load, now)
        event = self._event(world, load, decision, there, now)
        if not event.holds:
            self._ask(event.desired_workers, there, now)
        return event

    def load(self, world: World, now: float, there: Heard, not_ready: Sequence[str] = ()) -> Load:
        """What is known of the queue and its workers."""
        queue = world.queue(now)
        reason = "; ".join(not_ready) or self._unheard(world, queue, there, now)
        if reason is not None:
            queue = replace(queue, status="UNKNOWN", reason=reason)
        if queue.status == "STALLED" and queue.consume_rate_per_s:
            # One partition stands still, the others do not: for those more workers are of use.
            queue = replace(queue, status="OK")
        self._texts_per_message = texts_per_message(world, queue, now, self._texts_per_message)
        return Load(
            status=cast(LagStatus, queue.status),
            partitions=queue.partitions,
            backlog_texts=self._texts(queue.lag_messages) if queue.depth_texts is None else float(queue.depth_texts),
            arrival_texts_per_s=self._texts(queue.arrival_rate_per_s),
            capacity_texts_per_s=self._measured_capacity(world, now),
            workers=there.running,
            starting=there.starting + self._on_the_way(world, there, now),
            oldest_age_seconds=queue.lag_seconds,
            warm_up_seconds=self._warm_up(world),
            error_rate_pct=_error_rate_pct(world, now),
            reason=queue.reason or "",
        )

    def is_due(self, event: ScalingEvent) -> bool:
        """It asks for something else than the last one, or that one was said a minute ago."""
        last = self._last
        return (
            last is None
            or differ(last, event)
            or not 0 <= event.time_seconds - last.time_seconds < SAY_AGAIN_SECONDS
        )  # fmt: skip

    def said(self, event: ScalingEvent) -> None:
        """It was published."""
        self._last = event
        if not event.holds:
            self._desired = event.desired_workers

    def _unheard(self, world: World, queue: Queue, there: Heard, now: float) -> str | None:
        """Why it is not known how many workers there are; None when it is."""
        since = world.started_seconds
        if since is not None and now - since < self.silent_seconds:
            return f"the agents have listened for workers for {max(now - since, 0.0):.0f} s only"
        last = world.last_batch_seconds
        lately = int(self.silent_seconds // PANE_SECONDS + 2) * PANE_SECONDS  # as panes end in their midst
        working = last is not None and now - last < self.silent_seconds and by_workers(world, lately, now).texts > 0
        if not there.all and (working or (not self._met and queue.consume_rate_per_s)):
            return "texts are done, but no worker is heard of"
        return None

    def _texts(self, messages: float | None) -> float | None:
        if not messages:
            return messages  # none, or not known
        return None if self._texts_per_message is None else messages * self._texts_per_message

    def _measured_capacity(self, world: World, now: float) -> float | None:
        if self.worker_texts_per_s is not None:
            return self.worker_texts_per_s
        sums = by_workers(world, CAPACITY_WINDOW_SECONDS, now)
        if done_texts(sums) >= MIN_TEXTS or self._capacity is None:
            self._capacity = capacity_texts_per_s(sums) or self._capacity
        return self._capacity

    def _warm_up(self, world: World) -> float | None:
        """As it took here the last time; else the slowest model load and the start of a process."""
        if self._warm_up_seconds is not None:
            return self._warm_up_seconds
        loads = [beat.model_load_seconds for beat in world.workers.values() if beat.model_load_seconds is not None]
        return max(loads) + START_SECONDS if loads else None

    def _ask(self, desired: int, there: Heard, now: float) -> None:
        if desired <= there.running:
            self._asked = None
        elif self._asked is None or desired > self._asked[1]:
            self._asked = (now, desired)
        elif desired < self._asked[1]:
            self._asked = (self._asked[0], desired)

    def _arrived(self, world: World, there: Heard, now: float) -> None:
        """All that were asked for work: so long did it take."""
        if self._asked is not None and there.running >= self._asked[1]:
            took = now - self._asked[0]
            if 0 <= took <= self._patience_seconds(world):  # else nobody knows what they waited for
                self._warm_up_seconds = took
            self._asked = None

    def _on_the_way(self, world: World, there: Heard, now: float) -> int:
        """Workers that were asked for lately and are not heard of yet: a process or pod that starts says nothing."""
        if self._asked is None:
            return 0
        since, desired = self._asked
        return max(desired - there.all, 0) if 0 <= now - since < self._patience_seconds(world) else 0

    def _patience_seconds(self, world: World) -> float:
        known = self._warm_up(world)
        return max(2.0 * (self.aims.warm_up_seconds if known is None else known), ON_THE_WAY_SECONDS)

    def _event(self, world: World, load: Load, decision: Decision, there: Heard, now: float) -> ScalingEvent:
        event = ScalingEvent(
            event_id=f"scaling:{world.lag_group[:100]}:{world.lag_topic[:100]}:{now:.3f}",
            time_seconds=now,
            group=world.lag_group,
            topic=world.lag_topic,
            desired_workers=decision.desired,
            wanted_workers=max(decision.wanted, 0),
            workers=decision.workers,
            cause=decision.cause,
            reason=decision.reason,
            limited_by=decision.limited_by,
            at_capacity=decision.at_capacity,
            lag_seconds=load.oldest_age_seconds,
            backlog_texts=None if load.backlog_texts is None else round(load.backlog_texts),
            arrival_texts_per_s=load.arrival_texts_per_s,
            capacity_texts_per_s=load.capacity_texts_per_s,
            drain_seconds=decision.drain_seconds,
            cost_usd_per_hour=decision.cost_usd_per_hour,
            wanted_cost_usd_per_hour=decision.wanted_cost_usd_per_hour,
            running_workers=there.running,
        )
        return structs.replace(event, changes_today=self._changes(event, world))

    def _changes(self, event: ScalingEvent, world: World) -> int:
        last = self._last
        before = 0
        if last is not None and world.today(last.time_seconds) == world.today(event.time_seconds):
            before = last.changes_today
        return before + (not event.holds and self._desired is not None and event.desired_workers != self._desired)


def _error_rate_pct(world: World, now: float) -> float | None:
    """Of the last two minutes; None with too few texts."""
    sums = by_workers(world, ERRORS_WINDOW_SECONDS, now)
    return sums.error_rate_pct() if sums.texts >= MIN_TEXTS else None
