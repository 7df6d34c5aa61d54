"""Make or check deploy/grafana/dashboards: `python -m deploy.grafana.make make`, or `check`.

Generated, because four dashboards of JSON are two thousand lines in which ten differ from panel to panel: units, limits
and words come from the table of metrics and the rules, so that they cannot drift from them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from deploy.grafana.panels import Panel, above, bars, below, dashboard, line, number, states
from embedwatch.rules import DEFAULT_THRESHOLDS
from stream_agents.compute.budget import FAST, SLOW

FOLDER = Path(__file__).resolve().parent / "dashboards"
JOB = '{job="$job"}'
MODEL = '{job="$job", model=~"$model"}'
PAIR = '{job="$job", model=~"$model", tenant=~"$tenant"}'
#: Texts and tokens a second are no unit of Grafana's.
TEXTS_S, TOKENS_S, MESSAGES_S = "suffix: texts/s", "suffix: tokens/s", "suffix: messages/s"

SLOW_SECONDS = DEFAULT_THRESHOLDS["latency_p95_ms"] / 1000
ERRORS = DEFAULT_THRESHOLDS["error_rate_pct"] / 100
HITS = DEFAULT_THRESHOLDS["cache_hit_rate_pct"] / 100
#: As deploy/rules.yaml has it.
LATE_SECONDS = 120
#: The guide's target; a GPU that idles because nothing waits is nothing bad.
BUSY = ((None, "blue"), (0.7, "green"))
BUDGET = ((None, "green"), (0.5, "yellow"), (0.8, "orange"), (1, "red"))


def whole(name: str) -> str:
    """A gauge of the whole pipeline, which each agents process answers alike."""
    return f"max by (job) (embedwatch_{name}{JOB})"


def lines(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    return [(whole(name), legend) for name, legend in pairs]


def overview() -> dict[str, Any]:
    p95 = 'max by (job) (embedwatch_latency_seconds{job="$job", quantile="0.95"})'
    budget = f"max by (job) (job_rule_scope:embedwatch_budget_spent:ratio{JOB})"
    now: list[Panel] = [
        number("Latency, p95", p95, "s", "latency_seconds", steps=above(SLOW_SECONDS)),
        number("Throughput", whole("throughput_texts_per_second"), TEXTS_S, "throughput_texts_per_second"),
        number("Errors", whole("error_ratio"), "percentunit", "error_ratio", steps=above(ERRORS)),
        number("Cache hits", whole("cache_hit_ratio"), "percentunit", "cache_hit_ratio", steps=below(HITS)),
        number("Spend today", whole("cost_usd_today"), "currencyUSD", "cost_usd_today"),
        number("Budget spent", budget, "percentunit", "budget_remaining_usd", steps=BUDGET,
               more="Of the budget that is nearest to its end."),
        number("Oldest text waits", whole("queue_lag_seconds"), "s", "queue_lag_seconds", steps=above(LATE_SECONDS)),
        number("Workers", whole("workers"), "short", "workers", steps=below(1)),
    ]  # fmt: skip
    performance = [
        line("Latency", [(f"job_quantile:embedwatch_latency_seconds:max{JOB}", "p{{quantile}}"),
                         *lines(("latency_mean_seconds", "mean"), ("latency_max_seconds", "slowest"))], "s",
             "latency_seconds", steps=above(SLOW_SECONDS)),
        line("Latency by model, p95",
             [('job_model_quantile:embedwatch_model_latency_seconds:max{job="$job", model=~"$model", quantile="0.95"}',
               "{{model}}")], "s", "latency_seconds", steps=above(SLOW_SECONDS)),
        line("Latency by tenant, p95",
             [('max by (tenant) (embedwatch_tenant_latency_seconds{job="$job", tenant=~"$tenant", quantile="0.95"})',
               "{{tenant}}")], "s", "latency_seconds", steps=above(SLOW_SECONDS)),
        line("Where the time of a text goes", [(f"max by (phase) (embedwatch_phase_seconds_per_text{JOB})",
             "{{phase}}")], "s", "phase_seconds_per_text", stacked=True),
        line("Texts by model", [(f"sum by (model) (job_model_tenant:embedwatch_texts:rate5m{PAIR})", "{{model}}")],
             TEXTS_S, "texts", stacked=True, more="Over five minutes."),
        line("Tokens embedded by model",
             [(f"sum by (model) (job_model_tenant:embedwatch_tokens_embedded:rate5m{PAIR})", "{{model}}")],
             TOKENS_S, "tokens_embedded", stacked=True, more="Over five minutes."),
        line("Errors", [(f"job:embedwatch_error_ratio:max{JOB}", "all"),
                        (f"job_model:embedwatch_errors_per_text:ratio_rate5m{MODEL}", "{{model}}, 5 min")],
             "percentunit", "error_ratio", steps=above(ERRORS)),
        line("Errors by class", [(f"sum by (class) (job_model_class:embedwatch_errors:rate5m{MODEL})", "{{class}}")],
             TEXTS_S, "errors", stacked=True),
        line("Cache hits", [*lines(("cache_hit_ratio", "texts"), ("cache_token_hit_ratio", "tokens")),
                            (f"job_model:embedwatch_cache_hits_per_lookup:ratio_rate5m{MODEL}", "{{model}}, 5 min")],
             "percentunit", "cache_hit_ratio", steps=below(HITS), most=1),
        line("What the last minute stands on", lines(("texts_last_minute", "texts"),
             ("cache_lookups_last_minute", "looked up")), "short", "texts_last_minute"),
    ]  # fmt: skip
    trust = [
        states("Rules of embedwatch that are breached",
               f"max by (rule, scope) (embedwatch_rule_breached{JOB})", "{{rule}} {{scope}}", "rule_breached"),
        line("Agents that can be relied on", [(f"max by (instance) (embedwatch_ready{JOB})", "{{instance}}")], "short",
             "ready", most=1),
        line("Not counted, or late", [*lines(("rejected_events_last_900_seconds", "refused, 15 min"),
                                             ("stale_partitions", "partitions with old numbers")),
                                      (f"sum by (job) (rate(embedwatch_late_events_total{JOB}[5m])) * 60",
                                       "late a minute")], "short", "rejected_events_last_900_seconds"),
    ]  # fmt: skip
    return dashboard(
        "embedwatch-overview", "embedwatch: overview",
        "How fast, how well and at what price texts are embedded, and whether the numbers can be relied on.",
        [("Now", now), ("Performance", performance), ("What is wrong", trust)],
    )  # fmt: skip


def cost() -> dict[str, Any]:
    def today(name: str, dimension: str) -> str:
        chosen = f'{{job="$job", {dimension}=~"${dimension}"}}'
        return f"sort_desc(max by ({dimension}) (embedwatch_{dimension}_{name}{chosen}))"

    left = f"min by (job) (embedwatch_budget_remaining_usd{JOB})"
    spent = f"sum by (job) (job_model_tenant:embedwatch_cost_usd:increase1h{PAIR})"
    now = [
        number("Spend today", whole("cost_usd_today"), "currencyUSD", "cost_usd_today", width=4),
        number("Expected by midnight", whole("forecast_usd_today"), "currencyUSD", "forecast_usd_today", width=4),
        number("Least left of a budget", left, "currencyUSD", "budget_remaining_usd", width=4,
               steps=((None, "red"), (0, "orange"), (1, "green"))),
        number("Saved today", whole("saved_usd_today"), "currencyUSD", "saved_usd_today", width=4),
        number("Unpriced tokens today", whole("unpriced_tokens_today"), "short", "unpriced_tokens_today", width=4,
               steps=above(1, "orange")),
        number("Spend of the last hour", spent, "currencyUSD", "cost_usd", width=4),
    ]  # fmt: skip
    budgets = [
        line("Budgets spent", [(f"job_rule_scope:embedwatch_budget_spent:ratio{JOB}", "{{rule}} {{scope}}"),
                               (f"job_rule_scope:embedwatch_budget_forecast:ratio{JOB}", "{{rule}}, by midnight")],
             "percentunit", "budget_remaining_usd", steps=BUDGET, least=None),
        line("Budgets burning", [
            ('job_rule_scope_window:embedwatch_budget_burn_ratio:max{job="$job", window="fast"}',
             f"{{{{rule}}}} {{{{scope}}}}, 15 min (limit {FAST.limit_pct:g} %)"),
            ('job_rule_scope_window:embedwatch_budget_burn_ratio:max{job="$job", window="slow"}',
             f"{{{{rule}}}} {{{{scope}}}}, 2 h (limit {SLOW.limit_pct:g} %)"),
        ], "percentunit", "budget_burn_ratio", steps=above(FAST.limit_pct / 100)),
    ]  # fmt: skip
    spend = [
        bars("Spend today by model", today("cost_usd_today", "model"), "{{model}}", "currencyUSD", "cost_usd_today"),
        bars("Spend today by tenant", today("cost_usd_today", "tenant"), "{{tenant}}", "currencyUSD", "cost_usd_today"),
        line("Spend an hour by model",
             [(f"sum by (model) (job_model_tenant:embedwatch_cost_usd:increase1h{PAIR})", "{{model}}")],
             "currencyUSD", "cost_usd", stacked=True),
        line("Spend an hour by tenant",
             [(f"sum by (tenant) (job_model_tenant:embedwatch_cost_usd:increase1h{PAIR})", "{{tenant}}")],
             "currencyUSD", "cost_usd", stacked=True),
        line("Booked on days that were closed", [(f"sum by (job) (embedwatch_day_corrections_cost_usd_total{JOB})",
             "since the start")], "currencyUSD", "day_corrections_cost_usd"),
        line("Unpriced tokens by model",
             [(f"job_model:embedwatch_model_unpriced_tokens_last_minute:max{MODEL}", "{{model}}")], "short",
             "unpriced_tokens_last_minute"),
    ]  # fmt: skip
    savings = [
        line("Saved an hour by model",
             [(f"sum by (model) (job_model_tenant:embedwatch_saved_usd:increase1h{PAIR})", "{{model}}")],
             "currencyUSD", "saved_usd", stacked=True),
        line("Tokens asked for, embedded, saved", [
            (f"sum by (job) (rate(embedwatch_tokens_received_total{PAIR}[$__rate_interval]))", "asked for"),
            (f"sum by (job) (rate(embedwatch_tokens_embedded_total{PAIR}[$__rate_interval]))", "embedded"),
            (f"sum by (job) (rate(embedwatch_tokens_saved_total{PAIR}[$__rate_interval]))", "saved"),
        ], TOKENS_S, "tokens_saved"),
    ]  # fmt: skip
    return dashboard(
        "embedwatch-cost", "embedwatch: cost",
        "What is spent, by whom, against which budget, and what the cache saves. Sums of a day are exact; a rate or an "
        "hour's increase is an estimate.",
        [("Now", now), ("Budgets", budgets), ("Spend", spend), ("Savings", savings)],
    )  # fmt: skip


def workers() -> dict[str, Any]:
    def gpu(name: str) -> list[tuple[str, str]]:
        return [(f"max by (gpu) (embedwatch_gpu_{name}{JOB})", "{{gpu}}")]

    now = [
        number("Workers", whole("workers"), "short", "workers", width=4, steps=below(1)),
        number("Texts in flight", whole("in_flight_texts"), "short", "in_flight_texts", width=4),
        number("Longest silence", whole("worker_silent_seconds"), "s", "worker_silent_seconds", width=4,
               steps=above(DEFAULT_THRESHOLDS["worker_silent_seconds"])),
        number("GPUs busy", f"job:embedwatch_gpu_utilization_ratio:avg{JOB}", "percentunit", "gpu_utilization_ratio",
               width=4, steps=BUSY),
        number("Cache answers", whole("cache_available"), "bool_yes_no", "cache_available", width=4, steps=below(1)),
        number("Padding", whole("padding_ratio"), "percentunit", "padding_ratio", width=4),
    ]  # fmt: skip
    people = [
        line("Workers", [(f"job:embedwatch_workers:max{JOB}", "heard of"),
                         *lines(("running_workers", "running"), ("desired_workers", "asked for"))], "short", "workers"),
        line("Silence of workers", [(f"job:embedwatch_worker_silent_seconds:max{JOB}", "longest"),
                                    (f"job:embedwatch_workers_silent_seconds:max{JOB}", "of all")], "s",
             "worker_silent_seconds", steps=above(DEFAULT_THRESHOLDS["worker_silent_seconds"])),
        line("Models working at once", [(f"job_model:embedwatch_busy_seconds:rate5m{MODEL}", "{{model}}")], "short",
             "busy_seconds", more="Seconds of work a second: as many models were busy on average.", stacked=True),
        line("Time by phase", [(f"sum by (phase) (job_model_phase:embedwatch_phase_seconds:rate5m{MODEL})",
             "{{phase}}")], "short", "phase_seconds", more="Seconds of it a second.", stacked=True),
        line("Padding by model", [(f"max by (model) (embedwatch_model_padding_ratio{MODEL})", "{{model}}")],
             "percentunit", "padding_ratio", most=1),
        line("Model load", [(f"max by (model) (embedwatch_model_load_seconds{MODEL})", "{{model}}")], "s",
             "model_load_seconds", steps=above(30, "orange")),
    ]  # fmt: skip
    gpus = [
        line("GPU busy", gpu("utilization_ratio"), "percentunit", "gpu_utilization_ratio", most=1, steps=BUSY),
        line("GPU memory", [(f"max by (gpu) (embedwatch_gpu_memory_used_bytes{JOB})", "{{gpu}} used"),
                            (f"max by (gpu) (embedwatch_gpu_memory_total_bytes{JOB})", "{{gpu}} total")], "bytes",
             "gpu_memory_used_bytes"),
        line("GPU power", gpu("power_watts"), "watt", "gpu_power_watts"),
        line("GPU temperature", gpu("temperature_celsius"), "celsius", "gpu_temperature_celsius",
             steps=above(85, "orange")),
        line("Energy per million tokens", gpu("joules_per_million_tokens"), "joule", "gpu_joules_per_million_tokens"),
    ]  # fmt: skip
    cache = [
        line("Entries", lines(("cache_entries", "entries")), "short", "cache_entries", width=8),
        line("Memory of the cache", lines(("cache_memory_bytes", "used")), "bytes", "cache_memory_bytes", width=8),
        line("Evicted, and failed calls", [*lines(("cache_evictions", "evicted since its start")),
             (f"job:embedwatch_cache_errors_last_minute:max{JOB}", "failed in a minute")], "short", "cache_evictions",
             width=8),
    ]  # fmt: skip
    return dashboard(
        "embedwatch-workers", "embedwatch: workers and GPU",
        "Who works, on what, and how well the machines are used.",
        [("Now", now), ("Workers", people), ("GPU", gpus), ("Cache", cache)],
    )  # fmt: skip


def queue() -> dict[str, Any]:
    def partition(name: str) -> list[tuple[str, str]]:
        return [(f"topk(20, max by (topic, partition) (kafka_consumergroup_{name}{JOB}))", "{{topic}} {{partition}}")]

    now = [
        number("Texts waiting", whole("queue_depth_texts"), "short", "queue_depth_texts", width=4,
               steps=above(DEFAULT_THRESHOLDS["queue_depth"])),
        number("Oldest text waits", whole("queue_lag_seconds"), "s", "queue_lag_seconds", width=4,
               steps=above(LATE_SECONDS)),
        number("Time to drain", whole("queue_drain_seconds"), "s", "queue_drain_seconds", width=4),
        number("Partitions that stand still", whole("queue_stalled_partitions"), "short", "queue_stalled_partitions",
               width=4, steps=above(1)),
        number("Workers asked for", whole("desired_workers"), "short", "desired_workers", width=4),
        number("Workers wanted", whole("wanted_workers"), "short", "wanted_workers", width=4),
    ]  # fmt: skip
    waiting = [
        line("Age of the oldest text", [(f"job:embedwatch_queue_lag_seconds:max{JOB}", "age"),
                                        *lines(("queue_drain_seconds", "time to drain"))], "s", "queue_lag_seconds",
             steps=above(LATE_SECONDS)),
        line("Texts and messages waiting", [(f"job:embedwatch_queue_depth_texts:max{JOB}", "texts"),
                                            *lines(("queue_lag_messages", "messages"))], "short", "queue_depth_texts",
             steps=above(DEFAULT_THRESHOLDS["queue_depth"])),
        line("Arrived and done", lines(("queue_arrival_messages_per_second", "arrive"),
             ("queue_consumed_messages_per_second", "done")), MESSAGES_S, "queue_arrival_messages_per_second"),
        line("Time a text waited", [(f"max by (quantile) (embedwatch_queue_wait_seconds{JOB})", "p{{quantile}}")], "s",
             "queue_wait_seconds"),
        line("Partitions by status", [(f"job_status:embedwatch_queue_partitions:max{JOB}", "{{status}}")], "short",
             "queue_partitions", stacked=True),
        states("Status of the queue", 'max by (status) (embedwatch_queue_status{job="$job", status!="OK"})',
               "{{status}}", "queue_status", width=12),
        line("Age of the oldest message, the worst 20 partitions", partition("group_lag_seconds"), "s",
             "queue_lag_seconds"),
        line("Messages waiting, the worst 20 partitions", partition("group_lag"), "short", "queue_lag_messages"),
    ]  # fmt: skip
    scaling = [
        line("How many workers", [(f"job:embedwatch_desired_workers:max{JOB}", "asked for"),
                                  (f"job:embedwatch_wanted_workers:max{JOB}", "wanted without limits"),
                                  *lines(("running_workers", "running"))], "short", "desired_workers"),
        line("Texts done", [(f"job:embedwatch_throughput_texts_per_second:max{JOB}", "texts/s")], TEXTS_S,
             "throughput_texts_per_second", width=6),
        line("Tokens embedded", [(f"job:embedwatch_throughput_tokens_per_second:max{JOB}", "tokens/s")], TOKENS_S,
             "throughput_tokens_per_second", width=6),
    ]  # fmt: skip
    return dashboard(
        "embedwatch-queue", "embedwatch: queue and scaling",
        "How far behind the workers are, and how many there should be.",
        [("Now", now), ("Queue", waiting), ("Scaling", scaling)],
    )  # fmt: skip


def pages() -> dict[str, str]:
    """Text by name of the file."""
    made = {"overview": overview(), "cost": cost(), "workers-and-gpu": workers(), "queue-and-scaling": queue()}
    return {f"{name}.json": json.dumps(data, indent=2, ensure_ascii=False) + "\n" for name, data in made.items()}


def make() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return check()


def check() -> int:
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    wanted = pages()
    old = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    for name in old:
        print(f"dashboards: deploy/grafana/dashboards/{name} is not as made: run `make reference`", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit({"make": make, "check": check}[sys.argv[1]]())
