"""Every Prometheus family that the agents expose. `series` and `exposition` can make no other, and a test finds one
that is never made. What to do is said as to somebody who just saw the number on a dashboard. Tables only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from embedwatch.metric_families import Family, Several

_EACH = ("model", "tenant")
_ROUTINE = "Nothing by itself."


def _gauge(
    name: str, unit: str, text: str, bad: str, *labels: str, by: tuple[str, ...] = (), several: Several = "same",
    prefix: str = "embedwatch_",
) -> Family:  # fmt: skip
    return Family(name, "gauge", unit, text, bad, labels, by, several, prefix)


def _counter(name: str, unit: str, text: str, bad: str, *labels: str, several: Several = "sum") -> Family:
    return Family(name, "counter", unit, text, bad, labels, several=several)


def _quantiles(name: str, unit: str, text: str, bad: str, by: tuple[str, ...]) -> Family:
    return Family(name, "summary", unit, text, bad, ("quantile",), by)


_MT = ("model", "tenant")

_MINUTE = (
    _quantiles("latency_seconds", "seconds", "Latency of a text over the last minute.",
               "p95 above 0.5: look at `phase_seconds_per_text`. Queue wait asks for workers, embedding for a smaller "
               "batch or a GPU.", by=_EACH),
    _gauge("latency_mean_seconds", "seconds", "Mean latency of a text over the last minute.",
           "Look at the quantiles: a mean hides the slow ones.", by=_EACH),
    _gauge("latency_min_seconds", "seconds", "Least latency of a text over the last minute.", _ROUTINE, by=_EACH),
    _gauge("latency_max_seconds", "seconds", "Greatest latency of a text over the last minute.",
           "One slow text: look at the retries and errors of that minute.", by=_EACH),
    _quantiles("queue_wait_seconds", "seconds", "Time a text waited in the queue, over the last minute.",
               "Add workers, up to one a partition.", by=_EACH),
    _gauge("phase_seconds_per_batch", "seconds", "Mean time of a phase for a batch over the last minute.",
           "The phase that grew is where to look.", "phase", by=_EACH),
    _gauge("phase_seconds_per_text", "seconds", "Mean time of a phase for a text over the last minute.",
           "The phase that grew is where to look.", "phase", by=_EACH),
    _gauge("throughput_texts_per_second", "texts per second", "Texts done over the last minute.",
           "Low while texts wait: see whether every worker is up, then compare the time by phase.", by=_EACH),
    _gauge("throughput_tokens_per_second", "tokens per second", "Tokens embedded over the last minute.",
           "Low while texts wait: see whether every worker is up, then compare the time by phase.", by=_EACH),
    _gauge("error_ratio", "ratio", "Texts that failed, of all texts of the last minute; not those given up.",
           "Above 0.01: `error_class_ratio` says of which kind, `embedwatch dlq list` shows them.", by=_EACH),
    _gauge("error_class_ratio", "ratio", "Texts without a vector, by class of error, of all texts of the last minute.",
           "`rate_limited`, `timeout`, `connection`: the endpoint. `out_of_memory`: a smaller batch. `cancelled`: the "
           "callers gave up, see how long they wait. Else the texts.",
           "class", by=_EACH),
    _gauge("cache_hit_ratio", "ratio", "Cache hits, of hits and misses, over the last minute.",
           "Below 0.4: is the cache reachable and large enough, and did a setting of the model change? A new setting "
           "starts a new cache.", by=_EACH),
    _gauge("cache_token_hit_ratio", "ratio", "Tokens of cache hits, of those of hits and misses.",
           "Far below `cache_hit_ratio`: the long texts are those that are not found.", by=_EACH),
    _gauge("padding_ratio", "ratio", "Padding, of all positions the model computed.",
           "High: texts of very different lengths share batches; let polls be larger.", by=_EACH),
    _gauge("texts_last_minute", "texts", "Texts of the last minute: how many the numbers of that minute stand on.",
           "Below some 20 a quantile or a ratio says little.", by=_EACH),
    _gauge("cache_lookups_last_minute", "texts", "Hits and misses of the last minute.",
           "Below some 100 the hit ratio says little.", by=_EACH),
    _gauge("cache_errors_last_minute", "calls", "Calls of the cache that failed in the last minute.",
           "Above 0: texts are embedded and paid for anew. Does the cache run and answer?", by=_EACH),
    _gauge("unpriced_tokens_last_minute", "tokens", "Tokens of the last minute that were embedded at no known price.",
           "Above 0: give the model a price (`pricing.usd_per_million_tokens`); spend is too low until then.",
           by=_EACH),
)  # fmt: skip

_DAY = (
    _gauge("cost_usd_today", "USD", "Spend since midnight in the budget's zone; absent where nothing has a price.",
           "See which model and tenant spend most; pause or cache what can wait.", by=_EACH),
    _gauge("saved_usd_today", "USD", "Spend the cache has saved since midnight; absent where nothing has a price.",
           "Little beside the spend: look at the hit ratio.", by=_EACH),
    _gauge("wasted_usd_today", "USD", "Of the spend since midnight, what was paid for texts that got no vector.",
           "Above 0: see `errors` by class; what fails after it was paid for is paid for again."),
    _gauge("texts_today", "texts", "Texts since midnight.", _ROUTINE, by=_EACH),
    _gauge("errors_today", "texts", "Texts without a vector since midnight.", "`embedwatch dlq list` shows them."),
    _gauge("cache_hits_today", "texts", "Texts found in the cache since midnight.", _ROUTINE),
    _gauge("tokens_saved_today", "tokens", "Tokens that need not be embedded since midnight.", _ROUTINE),
    _gauge("tokens_embedded_today", "tokens", "Tokens embedded since midnight.", _ROUTINE, by=_EACH),
    _gauge("unpriced_tokens_today", "tokens", "Tokens embedded at no known price since midnight.",
           "Above 0: the day's spend is too low. Give the model a price.", by=_EACH),
    _gauge("unpriced_saved_tokens_today", "tokens",
           "Tokens that need not be embedded, at no known price, since midnight.",
           "Above 0: the day's savings are too low. Give the model a price."),
    _gauge("unsettled_texts_today", "texts", "Texts of failed calls that may have been billed, since midnight.",
           "Above 0: the day's spend may be too low. See `errors` by class, and the provider's own bill."),
)  # fmt: skip

_BUDGETS = (
    _gauge("forecast_usd_today", "USD", "Spend expected when the day is over; absent in the day's first hour.",
           "Above the budget: lower the rate of what can wait, or raise the budget before it runs out."),
    _gauge("budget_usd", "USD", "A day's budget, as the rule has it.", _ROUTINE, "rule", "scope"),
    _gauge("budget_remaining_usd", "USD", "What is left of a day's budget; below 0 when overspent.",
           "Near 0: see which model and tenant spend most; pause or cache what can wait.", "rule", "scope"),
    _gauge("budget_burn_ratio", "ratio", "Share of a day's budget spent in a window: fast 15 min, slow 2 h.",
           "Above 0.10 (fast) or 0.25 (slow): look for a job that was started twice or a producer in a loop.",
           "rule", "scope", "window"),
)  # fmt: skip

_COUNTERS = (
    _counter("texts", "texts", "Texts.", _ROUTINE, *_MT),
    _counter("cache_hits", "texts", "Texts found in the cache.", _ROUTINE, *_MT),
    _counter("cache_misses", "texts", "Texts looked up and embedded.", _ROUTINE, *_MT),
    _counter("duplicate_texts", "texts", "Texts that came twice in a poll.",
             "Many: a producer sends the same again.", *_MT),
    _counter("cache_errors", "calls", "Failed calls of the cache.",
             "Rises: texts are embedded and paid for anew. Does the cache run and answer?", *_MT),
    _counter("batches", "batches", "Batches with texts of this model and tenant; one of several tenants is in each.",
             "To add up over tenants take `embedwatch_model_batches_total`.", *_MT),
    _counter("model_batches", "batches", "Batches embedded, each counted once.", _ROUTINE, "model"),
    _counter("tokens_received", "tokens", "Tokens asked for.", _ROUTINE, *_MT),
    _counter("tokens_embedded", "tokens", "Tokens embedded.", _ROUTINE, *_MT),
    _counter("tokens_saved", "tokens", "Tokens that need not be embedded.", _ROUTINE, *_MT),
    _counter("duplicate_tokens", "tokens", "Of the tokens saved, those of texts that came twice in a poll.",
             _ROUTINE, *_MT),
    _counter("padding_tokens", "tokens", "Positions computed for nothing.",
             "Many beside `tokens_embedded`: let polls be larger, so that batches hold texts of like length.", *_MT),
    _counter("truncated_texts", "texts", "Texts cut at the model's longest.",
             "Rises: what stands behind the cut is not in the vector; split texts before they are sent.", *_MT),
    _counter("unpriced_tokens", "tokens", "Tokens embedded at no known price.",
             "Rises: give the model a price (`pricing.usd_per_million_tokens`).", *_MT),
    _counter("unpriced_saved_tokens", "tokens", "Tokens that need not be embedded, at no known price.",
             "Rises: give the model a price.", *_MT),
    _counter("unsettled_texts", "texts", "Texts of failed calls that may have been billed.",
             "Rises: see `errors` by class; what they cost is on the provider's bill, and in no sum here.", *_MT),
    _counter("uncounted_texts", "texts", "Texts embedded at a known cost whose tokens nobody has counted.",
             "Rises: they are in no sum of tokens; let the caller say its tokens.", *_MT),
    _counter("uncached_texts", "texts", "Texts embedded with no cache to ask; of the misses.", _ROUTINE, *_MT),
    _counter("cost_usd", "USD", "Spend on what has a price; absent where nothing has one.",
             "For exact sums of a day take `embedwatch report --day`: a rate over a scrape is an estimate.", *_MT),
    _counter("saved_usd", "USD", "Spend the cache has saved; absent where nothing has a price.", _ROUTINE, *_MT),
    _counter("wasted_usd", "USD", "Of the spend, what was paid for texts that got no vector; no less was wasted.",
             "Rises: see `errors` by class; what fails after it was paid for is paid for again.", *_MT),
    _counter("busy_seconds", "seconds", "Time the model worked.", _ROUTINE, *_MT),
    _counter("phase_seconds", "seconds", "Time by phase, summed over batches; of queue_wait the mean of each event's "
             "texts.", "The phase that grew is where to look.", *_MT, "phase"),
    _counter("errors", "texts", "Texts without a vector; a class that never came has no series.",
             "`embedwatch dlq list` shows them.", *_MT, "class"),
)  # fmt: skip

_QUEUE = (
    _gauge("queue_depth_texts", "texts", "Texts waiting or in flight.",
           "Above 1,000: add workers, up to one a partition, or slow the producers down."),
    _gauge("queue_lag_seconds", "seconds", "Age of the oldest text not done.",
           "Grows while workers idle: look for a partition that stands still. Else add workers."),
    _gauge("queue_drain_seconds", "seconds", "Time to drain the queue at present rates; absent where it grows.",
           "Long or absent while texts wait: add workers."),
    _gauge("queue_lag_messages", "messages", "Messages not done.", "As `queue_depth_texts`."),
    _gauge("queue_arrival_messages_per_second", "messages per second", "Messages that arrive.",
           "Above what is consumed for long: the queue grows without end."),
    _gauge("queue_consumed_messages_per_second", "messages per second", "Messages that are done.",
           "0 while messages wait: the workers hang or are gone."),
    _gauge("queue_stalled_partitions", "partitions", "Partitions that nobody works on.",
           "Above 0: more workers do not help. Restart the one that holds the partition and read its last log lines."),
    _gauge("queue_status", "1 or 0", "1 for the status of the queue: that of its worst partition.",
           "See `queue_partitions`.", "status"),
    _gauge("queue_partitions", "partitions", "Partitions by status; UNKNOWN: it could not be read, or not lately.",
           "UNKNOWN above 0: the sums over the queue are absent. Do the agents reach the broker, and may they read the "
           "group? `embedwatch lag` says why. STALLED, STOPPED: nobody works on it.", "status"),
    _gauge("kafka_consumergroup_group_lag", "messages", "Messages not done, by partition; named as by "
           "kafka-lag-exporter.", "One far above the others: its worker hangs, or the keys are uneven.",
           "group", "topic", "partition", prefix=""),
    _gauge("kafka_consumergroup_group_lag_seconds", "seconds", "Age of the oldest message not done, by partition.",
           "One far above the others: its worker hangs, or the keys are uneven.",
           "group", "topic", "partition", prefix=""),
)  # fmt: skip

_SCALING = (
    _gauge("desired_workers", "workers", "Workers there should be, within all limits; absent where nothing may be "
           "decided.", "Absent: `/api/v1/scaling` says why. Above `running_workers` for long: nobody starts them."),
    _gauge("wanted_workers", "workers", "Workers there should be if nothing limited them.",
           "Above `desired_workers`: raise the limit that `/api/v1/scaling` names, or slow the producers down."),
    _gauge("running_workers", "workers", "Workers heard of as running when it was last decided.",
           "Below `desired_workers` for long: see what starts workers (autoscale, KEDA)."),
)  # fmt: skip

_MACHINES = (
    _gauge("workers", "workers", "Workers heard of and not stopped.", "0 while texts wait: start some."),
    _gauge("workers_silent_seconds", "seconds", "Time since any worker was heard of; absent where none is known.",
           "Above 45: check that workers and agents run and that both reach Kafka."),
    _gauge("worker_silent_seconds", "seconds", "Longest silence of a worker that did not say goodbye.",
           "Above 60: restart it and read its last log lines; its partitions go to the others meanwhile."),
    _gauge("in_flight_texts", "texts", "Texts that workers have begun with.", _ROUTINE),
    _gauge("model_load_seconds", "seconds", "Time to load the model, of the worker that took longest.",
           "Above 30: keep the model on a local disk or in the image; scaling up waits for this time.", "model"),
    _gauge("gpu_utilization_ratio", "ratio", "Time the GPU was busy.",
           "Below 0.7 while texts wait: larger batches, or fewer workers on it.", "gpu"),
    _gauge("gpu_power_watts", "watts", "Power the GPU draws.",
           "At its limit it slows down: better cooling, or a higher limit.", "gpu"),
    _gauge("gpu_temperature_celsius", "degrees Celsius", "Temperature of the GPU.",
           "Above some 85 it slows down: see to its cooling.", "gpu"),
    _gauge("gpu_memory_used_bytes", "bytes", "Memory of the GPU in use.",
           "Near the total: a smaller token budget, or fewer workers on it.", "gpu"),
    _gauge("gpu_memory_total_bytes", "bytes", "Memory of the GPU.", _ROUTINE, "gpu"),
    _gauge("gpu_joules_per_million_tokens", "joules per million tokens",
           "Energy of the whole GPU for each million tokens embedded on it over the last five minutes.",
           "High: the GPU idles between batches; larger batches, or fewer workers.", "gpu"),
    _gauge("cache_available", "1 or 0", "1 when the cache answers.",
           "0: texts are embedded and paid for anew. Does it run, and is its address right?"),
    _gauge("cache_entries", "entries", "Entries of the cache.", "Falls by itself: it evicts; give it more memory."),
    _gauge("cache_memory_bytes", "bytes", "Memory of the cache.", "At its limit: it evicts; give it more memory."),
    _gauge("cache_evictions", "entries", "Entries evicted, as the cache counts since its start.",
           "Rises while the hit ratio falls: give it more memory."),
)  # fmt: skip

_AGENTS = (
    _gauge("ready", "1 or 0", "1 where the numbers of this process can be relied on and what it says goes "
           "out, as `/readyz` says.",
           "0 for minutes: `/readyz` gives the reasons.", several="own"),
    _gauge("rule_breached", "1 or 0", "1 where a rule of the agents' rules file is breached, 0 where it is not; absent "
           "where it cannot be judged. Before `for`, grouping and silences.",
           "Its alert says what to do: docs/reference/alerts.md.", "rule", "alert_type", "severity", "scope"),
    _gauge("rejected_events_last_900_seconds", "events", "Events of the last 15 minutes that could not be counted.",
           "Above 0: spend and counts are too low by them. `embedwatch dlq list` shows them; a worker's version or "
           "clock may be wrong."),
    _counter("rejected_events", "events", "Events that did not decode, of all processes; survives a restart.",
             "As `rejected_events_last_900_seconds`.", "reason", several="same"),
    _counter("late_events", "events", "Events that came after a window of theirs was closed.",
             "Rises: the ledger has them, that window has not. A worker's clock may be wrong."),
    _counter("overflow_events", "events", "Events counted under `other`, above the cap on scopes.",
             "Rises: raise `agents.max_scopes`, or send fewer names of models and tenants.", several="same"),
    _counter("dropped_windows", "windows", "Closed windows that the broker did not take for too long.",
             "Rises: the topic `windows` has gaps; look at the broker."),
    _counter("offset_gaps", "gaps", "Gaps in source offsets met since the start; most are legal.", _ROUTINE),
    _counter("skipped_deliveries", "times", "Times that records were skipped and sought back.",
             "Rises all the time: look at the agents' log; the numbers stay right."),
    _counter("day_corrections", "corrections", "Corrections of closed days published, by day and scope.",
             "Many: events come long after their time. `embedwatch report --day` shows what a day was corrected by."),
    _counter("day_corrections_cost_usd", "USD", "Spend on what has a price, booked on days that were closed.",
             "As `day_corrections`."),
    _gauge("stale_partitions", "partitions", "Partitions of other agents processes whose numbers may be old.",
           "Above 0 for minutes: another agents process hangs or cannot write; see its log."),
    _counter("refused_partials", "records", "Partials of other agents processes that could not be read; a reason that "
             "never came has no series.", "Rises: two versions of the agents run side by side; finish the roll-out.",
             "reason", several="own"),
    _counter("publish_failures", "attempts", "Attempts to write records that Kafka did not take, each tried again; a "
             "kind that never failed has no series.",
             "Rises for minutes: `/readyz` says what is not published. Does the topic exist, and may the agents' user "
             "write it?", "kind", several="own"),
)  # fmt: skip

_GROUPS: tuple[tuple[str, Sequence[Family]], ...] = (
    ("The last minute", _MINUTE),
    ("The day so far", _DAY),
    ("Budgets", _BUDGETS),
    ("Counted since the start of the process", _COUNTERS),
    ("Queue", _QUEUE),
    ("Scaling", _SCALING),
    ("Workers, GPUs and cache", _MACHINES),
    ("The agents themselves", _AGENTS),
)
FAMILIES: tuple[Family, ...] = tuple(
    replace(family, group=group) for group, families in _GROUPS for family in families
)  # fmt: skip
_BY_NAME = {family.name: family for family in FAMILIES}


def gauge(name: str, by: str = "") -> GaugeMetricFamily:
    """An empty gauge of the table, without the prefix. Raises `KeyError` for one that is not declared."""
    family = _declared(name, by, "gauge")
    return GaugeMetricFamily(family.full_name, family.text, labels=family.labels)


class Quantiles(Metric):
    """A summary of a sliding window: quantiles alone, since a count and a sum would have to go up for ever."""

    def __init__(self, family: Family) -> None:
        super().__init__(family.full_name, family.text, "summary")
        self._labels = family.labels

    def add_metric(self, values: Sequence[str], number: float) -> None:
        """`values` are those of the labels, the quantile last."""
        self.add_sample(self.name, dict(zip(self._labels, values, strict=True)), number)


def quantiles(name: str, by: str = "") -> Quantiles:
    """An empty summary of the table. Raises `KeyError` for one that is not declared."""
    return Quantiles(_declared(name, by, "summary"))


def counter(name: str) -> CounterMetricFamily:
    """An empty counter of the table. Raises `KeyError` for one that is not declared."""
    family = _declared(name, "", "counter")
    return CounterMetricFamily(family.full_name, family.text, labels=family.labels)


def value(name: str, number: float | None) -> GaugeMetricFamily:
    """A gauge without labels; absent where the number is not known."""
    family = gauge(name)
    if number is not None:
        family.add_metric([], float(number))
    return family


def total(name: str, count: float) -> CounterMetricFamily:
    """A counter without labels."""
    family = counter(name)
    family.add_metric([], count)
    return family


def _declared(name: str, by: str, kind: str) -> Family:
    family = _BY_NAME[name].of(by) if by else _BY_NAME[name]
    if family.kind != kind:
        raise KeyError(f"{name} is declared as a {family.kind}")
    return family
