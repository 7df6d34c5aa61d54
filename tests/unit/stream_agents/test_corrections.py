"""A closed day never changes silently: what is booked on it afterwards is said, once in effect, whatever happens."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.events import BatchEvent, CorrectionEvent, DaySums
from stream_agents.compute import ledger
from stream_agents.compute.corrections import MAX_UNSAID
from stream_agents.compute.ledger import PartitionState, day_bounds, day_totals
from stream_agents.runtime import Runtime
from stream_agents.saying import SAY_SECONDS
from tests.harness.agents_cluster import Cluster
from tests.harness.agents_log import NOW, FakeLog, SetClock, batch_event, deliver, log_of, started
from tests.harness.corrections import added, newest
from tests.unit.stream_agents.test_two_levels import MEMBERS, PARTITIONS, event, owners, settle, steps, take

UTC = ZoneInfo("UTC")
TODAY, YESTERDAY = "2027-01-15", "2027-01-14"
DAY = 86_400


def late(number: int = 0, **fields: Any) -> BatchEvent:
    return batch_event(number, **{"time_seconds": NOW - DAY, "cost_nano_usd": 7**number, **fields})


def said(state: PartitionState, zone: ZoneInfo = UTC) -> list[CorrectionEvent]:
    return state.corrections("app", 3, zone)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", "2026-07-13"),
        ("Asia/Kolkata", "2026-07-13"),
        ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"),
        ("Pacific/Apia", "2011-12-29"),
    ],
)
def test_a_day_is_closed_when_its_midnight_and_the_grace_have_passed(zone: str, day: str) -> None:
    where = ZoneInfo(zone)
    begin, end = day_bounds(day, where)
    for now, closed in ((end - 1, False), (end, False), (end + 29.9, False), (end + 30, True), (end + 9 * DAY, True)):
        for at in (begin, end - 0.001):
            state = PartitionState(next_offset=0)
            state.book(batch_event(time_seconds=at), where, 100, now, 30.0)
            assert [(c.day, c.scope) for c in said(state, where)] == [(day, "all"), (day, "model=m")] * closed
            assert state.days[day]["all"].late_events == closed
        state = PartitionState(next_offset=0)
        state.book(batch_event(time_seconds=end), where, 100, min(now, end + DAY), 30.0)
        assert said(state, where) == [], "the next day is open"


def test_a_correction_tells_what_it_adds_and_what_the_day_comes_to() -> None:
    state = PartitionState(next_offset=17)
    state.book(late(1, tenant="t", errors={"timeout": 2}), UTC, 100, NOW - DAY)
    state.book(late(2, tenant="t", errors={"timeout": 1, "other": 2}, unpriced_tokens=5), UTC, 100, NOW - 5)
    state.next_offset = 19
    state.book(late(3), UTC, 100, NOW)
    state.next_offset = 20
    found = {event.scope: event for event in said(state)}
    assert set(found) == {"all", "model=m", "tenant=t", "model=m,tenant=t"}
    assert found["all"] == CorrectionEvent(
        event_id=f"app:3:17:{YESTERDAY}:all", time_seconds=NOW, day=YESTERDAY, timezone="UTC", scope="all",
        partition=3, from_offset=17, until_offset=20, events=2,
        added=DaySums(20, 4, 0, 16, 3, 2000, 1600, 400, 7**2 + 7**3, 400, 5, unpriced_texts=7),
        total=DaySums(30, 6, 0, 24, 5, 3000, 2400, 600, 7 + 7**2 + 7**3, 600, 5, unpriced_texts=7),
    )  # fmt: skip
    assert found["tenant=t"].added.cost_nano_usd == 7**2
    assert found["tenant=t"].time_seconds == NOW - 5
    assert said(PartitionState.from_record(json.loads(json.dumps(state.to_record())))) == said(state)


def test_what_came_while_it_was_said_is_said_next_and_stands_behind_it() -> None:
    state = PartitionState(next_offset=5)
    state.book(late(1), UTC, 100, NOW)
    state.next_offset = 6
    first = said(state)
    state.book(late(2, tenant="t"), UTC, 100, NOW + 1)
    state.next_offset = 8
    state.said(first)
    second = {c.scope: c for c in said(state)}
    assert {c.scope: (c.from_offset, c.until_offset) for c in first} == {"all": (5, 6), "model=m": (5, 6)}
    assert {scope: (c.from_offset, c.until_offset, c.events) for scope, c in second.items()} == dict.fromkeys(
        ("all", "model=m", "tenant=t", "model=m,tenant=t"), (6, 8, 1)
    )
    assert (second["all"].added.cost_nano_usd, second["all"].added.texts) == (7**2, 10)
    assert second["all"].total is not None
    assert second["all"].total.cost_nano_usd == 7 + 7**2
    state.said(second.values())
    assert (said(state), state.unsaid) == ([], {})


def test_a_day_that_is_no_longer_kept_is_corrected_too_and_its_sum_is_not_known() -> None:
    state = PartitionState(next_offset=0)
    state.book(late(1, time_seconds=NOW - 9 * DAY), UTC, 100, NOW)
    assert [(c.day, c.added.cost_nano_usd, c.total) for c in said(state)] == [("2027-01-06", 7, None)] * 2
    state.prune(NOW, UTC)
    assert state.days == {}
    assert [(c.day, c.added.cost_nano_usd, c.total) for c in said(state)] == [("2027-01-06", 7, None)] * 2


def test_what_waits_is_bounded_and_all_of_it_is_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_UNSAID", 10)
    state = PartitionState(next_offset=0)
    for number in range(40):
        state.book(late(0, model=f"m{number}", tenant=f"t{number}", cost_nano_usd=1), UTC, 1000, NOW)
    found = {c.scope: c.added.cost_nano_usd for c in said(state)}
    assert found["all"] == 40
    assert len(found) == 10 + 1, "three tenants of a model of their own, the whole, and what found no room"
    assert found["scope=other"] + sum(s.startswith("model=") and "," not in s for s in found) == 40
    assert day_totals([state], YESTERDAY, "model=m39").cost_nano_usd == 1, "the ledger itself has it under its name"


def test_as_many_corrections_as_may_wait_have_their_names_and_one_more_is_in_the_rest() -> None:
    state = PartitionState(next_offset=0)
    for number in range(MAX_UNSAID - 1):  # and `all`
        state.book(late(0, model=f"m{number}", cost_nano_usd=1), UTC, 2 * MAX_UNSAID, NOW)
    waiting = {c.scope for c in said(state)}
    assert (len(waiting), "scope=other" in waiting) == (MAX_UNSAID, False)
    state.book(late(0, model="one more", cost_nano_usd=100), UTC, 2 * MAX_UNSAID, NOW)
    state.book(late(0, model="m0", cost_nano_usd=1000), UTC, 2 * MAX_UNSAID, NOW)
    found = {c.scope: c.added.cost_nano_usd for c in said(state)}
    assert found.keys() == waiting | {"scope=other"}
    assert (found["scope=other"], found["model=m0"], found["all"]) == (100, 1001, MAX_UNSAID - 1 + 1100)


def late_log(count: int) -> FakeLog:
    return log_of(*[late(number) for number in range(count)])


async def flush(runtime: Runtime, log: FakeLog, plan: str = "kept") -> list[CorrectionEvent]:
    """What a flush that may say corrections said, of all scopes together."""
    before = len(log.corrections)
    runtime.clock.passed_seconds += SAY_SECONDS  # type: ignore[attr-defined]
    log.correction_plan = [plan]
    await runtime.flush()
    return [c for c in log.corrections[before:] if c.scope == "all"]


def reach(corrections: list[CorrectionEvent]) -> list[tuple[int, int, int]]:
    return [(c.from_offset, c.until_offset, c.added.cost_nano_usd) for c in corrections]


def test_each_flush_says_what_it_has_corrected_and_a_restart_says_nothing_again() -> None:
    async def scenario() -> None:
        log = late_log(4)
        runtime = started(log)
        await deliver(log, runtime, 2)
        assert reach(await flush(runtime, log)) == [(0, 2, 1 + 7)]
        assert (runtime.sayer.count, runtime.sayer.cost_nano_usd) == (2, 8)
        assert log.table[0]["unsaid"] != {}, "it was not said when this was written"
        assert await flush(runtime, log) == []
        assert log.table[0]["unsaid"] == {}
        writes = log.writes
        assert await flush(runtime, log) == []
        assert log.writes == writes
        log.commit()
        log.reassign()
        runtime = started(log)
        await deliver(log, runtime, 2)
        assert reach(await flush(runtime, log)) == [(2, 4, 7**2 + 7**3)]

    asyncio.run(scenario())


@pytest.mark.parametrize("plan", ["lost", "unsure"])
def test_what_could_not_be_said_holds_up_no_money_and_is_said_with_the_next_flush(
    plan: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        log = late_log(3)
        runtime = started(log)
        await deliver(log, runtime, 2)
        with caplog.at_level(logging.WARNING):
            await flush(runtime, log, plan)
        assert "corrections of closed days could not be published, trying again" in caplog.text
        assert log.acked == {0: {0, 1}}
        await deliver(log, runtime, 1)
        (again,) = await flush(runtime, log)
        assert reach([again]) == [(0, 3, 1 + 7 + 7**2)]
        assert added(log.corrections)[YESTERDAY, "all"] == (3, 30, 1 + 7 + 7**2)
        assert {c.event_id for c in log.corrections if c.scope == "all"} == {again.event_id}
        await flush(runtime, log)
        assert log.table[0]["unsaid"] == {}

    asyncio.run(scenario())


def test_nothing_is_said_that_is_not_written() -> None:
    async def scenario() -> None:
        log = late_log(2)
        runtime = started(log)
        await deliver(log, runtime, 2)
        log.write_plan = ["unsure"]
        with pytest.raises(TimeoutError):
            await flush(runtime, log)
        assert log.corrections == []
        log.reassign()
        runtime = started(log)  # from the state of which nobody knew whether it was written
        assert reach(await flush(runtime, log)) == [(0, 2, 8)]

    asyncio.run(scenario())


@pytest.mark.parametrize("plan", ["lost", "kept"])
def test_killed_between_writing_and_saying_or_right_after_it_is_said_under_the_same_id(plan: str) -> None:
    async def scenario() -> None:
        log = late_log(2)
        runtime = started(log)
        await deliver(log, runtime, 2)
        await flush(runtime, log, plan)
        log.commit()
        log.reassign()  # dead: it never writes that it was said
        runtime = started(log)
        assert await deliver(log, runtime, 2) == 0, "nothing comes again"
        assert reach(await flush(runtime, log)) == [(0, 2, 8)]
        assert len({c.event_id for c in log.corrections}) == len(newest(log.corrections)) == 2
        assert added(log.corrections)[YESTERDAY, "all"] == (2, 20, 8)

    asyncio.run(scenario())


def test_what_comes_while_it_is_said_or_is_taken_away_meanwhile_is_not_lost() -> None:
    async def scenario() -> None:
        log = late_log(4)
        runtime = started(log)
        await deliver(log, runtime, 2)

        async def count_more() -> None:
            await deliver(log, runtime, 1)

        log.during_correction = count_more
        assert reach(await flush(runtime, log)) == [(0, 2, 8)]
        assert reach(await flush(runtime, log)) == [(2, 3, 49)]

        async def rebalance() -> None:
            log.commit()
            log.reassign()
            runtime.recover(log.tables(), log.partitions)

        await deliver(log, runtime, 1)
        log.during_correction = rebalance
        await flush(runtime, log)
        await deliver(log, runtime, 4)
        await flush(runtime, log)
        await flush(runtime, log)
        assert added(log.corrections)[YESTERDAY, "all"] == (4, 40, 1 + 7 + 49 + 343)
        assert log.table[0]["unsaid"] == {}

    asyncio.run(scenario())


def test_yesterday_sent_again_is_said_now_and_then_and_not_with_every_flush() -> None:
    async def scenario() -> None:
        log = late_log(4)
        clock = SetClock()
        runtime = started(log, clock)
        await deliver(log, runtime, 1)
        assert reach(await flush(runtime, log)) == [(0, 1, 1)]
        for _ in range(2):
            clock.passed_seconds += SAY_SECONDS / 2 - 0.01
            await deliver(log, runtime, 1)
            await runtime.flush()
        assert (len(log.corrections), log.acked) == (2, {0: {0, 1, 2}}), "money does not wait"
        clock.passed_seconds += 0.02
        await runtime.flush()  # nothing new: what is owed is said all the same
        assert reach([c for c in log.corrections if c.scope == "all"])[1:] == [(1, 3, 7 + 49)]
        await runtime.flush()
        assert log.table[0]["unsaid"] == {}

    asyncio.run(scenario())


def test_the_grace_is_that_of_the_settings() -> None:
    async def scenario() -> None:
        log = log_of(batch_event(0, time_seconds=NOW + 15 * 3600), batch_event(1, time_seconds=NOW + 15 * 3600))
        clock = SetClock()
        runtime = started(log, clock)
        runtime.world.closer.grace_seconds = 60.0
        midnight = day_bounds(TODAY, UTC)[1] - NOW
        clock.moved_seconds = midnight + 59
        await deliver(log, runtime, 1)
        assert await flush(runtime, log) == []
        clock.moved_seconds = midnight + 60
        await deliver(log, runtime, 1)
        (found,) = await flush(runtime, log)
        assert (found.day, found.events, found.from_offset) == (TODAY, 1, 1)

    asyncio.run(scenario())


late_logs = st.lists(
    st.lists(st.tuples(st.sampled_from([0, DAY, 2 * DAY, 9 * DAY]), st.integers(0, 1)), min_size=2, max_size=8),
    min_size=PARTITIONS, max_size=PARTITIONS,
).map(
    lambda log: [[event(p * 8 + o, ago, tenant, 50) for o, (ago, tenant) in enumerate(each)]
                 for p, each in enumerate(log)]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(log=late_logs, first=owners, plan=st.lists(steps, min_size=5, max_size=40), last=owners)
def test_whatever_happens_all_that_came_late_is_said_and_nothing_counts_twice(
    log: list[list[BatchEvent]], first: list[int], plan: list[tuple[str, Any, Any, Any]], last: list[int]
) -> None:
    """Processes die and hand over at any step, and sends fail either way; none goes on without what was taken."""
    expected: dict[tuple[str, str], tuple[int, int, int]] = {}
    truth = PartitionState(next_offset=0)
    for one in (one for events in log for one in events):
        truth.book(one, UTC, 1000, NOW)
    for day, scopes in truth.unsaid.items():
        for scope, unsaid in scopes.items():
            expected[day, scope] = (unsaid.events, unsaid.texts, unsaid.cost_nano_usd)

    async def scenario() -> None:
        cluster = Cluster(log, MEMBERS)
        cluster.assign(first)
        for what, one, two, three in plan:
            await take(cluster, what, one, () if what == "rebalance" else two, three)
        cluster.assign(last)
        await settle(cluster)
        assert added(cluster.corrections) == expected
        assert all(state["unsaid"] == {} for state in cluster.tables().values())
        for correction in newest(cluster.corrections):
            known = correction.day in (YESTERDAY, "2027-01-13")
            assert (correction.total is not None) == known

    asyncio.run(scenario())
