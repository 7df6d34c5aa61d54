"""Closed days are kept: what is on the topic adds up to the ledger, whatever is killed, moved or booked late."""

from __future__ import annotations

import asyncio
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.events import BatchEvent, WindowEvent, day_key
from stream_agents.compute.closing import window_event
from stream_agents.compute.days import day_of
from stream_agents.compute.keeping import (
    MAX_HOUR_SCOPES,
    MAX_HOUR_TENANTS,
    MAX_WAITING_DAYS,
    day_events,
    hours_kept,
    measured_before,
)
from stream_agents.compute.ledger import DayTotals, PartitionState, day_totals
from stream_agents.compute.scopes import parse_scope
from stream_agents.compute.windows import Totals
from stream_agents.keeping import AGAIN_SECONDS
from tests.harness.agents_log import NOW, FakeLog, SetClock, batch_event, deliver, log_of, started
from tests.harness.days import compacted, sums

UTC = ZoneInfo("UTC")
TODAY, YESTERDAY, BEFORE = "2027-01-15", "2027-01-14", "2027-01-13"
DAY = 86_400
NAMES = list(DayTotals.__struct_fields__)


def of_day(days_ago: int, number: int = 0, **fields: Any) -> BatchEvent:
    return batch_event(number, **{"time_seconds": NOW - days_ago * DAY, "cost_nano_usd": 10**9 + 7**number, **fields})


def run(log: FakeLog, clock: SetClock, count: int) -> Any:
    async def counted() -> Any:
        runtime = started(log, clock)
        await deliver(log, runtime, count)
        await runtime.flush()
        return runtime

    return asyncio.run(counted())


def window(scope: str, length: int, texts: int) -> WindowEvent:
    return window_event(parse_scope(scope), length, 3600, Totals(texts=texts, events=1), 0.0, partial=False)


def test_a_closed_day_is_said_with_every_sum_of_the_ledger_and_today_is_not() -> None:
    log = log_of(of_day(1, 1, tenant="t", unpriced_tokens=3), of_day(1, 2), of_day(0, 3))
    runtime = run(log, SetClock(), 3)
    (told,) = log.days
    assert (told.application, told.day, told.timezone, told.partition, told.partitions) == (
        "alone", YESTERDAY, "UTC", 0, 1,
    )  # fmt: skip
    assert (told.from_offset, told.until_offset, told.piece, told.pieces, told.last) == (0, 3, 0, 1, False)
    assert told.end_seconds - told.begin_seconds == DAY
    assert set(told.scopes) == {"all", "model=m", "tenant=t", "model=m,tenant=t"}
    for scope, found in told.scopes.items():
        kept = day_totals(runtime.world.partitions.values(), YESTERDAY, scope)
        assert {name: getattr(found, name) for name in NAMES} == {name: getattr(kept, name) for name in NAMES}
        assert sum(found.spend_nano_usd) == found.cost_nano_usd
    assert day_key(told) == f"alone|day|{YESTERDAY}|0|0|0"


def test_a_day_without_events_is_said_so() -> None:
    log = log_of(of_day(2, 1))
    run(log, SetClock(), 1)
    assert [(event.day, bool(event.scopes)) for event in log.days] == [(BEFORE, True), (YESTERDAY, False)]


@pytest.mark.parametrize("events", [(), (of_day(0, 1),)])
def test_of_days_before_the_first_event_nothing_is_known(events: tuple[BatchEvent, ...]) -> None:
    log = log_of(*events)
    run(log, SetClock(), len(events))
    assert log.days == []


def test_who_has_measured_before_today() -> None:
    fresh, today, older = PartitionState(next_offset=0), PartitionState(next_offset=0), PartitionState(next_offset=0)
    today.book(of_day(0, 1), UTC, 100)
    older.book(of_day(9, 1), UTC, 100, NOW)  # no longer among the days kept
    assert not measured_before([fresh, today], TODAY)
    assert measured_before([fresh, today, older], TODAY)


