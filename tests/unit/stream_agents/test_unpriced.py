"""Money of a model without a price is not known: it is None, absent or inconclusive wherever it is shown, never 0."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from embedwatch.events import BatchEvent
from embedwatch.report import dashboard, day_page
from embedwatch.rules import parse_rules
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.closing import totals_of, window_event
from stream_agents.compute.judge import judge
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.partials import pane_records
from stream_agents.compute.partials import totals_of as totals_of_pane
from stream_agents.compute.scopes import ALL
from stream_agents.compute.summary import day_summary, summary
from stream_agents.compute.views import windows_view
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import World
from stream_agents.web.exposition import WorldCollector
from tests.harness.agents_log import NOW, SetClock, batch_event, deliver, log_of, runtime_on
from tests.harness.agents_web import serving

UTC = ZoneInfo("UTC")
DAY = "2027-01-15"
RULES = parse_rules(
    YamlFile("rules.yaml", "thresholds: {daily_cost_usd: 9, daily_forecast_usd: 9, budget_burn_pct: 9}")
)


def unpriced(**fields: Any) -> BatchEvent:
    """Eight texts embedded and two found, by a model that nobody has given a price."""
    base: dict[str, Any] = {
        "model": "nameless", "cost_nano_usd": 0, "saved_nano_usd": 0, "unpriced_tokens": 800, "price_source": "unknown",
    }  # fmt: skip
    return batch_event(**{**base, **fields})


PRICED = batch_event(cost_nano_usd=16_000, saved_nano_usd=4_000)
HITS = unpriced(
    cache_hits=10, misses=0, tokens_embedded=0, tokens_saved=1000, unpriced_tokens=0, padding_tokens=0, batches=0
)


def world_of(*events: BatchEvent, window_lengths: tuple[int, ...] = (60,)) -> World:
    world = World(zone=UTC, max_scopes=100, lag_group="g", lag_topic="t", window_lengths=window_lengths)
    world.started_seconds = NOW - 10_000
    world.partitions = {0: PartitionState(next_offset=0)}
    world.closer.assign({0}, NOW - 10_000)
    for event in events:
        world.apply_batch(event, NOW)
        world.partitions[0].book(event, UTC, 100)
    return world


def money(day: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in day.items() if name.endswith(("_usd", "savings_pct", "_state"))}


NOTHING_KNOWN = {
    "cost_nano_usd": None, "saved_nano_usd": None, "gpu_hour_nano_usd": None, "cost_usd": None, "saved_usd": None,
    "cost_without_cache_usd": None, "savings_pct": None, "cost_per_text_usd": None, "cost_per_1000_texts_usd": None,
    "cost_per_million_tokens_usd": None, "busy_cost_usd": None, "allocated_nano_usd": None, "allocated_cost_usd": None,
    "forecast_usd": None, "late_cost_nano_usd": 0, "late_cost_usd": 0.0, "cost_state": "unknown",
    "saved_state": "unknown", "wasted_nano_usd": None, "wasted_usd": None,
}  # fmt: skip


def test_a_day_of_a_model_without_a_price_has_no_money_and_no_zero() -> None:
    today = summary(world_of(unpriced()), NOW, rules=RULES)["today"]
    assert money(today) == NOTHING_KNOWN
    assert (today["unpriced_texts"], today["unpriced_tokens"], today["unpriced_saved_tokens"]) == (10, 800, 200)
    assert today["forecast_reason"] == "nothing that was embedded today has a price"
    assert [one["usd"] for one in today["burn"].values()] == [None, None]
    (budget,) = today["budgets"]
    assert {name for name, value in budget.items() if value is None} == {
        "remaining_usd", "spent_pct", "forecast_pct", "burn_fast_pct", "burn_slow_pct"
    }  # fmt: skip


def test_of_a_day_that_is_priced_in_part_the_part_is_told_and_what_is_not_in_it() -> None:
    today = summary(world_of(PRICED, unpriced()), NOW, rules=RULES)["today"]
    assert (today["cost_nano_usd"], today["cost_state"]) == (16_000, "partial")
    assert (today["saved_nano_usd"], today["saved_state"]) == (4_000, "partial")
    assert (today["unpriced_texts"], today["unpriced_tokens"], today["unpriced_saved_tokens"]) == (10, 800, 200)
    # Averages are over what has a price.
    assert today["cost_per_text_usd"] == pytest.approx(16e-6 / 10)
    assert today["cost_per_1000_texts_usd"] == pytest.approx(16e-3 / 10)
    assert today["cost_per_million_tokens_usd"] == pytest.approx(0.02)
    assert today["savings_pct"] is None, "a share of the part would be taken for one of the whole"
    assert today["budgets"][0]["remaining_usd"] == 9 - 16e-6
    whole = summary(world_of(PRICED), NOW)["today"]
    assert (whole["cost_state"], whole["saved_state"], whole["savings_pct"]) == ("known", "known", 20.0)


def test_what_a_cache_saves_at_no_known_price_is_not_known_though_nothing_was_spent() -> None:
    today = summary(world_of(HITS), NOW)["today"]
    assert (today["cost_nano_usd"], today["cost_usd"], today["cost_state"]) == (0, 0.0, "known")
    assert (today["saved_usd"], today["saved_state"], today["unpriced_saved_tokens"]) == (None, "unknown", 1000)
    assert (today["cost_without_cache_usd"], today["savings_pct"], today["cost_per_text_usd"]) == (None, None, None)


def test_a_worker_that_says_which_savings_have_no_price_is_believed() -> None:
    """At a price by the hour a token has none until one was embedded."""
    event = batch_event(price_source="gpu-hour", saved_nano_usd=0, unpriced_saved_tokens=200)
    today = summary(world_of(event), NOW)["today"]
    assert (today["cost_state"], today["saved_state"], today["saved_usd"]) == ("known", "unknown", None)
    told = summary(world_of(unpriced(saved_nano_usd=7, unpriced_saved_tokens=0)), NOW)["today"]
    assert (told["saved_nano_usd"], told["saved_state"]) == (7, "known")


def test_with_nothing_embedded_nothing_was_spent() -> None:
    today = day_summary(world_of(), DAY)
    assert (today["cost_usd"], today["cost_state"], today["saved_usd"], today["busy_cost_usd"]) == (0, "known", 0, 0)


def test_a_correction_without_a_price_is_no_correction_by_nothing() -> None:
    world = world_of(unpriced(time_seconds=NOW - 86_400))
    world.partitions[0].book(unpriced(time_seconds=NOW - 86_400), UTC, 100, NOW)
    day = day_summary(world, "2027-01-14")
    assert (day["late_cost_nano_usd"], day["late_cost_usd"], day["late_unpriced_tokens"]) == (None, None, 800)
    (correction,) = [c for c in world.partitions[0].corrections("app", 0, UTC) if c.scope == "all"]
    assert (correction.added.unpriced_texts, correction.added.unpriced_saved_tokens) == (10, 200)
    assert PartitionState.from_record(json.loads(json.dumps(world.partitions[0].to_record()))).days == (
        world.partitions[0].days
    )


@pytest.mark.parametrize(
    ("events", "cost", "saved", "states"),
    [
        ([unpriced()], None, None, ("unknown", "unknown")),
        ([PRICED, unpriced()], 16_000, 4_000, ("partial", "partial")),
        ([PRICED], 16_000, 4_000, ("known", "known")),
        ([HITS], 0, None, ("known", "unknown")),
        ([], 0, 0, ("known", "known")),
    ],
)
def test_windows_tell_it_as_days_do(events: list[BatchEvent], cost: Any, saved: Any, states: tuple[str, str]) -> None:
    row = windows_view(world_of(*events), NOW, scope=ALL, window_seconds=60, limit=1)["windows"][0]
    assert (row["cost_nano_usd"], row["saved_nano_usd"], (row["cost_state"], row["saved_state"])) == (
        cost, saved, states,
    )  # fmt: skip


def test_closed_windows_and_other_processes_know_which_savings_have_no_price() -> None:
    totals = world_of(unpriced(), HITS).windows.window(ALL, 60, NOW)
    assert totals.unpriced_saved_tokens == 1200
    assert totals_of(window_event(ALL, 60, int(NOW) - 60, totals, NOW, False)).unpriced_saved_tokens == 1200
    ((_, value),) = pane_records("app", 0, int(NOW), 1, {ALL: totals})
    raw = json.loads(value)["scopes"]
    from msgspec import Raw

    (copy,) = totals_of_pane({name: Raw(json.dumps(each).encode()) for name, each in raw.items()}).values()
    assert copy.unpriced_saved_tokens == 1200
    assert totals.without(copy).unpriced_saved_tokens == 0
    del raw["all"]["unpriced_saved_tokens"]
    (older,) = totals_of_pane({name: Raw(json.dumps(each).encode()) for name, each in raw.items()}).values()
    assert isinstance(older, Totals)
    assert older.unpriced_saved_tokens == 0


def scrape(*events: BatchEvent) -> dict[tuple[str, str], float]:
    """By name and model; the whole pipeline's have no model."""
    log = log_of(*events)

    async def run() -> bytes:
        runtime = runtime_on(log, rules=RULES)
        runtime.recover({}, {0})
        await deliver(log, runtime, len(events))
        registry = CollectorRegistry()
        registry.register(WorldCollector(runtime, SetClock()))
        return generate_latest(registry)

    return {
        (sample.name, sample.labels.get("model", "")): sample.value
        for family in text_string_to_metric_families(asyncio.run(run()).decode())
        for sample in family.samples
    }


