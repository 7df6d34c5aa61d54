"""Budgets of a day: the forecast, what is left, and how fast it burns. Pure.

**Forecast.** A day is expected to go on as days before it did from this time of day on:

    forecast = spent + R * (spent + K * U) / (H + K * U)

where the usual day spends U in all, H of it by this time and R = U - H after it. A day that runs like the usual one
comes to U exactly; one that has spent twice as much by now is expected to go on at nearly twice the pace. K = 10 % of
a usual day stands on both sides of the fraction, so that a little spend before the usual day begins is no explosion:
the rest of the day is never taken for more than R and ten times what was spent so far. The usual day is the mean of
the same weekday of the last four weeks; where none of them spent anything, of the last six days; with neither the spend
so far is taken to go on evenly:

    forecast = spent * length of the day / time passed of it

Days of 23 and 25 hours are laid over the others by the share of the day that has passed. Before an hour of the day has
passed, or without any spend, there is no forecast.

**Burn rate.** Alerts on two windows, after chapter 5 (Alerting on SLOs) of Google's "The Site Reliability Workbook",
with a day's budget in the place of an error budget: the last 15 minutes may not take more than 10 % of it, nor the last
two hours more than 25 %. Both windows begin no earlier than the day: yesterday's spend is no burn of today's budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal
from zoneinfo import ZoneInfo

from embedwatch.events import NANO_USD_PER_USD
from embedwatch.rules import Rule
from stream_agents.compute.curve import BUCKET_SECONDS, quarters, recent_spend, spend_before
from stream_agents.compute.days import day_bounds, day_of, days_before
from stream_agents.compute.ledger import PartitionState, past_curves
from stream_agents.compute.scopes import Scope

MIN_ELAPSED_SECONDS = 3600.0
PRIOR_SHARE = 0.1
WEEKS = 4
LAST_DAYS = 6
USUAL_VALID_SECONDS = 60.0

Basis = Literal["weekday", "last_days", "linear"]


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """`limit_pct`: the share of a day's budget that may be spent in it."""

    name: str
    seconds: int
    limit_pct: float


FAST = BurnWindow("fast", 900, 10.0)
SLOW = BurnWindow("slow", 7200, 25.0)
BURN_WINDOWS = (FAST, SLOW)


@dataclass(frozen=True, slots=True)
class PastDay:
    """A day that is over: its length and its spend by hour, as running sums that begin with 0."""

    length_seconds: float
    cumulative_nano_usd: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Usual:
    """The days that today is compared with; none of them: nothing is known of earlier days."""

    basis: Basis = "linear"
    days: tuple[PastDay, ...] = ()

    def whole_nano_usd(self) -> float:
        """U, the mean spend of such a day."""
        return sum(day.cumulative_nano_usd[-1] for day in self.days) / len(self.days)

    def by_nano_usd(self, elapsed_share: float) -> float:
        """H, the mean spend when this share (0 to 1) of the day has passed."""
        spent = sum(spend_before(day.cumulative_nano_usd, elapsed_share * day.length_seconds) for day in self.days)
        return spent / len(self.days)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Nano-USD of the whole day; None where there is not enough to go by, and `reason` says why."""

    nano_usd: float | None
    reason: str
    basis: Basis | None = None

    @property
    def usd(self) -> float | None:
        return None if self.nano_usd is None else self.nano_usd / NANO_USD_PER_USD


def forecast(spent_nano_usd: int, elapsed_seconds: float, length_seconds: float, usual: Usual) -> Forecast:
    """What a day that is `elapsed_seconds` of `length_seconds` old will have spent when it is over."""
    if spent_nano_usd <= 0:
        return Forecast(None, "nothing was spent yet today")
    if elapsed_seconds < MIN_ELAPSED_SECONDS:
        minutes = int(max(elapsed_seconds, 0.0) // 60)
        return Forecast(None, f"the day is {minutes} min old, {MIN_ELAPSED_SECONDS / 60:.0f} are needed")
    share = min(elapsed_seconds / length_seconds, 1.0)
    if not usual.days:
        return Forecast(spent_nano_usd / share, "as if spend went on evenly: no earlier day is known", "linear")
    whole, by_now = usual.whole_nano_usd(), usual.by_nano_usd(share)
    pace = (spent_nano_usd + PRIOR_SHARE * whole) / (by_now + PRIOR_SHARE * whole)
    count = len(usual.days)
    what = "same weekday of earlier weeks" if usual.basis == "weekday" else "last days"
    reason = f"by the curve of the {what} ({count} {'day' if count == 1 else 'days'})"
    return Forecast(spent_nano_usd + max(whole - by_now, 0.0) * pace, reason, usual.basis)


def usual_day(states: Sequence[PartitionState], today: str, zone: ZoneInfo, scope: str) -> Usual:
    """What a scope usually spends on a day such as this one."""
    weekdays = [days_before(today, 7 * week) for week in range(1, WEEKS + 1)]
    last_days = [days_before(today, count) for count in range(1, LAST_DAYS + 1)]
    known = past_curves(states, [*weekdays, *last_days], scope)
    for basis, days in (("weekday", weekdays), ("last_days", last_days)):
        found = tuple(_past(day, known[day], zone) for day in days if day in known)
        if found:
            return Usual("weekday" if basis == "weekday" else "last_days", found)
    return Usual()


def _past(day: str, curve: Sequence[int], zone: ZoneInfo) -> PastDay:
    begin, end = day_bounds(day, zone)
    return PastDay(end - begin, (0, *accumulate(curve)))


@dataclass(slots=True)
class UsualDays:
    """`usual_day`, remembered for a minute: days that are over hardly change, and rules ask ten times a second."""

    _known: dict[str, Usual] = field(default_factory=dict)
    _key: tuple[object, ...] = ()
    _since: float = 0.0

    def of(self, partitions: dict[int, PartitionState], zone: ZoneInfo, scope: str, now: float) -> Usual:
        # A day more or less is seen at once, as after a start that reads the log from its beginning.
        known = ((number, len(state.days), len(state.history.spend)) for number, state in partitions.items())
        key = (day_of(now, zone), *known)
        if key != self._key or not 0 <= now - self._since < USUAL_VALID_SECONDS:
            self._known, self._key, self._since = {}, key, now
        if scope not in self._known:
            self._known[scope] = usual_day(list(partitions.values()), day_of(now, zone), zone, scope)
        return self._known[scope]


@dataclass(frozen=True, slots=True)
class Burn:
    """Nano-USD spent in a window that ends now, and how that is known; None where nothing spent today has a price."""

    window: BurnWindow
    nano_usd: float | None
    note: str = ""

    def pct_of(self, budget_usd: float) -> float | None:
        """Share of a day's budget; None of a budget of nothing, and where the spend is not known."""
        if self.nano_usd is None or budget_usd <= 0:
            return None
        return 100.0 * self.nano_usd / (budget_usd * NANO_USD_PER_USD)