def test_a_day_is_said_when_it_is_closed_and_not_again_until_it_changes() -> None:
    log = log_of(of_day(0, 1), of_day(0, 2))
    clock = SetClock()

    async def story() -> None:
        runtime = started(log, clock)
        await deliver(log, runtime, 1)
        await runtime.flush()
        assert log.days == []
        clock.moved_seconds = DAY
        await runtime.flush()
        assert [event.day for event in log.days] == [TODAY]
        clock.passed_seconds += AGAIN_SECONDS
        await runtime.flush()
        assert len(log.days) == 1
        await deliver(log, runtime, 1)  # late: what was said is corrected
        await runtime.flush()
        first, second = log.days
        assert day_key(first) == day_key(second)
        assert (first.scopes["all"].late_events, second.scopes["all"].late_events) == (0, 1)
        assert second.scopes["all"].texts == 20

    asyncio.run(story())


def test_a_day_that_changes_all_the_time_is_said_now_and_then() -> None:
    log = log_of(*(of_day(1, n) for n in range(5)))
    clock = SetClock()

    async def story() -> None:
        runtime = started(log, clock)
        for _ in range(5):
            await deliver(log, runtime, 1)
            await runtime.flush()
        assert len(log.days) == 1
        clock.passed_seconds += AGAIN_SECONDS
        await runtime.flush()
        assert [event.scopes["all"].texts for event in log.days] == [10, 50]

    asyncio.run(story())


@pytest.mark.parametrize("fate", ["lost", "unsure"])
def test_what_the_topic_did_not_take_is_said_later_and_does_not_hold_up_the_ledger(fate: str) -> None:
    log = log_of(of_day(1, 1))
    log.day_plan = [fate]

    async def story() -> None:
        runtime = started(log)
        await deliver(log, runtime, 1)
        await runtime.flush()
        assert log.acked == {0: {0}}
        await runtime.flush()
        assert sums(log.days)[YESTERDAY, "all"]["texts"] == 10

    asyncio.run(story())


def test_a_process_killed_between_close_and_saying_leaves_it_to_the_next() -> None:
    log = log_of(of_day(1, 1), of_day(2, 2))
    log.day_plan = ["lost"]
    run(log, SetClock(), 2)
    assert log.days == []
    log.reassign()
    run(log, SetClock(), 2)
    assert {event.day: event.scopes["all"].texts for event in log.days} == {YESTERDAY: 10, BEFORE: 10}


def test_a_day_is_not_forgotten_before_it_is_said_a_last_time() -> None:
    log = log_of(of_day(0, 1))
    clock = SetClock()

    async def story() -> None:
        runtime = started(log, clock)
        await deliver(log, runtime, 1)
        await runtime.flush()
        log.day_plan = ["lost"] * 3
        clock.moved_seconds = 5 * DAY  # nobody was there for days
        for _ in range(3):
            runtime.tidy()
            await runtime.flush()
            assert TODAY in runtime.world.partitions[0].days
        await runtime.flush()
        runtime.tidy()
        assert TODAY not in runtime.world.partitions[0].days
        (said,) = [event for event in log.days if event.day == TODAY]
        assert said.last
        assert said.scopes["all"].texts == 10

    asyncio.run(story())


def test_days_that_wait_are_bounded() -> None:
    log = log_of(*(of_day(n) for n in range(5, 60)))
    log.day_plan = ["lost"] * 100

    async def story() -> None:
        runtime = started(log)
        await deliver(log, runtime, 55)
        runtime.tidy()
        assert len(runtime.world.partitions[0].days) == MAX_WAITING_DAYS

    asyncio.run(story())


def test_what_comes_for_a_day_long_forgotten_is_added_to_what_was_said_of_it() -> None:
    log = log_of(of_day(0, 1), of_day(0, 2), of_day(0, 2), of_day(9, 3))
    clock = SetClock()

    async def story() -> None:
        runtime = started(log, clock)
        await deliver(log, runtime, 1)
        clock.moved_seconds = 5 * DAY
        for _ in range(2):  # each time it is forgotten in between
            await runtime.flush()
            runtime.tidy()
            clock.passed_seconds += AGAIN_SECONDS
            await deliver(log, runtime, 1)
        await runtime.flush()
        runtime.tidy()
        await deliver(log, runtime, 1)
        await runtime.flush()
        said = compacted(event for event in log.days if event.day == TODAY)
        assert [event.from_offset for event in said] == [0, 1, 2]
        cost = sum(e.cost_nano_usd for e in (of_day(0, 1), of_day(0, 2), of_day(0, 2)))
        assert sums(log.days)[TODAY, "all"]["cost_nano_usd"] == cost
        assert sums(log.days)["2027-01-06", "all"]["texts"] == 10

    asyncio.run(story())


