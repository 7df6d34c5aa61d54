"""The examples of the guide to monitoring embedding pipelines: its numbers go in, its results come out.

Where an example of the guide is wrong or fails (a rounded average, a price off by a thousand, a division by zero), the
test says what is right instead.
"""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from embedwatch.events import BatchEvent
from embedwatch.pricing import PriceBook
from embedwatch.report import dashboard
from embedwatch.rules import DEFAULT_THRESHOLDS, default_rules, parse_rules
from embedwatch.sketch import Sketch
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.judge import judge
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.summary import summary
from stream_agents.compute.world import World
from stream_agents.web.exposition import WorldCollector
from tests.harness.agents_log import NOW, SetClock, batch_event, log_of, runtime_on

UTC_ZONE = ZoneInfo("UTC")
GUIDE = """
thresholds:
  latency_p95_ms: 500      # Alert if p95 latency > 500ms
  error_rate_pct: 1.0      # Alert if error rate > 1%
  cache_hit_rate_pct: 40   # Alert if cache hit rate < 40%
  daily_cost_usd: 100      # Alert if daily cost > $100
  queue_depth: 1000        # Alert if queue depth > 1000
"""
EMPTY = Sketch().to_text()


def world_of(*events: BatchEvent) -> World:
    world = World(zone=UTC_ZONE, max_scopes=100, lag_group="g", lag_topic="t")
    world.started_seconds = NOW - 1000
    world.partitions = {0: PartitionState(next_offset=0)}
    for event in events:
        world.apply_batch(event, NOW)
        world.partitions[0].book(event, UTC_ZONE, 100)
    return world


