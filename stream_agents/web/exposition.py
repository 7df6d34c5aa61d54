"""Prometheus metrics, made from the runtime at each scrape. Base units: seconds, USD, ratios from 0 to 1.

What is not known is absent: a gauge that says 0 would be a claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from embedwatch.clock import Clock
from embedwatch.events import NANO_USD_PER_USD
from embedwatch.pricing import known_nano_usd, to_usd
from stream_agents.compute.budget import budgets_of
from stream_agents.compute.ledger import DayTotals, day_scopes
from stream_agents.compute.scopes import ALL, Scope, parse_scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.runtime import Runtime
from stream_agents.web import series
from stream_agents.web.series import QUANTILES

WINDOW_SECONDS = 60
#: Models, and tenants, with series of their own: the busiest of the minute, the dearest of the day.
MAX_LABELS = 100


class WorldCollector(Collector):
    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self.runtime = runtime
        self.clock = clock

    def collect(self) -> Iterator[Metric]:
        world, now = self.runtime.world, self.clock.now()
        yield from self._windowed([((), world.windows.window((), WINDOW_SECONDS, now))], suffix="", now=now)
        for dimension in ("model", "tenant"):
            yield from self._windowed(self._busiest(dimension, now), suffix=f"{dimension}_", now=now)
        if self.runtime.recovered:
            yield from self._today(now)
            yield from self._budgets(now)
            for dimension in ("model", "tenant"):
                yield from series.days(self._spenders(dimension, now), f"{dimension}_")
        yield from series.counted(world.counters)
        yield from series.losses(world)
        queue = world.queue(now)
        yield from series.queue(queue, world.lags, now)
        yield from series.scaling(world, now)
        yield from series.machines(world)
        for name, value, text in (
            ("queue_depth_texts", queue.depth_texts, "Texts waiting or in flight."),
            ("queue_lag_seconds", queue.lag_seconds, "Age of the oldest text not done."),
            ("queue_drain_seconds", queue.drain_seconds, "Time to drain the queue at present rates."),
            ("workers", len(world.workers) if self.runtime.recovered else None, "Workers heard of and not stopped."),
        ):
            gauge = GaugeMetricFamily(f"embedwatch_{name}", text)
            if value is not None:
                gauge.add_metric([], float(value))
            yield gauge
        energy = GaugeMetricFamily(
            "embedwatch_gpu_joules_per_million_tokens",
            "Energy of the whole GPU for each million tokens embedded on it over the last five minutes.",
            labels=["gpu"],
        )
        for row in world.energy.rows(now):
            if row.joules_per_million_tokens is not None:
                energy.add_metric([row.uuid], row.joules_per_million_tokens)
        yield energy
        for name, count, text in (
            ("offset_gaps", self.runtime.guard.seen, "Gaps in source offsets met since the start; most are legal."),
            ("skipped_deliveries", self.runtime.guard.skipped, "Times that records were skipped and sought back."),
            ("day_corrections", self.runtime.sayer.count, "Corrections of closed days published, by day and scope."),
            (
                "day_corrections_cost_usd",
                self.runtime.sayer.cost_nano_usd / NANO_USD_PER_USD,
                "Spend on what has a price, booked on days that were closed.",
            ),
        ):
            counter = CounterMetricFamily(f"embedwatch_{name}", text)
            counter.add_metric([], count)
            yield counter
        stale = GaugeMetricFamily(
            "embedwatch_stale_partitions", "Partitions of other agents processes whose numbers may be old."
        )
        if self.runtime.recovered:
            stale.add_metric([], len(self.runtime.merger.coverage(now)["stale_partitions"]))
        yield stale
        refused = CounterMetricFamily(
            "embedwatch_refused_partials",
            "Partials of other agents processes that could not be read.",
            labels=["reason"],
        )
        for reason, count in sorted(self.runtime.merger.refused.items()):
            refused.add_metric([reason], count)
        if refused.samples:
            yield refused
        rejected = CounterMetricFamily("embedwatch_rejected_events", "Events that did not decode.", labels=["reason"])
        counts: dict[str, int] = {}
        for state in world.partitions.values():
            for reason, count in state.rejected.items():
                counts[reason] = counts.get(reason, 0) + count
        for reason, count in sorted(counts.items()):
            rejected.add_metric([reason], count)
        yield rejected

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

    def _windowed(self, windows: Sequence[tuple[Scope, Totals]], *, suffix: str, now: float) -> Iterator[Metric]:
        covered = self.runtime.world.windows.covered_seconds
        more = [(scope, totals, covered(totals, WINDOW_SECONDS, now)) for scope, totals in windows]
        yield from series.windowed(more, suffix)
        labels = [suffix.removesuffix("_")] if suffix else []
        latency = GaugeMetricFamily(
            f"embedwatch_{suffix}latency_seconds",
            "Latency of a text over the last minute.",
            labels=[*labels, "quantile"],
        )
        throughput = GaugeMetricFamily(
            f"embedwatch_{suffix}throughput_texts_per_second", "Texts done over the last minute.", labels=labels
        )
        errors = GaugeMetricFamily(f"embedwatch_{suffix}error_ratio", "Texts without a vector.", labels=labels)
        hits = GaugeMetricFamily(
            f"embedwatch_{suffix}cache_hit_ratio", "Cache hits, of hits and misses.", labels=labels
        )
        for scope, totals, seconds in more:
            names = [value for _, value in scope]
            for q in QUANTILES:
                value = totals.latency.quantile(q)
                if value is not None:
                    latency.add_metric([*names, str(q)], value / 1000.0)
            if seconds is not None:
                throughput.add_metric(names, totals.texts / seconds)
            for gauge, percent in ((errors, totals.error_rate_pct()), (hits, totals.cache_hit_rate_pct())):
                if percent is not None:
                    gauge.add_metric(names, percent / 100.0)
        yield from (latency, throughput, errors, hits)

    def _budgets(self, now: float) -> Iterator[Metric]:
        """What is left of each budget, and how fast it burns; the whole day's forecast."""
        world, labels = self.runtime.world, ["rule", "scope"]
        expected = GaugeMetricFamily("embedwatch_forecast_usd_today", "Spend expected when the day is over.")
        total = world.forecast(now).usd
        if total is not None:
            expected.add_metric([], total)
        left = GaugeMetricFamily(
            "embedwatch_budget_remaining_usd", "What is left of a day's budget; below 0 when overspent.", labels=labels
        )
        burning = GaugeMetricFamily(
            "embedwatch_budget_burn_ratio",
            "Share of a day's budget spent in a window: fast 15 min, slow 2 h.",
            labels=[*labels, "window"],
        )
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
            left.add_metric(names, remaining)
            for one in world.burn(now, scope):
                percent = one.pct_of(rule.threshold)
                if percent is not None:
                    burning.add_metric([*names, one.window.name], percent / 100.0)
        yield from (expected, left, burning)

    def _today(self, now: float) -> Iterator[Metric]:
        world = self.runtime.world
        totals = world.day(world.today(now))
        for name, text, value_of in series.DAY:
            yield series.gauge(name, text, value_of(totals))
