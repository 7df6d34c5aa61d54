"""Prometheus metrics, made from the runtime at each scrape, of the families that `families` declares.

What is not known is absent: a gauge that says 0 would be a claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from embedwatch.clock import Clock
from embedwatch.events import NANO_USD_PER_USD
from embedwatch.pricing import known_nano_usd, to_usd
from stream_agents.compute.budget import budgets_of
from stream_agents.compute.ledger import DayTotals, day_scopes
from stream_agents.compute.rejections import rejected
from stream_agents.compute.scopes import ALL, Scope, parse_scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.runtime import Runtime
from stream_agents.web import series
from stream_agents.web.families import counter, gauge, total, value

WINDOW_SECONDS = 60
#: As the rule `rejected_events` looks back.
REJECTED_SECONDS = 900
#: Models, and tenants, with series of their own: the busiest of the minute, the dearest of the day.
MAX_LABELS = 100


class WorldCollector(Collector):
    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self.runtime = runtime
        self.clock = clock

    def collect(self) -> Iterator[Metric]:
        world, now = self.runtime.world, self.clock.now()
        yield value("ready", float(not self.runtime.unready()))
        yield from self._windowed([((), world.windows.window((), WINDOW_SECONDS, now))], by="", now=now)
        for dimension in ("model", "tenant"):
            yield from self._windowed(self._busiest(dimension, now), by=dimension, now=now)
        if self.runtime.recovered:
            yield from self._today(now)
            yield from self._budgets(now)
            for dimension in ("model", "tenant"):
                yield from series.days(self._spenders(dimension, now), dimension)
        yield from series.counted(world.counters)
        yield from series.losses(world)
        yield from series.queue(world.queue(now), world.lags, now)
        yield from series.scaling(world, now)
        workers = sum(beat.role == "worker" for beat in world.workers.values())  # not callers with the SDK
        yield value("workers", workers if self.runtime.recovered else None)
        yield from series.silences(world, now)
        yield from series.machines(world)
        energy = gauge("gpu_joules_per_million_tokens")
        for row in world.energy.rows(now):
            if row.joules_per_million_tokens is not None:
                energy.add_metric([row.uuid], row.joules_per_million_tokens)
        yield energy
        yield from series.judgements(self.runtime.verdicts, MAX_LABELS)
        yield from self._trouble(now)

    def _trouble(self, now: float) -> Iterator[Metric]:
        """What the agents had to cope with."""
        runtime = self.runtime
        yield total("offset_gaps", runtime.guard.seen)
        yield total("skipped_deliveries", runtime.guard.skipped)
        yield total("day_corrections", runtime.sayer.count)
        yield total("day_corrections_cost_usd", runtime.sayer.cost_nano_usd / NANO_USD_PER_USD)
        stale = len(runtime.merger.coverage(now)["stale_partitions"]) if runtime.recovered else None
        yield value("stale_partitions", stale)
        refused = counter("refused_partials")
        for reason, count in sorted(runtime.merger.refused.items()):
            refused.add_metric([reason], count)
        yield refused
        failures = counter("publish_failures")
        for kind, count in sorted(runtime.edges.failures.counts.items()):
            failures.add_metric([kind], count)
        yield failures
        rejected_events = counter("rejected_events")
        states = runtime.world.partitions.values()
        counts: dict[str, int] = {}
        for state in states:
            for reason, count in state.rejected.items():
                counts[reason] = counts.get(reason, 0) + count
        for reason, count in sorted(counts.items()):
            rejected_events.add_metric([reason], count)
        yield rejected_events
        lately, _ = rejected((state.rejections for state in states), REJECTED_SECONDS, now)
        yield value("rejected_events_last_900_seconds", lately.total() if states else None)

    def _busiest(self, dimension: str, now: float) -> list[tuple[Scope, Totals]]:
        """The last minute of the models, or tenants, with most texts in it."""
        windows = self.runtime.world.windows
        found: list[tuple[Scope, Totals]] = [
            (scope, windows.window(scope, WINDOW_SECONDS, now))
            for scope in windows.scopes()
            if len(scope) == 1 and scope[0][0] == dimension
        ]
        return sorted(found, key=lambda pair: -pair[1].texts)[:MAX_LABELS]

    def _spenders(self, dimension: str, now: float) -> dict[Scope, DayTotals]:
        """The day so far of the models, or tenants, that cost most."""
        world = self.runtime.world
        day = world.today(now)
        scopes = [parse_scope(key) for key in day_scopes(world.partitions.values(), day)]
        days = {s: world.day(day, s) for s in scopes if len(s) == 1 and s[0][0] == dimension}
        dearest = sorted(days, key=lambda scope: (-days[scope].cost_nano_usd, -days[scope].texts, scope))
        return {scope: days[scope] for scope in dearest[:MAX_LABELS]}

    def _windowed(self, windows: Sequence[tuple[Scope, Totals]], *, by: str, now: float) -> Iterator[Metric]:
        covered = self.runtime.world.windows.covered_seconds
        more = [(scope, totals, covered(totals, WINDOW_SECONDS, now)) for scope, totals in windows]
        yield from series.windowed(more, by)

    def _budgets(self, now: float) -> Iterator[Metric]:
        """What is left of each budget, and how fast it burns; the whole day's forecast."""
        world = self.runtime.world
        yield value("forecast_usd_today", world.forecast(now).usd)
        whole, left, burning = gauge("budget_usd"), gauge("budget_remaining_usd"), gauge("budget_burn_ratio")
        today = world.today(now)
        scopes = {ALL, *(parse_scope(key) for key in day_scopes(world.partitions.values(), today))}
        known = []
        for scope in sorted(scopes):
            day = world.day(today, scope)
            spent = to_usd(known_nano_usd(day.cost_nano_usd, day.unpriced_tokens))
            if spent is not None:
                rules = budgets_of(self.runtime.rules, scope)
                known += [(rule.threshold - spent, rule.name, rule, scope) for rule in rules]
        # The tightest ones, where there are many.
        for remaining, name, rule, scope in sorted(known, key=lambda one: one[0])[:MAX_LABELS]:
            names = [name, scope_key(scope)]
            whole.add_metric(names, rule.threshold)
            left.add_metric(names, remaining)
            for one in world.burn(now, scope):
                percent = one.pct_of(rule.threshold)
                if percent is not None:
                    burning.add_metric([*names, one.window.name], percent / 100.0)
        yield from (whole, left, burning)

    def _today(self, now: float) -> Iterator[Metric]:
        world = self.runtime.world
        totals = world.day(world.today(now))
        for name, value_of in series.DAY:
            yield value(name, value_of(totals))
