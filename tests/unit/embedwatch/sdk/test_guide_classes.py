"""The guide's classes: same names and keys, and right where the guide's numbers were not."""

from __future__ import annotations

import io
import math
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.errors import ConfigError
from embedwatch.sdk import (
    THRESHOLDS,
    AlertSystem,
    BudgetMonitor,
    CacheMetrics,
    CacheSizeMonitor,
    CostTracker,
    DetailedLatencyTracker,
    EmbeddingMetrics,
    LatencyTracker,
    analyze_cache_effectiveness,
    count_tokens,
    print_dashboard,
)
from embedwatch.sdk.day import DayCost
from tests.harness.sdk import Client, watched

SMALL = "text-embedding-3-small"
GUIDES_KEYS = {
    "total_texts", "cache_hit_rate", "avg_latency_ms", "throughput_texts_per_sec", "total_cost_usd", "error_rate",
    "elapsed_seconds",
}  # fmt: skip


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_metrics_have_the_guides_keys_and_know_nothing_at_first() -> None:
    summary = EmbeddingMetrics(Clock()).summary()
    assert summary.keys() >= GUIDES_KEYS
    for name in ("cache_hit_rate", "avg_latency_ms", "throughput_texts_per_sec", "error_rate", "latency_p95_ms"):
        assert summary[name] is None, name
    assert (summary["total_texts"], summary["total_cost_usd"]) == (0, 0.0)


def test_metrics_count_what_the_guide_counts() -> None:
    clock = Clock(100.0)
    metrics = EmbeddingMetrics(clock)
    metrics.record_operation(10, 100.0, cache_hits=4, cost=0.001)
    metrics.record_operation(10, 20.0, cache_hits=10)  # nothing was asked of the model: it cost nothing
    metrics.record_operation(4, 5000.0, error=True)
    metrics.record_operation(6, 60.0, cost=0.002)
    clock.now = 110.0
    summary = metrics.summary()
    assert summary["total_texts"] == 30
    assert summary["cache_hit_rate"] == pytest.approx(100 * 14 / 26)
    assert summary["avg_latency_ms"] == pytest.approx(60.0)  # of the calls that succeeded, over all of them
    assert summary["error_rate"] == 25.0
    assert summary["throughput_texts_per_sec"] == pytest.approx(2.6)
    # What the call that failed cost, nobody said.
    assert (summary["total_cost_usd"], summary["cost_state"]) == (0.003, "partial")
    metrics.record_operation(1, 1.0)
    assert metrics.summary()["cost_state"] == "partial"


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=300))
def test_percentiles_are_near_the_exact_ones(values: list[float]) -> None:
    tracker = LatencyTracker()
    for value in values:
        tracker.record(value)
    found = tracker.percentiles()
    assert found.keys() == {"p50", "p95", "p99", "avg", "min", "max"}
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact = float(np.quantile(values, q, method="higher"))
        assert math.isclose(found[name], exact, rel_tol=0.00501)
    assert (found["min"], found["max"]) == (min(values), max(values))


def test_percentiles_of_nothing_are_empty_and_no_number_is_refused() -> None:
    tracker = LatencyTracker()
    assert tracker.percentiles() == {}
    with pytest.raises(ValueError):
        tracker.record(math.nan)


def test_a_breakdown_says_where_the_time_went_for_hits_too() -> None:
    class Cache(dict[str, Any]):
        set = dict.__setitem__

    with watched() as (monitor, calls):
        tracker = DetailedLatencyTracker(Client(), Cache(), monitor=monitor)
        _, first = tracker.track_embedding("a")
        _, second = tracker.track_embedding("a")
        assert monitor.flush()
    assert first.keys() == {"cache_lookup_ms", "embedding_generation_ms", "cache_write_ms", "total_ms"}
    assert second.keys() == {"cache_lookup_ms", "total_ms"}
    assert tracker.breakdown()["total_ms"].keys() == {"p50", "p95", "p99", "avg", "min", "max"}
    assert [(call.cache_hits, sorted(call.phase_seconds)) for call in calls] == [
        (0, ["cache_lookup", "cache_write", "embed"]), (1, ["cache_lookup", "embed"]),
    ]  # fmt: skip


def test_costs_are_exact_and_averages_work() -> None:
    tracker = CostTracker(SMALL)
    assert tracker.summary()["avg_tokens_per_text"] is None
    tokens, cost = tracker.record_embedding("What is the capital of France?")
    assert (tokens, cost) == (7, 7 * 20 / 1e9)
    tracker.record_tokens(49_993, texts=3)
    assert tracker.summary() == {
        "total_tokens": 50_000, "total_cost_usd": 0.001, "avg_tokens_per_text": 12_500.0, "avg_cost_per_text": 0.00025,
        "saved_tokens": 0, "saved_usd": 0.0, "unpriced_tokens": 0,
    }  # fmt: skip


