"""Rows over time add up to what the windows have, and what was not seen is not zero."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.events import PHASES, LagEvent, PhaseSeconds
from embedwatch.rules import default_rules
from stream_agents.compute.days import day_bounds
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.queue_history import QueueHistory
from stream_agents.compute.scopes import ALL
from stream_agents.compute.timeline import spend_today, timeline
from stream_agents.compute.world import World
from stream_agents.web.shared import MAX_KEPT, VALID_SECONDS, Shared
from tests.harness.agents_log import NOW, SetClock, batch_event


def world_of(*events: Any, zone: str = "UTC", since: float = NOW - 7200) -> World:
    world = World(zone=ZoneInfo(zone), max_scopes=100, lag_group="g", lag_topic="t")
    world.closer.assign([0], since)
    world.partitions[0] = PartitionState(next_offset=0, timezone=zone)
    for event in events:
        world.apply_batch(event, max(NOW, event.time_seconds))
        world.partitions[0].book(event, world.zone, 100)
    return world


def rows(world: World, seconds: int = 3600, step: int = 60, now: float = NOW, scope: Any = ALL) -> list[dict[str, Any]]:
    return list(timeline(world, now, scope=scope, seconds=seconds, step_seconds=step))


def test_a_row_has_what_was_measured_in_it() -> None:
    events = [
        batch_event(0, time_seconds=NOW - 100, phase_seconds=PhaseSeconds(embed=0.2, tokenise=0.1)),
        batch_event(1, time_seconds=NOW - 30, errors={"timeout": 2}, misses=6),
    ]
    found = rows(world_of(*events), 300, 60)
    assert [row["texts"] for row in found] == [0, 0, 10, 10, 0]
    row = next(row for row in found if row["texts"] and not row["errors"])
    assert row["end_seconds"] - row["start_seconds"] == 60
    assert row["latency_ms"]["p95"] == pytest.approx(50, rel=0.005)
    assert row["phase_ms_per_batch"]["embed"] == pytest.approx(200)
    assert row["phase_ms_per_text"]["tokenise"] == pytest.approx(10)
    assert row["phase_ms_per_batch"]["queue_wait"] is None
    assert (row["cost_nano_usd"], row["unpriced_tokens"], row["cache_hit_rate_pct"]) == (1_234_567, 0, 20.0)
    assert row["throughput_texts_per_s"] == pytest.approx(10 / 60)
    empty = found[0]
    assert (empty["texts"], empty["errors"], empty["throughput_texts_per_s"]) == (0, 0, 0)
    assert (empty["latency_ms"]["p50"], empty["cache_hit_rate_pct"], empty["error_rate_pct"]) == (None, None, None)
    assert empty["phase_seconds"] == dict.fromkeys(PHASES)


def test_what_was_before_the_start_is_not_known() -> None:
    world = world_of(batch_event(time_seconds=NOW), since=NOW - 100)
    before, *_, now = rows(world, 300, 10)
    assert before["partial"]
    assert [before[name] for name in ("texts", "errors", "throughput_texts_per_s", "cost_nano_usd")] == [None] * 4
    assert (now["partial"], now["open"], now["texts"]) == (False, True, 10)


def test_money_without_a_price_is_null() -> None:
    row = rows(world_of(batch_event(cost_nano_usd=0, unpriced_tokens=800, price_source="unknown")))[-1]
    assert (row["cost_nano_usd"], row["unpriced_tokens"]) == (None, 800)


def test_another_scope_has_its_own_numbers_and_one_that_is_not_known_has_none() -> None:
    world = world_of(batch_event(tenant="acme"), batch_event(model="n"))
    assert sum(row["texts"] for row in rows(world, scope=(("model", "n"),))) == 10
    assert sum(row["texts"] for row in rows(world, scope=(("tenant", "acme"),))) == 10
    assert sum(row["texts"] for row in rows(world, scope=(("tenant", "nobody"),))) == 0


@settings(max_examples=60, deadline=None)
@given(
    ages=st.lists(st.integers(0, 3500), max_size=30), seconds=st.sampled_from([10, 70, 300, 3600]),
    step=st.sampled_from([10, 30, 60, 600]), offset=st.integers(0, 599),
)  # fmt: skip
def test_rows_stand_side_by_side_and_lose_nothing(ages: list[int], seconds: int, step: int, offset: int) -> None:
    now = NOW + offset
    world = world_of(*(batch_event(n, time_seconds=now - age) for n, age in enumerate(ages)))
    found = rows(world, seconds, step, now)
    assert len(found) == -(-seconds // step)
    assert all(a["end_seconds"] == b["start_seconds"] for a, b in pairwise(found))
    assert found[-1]["start_seconds"] <= now < found[-1]["end_seconds"]
    oldest = int(now // 10) * 10 - 3600 + 10
    within = [age for age in ages if now - age >= max(found[0]["start_seconds"], oldest)]
    assert sum(row["texts"] or 0 for row in found) == 10 * len(within)
    for row in found:
        assert row["texts"] is not None or row["partial"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
def test_spend_rises_to_what_the_ledger_has(zone: str) -> None:
    events = [batch_event(n, time_seconds=NOW - 1000 * n) for n in range(12)]
    world = world_of(*events, zone=zone)
    found = spend_today(world, NOW, scope=ALL, rules=default_rules())
    begin, end = day_bounds(found["day"], world.zone)
    sums = [point["cost_nano_usd"] for point in found["points"]]
    times = [point["time_seconds"] for point in found["points"]]
    assert sums == sorted(sums)
    assert times == sorted(times)
    assert (times[0], times[-1], found["day_end_seconds"]) == (begin, NOW, end)
    booked = sum(e.cost_nano_usd for e in events if begin <= e.time_seconds)
    assert sums[-1] == found["cost_nano_usd"] == booked
    assert [row["rule"] for row in found["budgets"]] == ["daily_cost_usd"]
    assert found["budgets"][0]["budget_nano_usd"] == 100_000_000_000


def test_spend_that_is_not_known_has_no_curve() -> None:
    world = world_of(batch_event(cost_nano_usd=0, unpriced_tokens=800))
    found = spend_today(world, NOW, scope=ALL, rules=())
    assert (found["points"], found["cost_nano_usd"], found["cost_state"], found["forecast_usd"]) == (
        [], None, "unknown", None,
    )  # fmt: skip
    assert found["forecast_reason"]


def test_nothing_spent_is_nothing_and_known() -> None:
    found = spend_today(world_of(), NOW, scope=ALL, rules=())
    assert {point["cost_nano_usd"] for point in found["points"]} == {0}


def lag(at: float, messages: int) -> LagEvent:
    return LagEvent(
        event_id="l", time_seconds=at, group="g", topic="t", partition=0, status="OK", lag_messages=messages,
        lag_texts=messages, oldest_age_seconds=1.0,
    )  # fmt: skip


def test_the_queue_is_sampled_once_in_ten_seconds_and_kept_for_an_hour() -> None:
    world, history = world_of(), QueueHistory()
    for second in range(0, 4000, 5):
        now = NOW + second
        world.apply_lag(lag(now, second))
        history.look(world, now)
    found = history.rows(NOW + 4000, 3600)["rows"]
    assert len(found) == 360
    assert {b["time_seconds"] - a["time_seconds"] for a, b in pairwise(found)} == {10.0}
    assert found[-1]["lag_messages"] == 3990
    assert len(history.rows(NOW + 4000, 600)["rows"]) == 60
    assert found[-1]["workers"] is None, "nothing was heard of any worker"


def test_a_queue_that_is_not_known_is_null_in_the_sample() -> None:
    world, history = world_of(), QueueHistory()
    history.look(world, NOW)
    (row,) = history.rows(NOW, 3600)["rows"]
    assert (row["status"], row["lag_seconds"], row["lag_messages"], row["desired_workers"]) == (
        "UNKNOWN", None, None, None,
    )  # fmt: skip


def test_a_clock_set_back_leaves_no_samples_of_the_future() -> None:
    world, history = world_of(), QueueHistory()
    history.look(world, NOW)
    history.look(world, NOW - 1000)
    assert [row["time_seconds"] for row in history.rows(NOW, 3600)["rows"]] == [NOW - 1000]


def test_pages_that_ask_the_same_share_one_answer_for_two_seconds() -> None:
    clock, made = SetClock(), []

    async def make() -> dict[str, Any]:
        made.append(1)
        return {"made": len(made)}

    async def ask() -> None:
        shared = Shared(clock)
        bodies = [(await shared.answer("a", make)).body for _ in range(2)]
        clock.passed_seconds = VALID_SECONDS
        bodies.append((await shared.answer("a", make)).body)
        assert bodies == [b'{"made":1}', b'{"made":1}', b'{"made":2}']
        for number in range(2 * MAX_KEPT):
            await shared.answer(number, make)
        assert len(shared._kept) == MAX_KEPT
        clock.passed_seconds += VALID_SECONDS
        await shared.answer("a", make)
        assert len(shared._kept) == 1, "what nobody may have any more takes no memory"

    asyncio.run(ask())


def test_a_row_that_has_hardly_begun_has_no_rate() -> None:
    world = world_of(batch_event(time_seconds=NOW))
    assert rows(world, now=NOW)[-1]["throughput_texts_per_s"] is None
    assert rows(world, now=NOW + 20)[-1]["throughput_texts_per_s"] == 0.5
