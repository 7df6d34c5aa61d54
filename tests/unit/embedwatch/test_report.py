"""The text dashboard: what is there is shown with its unit, what is not known is said so."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from embedwatch.errors import ConfigError, EmbedwatchError, InputError
from embedwatch.report import breach, dashboard, day_page, ledger_row, number, usd
from stream_agents.compute.phases import phase_rows
from stream_agents.compute.windows import Totals

SUMMARY: dict[str, Any] = {
    "time_seconds": 1_795_000_000.0,
    "scope": "all",
    "window_seconds": 300,
    "performance": {
        "latency_ms": {"p50": 52.3, "p95": 87.1, "p99": 102.5, "avg": 54.8, "min": 1.0, "max": 200.0, "count": 1000},
        "queue_wait_ms": {"p50": 1.0, "p95": 1.0, "p99": 1.0, "avg": 1.0, "min": 1.0, "max": 1.0, "count": 1000},
        "phase_seconds": {"queue_wait": 1.0, "embed": 3.0, "publish": 0.0},
        "throughput_texts_per_s": 40.0,
        "throughput_tokens_per_s": 2113.4,
        "texts": 1000,
        "errors": 5,
        "errors_by_class": {"text_too_large": 5},
        "error_rate_pct": 0.5,
        "truncated_texts": 0,
        "padding_waste_pct": 12.5,
        "covered_seconds": 25.0,
    },
    "cache": {
        "hits": 600, "misses": 400, "duplicates": 3, "hit_rate_pct": 60.0, "token_hit_rate_pct": 55.5, "errors": 0,
        "available": True, "reason": None, "entries": 400, "memory_bytes": 2 * 1024 * 1024, "bytes_per_entry": 900.4,
        "evictions": 0,
    },
    "today": {
        "day": "2026-11-25", "timezone": "UTC", "texts": 1000, "cache_hits": 600, "duplicates": 3, "misses": 400,
        "errors": 5, "tokens_received": 50_000, "tokens_embedded": 20_000, "tokens_saved": 30_000,
        "cost_nano_usd": 1_234_500_000, "saved_nano_usd": 2_000_000_000, "unpriced_tokens": 0, "cost_usd": 1.2345,
        "saved_usd": 2.0, "cost_without_cache_usd": 3.2345, "savings_pct": 61.8, "cost_per_text_usd": 0.0012407,
        "cost_per_million_tokens_usd": 61.725,
    },
    "queue": {
        "status": "OK", "reason": None, "depth_texts": 1234, "lag_messages": 10, "lag_seconds": 2.5,
        "drain_seconds": 30.0, "arrival_rate_per_s": 1.0, "consume_rate_per_s": 2.0, "stalled_partitions": 0,
        "partitions": 4,
    },
    "workers": [{"worker": "gpu-1", "model": "m", "state": "running"}],
    "late_events": 0,
    "rejected_events": {},
    "accepted_gaps": 0,
    "breached": [],
}  # fmt: skip


def with_(changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    changed = copy.deepcopy(SUMMARY)
    for part, fields in changes.items():
        changed[part].update(fields)
    return changed


def line(text: str, name: str) -> str:
    (found,) = [row for row in text.splitlines() if row.strip().startswith(f"{name}:")]
    return found.partition(":")[2].strip()


def test_the_parts_and_numbers_of_the_guide_are_there() -> None:
    text = dashboard(SUMMARY)
    for heading in ("PERFORMANCE (last 5 min):", "CACHE:", "COST (today, 2026-11-25 in UTC):", "OVERALL:"):
        assert heading in text
    shown = {
        "Throughput": "40.00 texts/s, 2,113 tokens/s",
        "Latency (avg)": "54.80 ms",
        "Latency (p95)": "87.10 ms",
        "Error rate": "0.50 % (text_too_large 5)",
        "Hit rate": "60.00 % of texts, 55.50 % of tokens",
        "Total hits": "600",
        "Total misses": "400",
        "Total cost": "$1.2345",
        "Total tokens": "50,000 received, 20,000 embedded",
        "Avg cost/text": "$0.001241",
        "Saved by the cache": "$2.0000 (61.8 % of the whole)",
        "Total texts": "1,000 today, 5 without a vector",
        "Elapsed time": "25.00 s looked at",
        "Depth": "1,234 texts",
        "Over a limit": "nothing",
    }
    assert {name: line(text, name) for name in shown} == shown


def test_the_time_goes_where_the_api_says_and_waiting_in_the_queue_is_told_apart() -> None:
    seconds = {"queue_wait": 3600.0, "cache_lookup": 1.0, "tokenise": 0.5, "embed": 6.0, "cache_write": 0.5,
               "publish": 2.0}  # fmt: skip
    waits = SUMMARY["performance"]["queue_wait_ms"] | {"p50": 12.5, "p95": 3_600_000.0}
    text = dashboard(with_({"performance": {"phase_seconds": seconds, "queue_wait_ms": waits}}))
    shown = line(text, "Time goes to")
    assert shown == "embed 60 %, publish 20 %, cache lookup 10 %"
    totals = Totals(phase_seconds=dict(seconds))
    shares = {name: row["share_pct"] for name, row in phase_rows(totals).items()}
    for name, share in shares.items():
        told = f"{name.replace('_', ' ')} {share:.0f} %" if share is not None else name
        assert (told in shown) == (share is not None and share >= 10), name
    assert line(text, "Wait in the queue") == "12.50 ms (p50), 3,600,000.00 ms (p95) before the latency begins"
    idle = with_({"performance": {"phase_seconds": {"queue_wait": 5.0, "embed": 0.0}}})
    assert "Time goes to" not in dashboard(idle), "nobody was busy"


def test_what_is_not_known_is_said_so_and_never_zero() -> None:
    nothing = dict.fromkeys(("p50", "p95", "p99", "avg", "min", "max"))
    text = dashboard(
        with_(
            {
                "performance": {
                    "latency_ms": nothing, "throughput_texts_per_s": None, "throughput_tokens_per_s": None,
                    "error_rate_pct": None,
                    "errors_by_class": {}, "padding_waste_pct": None, "covered_seconds": None, "phase_seconds": {},
                    "queue_wait_ms": nothing,
                },
                "cache": {"hit_rate_pct": None, "token_hit_rate_pct": None, "available": None, "reason": "no sample"},
                "today": {"cost_per_text_usd": None, "cost_per_million_tokens_usd": None, "savings_pct": None},
                "queue": {"status": "UNKNOWN", "reason": "no lag sample yet", "depth_texts": None, "lag_seconds": None,
                          "drain_seconds": None},
            }
        ) | {"workers": []}
    )  # fmt: skip
    for name in ("Throughput", "Latency (p95)", "Error rate", "Avg cost/text", "Depth", "Oldest waits", "Elapsed time",
                 "Wait in the queue"):  # fmt: skip
        assert line(text, name) == "unknown", name
    assert line(text, "Cache server") == "unknown (no sample)"
    assert line(text, "Status") == "UNKNOWN (no lag sample yet)"
    assert line(text, "Workers") == "none heard of"


def test_tokens_without_a_price_stand_beside_the_cost_and_make_no_average_of_zero() -> None:
    text = dashboard(with_({"today": {"cost_usd": 0.0, "unpriced_tokens": 20_000, "cost_per_text_usd": 0.0}}))
    assert line(text, "Total cost") == "$0.0000 and 20,000 tokens WITHOUT A PRICE"
    assert line(text, "Avg cost/text") == "unknown"


def test_the_energy_of_each_gpu_stands_with_the_cost_or_why_it_is_not_known() -> None:
    gpu = {"uuid": "GPU-12345678-9abc", "name": "H100", "joules_per_million_tokens": 81_234.5, "reason": None}
    part = gpu | {"uuid": "MIG-1", "name": None, "joules_per_million_tokens": None, "reason": "a slice has none"}
    shown = "H100 GPU-12345678: 81,234.5 J"
    assert line(dashboard(SUMMARY | {"gpus": [gpu]}), "Energy/1M tokens") == shown
    both = line(dashboard(SUMMARY | {"gpus": [gpu, part]}), "Energy/1M tokens")
    assert both == f"{shown}, GPU MIG-1: unknown (a slice has none)"
    assert line(dashboard(SUMMARY | {"gpus": [gpu] * 7}), "Energy/1M tokens").endswith("J and 2 more GPUs")
    for without in (SUMMARY, SUMMARY | {"gpus": []}):
        assert "Energy" not in dashboard(without)


def test_a_cache_that_is_away_is_shouted_with_its_reason() -> None:
    text = dashboard(with_({"cache": {"available": False, "reason": "refused"}}))
    assert line(text, "Cache server") == "NOT AVAILABLE (refused)"


def test_breaches_are_named_with_value_and_limit() -> None:
    row = {"type": "HIGH_LATENCY", "scope": {"tenant": "a"}, "value": 650.0, "comparison": ">", "threshold": 500.0,
           "unit": "ms"}  # fmt: skip
    assert breach(row) == "HIGH_LATENCY of tenant=a: 650 > 500 ms"
    assert breach(row | {"value": None, "scope": {}}) == "HIGH_LATENCY: unknown > 500 ms"
    assert "HIGH_LATENCY of tenant=a" in line(dashboard(SUMMARY | {"breached": [row]}), "Over a limit")


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0.0, "$0.0000"), (12345.6789, "$12,345.6789"), (0.0044638, "$0.004464"), (0.0000022319, "$0.0000022319")],
)
def test_small_sums_keep_digits_that_mean_something(amount: float, shown: str) -> None:
    assert usd(amount) == shown


@pytest.mark.parametrize(("value", "shown"), [(32600.0, "32,600"), (1.414, "1.41"), (0.0, "0"), (100.0, "100")])
def test_numbers_have_no_idle_decimals(value: float, shown: str) -> None:
    assert number(value) == shown


BUDGET: dict[str, Any] = {
    "forecast_usd": 3.5, "forecast_reason": "by the curve", "burn": {"fast": {}, "slow": {}}, "late_events": 0,
    "late_cost_usd": 0.0,
    "budgets": [{
        "rule": "daily_cost_usd", "budget_usd": 100.0, "remaining_usd": 98.7655, "spent_pct": 1.2, "forecast_pct": 3.5,
        "burn_fast_pct": 0.5, "burn_slow_pct": 1.25,
    }],
}  # fmt: skip


def test_the_forecast_and_what_is_left_of_each_budget_stand_with_the_cost() -> None:
    text = dashboard(with_({"today": BUDGET}))
    assert line(text, "Forecast") == "$3.5000 today"
    left = "$98.7655 left; 0.5 % spent in 15 min, 1.25 % in 2 h, of $100.0000 (daily_cost_usd)"
    assert line(text, "Budget") == left
    assert "Corrected" not in text
    over = BUDGET["budgets"][0] | {"remaining_usd": -2.0, "burn_fast_pct": None, "burn_slow_pct": None}
    text = dashboard(with_({"today": BUDGET | {"forecast_usd": None, "budgets": [over]}}))
    assert line(text, "Forecast") == "unknown (by the curve)"
    assert line(text, "Budget") == "$2.0000 OVER, of $100.0000 (daily_cost_usd)"


def test_agents_that_know_no_budget_and_older_ones_say_nothing_of_it() -> None:
    for text in (dashboard(SUMMARY), dashboard(with_({"today": {"budgets": [], "burn": {}, "forecast_usd": None}}))):
        assert "Forecast" not in text
        assert "Budget" not in text


def test_what_was_booked_late_and_what_machines_cost_is_said() -> None:
    late = {
        "late_events": 1200, "late_texts": 34_567, "late_cost_usd": 0.25,
        "busy_cost_usd": 1.0, "allocated_cost_usd": 4.0,
        "last_correction_seconds": 1_800_000_000.0, "timezone": "Asia/Kolkata", "cost_per_1000_texts_usd": 1.25,
    }  # fmt: skip
    text = dashboard(with_({"today": late}))
    assert line(text, "Corrected") == (
        "after its close by $0.2500, 34,567 texts in 1,200 events, the last one at 2027-01-15 13:30:00"
    )
    older = dashboard(with_({"today": {name: value for name, value in late.items() if name != "late_texts"}}))
    assert "by $0.2500, 1,200 events, the last" in line(older, "Corrected")
    assert line(text, "Cost/1,000 texts") == "$1.2500"
    unpriced = dashboard(with_({"today": late | {"unpriced_tokens": 1}}))
    assert "Cost/1,000" not in unpriced
    assert line(text, "Machines") == "$1.0000 busy of $4.0000 for the time they ran"


LEDGER: dict[str, Any] = {
    "timezone": "Europe/Berlin", "today": "2026-03-01", "days": ["2026-02-28", "2026-03-01"],
    "rows": [SUMMARY["today"] | {"scope": "all", "timezone": "Europe/Berlin", "day": day}
             for day in ("2026-02-28", "2026-03-01")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("day", "zone", "found"),
    [
        ("today", None, "2026-03-01"),
        ("yesterday", "Europe/Berlin", "2026-02-28"),
        ("2026-02-28", None, "2026-02-28"),
        ("20260228", None, "2026-02-28"),
    ],
)
def test_a_day_is_named_in_the_zone_of_the_ledger(day: str, zone: str | None, found: str) -> None:
    assert ledger_row(LEDGER, day, zone)["day"] == found


@pytest.mark.parametrize(
    ("day", "zone", "error", "words"),
    [
        (
            "2026-02-27",
            None,
            InputError,
            r"nothing was booked on 2026-02-27 .*no longer kept; kept: 2026-02-28, 2026-03-01",
        ),
        ("tomorrow", None, ConfigError, "--day is today, yesterday or a date such as 2026-07-14, not 'tomorrow'"),
        ("today", "UTC", ConfigError, "the agents book by days of Europe/Berlin, not of 'UTC': leave out --tz"),
    ],
)
def test_a_day_that_cannot_be_told_is_refused_with_what_can(
    day: str, zone: str | None, error: type[EmbedwatchError], words: str
) -> None:
    with pytest.raises(error, match=words):
        ledger_row(LEDGER, day, zone)


def test_agents_that_do_not_say_what_day_it_is_are_too_old() -> None:
    with pytest.raises(InputError, match="older version"):
        ledger_row({"timezone": "UTC", "days": [], "rows": []}, "today", None)


def test_a_day_of_the_ledger_is_a_page_of_its_own() -> None:
    text = day_page(LEDGER["rows"][0] | {"scope": "tenant=a"})
    assert "LEDGER OF 2026-02-28 (Europe/Berlin): tenant=a" in text
    assert line(text, "Total cost") == "$1.2345"
    assert line(text, "Total texts") == "1,000, 5 without a vector"
    assert line(text, "Hit rate") == "60.00 %"


SCALING: dict[str, Any] = {
    "decision_seconds": 1_795_000_000.0, "desired_workers": 4, "wanted_workers": 7, "running_workers": 2,
    "at_capacity": True, "limited_by": "max_workers", "cause": "backlog",
    "desired_workers_reason": "9,000 texts wait, 90 s of work for 1: done in 30 s", "cost_usd_per_hour": 4.8,
    "wanted_cost_usd_per_hour": 8.4, "changes_today": 1,
}  # fmt: skip


def scaling_of(**changes: Any) -> str:
    text = dashboard({**SUMMARY, "scaling": {**SCALING, **changes}})
    return text.partition("SCALING:\n")[2].partition("\n\n")[0]


def test_the_last_decision_is_told_in_words_with_the_changes_of_the_day() -> None:
    text = scaling_of()
    assert line(text, "Workers") == (
        "4 workers asked for, 2 running: 9,000 texts wait, 90 s of work for 1: done in 30 s"
    )
    assert line(text, "Limited") == "7 wanted, which would cost $8.4000 an hour; limited by scaling.max_workers"
    assert line(text, "Their cost") == "$4.8000 an hour"
    assert line(text, "Last decision") == "2026-11-18 11:06:40, 1 change today"
    free = scaling_of(limited_by=None, cost_usd_per_hour=None, desired_workers=1, changes_today=12)
    assert "Limited" not in free
    assert "Their cost" not in free
    assert line(free, "Workers").startswith("1 worker asked for")
    assert line(free, "Last decision").endswith("12 changes today")


def test_where_nothing_is_decided_the_report_says_why() -> None:
    nothing = dict.fromkeys(SCALING) | {"desired_workers_reason": "no decision yet"}
    assert scaling_of(**nothing).strip() == "Workers:             nothing is decided (no decision yet)"
    assert "SCALING" not in dashboard(SUMMARY), "agents of an older version do not tell"