def test_prometheus_has_no_series_of_money_that_is_not_known() -> None:
    found = scrape(unpriced())
    money = {name for name, _ in found if "usd" in name}
    assert money == {"embedwatch_day_corrections_cost_usd_total"}, "of what corrected a closed day"
    assert not any("budget" in name for name, _ in found)
    assert found["embedwatch_unpriced_tokens_today", ""] == 800
    assert found["embedwatch_unpriced_saved_tokens_total", "nameless"] == 200
    assert found["embedwatch_model_unpriced_tokens_today", "nameless"] == 800
    both = scrape(unpriced(), PRICED)
    assert both["embedwatch_cost_usd_today", ""] == 16e-6
    assert both["embedwatch_cost_usd_total", "m"] == both["embedwatch_model_cost_usd_today", "m"] == 16e-6
    assert both["embedwatch_budget_remaining_usd", ""] == pytest.approx(9 - 16e-6)
    for name in ("cost_usd_total", "saved_usd_total", "model_cost_usd_today", "model_saved_usd_today"):
        assert (f"embedwatch_{name}", "nameless") not in both


def test_no_rule_is_ok_with_a_spend_that_is_not_known() -> None:
    for verdict in judge(RULES, world_of(unpriced(time_seconds=NOW - 4000)), NOW):
        assert (verdict.judgement, verdict.value) == ("inconclusive", None), verdict.metric
        assert verdict.reason == "nothing that was embedded today has a price"
    spent = [v for v in judge(RULES, world_of(PRICED, unpriced()), NOW) if v.metric == "daily_cost_usd"]
    assert {v.judgement for v in spent} == {"ok"}
    assert {v.reason for v in spent} == {"not above the threshold (800 tokens without a price are not in it)"}