def test_a_model_nobody_sells_has_an_unknown_cost() -> None:
    tracker = CostTracker("mine")
    assert tracker.record_embedding("words")[1] is None
    assert tracker.summary()["total_cost_usd"] is None
    assert tracker.summary()["avg_cost_per_text"] is None
    priced = CostTracker("mine", prices={"mine": "1"})
    assert priced.record_tokens(1_000_000)[1] == 1.0
    with pytest.raises(ConfigError, match="must be a sum"):
        CostTracker("mine", prices={"mine": "much"})


def test_tokens_of_any_text_are_counted() -> None:
    assert count_tokens("<|endoftext|>") > 1
    assert count_tokens("") == 0


def test_a_budget_speaks_once_a_threshold_and_begins_anew_each_day_of_its_zone() -> None:
    told: list[tuple[float, float]] = []
    clock = Clock(1_800_000_000.0)  # 2027-01-15 08:00 UTC, 21:00 in Auckland
    budget = BudgetMonitor(
        10, timezone="Pacific/Auckland", on_threshold=lambda pct, spent, of: told.append((pct, spent)), clock=clock
    )
    for _ in range(12):
        budget.record_cost("1.00")
    assert told == [(50, 5.0), (80, 8.0), (100, 10.0)]
    assert (budget.today_spend, budget.remaining_budget()) == (12.0, 0.0)
    clock.now += 3 * 3600  # midnight in Auckland, not in UTC
    assert budget.remaining_budget() == 10.0
    budget.record_cost(20)
    assert told[3:] == [(50, 20.0), (80, 20.0), (100, 20.0)]
    for wrong in (-1, "nan", None, "a"):
        with pytest.raises(ValueError):
            budget.record_cost(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Mars"):
        BudgetMonitor(timezone="Mars/Olympus")


def test_a_budget_warns_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    BudgetMonitor(1.0).record_cost(0.9)
    assert "50 % of today's $1.00 are spent ($0.9000)" in caplog.text


def test_cache_metrics_and_what_the_cache_saved() -> None:
    cache, costs = CacheMetrics(), CostTracker(SMALL)
    assert cache.hit_rate() is None
    for text in ("a long text that the model reads", "another one"):
        cache.record_miss()
        costs.record_embedding(text)
    cache.record_hit()
    assert analyze_cache_effectiveness(cache, costs)["savings_usd"] is None  # nobody said what the hit held
    costs.record_cached("one")
    assert cache.summary() == {"hits": 1, "misses": 2, "total": 3, "hit_rate_pct": 33.33}
    found = analyze_cache_effectiveness(cache, costs)
    assert found.keys() == {"cache_hit_rate", "actual_cost_usd", "no_cache_cost_usd", "savings_usd", "savings_pct"}
    assert found["savings_usd"] == 20 / 1e9
    whole = found["no_cache_cost_usd"]
    assert whole is not None
    assert whole == pytest.approx(costs.cost_nano_usd / 1e9 + 20 / 1e9)


def test_a_cache_that_had_everything_divides_nothing_by_zero() -> None:
    cache, costs = CacheMetrics(), CostTracker(SMALL)
    cache.record_hit()
    costs.record_cached("one")
    assert analyze_cache_effectiveness(cache, costs)["savings_pct"] == 100.0
    assert analyze_cache_effectiveness(CacheMetrics(), CostTracker(SMALL))["savings_pct"] is None


def test_a_monitors_summary_tells_the_saving_too() -> None:
    with watched() as (monitor, _):
        with monitor.call(["a", "b"]) as call:
            call.usage(10)
            call.cache(hits=1, tokens_saved=30)
        found = analyze_cache_effectiveness(monitor.summary())
    assert found == {
        "cache_hit_rate": 50.0, "actual_cost_usd": 200 / 1e9, "no_cache_cost_usd": pytest.approx(800 / 1e9),
        "savings_usd": 600 / 1e9, "savings_pct": 75.0,
    }  # fmt: skip


def test_the_size_of_a_real_cache(cache_server: Any) -> None:
    import redis

    with redis.Redis.from_url(cache_server.url) as client:
        client.flushall()
        assert CacheSizeMonitor(client).get_stats()["avg_entry_size_kb"] is None
        for number in range(100):
            client.set(f"k{number}", b"x" * 2048)
        stats = CacheSizeMonitor(client).get_stats()
        client.flushall()
    assert stats["cache_entries"] == 100
    assert stats["unavailable"] is None
    assert float(stats["avg_entry_size_kb"] or 0) > 2.0


def test_a_cache_that_cannot_be_asked_is_unknown() -> None:
    stats = CacheSizeMonitor(object()).get_stats()
    assert stats == {
        "cache_entries": None, "memory_mb": None, "avg_entry_size_kb": None, "unavailable": "AttributeError",
    }  # fmt: skip


def test_an_alert_is_told_once_and_then_its_end() -> None:
    told: list[dict[str, Any]] = []
    alerts = AlertSystem(THRESHOLDS, notify=told.append, clock=Clock(1_800_000_000.0))
    bad = {"latency_p95_ms": 650, "error_rate_pct": 0.5, "cache_hit_rate_pct": 35, "daily_cost_usd": 50}
    for _ in range(3):
        alerts.check_metrics(bad)
    assert [alert["type"] for alert in told] == ["HIGH_LATENCY", "LOW_CACHE_HIT_RATE"]
    assert told[0]["message"] == "p95 latency: 650.00ms"
    assert told[0]["timestamp"] == "2027-01-15T08:00:00+00:00"
    assert alerts.check_metrics({}) == []
    assert alerts.check_metrics({"latency_p95_ms": None}) == []
    assert alerts.firing() == {"HIGH_LATENCY", "LOW_CACHE_HIT_RATE"}
    assert [(a["type"], a["state"]) for a in alerts.check_metrics({"latency_p95_ms": 100})] == [
        ("HIGH_LATENCY", "resolved")
    ]
    assert alerts.check_metrics({"queue_depth": 2000})[0]["type"] == "HIGH_QUEUE_DEPTH"
    assert alerts.get_alerts() == told


def test_alerts_on_the_days_cost_and_the_queue_work_on_a_summary(caplog: pytest.LogCaptureFixture) -> None:
    wall = Clock(1_800_000_000.0)  # 09:00 in Berlin
    metrics = EmbeddingMetrics(timezone="Europe/Berlin", wall_clock=wall)
    depth: list[float] = [2000]
    alerts = AlertSystem({"daily_cost_usd": 1, "queue_depth": 1000}, notify=lambda _: None, queue_depth=depth.pop)
    metrics.record_operation(10, 5.0, cost=1.5)
    assert [alert["type"] for alert in alerts.check_metrics(metrics.summary())] == [
        "BUDGET_EXCEEDED", "HIGH_QUEUE_DEPTH",
    ]  # fmt: skip
    wall.now += 15 * 3600 - 1
    assert metrics.summary()["daily_cost_usd"] == 1.5
    wall.now += 1  # midnight in Berlin
    summary = metrics.summary()
    assert (summary["daily_cost_usd"], summary["daily_cost_state"], summary["total_cost_usd"]) == (0.0, "known", 1.5)
    assert [alert["state"] for alert in alerts.check_metrics(summary)] == ["resolved"]
    assert alerts.unknown() == {"queue_depth": "queue_depth() raised IndexError"}
    metrics.record_operation(10, 5.0, error=True)
    assert metrics.summary()["daily_cost_usd"] is None
    assert not caplog.records


def test_a_call_that_is_told_late_is_on_its_own_day() -> None:
    day = DayCost(ZoneInfo("UTC"))
    midnight = 1_800_057_600.0
    for nano_usd, end_seconds in ((1, midnight - 1), (10, midnight), (100, midnight - 0.5), (1000, midnight + 5)):
        day.add(nano_usd, False, end_seconds)
    assert day.today(midnight + 9) == (1010, 0)
    assert day.today(midnight + 86_400) == (0, 0)


def test_what_cannot_be_judged_is_said_and_stops_no_other_alert(caplog: pytest.LogCaptureFixture) -> None:
    alerts = AlertSystem(THRESHOLDS, notify=lambda _: None)
    found = {"latency_p95_ms": "650", "error_rate_pct": True, "cache_hit_rate_pct": float("nan"), "daily_cost_usd": 101}
    for _ in range(2):
        alerts.check_metrics(found)
    assert alerts.firing() == {"BUDGET_EXCEEDED"}
    assert alerts.unknown() == {
        "latency_p95_ms": "no number, but str", "error_rate_pct": "no number, but bool",
        "cache_hit_rate_pct": "no number, but float", "queue_depth": "the metrics have no such number",
    }  # fmt: skip
    assert [record.message for record in caplog.records] == [
        "alerts: the threshold queue_depth cannot be judged, the metrics have no such number: give "
        "AlertSystem(queue_depth=...)"
    ]
    with pytest.raises(ConfigError, match="latency_p95_ms is 'slow'"):
        AlertSystem({"latency_p95_ms": "slow"})  # type: ignore[dict-item]


def test_thresholds_may_be_few_and_must_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    AlertSystem({"error_rate_pct": 1}).check_metrics({"error_rate_pct": 2, "latency_p95_ms": 10**6})
    assert capsys.readouterr().out == "ALERT [HIGH_ERROR_RATE]: Error rate: 2.00%\n"
    with pytest.raises(ConfigError, match="did you mean latency_p95_ms"):
        AlertSystem({"latency_p95": 1})


def test_the_dashboard_shows_what_is_known_and_dashes_for_the_rest() -> None:
    out = io.StringIO()
    print_dashboard({}, file=out)
    assert out.getvalue().count(" -\n") == 12
    with watched() as (monitor, _):
        with monitor.call(["a"]) as call:
            call.usage(1000)
            call.cache(0)
        out = io.StringIO()
        print_dashboard(monitor.summary(), file=out)
    assert "Total Cost:     $0.000020" in out.getvalue()
    assert "Hit Rate:       0.00%" in out.getvalue()
    out = io.StringIO()
    print_dashboard({"latency_p95_ms": 1}, CacheMetrics().summary(), CostTracker(SMALL).summary(), file=out)
    assert "Latency (p95):  1.00 ms" in out.getvalue()