def burn(
    states: Iterable[PartitionState], scope: str, zone: ZoneInfo, now: float, panes_nano_usd: int | None = None
) -> tuple[Burn, Burn]:
    """Fast and slow. The fast one is by 10-second panes (`panes_nano_usd`, None where they do not reach back so far),
    the slow one by the day's 15-minute buckets."""
    day = day_of(now, zone)
    elapsed = now - day_bounds(day, zone)[0]
    found = [booked for state in states if (booked := state.days.get(day, {}).get(scope)) is not None]
    if any(booked.unpriced_tokens for booked in found) and not any(booked.cost_nano_usd for booked in found):
        return Burn(FAST, None, NO_PRICE), Burn(SLOW, None, NO_PRICE)
    curves = [quarters(booked.spend_nano_usd, booked.bucket_seconds) for booked in found]
    untimed = _UNTIMED if any(booked.untimed_nano_usd for booked in found) else ""
    rough = "; ".join(part for part in (_ROUGH, untimed) if part)
    fast = Burn(FAST, sum(recent_spend(curve, elapsed, FAST.seconds) for curve in curves), rough)
    if panes_nano_usd is not None:
        # All of the running bucket lies in the window: panes that hold less have missed something, as after a
        # rebalance that brought another process's partition here.
        running = int(elapsed // BUCKET_SECONDS)
        if panes_nano_usd >= sum(sum(curve[running : running + 1]) for curve in curves):
            fast = Burn(FAST, panes_nano_usd)
    return fast, Burn(SLOW, sum(recent_spend(curve, elapsed, SLOW.seconds) for curve in curves), untimed)


#: Why nothing is known of a day's money.
NO_PRICE = "nothing that was embedded today has a price"
_UNTIMED = "what an older version of the agents booked today has no time of day and is left out"
_ROUGH = "by the day's 15-minute buckets, as the agents have not watched for 15 min yet"


def worse(burns: Sequence[Burn]) -> Burn:
    """The one that is nearer to its limit, or further above it."""
    return max(burns, key=lambda one: (one.nano_usd or 0.0) / one.window.limit_pct)


def budgets_of(rules: Iterable[Rule], scope: Scope) -> list[Rule]:
    """Budget rules (`daily_cost_usd`) that judge this scope."""
    dimensions = {dimension for dimension, _ in scope}
    return [
        rule
        for rule in rules
        if rule.metric == "daily_cost_usd"
        and set(rule.scope) <= set(scope)
        and dimensions == {*rule.by, *(dimension for dimension, _ in rule.scope)}
    ]