def test_the_report_says_unknown_and_marks_what_is_only_a_part() -> None:
    def lines(world: World, make: Callable[[dict[str, Any]], str] = dashboard) -> dict[str, str]:
        data = summary(world, NOW, rules=RULES)
        text = make(data if make is dashboard else data["today"] | {"scope": "all"})
        found = (line.partition(": ") for line in text.splitlines())
        return {name.strip(): value.strip() for name, _, value in found}

    for make in (dashboard, day_page):
        found = lines(world_of(unpriced()), make)
        assert found["Total cost"] == "unknown for 800 tokens WITHOUT A PRICE"
        assert found["Saved by the cache"] == "unknown for 200 tokens WITHOUT A PRICE"
        assert found["Avg cost/text"] == found["Cost/1M tokens"] == "unknown"
        assert found["Budget"].startswith("unknown what is left, of $9")
        assert not any("$0.0000" in value for value in found.values())
    part = lines(world_of(PRICED, unpriced()))
    assert part["Total cost"] == "$0.000016 and 800 tokens WITHOUT A PRICE"
    assert part["Saved by the cache"] == "$0.000004 and 200 tokens WITHOUT A PRICE"
    assert part["Cost/1,000 texts"] == "$0.0016 of what has a price"
    assert part["Cost/1M tokens"] == "$0.0200 of what has a price"
    hits = lines(world_of(HITS))
    assert (hits["Total cost"], hits["Avg cost/text"]) == ("$0.0000", "unknown")
    assert hits["Saved by the cache"] == "unknown for 1,000 tokens WITHOUT A PRICE"


def test_the_server_answers_null_in_every_answer_and_in_the_stream() -> None:
    log = log_of(unpriced())

    async def run() -> tuple[Any, Any, Any, Any]:
        runtime = runtime_on(log, rules=RULES)
        runtime.recover({}, {0})
        await deliver(log, runtime, 1)
        async with serving(runtime) as client:
            answers = [await (await client.get(f"/api/v1/{name}")).json() for name in ("summary", "ledger", "windows")]
            stream = await client.get("/events")
            data = b""
            while not data.startswith(b"data: "):
                data = await asyncio.wait_for(stream.content.readline(), 10)
            stream.close()
        return *answers, json.loads(data.removeprefix(b"data: "))

    live, ledger, windows, pushed = asyncio.run(run())
    for day in (live["today"], pushed["today"], *ledger["rows"]):
        assert (day["cost_nano_usd"], day["cost_usd"], day["saved_usd"], day["cost_state"]) == (
            None, None, None, "unknown",
        )  # fmt: skip
    told = [row for row in windows["windows"] if row["events"]]
    assert {(row["cost_nano_usd"], row["saved_nano_usd"]) for row in told} == {(None, None)}
