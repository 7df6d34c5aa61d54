"""How many workers a queue needs. Pure: `Scaler.decide` is given a load and the time, and says a number and why.

The formula. A text that arrives waits as long as the workers take for what is before it: what counts is not how many
messages wait but how many seconds of work they are. With

    L   texts that arrive a second                Q   texts that wait
    c   texts a second that one worker can do     P   partitions of the topic
    T   the wait that is aimed at, in seconds     W   seconds until a worker that is started now works
    n   workers that work now                     u   how busy a worker may be

1. What arrives must be done. A worker has at least ceil(P / n) of P partitions somewhere, so

       k = floor(u c P / L)  partitions are what one can bear, and  ceil(P / k)  workers are needed.

   More workers than the least with the same ceil(P / n) do nothing for the partition that waits longest.
2. What waits must not wait for longer than T. When help could be there, Q' = max(Q, Q + (L - n c) W) texts will wait.
   If the workers of step 1 had them done within T / 2 nothing is added; else they are to be done in max(T, W), beside
   what arrives: as step 1, with u = 1 and L + Q' / max(T, W) in place of L. But never more than the workers of step 1
   would be if so much more arrived that they had them done within T / 2: else a little more would come, step 1 ask for
   one more, that be enough, and fewer be asked for than before.
3. Fewer workers only after they were enough for as long as a start costs (at least `hold_seconds`): to keep a worker
   for nothing for W seconds costs what to start another costs, and whoever waits as long as the price of the start pays
   at most twice what a prophet would (the ski rental argument: Karlin, Manasse, Rudolph, Sleator: Competitive Snoopy
   Caching, 1988). Step 1 is then taken with `down_pct` in place of u, and a step of less than a quarter waits five
   times as long: a load at the edge of two numbers does not go back and forth between them.
4. Limits: partitions, the largest number, slots of GPUs, money an hour. What is wanted beyond them is told (`wanted`).

It never goes by what is not known. A queue that stands still, or whose texts mostly fail, is not helped by more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from embedwatch.events import LagStatus, ScalingCause, ScalingLimit


@dataclass(frozen=True, slots=True)
class Load:
    """What is measured of a queue and its workers at a moment. None: not known."""

    status: LagStatus
    partitions: int
    backlog_texts: float | None
    arrival_texts_per_s: float | None
    #: Texts a second of one worker that is busy all the time.
    capacity_texts_per_s: float | None
    workers: int  # that work
    starting: int = 0  # started, and not at work yet
    oldest_age_seconds: float | None = None
    warm_up_seconds: float | None = None
    error_rate_pct: float | None = None
    reason: str = ""  # of a status that is not OK


@dataclass(frozen=True, slots=True)
class Aims:
    """What is aimed at, and within which limits."""

    target_seconds: float = 30.0
    min_workers: int = 1
    max_workers: int = 10
    slots: int | None = None  # GPUs (or places on this machine) there are
    worker_usd_per_hour: float | None = None
    max_usd_per_hour: float | None = None
    utilization_pct: float = 90.0
    down_pct: float = 80.0
    hold_seconds: float = 60.0
    #: With nothing waiting and nothing arriving for so long, `min_workers` will do.
    idle_seconds: float = 120.0
    #: Until a worker has started once here.
    warm_up_seconds: float = 30.0
    #: Above it more workers would only make more dead letters.
    failing_pct: float = 50.0

    def most(self, partitions: int) -> tuple[int, ScalingLimit]:
        """The largest number of workers, and what limits it."""
        limits: list[tuple[int, ScalingLimit]] = [(self.max_workers, "max_workers"), (max(partitions, 1), "partitions")]
        if self.slots is not None:
            limits.append((self.slots, "slots"))
        if self.max_usd_per_hour is not None and self.worker_usd_per_hour:
            limits.append((int(min(self.max_usd_per_hour / self.worker_usd_per_hour + 1e-9, 1e9)), "budget"))
        return min(limits, key=lambda limit: limit[0])


@dataclass(frozen=True, slots=True)
class Decision:
    """`desired` workers; `wanted` is what it would be without limits."""

    desired: int
    wanted: int
    workers: int  # that there were, those that start included
    cause: ScalingCause
    reason: str
    limited_by: ScalingLimit | None = None
    #: Seconds until what waits is done by the desired number; None: not known, or it grows.
    drain_seconds: float | None = None
    cost_usd_per_hour: float | None = None
    wanted_cost_usd_per_hour: float | None = None

    @property
    def at_capacity(self) -> bool:
        """More is wanted than may be had."""
        return self.wanted > self.desired and self.limited_by not in (None, "min_workers")


def workers_for(texts_per_s: float, capacity_texts_per_s: float, partitions: int, share: float = 1.0) -> int:
    """The least number of workers that keeps up, each busy for at most `share`. 0 when nothing arrives.

    It may be more than `partitions`: what one partition brings is more than one worker can do.
    """
    if texts_per_s <= 0:
        return 0
    bearable = math.floor(min(share * capacity_texts_per_s * partitions / texts_per_s + 1e-9, partitions))
    if bearable < 1:
        return max(math.ceil(texts_per_s / (share * capacity_texts_per_s) - 1e-9), partitions + 1)
    return math.ceil(partitions / bearable)


def _steps(above: int, capacity_texts_per_s: float, partitions: int, share: float) -> Iterator[tuple[int, float]]:
    """The numbers that `workers_for` gives, up to `partitions`, and the texts a second above which it gives each."""
    number = above
    while 0 < number < partitions:
        bearable = math.ceil(partitions / number) - 1
        number = math.ceil(partitions / bearable)
        yield number, share * capacity_texts_per_s * partitions / (bearable + 1)


#: A step down by less than a quarter waits five times as long.
SMALL_STEP, LONG_HOLD = 0.25, 5.0
#: Nothing is decided: all stays as it is.
KEPT: tuple[ScalingCause, ...] = ("unknown", "stalled", "failing", "measuring", "holding")


@dataclass(slots=True)
class Scaler:
    """Remembers what was needed lately. Call `decide` at a steady pace, a few seconds or so; `now` may be any clock."""

    aims: Aims
    _needed: deque[tuple[float, int]] = field(default_factory=deque)
    _idle_since: float | None = None
    _begun: float | None = None  # of what was needed before nothing is known

    def decide(self, load: Load, now: float) -> Decision:
        have = load.workers + load.starting
        self._begun = now if self._begun is None or self._begun > now else self._begun
        held = self._held(load, have, now)
        if held is not None:
            return held
        wanted, cause, why = self._wanted(load, now)
        steady, _, _ = self._wanted(load, now, share_pct=self.aims.down_pct)
        self._needed.append((now, steady))
        if wanted >= have or cause == "idle":
            return self._decision(wanted, load, have, cause, why)
        hold = max(self.aims.hold_seconds, self._warm_up(load))
        self._forget(now, LONG_HOLD * hold)
        lately = self._needed_since(now - hold)
        if have > lately > have * (1.0 - SMALL_STEP):
            # A few less may be noise, and save little.
            hold *= LONG_HOLD
            lately = self._needed_since(now - hold)
        if lately >= have or now - self._begun < hold:
            why = f"{wanted} would do; fewer only after {hold:g} s of it"
            return self._decision(have, load, have, "holding", why, wanted)
        fewer = max(lately, wanted)
        return self._decision(fewer, load, have, cause, why)

    def _held(self, load: Load, have: int, now: float) -> Decision | None:
        """Where nothing can be decided, all stays as it is, within the limits."""
        if load.status == "UNKNOWN" or load.backlog_texts is None:
            return self._decision(have, load, have, "unknown", load.reason or "the queue could not be read")
        if load.status == "STALLED" and load.workers:
            return self._decision(have, load, have, "stalled", f"{load.reason or 'no progress'}: more would not help")
        if load.workers and load.error_rate_pct is not None and load.error_rate_pct > self.aims.failing_pct:
            why = f"{load.error_rate_pct:.0f} % of the texts fail: more would not help"
            return self._decision(have, load, have, "failing", why)
        if not have and (load.backlog_texts > 0 or self.aims.min_workers):
            return self._first(load, have)
        if load.capacity_texts_per_s is None or load.arrival_texts_per_s is None:
            waiting = load.backlog_texts or load.arrival_texts_per_s
            if not waiting and self._idle(load, now):
                return None
            what = "what a worker can do" if load.capacity_texts_per_s is None else "what arrives"
            return self._decision(max(have, 1), load, have, "measuring", f"{what} is not measured yet")
        return None

    def _first(self, load: Load, have: int) -> Decision:
        """From nothing: as many as are needed, if that is known; else one, which is measured."""
        if load.capacity_texts_per_s and load.arrival_texts_per_s is not None and load.backlog_texts:
            wanted, _, why = self._wanted(load, None)
            return self._decision(max(wanted, 1), load, have, "first", why)
        return self._decision(max(self.aims.min_workers, 1), load, have, "first", "there is none, and there is work")

    def _wanted(self, load: Load, now: float | None, share_pct: float | None = None) -> tuple[int, ScalingCause, str]:
        """Steps 1 and 2."""
        backlog, arrivals = load.backlog_texts or 0.0, load.arrival_texts_per_s or 0.0
        capacity = load.capacity_texts_per_s
        if now is not None and self._idle(load, now):
            return 0, "idle", f"nothing waits, nothing came for {self.aims.idle_seconds:g} s"
        if not capacity or not (backlog or arrivals or load.workers or load.starting):
            return 0, "idle", "nothing waits and nothing comes"
        share = (share_pct or self.aims.utilization_pct) / 100.0
        steady = max(workers_for(arrivals, capacity, load.partitions, share), 1)
        warm_up = self._warm_up(load)
        target = self.aims.target_seconds
        have = load.workers + load.starting

        def ahead_of(number: int, texts_per_s: float) -> float:
            """What will wait when help could be there, if so many are needed for so much that arrives."""
            grows = max(texts_per_s - load.workers * capacity, 0.0) if have < number else 0.0
            return backlog + grows * warm_up

        ahead = ahead_of(steady, arrivals)
        if ahead <= steady * capacity * target / 2.0:
            return steady, "arrivals", f"{arrivals:,.0f} texts/s arrive, a worker does {capacity:,.0f}"
        within = max(target, warm_up)
        wanted = workers_for(arrivals + ahead / within, capacity, load.partitions)
        for number, from_texts_per_s in _steps(steady, capacity, load.partitions, share):
            if number >= wanted:
                break
            if ahead_of(number, max(from_texts_per_s, arrivals)) <= number * capacity * target / 2.0:
                wanted = number
                break
        why = (
            f"{ahead:,.0f} texts wait, {ahead / (steady * capacity):,.0f} s of work for {steady}: done in {within:g} s"
        )
        return max(wanted, steady), "backlog", why

    def _warm_up(self, load: Load) -> float:
        return self.aims.warm_up_seconds if load.warm_up_seconds is None else load.warm_up_seconds

    def _idle(self, load: Load, now: float) -> bool:
        if load.backlog_texts or load.arrival_texts_per_s:
            self._idle_since = None
            return False
        self._idle_since = now if self._idle_since is None or self._idle_since > now else self._idle_since
        return now - self._idle_since >= self.aims.idle_seconds

    def _forget(self, now: float, seconds: float) -> None:
        """What is older, and what a clock that was set back left in the future."""
        while self._needed and not now - seconds <= self._needed[0][0] <= now:
            self._needed.popleft()

    def _needed_since(self, begin: float) -> int:
        """The most that was needed."""
        return max((needed for at, needed in self._needed if at >= begin), default=0)

    def _decision(
        self, number: int, load: Load, have: int, cause: ScalingCause, reason: str, wanted: int | None = None
    ) -> Decision:
        """`wanted`: where it is another number than the one that is to be."""
        most, limit = self.aims.most(load.partitions)
        least = min(self.aims.min_workers, most)
        desired = min(max(number, least), most)
        if wanted is None:
            # What is only kept is not wanted: a limit that was lowered is no lack of workers.
            wanted = min(number, most) if cause in KEPT else number
        limited_by: ScalingLimit | None = None
        if wanted > most or number > most:
            limited_by = limit
        elif wanted < least:
            limited_by = "min_workers"
        price = self.aims.worker_usd_per_hour
        drain = None
        if load.backlog_texts is not None and load.capacity_texts_per_s and load.arrival_texts_per_s is not None:
            spare = desired * load.capacity_texts_per_s - load.arrival_texts_per_s
            drain = load.backlog_texts / spare if spare > 0 else (0.0 if not load.backlog_texts else None)
        return Decision(
            desired=desired,
            wanted=wanted,
            workers=have,
            cause=cause,
            reason=reason,
            limited_by=limited_by,
            drain_seconds=drain,
            cost_usd_per_hour=None if price is None else desired * price,
            wanted_cost_usd_per_hour=None if price is None else wanted * price,
        )