def test_many_scopes_come_in_pieces_that_hold_each_scope_once() -> None:
    state = PartitionState(next_offset=0)
    for number in range(300):
        state.book(of_day(1, 0, model=f"m{number}", tenant="t" * 40), UTC, 1000, NOW - DAY)
    events = day_events("app", 0, 1, state, YESTERDAY, UTC, NOW, max_bytes=5_000)
    assert len(events) > 10
    assert [event.piece for event in events] == list(range(len(events)))
    assert {event.pieces for event in events} == {len(events)}
    assert sum(len(event.scopes) for event in events) == len(state.days[YESTERDAY])
    assert len({key for event in events for key in event.scopes}) == len(state.days[YESTERDAY])


def test_hours_of_everything_and_of_the_largest_models_and_tenants_are_kept() -> None:
    windows = [
        window("all", 3600, texts=10**6), window("all", 60, texts=5), window("tenant=t", 60, texts=9),
        window("model=m,tenant=t", 3600, texts=9), window("scope=other", 3600, texts=9),
        *(window(f"model=m{n}", 3600, texts=n) for n in range(1, 100)),
        *(window(f"tenant=t{n}", 3600, texts=1000 + n) for n in range(100)),
    ]  # fmt: skip
    kept = hours_kept(windows)
    assert [w.scope for w in kept] == [
        "all", *(f"tenant=t{n}" for n in range(99, 99 - MAX_HOUR_TENANTS, -1)),
        *(f"model=m{n}" for n in range(99, 100 - MAX_HOUR_SCOPES, -1)),
    ]  # fmt: skip


steps = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("flush"), st.lists(st.sampled_from(["kept", "lost", "unsure"]), max_size=3)),
        st.tuples(st.just("tidy")),
        st.tuples(st.just("commit")),
        st.tuples(st.just("crash")),
        st.tuples(st.just("time"), st.sampled_from([11.0, DAY / 2, DAY])),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["a", "b"])), max_size=8), min_size=2,
                    max_size=2),
    plan=steps,
)  # fmt: skip
def test_the_days_on_the_topic_add_up_to_the_events_whatever_happens(
    events: list[list[tuple[int, str]]], plan: list[tuple[Any, ...]]
) -> None:
    sent = [
        [of_day(ago, n + 10 * p, tenant=tenant) for n, (ago, tenant) in enumerate(each)]
        for p, each in enumerate(events)
    ]
    log = FakeLog({0: [], 1: []})
    for partition, each in enumerate(sent):
        source = log_of(*each, partition=partition)
        log.partitions = {**log.partitions, **source.partitions}
    clock = SetClock()

    async def story() -> None:
        runtime = started(log, clock)
        for step in plan:
            if step[0] == "deliver":
                await deliver(log, runtime, step[2], step[1])
            elif step[0] == "flush":
                log.day_plan = list(step[1])
                await runtime.flush()
                log.day_plan = []
            elif step[0] == "tidy":
                runtime.tidy()
            elif step[0] == "commit":
                log.commit()
            elif step[0] == "time":
                clock.moved_seconds += step[1]
                clock.passed_seconds += step[1]
            else:
                log.reassign()
                runtime = started(log, clock)
        for partition in (0, 1):
            await deliver(log, runtime, 100, partition)
        clock.moved_seconds += 2 * DAY
        for _ in range(8):  # no more than some at a time
            clock.passed_seconds += AGAIN_SECONDS
            await runtime.flush()

    asyncio.run(story())
    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for event in (event for each in sent for event in each):
        day = day_of(event.time_seconds, UTC)
        for scope in ("all", f"tenant={event.tenant}"):
            texts, cost = expected.get((day, scope), (0, 0))
            expected[day, scope] = (texts + event.texts, cost + event.cost_nano_usd)
    found = {
        key: (row["texts"], row["cost_nano_usd"])
        for key, row in sums(log.days).items()
        if key[1] in ("all", "tenant=a", "tenant=b")
    }
    assert found == expected