@pytest.mark.parametrize("requests", [100, 1000, 100_000])
def test_percentiles_versus_average(requests: int) -> None:
    """95 % take 50 ms and 5 % take 2,000 ms: the average hides what p95 shows. It is 147.5, which the guide cuts."""
    values = np.repeat([50.0, 2000.0], [requests * 95 // 100, requests * 5 // 100])
    np.random.default_rng(1).shuffle(values)
    world = world_of(*[
        batch_event(texts=len(part), latency_sketch=Sketch.of(part).to_text()) for part in np.array_split(values, 10)
    ])  # fmt: skip
    found = summary(world, NOW)["performance"]["latency_ms"]
    assert found["avg"] == pytest.approx(147.5, rel=1e-12)
    assert found["p95"] == pytest.approx(2000, rel=0.005)
    assert found["p99"] == pytest.approx(2000, rel=0.005)
    assert found["p50"] == pytest.approx(50, rel=0.005)
    assert (found["min"], found["max"], found["count"]) == (50, 2000, requests)


def test_the_thresholds_of_the_guide_are_the_ones_used_without_a_rules_file() -> None:
    rules = parse_rules(YamlFile("rules.yaml", GUIDE))
    # And what makes the numbers untrue: the guide books what has no price as free, and says nothing.
    assert default_rules()[: len(rules)] == rules
    assert [rule.metric for rule in default_rules()[len(rules) :]] == [
        "unpriced_tokens", "rejected_events", "workers_silent_seconds", "worker_silent_seconds",
        "stalled_partitions", "queue_failing_pct",
    ]  # fmt: skip
    assert DEFAULT_THRESHOLDS["latency_p95_ms"] == 500


def test_the_example_of_the_alert_system_fires_exactly_its_two_alerts() -> None:
    """p95 of 650 ms, errors of 0.5 %, a hit rate of 35 %, 50 USD today."""
    values = [200.0] * 1890 + [650.0] * 100
    world = world_of(batch_event(
        texts=2000, errors={"timeout": 10}, cache_hits=693, misses=1287, duplicates=10,
        latency_sketch=Sketch.of(values).to_text(), cost_nano_usd=50 * 10**9,
    ))  # fmt: skip
    verdicts = judge(parse_rules(YamlFile("rules.yaml", GUIDE)), world, NOW)
    breached = {v.alert_type: v for v in verdicts if v.judgement == "breached"}
    assert set(breached) == {"HIGH_LATENCY", "LOW_CACHE_HIT_RATE"}
    assert breached["HIGH_LATENCY"].value == pytest.approx(650, rel=0.005)
    assert breached["LOW_CACHE_HIT_RATE"].value == 35
    others = {(v.alert_id, v.judgement, v.value) for v in verdicts if v.alert_type not in breached}
    assert others == {
        ("error_rate_pct|all", "ok", 0.5),
        ("daily_cost_usd|all|2027-01-15|50%", "ok", 50.0),  # at the step is not above it
        ("daily_cost_usd|all|2027-01-15|80%", "ok", 50.0),
        ("daily_cost_usd|all|2027-01-15|100%", "ok", 50.0),
        # The guide's alert system would take a depth that nobody measured for 0.
        ("queue_depth|all", "inconclusive", None),
    }


def test_cache_metrics_of_the_guide() -> None:
    data = summary(world_of(batch_event(texts=1000, cache_hits=600, misses=400)), NOW)
    assert (data["cache"]["hits"], data["cache"]["misses"], data["cache"]["hit_rate_pct"]) == (600, 400, 60.0)


def test_the_cost_of_fifty_thousand_tokens() -> None:
    """At 0.00002 USD for 1,000 tokens they cost 0.001 USD; the guide's own example prints 1.0."""
    price = PriceBook({"text-embedding-3-small": Decimal("0.02")}).quote("text-embedding-3-small")
    cost = price.cost(50_000, busy_seconds=0.0)
    assert cost == Fraction("0.00002") / 1000 * 50_000 * 10**9
    today = summary(world_of(batch_event(tokens_embedded=50_000, cost_nano_usd=cost)), NOW)["today"]
    assert today["cost_usd"] == 0.001
    assert today["cost_per_million_tokens_usd"] == 0.02


@settings(deadline=None)
@given(
    hits=st.integers(0, 10**6), misses=st.integers(1, 10**6), tokens=st.integers(1, 8192), nano=st.integers(1, 10**6)
)  # fmt: skip
def test_measured_savings_are_those_of_the_formula_where_all_texts_cost_the_same(
    hits: int, misses: int, tokens: int, nano: int
) -> None:
    """no_cache_cost = actual_cost / (1 - hit_rate): right when hits are as long as misses, and some are misses."""
    world = world_of(batch_event(
        texts=hits + misses, cache_hits=hits, misses=misses, tokens_received=(hits + misses) * tokens,
        tokens_embedded=misses * tokens, tokens_saved=hits * tokens, cost_nano_usd=misses * tokens * nano,
        saved_nano_usd=hits * tokens * nano, latency_sketch=EMPTY, queue_wait_sketch=EMPTY,
    ))  # fmt: skip
    data, today = summary(world, NOW), summary(world, NOW)["today"]
    hit_rate = Fraction(hits, hits + misses)
    no_cache_nano_usd = today["cost_nano_usd"] / (1 - hit_rate)
    assert today["cost_nano_usd"] + today["saved_nano_usd"] == no_cache_nano_usd
    assert today["saved_nano_usd"] == no_cache_nano_usd - today["cost_nano_usd"]
    assert today["savings_pct"] == pytest.approx(float(100 * hit_rate))
    assert data["cache"]["hit_rate_pct"] == data["cache"]["token_hit_rate_pct"] == pytest.approx(float(100 * hit_rate))


def test_savings_are_measured_where_the_formula_guesses() -> None:
    """Ninety hits on queries of 2 tokens, ten misses on documents of 1,000, at 20 nano-USD a token."""
    today = summary(world_of(batch_event(
        texts=100, cache_hits=90, misses=10, tokens_received=10_180, tokens_embedded=10_000, tokens_saved=180,
        cost_nano_usd=200_000, saved_nano_usd=3_600,
    )), NOW)["today"]  # fmt: skip
    assert today["saved_nano_usd"] == 3_600
    assert today["savings_pct"] == pytest.approx(100 * 3_600 / 203_600)
    by_formula = 200_000 / (1 - 0.9) - 200_000
    assert by_formula == pytest.approx(1_800_000)  # 500 times as much


NOTHING_ASKED = batch_event(
    texts=0, cache_hits=0, misses=0, batches=0, tokens_received=0, tokens_embedded=0, tokens_saved=0, padding_tokens=0,
    cost_nano_usd=0, saved_nano_usd=0, latency_sketch=EMPTY, queue_wait_sketch=EMPTY,
)  # fmt: skip
ALL_HITS = batch_event(
    texts=100, cache_hits=100, misses=0, tokens_received=500, tokens_embedded=0, tokens_saved=500, padding_tokens=0,
    cost_nano_usd=0, saved_nano_usd=10_000,
)  # fmt: skip
ALL_FAILED = batch_event(
    texts=100, cache_hits=0, misses=0, tokens_received=0, tokens_embedded=0, tokens_saved=0, padding_tokens=0,
    cost_nano_usd=0, saved_nano_usd=0, errors={"timeout": 100}, latency_sketch=EMPTY, queue_wait_sketch=EMPTY,
)  # fmt: skip


def test_without_requests_there_is_no_rate_and_no_error() -> None:
    for world in (world_of(), world_of(NOTHING_ASKED)):
        data = summary(world, NOW)
        assert data["cache"]["hit_rate_pct"] is None
        assert data["performance"]["error_rate_pct"] is None
        assert data["performance"]["latency_ms"]["avg"] is None
        assert data["today"]["savings_pct"] is None
        assert data["today"]["cost_per_text_usd"] is None


def test_at_a_hit_rate_of_100_percent_everything_is_saved() -> None:
    """The formula divides by zero here."""
    data = summary(world_of(ALL_HITS), NOW)
    assert data["cache"]["hit_rate_pct"] == 100.0
    assert data["today"]["savings_pct"] == 100.0
    assert data["today"]["cost_without_cache_usd"] == data["today"]["saved_usd"] == 1e-5
    assert data["today"]["cost_per_text_usd"] == 0.0
    assert data["today"]["cost_per_million_tokens_usd"] is None  # none was embedded


@pytest.mark.parametrize(
    "events", [[], [NOTHING_ASKED], [ALL_HITS], [ALL_FAILED]], ids=["none", "no", "hits", "failed"]
)
def test_nothing_that_shows_numbers_fails_at_a_zero(events: list[BatchEvent]) -> None:
    world = world_of(*events)
    data = summary(world, NOW)
    json.dumps(data, allow_nan=False)
    assert "DASHBOARD" in dashboard(data)
    assert judge(default_rules(), world, NOW)
    runtime = runtime_on(log_of())
    runtime.world, runtime.recovered = world, True
    registry = CollectorRegistry()
    registry.register(WorldCollector(runtime, SetClock()))
    text = generate_latest(registry).decode()
    assert "NaN" not in text
    assert "Inf" not in text
