"""Prometheus families made from the windows, the counters and the samples; `exposition` decides which scopes.

Gauges are over the last minute, or of the newest sample. Counters count from the start of the process: what a day or a
window sums up goes down again and is a gauge. Labels are bounded: by models and tenants, partitions, GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from embedwatch.events import GpuSample, LagEvent
from embedwatch.pricing import known_nano_usd, to_usd
from stream_agents.compute.counters import Counters
from stream_agents.compute.ledger import DayTotals
from stream_agents.compute.phases import error_rates_pct, phase_rows
from stream_agents.compute.scopes import Scope
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import STALE_LAG_SECONDS, Queue, World

QUANTILES = (0.5, 0.95, 0.99)
#: Partitions with series of their own.
MAX_PARTITIONS = 1000
STATUSES = ("OK", "REWOUND", "STALLED", "STOPPED", "UNKNOWN")


def _cost_usd(day: DayTotals) -> float | None:
    return to_usd(known_nano_usd(day.cost_nano_usd, day.unpriced_tokens))


def _saved_usd(day: DayTotals) -> float | None:
    return to_usd(known_nano_usd(day.saved_nano_usd, day.unpriced_saved_tokens))


#: Gauges of the day so far.
DAY: tuple[tuple[str, str, Callable[[DayTotals], float | None]], ...] = (
    ("cost_usd_today", "Spend since midnight in the budget's zone; absent where nothing has a price.", _cost_usd),
    ("saved_usd_today", "Spend the cache has saved since midnight; absent where nothing has a price.", _saved_usd),
    ("texts_today", "Texts since midnight.", attrgetter("texts")),
    ("errors_today", "Texts without a vector since midnight.", attrgetter("errors")),
    ("cache_hits_today", "Texts found in the cache since midnight.", attrgetter("cache_hits")),
    ("tokens_saved_today", "Tokens that need not be embedded since midnight.", attrgetter("tokens_saved")),
    ("tokens_embedded_today", "Tokens embedded since midnight.", attrgetter("tokens_embedded")),
    ("unpriced_tokens_today", "Tokens embedded at no known price since midnight.", attrgetter("unpriced_tokens")),
    (
        "unpriced_saved_tokens_today", "Tokens that need not be embedded, at no known price, since midnight.",
        attrgetter("unpriced_saved_tokens"),
    ),
)  # fmt: skip
#: Those that single models and tenants have, too.
OF_EACH = ("cost_usd_today", "saved_usd_today", "texts_today", "tokens_embedded_today", "unpriced_tokens_today")


def gauge(name: str, text: str, value: float | None) -> Metric:
    """One value; absent where it is not known."""
    family = GaugeMetricFamily(f"embedwatch_{name}", text)
    if value is not None:
        family.add_metric([], float(value))
    return family


def windowed(windows: Sequence[tuple[Scope, Totals, float | None]], suffix: str) -> Iterator[Metric]:
    """(scope, its last minute, seconds covered); what `exposition` does not have from before. One label a dimension."""
    labels = [suffix.removesuffix("_")] if suffix else []

    def family(name: str, text: str, *more: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"embedwatch_{suffix}{name}", text, labels=[*labels, *more])

    tokens = family("throughput_tokens_per_second", "Tokens embedded over the last minute.")
    mean = family("latency_mean_seconds", "Mean latency of a text over the last minute.")
    low = family("latency_min_seconds", "Least latency of a text over the last minute.")
    high = family("latency_max_seconds", "Greatest latency of a text over the last minute.")
    waits = family("queue_wait_seconds", "Time a text waited in the queue, over the last minute.", "quantile")
    batch = family("phase_seconds_per_batch", "Mean time of a phase for a batch over the last minute.", "phase")
    text = family("phase_seconds_per_text", "Mean time of a phase for a text over the last minute.", "phase")
    errors = family("error_class_ratio", "Texts without a vector, by class of error, of all texts.", "class")
    hits = family("cache_token_hit_ratio", "Tokens of cache hits, of those of hits and misses.")
    padding = family("padding_ratio", "Padding, of all positions the model computed.")
    for scope, totals, covered in windows:
        names = [value for _, value in scope]
        if covered is not None:
            tokens.add_metric(names, totals.tokens_embedded / covered)
        if totals.latency.count:
            for statistic, value in (
                (mean, totals.latency.mean()), (low, totals.latency.minimum), (high, totals.latency.maximum),
            ):  # fmt: skip
                statistic.add_metric(names, (value or 0.0) / 1000.0)
        for q in QUANTILES:
            wait = totals.queue_wait.quantile(q)
            if wait is not None:
                waits.add_metric([*names, str(q)], wait / 1000.0)
        for phase, row in phase_rows(totals).items():
            for per, one in ((batch, row["per_batch_ms"]), (text, row["per_text_ms"])):
                if one is not None:
                    per.add_metric([*names, phase], one / 1000.0)
        for error, percent in error_rates_pct(totals).items():
            errors.add_metric([*names, error], percent / 100.0)
        for ratio, share in ((hits, totals.token_hit_rate_pct()), (padding, totals.padding_waste_pct())):
            if share is not None:
                ratio.add_metric(names, share / 100.0)
    yield from (tokens, mean, low, high, waits, batch, text, errors, hits, padding)


def counted(counters: Counters) -> Iterator[Metric]:
    """Exact counts by model and tenant; the tenant is empty where an event names none."""
    labels = ["model", "tenant"]
    rows = [([model, tenant or ""], counts) for (model, tenant), counts in sorted(
        counters.series.items(), key=lambda item: (item[0][0], item[0][1] or "")
    )]  # fmt: skip
    for field, name, text in (
        ("texts", "texts", "Texts."),
        ("cache_hits", "cache_hits", "Texts found in the cache."),
        ("misses", "cache_misses", "Texts looked up and embedded."),
        ("duplicates", "duplicate_texts", "Texts that came twice in a poll."),
        ("cache_errors", "cache_errors", "Failed calls of the cache."),
        ("batches", "batches", "Batches with texts of this model and tenant; one of several tenants is in each."),
        ("tokens_received", "tokens_received", "Tokens asked for."),
        ("tokens_embedded", "tokens_embedded", "Tokens embedded."),
        ("tokens_saved", "tokens_saved", "Tokens that need not be embedded."),
        ("duplicate_tokens", "duplicate_tokens", "Of the tokens saved, those of texts that came twice in a poll."),
        ("padding_tokens", "padding_tokens", "Positions computed for nothing."),
        ("truncated_texts", "truncated_texts", "Texts cut at the model's longest."),
        ("unpriced_tokens", "unpriced_tokens", "Tokens embedded at no known price."),
        ("unpriced_saved_tokens", "unpriced_saved_tokens", "Tokens that need not be embedded, at no known price."),
    ):
        family = CounterMetricFamily(f"embedwatch_{name}", text, labels=labels)
        for names, counts in rows:
            family.add_metric(names, counts.sums[field])
        yield family
    for field, without_price, name, text in (
        ("cost_nano_usd", "unpriced_tokens", "cost_usd", "Spend on what has a price; absent where nothing has one."),
        ("saved_nano_usd", "unpriced_saved_tokens", "saved_usd", "Spend the cache has saved; absent likewise."),
    ):
        family = CounterMetricFamily(f"embedwatch_{name}", text, labels=labels)
        for names, counts in rows:
            amount = to_usd(known_nano_usd(counts.sums[field], counts.sums[without_price]))
            if amount is not None:
                family.add_metric(names, amount)
        yield family
    passes = CounterMetricFamily("embedwatch_model_batches", "Batches embedded, each counted once.", labels=["model"])
    models: dict[str, int] = {}
    for (model, _), counts in rows:
        models[model] = models.get(model, 0) + counts.own_batches
    for model, batches in models.items():
        passes.add_metric([model], batches)
    busy = CounterMetricFamily("embedwatch_busy_seconds", "Time the model worked.", labels=labels)
    phases = CounterMetricFamily(
        "embedwatch_phase_seconds",
        "Time by phase, summed over batches; of queue_wait the mean of each event's texts.",
        labels=[*labels, "phase"],
    )
    errors = CounterMetricFamily("embedwatch_errors", "Texts without a vector.", labels=[*labels, "class"])
    for names, counts in rows:
        busy.add_metric(names, counts.busy_seconds)
        for phase, seconds in counts.phase_seconds.items():
            phases.add_metric([*names, phase], seconds)
        for error, count in sorted(counts.errors.items()):
            errors.add_metric([*names, error], count)
    yield from (passes, busy, phases, errors)


def days(totals: Mapping[Scope, DayTotals], suffix: str) -> Iterator[Metric]:
    """The day so far of some models, or some tenants."""
    labels = [suffix.removesuffix("_")]
    for name, text, value_of in DAY:
        if name not in OF_EACH:
            continue
        family = GaugeMetricFamily(f"embedwatch_{suffix}{name}", text, labels=labels)
        for scope, day in totals.items():
            value = value_of(day)
            if value is not None:
                family.add_metric([value for _, value in scope], float(value))
        yield family


def queue(now_queue: Queue, lags: Mapping[int, LagEvent], now: float) -> Iterator[Metric]:
    """The queue as a whole, and each partition under the names of kafka-lag-exporter."""
    yield gauge("queue_lag_messages", "Messages not done.", now_queue.lag_messages)
    yield gauge("queue_arrival_messages_per_second", "Messages that arrive.", now_queue.arrival_rate_per_s)
    yield gauge("queue_consumed_messages_per_second", "Messages that are done.", now_queue.consume_rate_per_s)
    yield gauge("queue_stalled_partitions", "Partitions that nobody works on.", now_queue.stalled_partitions)
    status = GaugeMetricFamily("embedwatch_queue_status", "1 for the status of the queue.", labels=["status"])
    if lags:
        for name in STATUSES:
            status.add_metric([name], float(now_queue.status == name))
    yield status
    labels = ["group", "topic", "partition"]
    messages = GaugeMetricFamily("kafka_consumergroup_group_lag", "Messages not done.", labels=labels)
    seconds = GaugeMetricFamily("kafka_consumergroup_group_lag_seconds", "Age of the oldest not done.", labels=labels)
    for partition, lag in sorted(lags.items())[:MAX_PARTITIONS]:
        if now - lag.time_seconds > STALE_LAG_SECONDS:
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
    yield gauge("desired_workers", "Workers there should be, within all limits.", row["desired_workers"])
    yield gauge("wanted_workers", "Workers there should be if nothing limited them.", row["wanted_workers"])
    yield gauge("running_workers", "Workers heard of as running when it was last decided.", row["running_workers"])


def machines(world: World) -> Iterator[Metric]:
    """Workers, GPUs and cache, from heartbeats and samples."""
    load = GaugeMetricFamily(
        "embedwatch_model_load_seconds", "Time to load the model, of the worker that took longest.", labels=["model"]
    )
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
    yield gauge(
        "in_flight_texts",
        "Texts that workers have begun with.",
        sum(beat.in_flight_texts for beat in world.workers.values()) if world.workers else None,
    )
    for field, name, text, unit in (
        ("utilization_pct", "utilization_ratio", "Time the GPU was busy.", 100.0),
        ("power_watts", "power_watts", "Power the GPU draws.", 1.0),
        ("temperature_celsius", "temperature_celsius", "Temperature of the GPU.", 1.0),
        ("memory_used_bytes", "memory_used_bytes", "Memory of the GPU in use.", 1.0),
        ("memory_total_bytes", "memory_total_bytes", "Memory of the GPU.", 1.0),
    ):
        family = GaugeMetricFamily(f"embedwatch_gpu_{name}", text, labels=["gpu"])
        for uuid, gpu in sorted(gpus.items()):
            value = getattr(gpu, field)
            if value is not None:
                family.add_metric([uuid], value / unit)
        yield family
    sample = max(world.caches.values(), key=lambda event: event.time_seconds, default=None)
    yield gauge("cache_available", "1 when the cache answers.", None if sample is None else float(sample.available))
    yield gauge("cache_entries", "Entries of the cache.", None if sample is None else sample.entries)
    yield gauge("cache_memory_bytes", "Memory of the cache.", None if sample is None else sample.memory_bytes)
    yield gauge(
        "cache_evictions", "Entries evicted, as the cache counts.", None if sample is None else sample.evictions
    )


def losses(world: World) -> Iterator[Metric]:
    """What was not counted where it belongs."""
    for name, count, text in (
        ("late_events", world.closer.late_events, "Events that came after a window of theirs was closed."),
        ("overflow_events", world.windows.overflow_events, "Events counted under `other`, above the cap on scopes."),
        ("dropped_windows", world.closer.dropped_windows, "Closed windows that the broker did not take for too long."),
    ):
        counter = CounterMetricFamily(f"embedwatch_{name}", text)
        counter.add_metric([], count)
        yield counter
