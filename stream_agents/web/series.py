"""Prometheus families made from the windows, the counters and the samples; `exposition` decides which scopes.

Gauges are over the last minute, or of the newest sample. Counters count from the start of the process: what a day or a
window sums up goes down again and is a gauge. Labels are bounded: by models and tenants, partitions, GPUs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from prometheus_client.core import Metric

from embedwatch.events import GpuSample, LagEvent, LagStatus, Verdict
from embedwatch.pricing import known_nano_usd, to_usd
from stream_agents.compute.counters import Counters
from stream_agents.compute.ledger import DayTotals
from stream_agents.compute.phases import error_rates_pct, phase_rows
from stream_agents.compute.scopes import Scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import STALE_LAG_SECONDS, Queue, World
from stream_agents.web.families import counter, gauge, quantiles, total, value

QUANTILES = (0.5, 0.95, 0.99)
#: Partitions with series of their own.
MAX_PARTITIONS = 1000
STATUSES: tuple[LagStatus, ...] = ("OK", "REWOUND", "STALLED", "STOPPED", "UNKNOWN")


def _cost_usd(day: DayTotals) -> float | None:
    return to_usd(known_nano_usd(day.cost_nano_usd, day.gaps))


def _saved_usd(day: DayTotals) -> float | None:
    return to_usd(known_nano_usd(day.saved_nano_usd, day.unpriced_saved_tokens))


def _wasted_usd(day: DayTotals) -> float | None:
    return None if _cost_usd(day) is None else to_usd(day.wasted_nano_usd)


#: Gauges of the day so far.
DAY: tuple[tuple[str, Callable[[DayTotals], float | None]], ...] = (
    ("cost_usd_today", _cost_usd),
    ("saved_usd_today", _saved_usd),
    ("wasted_usd_today", _wasted_usd),
    ("texts_today", attrgetter("texts")),
    ("errors_today", attrgetter("errors")),
    ("cache_hits_today", attrgetter("cache_hits")),
    ("tokens_saved_today", attrgetter("tokens_saved")),
    ("tokens_embedded_today", attrgetter("tokens_embedded")),
    ("unpriced_tokens_today", attrgetter("unpriced_tokens")),
    ("unpriced_saved_tokens_today", attrgetter("unpriced_saved_tokens")),
    ("unsettled_texts_today", attrgetter("unsettled_texts")),
)
#: Those that single models and tenants have, too.
OF_EACH = ("cost_usd_today", "saved_usd_today", "texts_today", "tokens_embedded_today", "unpriced_tokens_today")
#: Counters of the field of an event of nearly the same name.
COUNTED: tuple[tuple[str, str], ...] = (
    ("texts", "texts"), ("cache_hits", "cache_hits"), ("misses", "cache_misses"), ("duplicates", "duplicate_texts"),
    ("cache_errors", "cache_errors"), ("batches", "batches"), ("tokens_received", "tokens_received"),
    ("tokens_embedded", "tokens_embedded"), ("tokens_saved", "tokens_saved"),
    ("duplicate_tokens", "duplicate_tokens"), ("padding_tokens", "padding_tokens"),
    ("truncated_texts", "truncated_texts"), ("unpriced_tokens", "unpriced_tokens"),
    ("unpriced_saved_tokens", "unpriced_saved_tokens"), ("unsettled_texts", "unsettled_texts"),
    ("uncounted_texts", "uncounted_texts"), ("uncached_texts", "uncached_texts"),
)  # fmt: skip


def windowed(windows: Sequence[tuple[Scope, Totals, float | None]], by: str) -> Iterator[Metric]:
    """(scope, its last minute, seconds covered); `by` a dimension, whose names are labels, or empty for all of it."""
    latency, waits = quantiles("latency_seconds", by), quantiles("queue_wait_seconds", by)
    tokens, texts = gauge("throughput_tokens_per_second", by), gauge("throughput_texts_per_second", by)
    mean, low, high = (gauge(f"latency_{which}_seconds", by) for which in ("mean", "min", "max"))
    batch, text = gauge("phase_seconds_per_batch", by), gauge("phase_seconds_per_text", by)
    errors, classes = gauge("error_ratio", by), gauge("error_class_ratio", by)
    hits, token_hits, padding = (
        gauge(name, by) for name in ("cache_hit_ratio", "cache_token_hit_ratio", "padding_ratio")
    )
    counts = {
        name: gauge(f"{name}_last_minute", by) for name in ("texts", "cache_lookups", "cache_errors", "unpriced_tokens")
    }
    for scope, totals, covered in windows:
        names = [name for _, name in scope]
        if covered is not None:
            tokens.add_metric(names, totals.tokens_embedded / covered)
            texts.add_metric(names, totals.texts / covered)
        if totals.latency.count:
            for statistic, ms in (
                (mean, totals.latency.mean()), (low, totals.latency.minimum), (high, totals.latency.maximum),
            ):  # fmt: skip
                statistic.add_metric(names, (ms or 0.0) / 1000.0)
        for q in QUANTILES:
            for family, known_ms in ((latency, totals.latency.quantile(q)), (waits, totals.queue_wait.quantile(q))):
                if known_ms is not None:
                    family.add_metric([*names, str(q)], known_ms / 1000.0)
        for phase, row in phase_rows(totals).items():
            for per, one in ((batch, row["per_batch_ms"]), (text, row["per_text_ms"])):
                if one is not None:
                    per.add_metric([*names, phase], one / 1000.0)
        for error, percent in error_rates_pct(totals).items():
            classes.add_metric([*names, error], percent / 100.0)
        for ratio, share in (
            (errors, totals.error_rate_pct()), (hits, totals.cache_hit_rate_pct()),
            (token_hits, totals.token_hit_rate_pct()), (padding, totals.padding_waste_pct()),
        ):  # fmt: skip
            if share is not None:
                ratio.add_metric(names, share / 100.0)
        if totals.events:  # else nothing is known of the minute, and rules say "no data"
            for name, count in (
                ("texts", totals.texts), ("cache_lookups", totals.looked_up),
                ("cache_errors", totals.cache_errors), ("unpriced_tokens", totals.unpriced_tokens),
            ):  # fmt: skip
                counts[name].add_metric(names, count)
    yield from (latency, texts, errors, hits, tokens, mean, low, high, waits, batch, text, classes, token_hits, padding)
    yield from counts.values()


def counted(counters: Counters) -> Iterator[Metric]:
    """Exact counts by model and tenant; the tenant is empty where an event names none."""
    rows = [([model, tenant or ""], counts) for (model, tenant), counts in sorted(
        counters.series.items(), key=lambda item: (item[0][0], item[0][1] or "")
    )]  # fmt: skip
    for field, name in COUNTED:
        family = counter(name)
        for names, counts in rows:
            family.add_metric(names, counts.sums[field])
        yield family
    for field, without_price, name in (
        ("cost_nano_usd", "unpriced_tokens", "cost_usd"),
        ("saved_nano_usd", "unpriced_saved_tokens", "saved_usd"),
        ("wasted_nano_usd", "unpriced_tokens", "wasted_usd"),
    ):
        family = counter(name)
        for names, counts in rows:
            amount = to_usd(known_nano_usd(counts.sums[field], counts.sums[without_price]))
            if amount is not None:
                family.add_metric(names, amount)
        yield family
    passes = counter("model_batches")
    models: dict[str, int] = {}
    for (model, _), counts in rows:
        models[model] = models.get(model, 0) + counts.own_batches
    for model, batches in models.items():
        passes.add_metric([model], batches)
    busy, phases, errors = counter("busy_seconds"), counter("phase_seconds"), counter("errors")
    for names, counts in rows:
        busy.add_metric(names, counts.busy_seconds)
        for phase, seconds in counts.phase_seconds.items():
            phases.add_metric([*names, phase], seconds)
        for error, count in sorted(counts.errors.items()):
            errors.add_metric([*names, error], count)
    yield from (passes, busy, phases, errors)


def days(totals: Mapping[Scope, DayTotals], by: str) -> Iterator[Metric]:
    """The day so far of some models, or some tenants."""
    for name, value_of in DAY:
        if name not in OF_EACH:
            continue
        family = gauge(name, by)
        for scope, day in totals.items():
            number = value_of(day)
            if number is not None:
                family.add_metric([value for _, value in scope], float(number))
        yield family


def queue(now_queue: Queue, lags: Mapping[int, LagEvent], now: float) -> Iterator[Metric]:
    """The queue as a whole, and each partition under the names of kafka-lag-exporter."""
    yield value("queue_depth_texts", now_queue.depth_texts)
    yield value("queue_lag_seconds", now_queue.lag_seconds)
    yield value("queue_drain_seconds", now_queue.drain_seconds)
    yield value("queue_lag_messages", now_queue.lag_messages)
    yield value("queue_arrival_messages_per_second", now_queue.arrival_rate_per_s)
    yield value("queue_consumed_messages_per_second", now_queue.consume_rate_per_s)
    yield value("queue_stalled_partitions", now_queue.stalled_partitions)
    status, partitions = gauge("queue_status"), gauge("queue_partitions")
    fresh = {partition: lag for partition, lag in lags.items() if now - lag.time_seconds <= STALE_LAG_SECONDS}
    if lags:
        counts = Counter(lag.status for lag in fresh.values())
        counts["UNKNOWN"] += len(lags) - len(fresh)
        for name in STATUSES:
            status.add_metric([name], float(now_queue.status == name))
            partitions.add_metric([name], float(counts[name]))
    yield from (status, partitions)
    messages, seconds = gauge("kafka_consumergroup_group_lag"), gauge("kafka_consumergroup_group_lag_seconds")
    for partition, lag in sorted(lags.items())[:MAX_PARTITIONS]:
        if partition not in fresh:
            continue
        names = [lag.group, lag.topic, str(partition)]
        if lag.lag_messages is not None:
            messages.add_metric(names, lag.lag_messages)
        if lag.oldest_age_seconds is not None:
            seconds.add_metric(names, lag.oldest_age_seconds)
    yield from (messages, seconds)


def scaling(world: World, now: float) -> Iterator[Metric]:
    """What is asked for. Absent where nothing is decided: KEDA changes nothing then (`ignoreNullValues: "false"`)."""
    row = world.decisions.now(now)
    for name in ("desired_workers", "wanted_workers", "running_workers"):
        yield value(name, row[name])


def silences(world: World, now: float) -> Iterator[Metric]:
    """How long workers were silent, as far as these agents have listened: what they did before is not theirs to say."""
    since = world.started_seconds
    known = [] if since is None else [min(silence, max(now - since, 0.0)) for _, silence in world.silent_workers(now)]
    yield value("workers_silent_seconds", min(known, default=None))
    yield value("worker_silent_seconds", max(known, default=None))


def judgements(verdicts: Iterable[Verdict], limit: int) -> Iterator[Metric]:
    """Rules that could be judged, the breached ones first, at most `limit`. Steps of a budget that are told alike are
    one series."""
    found: dict[tuple[str, str, str, str], float] = {}
    for verdict in verdicts:
        if verdict.judgement in ("breached", "ok"):
            key: tuple[str, str, str, str] = (
                verdict.rule,
                verdict.alert_type,
                verdict.severity,
                scope_key(tuple(sorted(verdict.scope.items()))),
            )
            found[key] = max(found.get(key, 0.0), float(verdict.judgement == "breached"))
    family = gauge("rule_breached")
    for key in sorted(found, key=lambda key: (-found[key], key))[:limit]:
        family.add_metric(key, found[key])
    yield family


def machines(world: World) -> Iterator[Metric]:
    """Workers, GPUs and cache, from heartbeats and samples."""
    load = gauge("model_load_seconds")
    loads: dict[str, float] = {}
    gpus: dict[str, GpuSample] = {}
    for beat in sorted(world.workers.values(), key=lambda beat: beat.time_seconds):
        if beat.model_load_seconds is not None:
            loads[beat.model] = max(loads.get(beat.model, 0.0), beat.model_load_seconds)
        for gpu in beat.gpus:
            # Several workers may share a GPU: the newest speaks for it.
            if gpu.uuid is not None:
                gpus[gpu.uuid] = gpu
    for model, seconds in sorted(loads.items()):
        load.add_metric([model], seconds)
    yield load
    yield value(
        "in_flight_texts",
        sum(beat.in_flight_texts for beat in world.workers.values()) if world.workers else None,
    )
    for field, name, unit in (
        ("utilization_pct", "utilization_ratio", 100.0),
        ("power_watts", "power_watts", 1.0),
        ("temperature_celsius", "temperature_celsius", 1.0),
        ("memory_used_bytes", "memory_used_bytes", 1.0),
        ("memory_total_bytes", "memory_total_bytes", 1.0),
    ):
        family = gauge(f"gpu_{name}")
        for uuid, gpu in sorted(gpus.items()):
            number = getattr(gpu, field)
            if number is not None:
                family.add_metric([uuid], number / unit)
        yield family
    sample = max(world.caches.values(), key=lambda event: event.time_seconds, default=None)
    yield value("cache_available", None if sample is None else float(sample.available))
    yield value("cache_entries", None if sample is None else sample.entries)
    yield value("cache_memory_bytes", None if sample is None else sample.memory_bytes)
    yield value("cache_evictions", None if sample is None else sample.evictions)


def losses(world: World) -> Iterator[Metric]:
    """What was not counted where it belongs."""
    yield total("late_events", world.closer.late_events)
    yield total("overflow_events", world.windows.overflow_events)
    yield total("dropped_windows", world.closer.dropped_windows)
