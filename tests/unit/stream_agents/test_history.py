"""What forecasts know of earlier days is written when it has changed, and fits its state through any crash."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_agents.compute.history import History, history_key, is_state, parsed_key, partition_of, state_key
from stream_agents.compute.ledger import KEEP_DAYS, PartitionState, day_of, days_before, past_curves
from stream_agents.compute.merger import Merger
from stream_agents.runtime import Runtime
from tests.harness.agents_cluster import new_world
from tests.harness.agents_log import (
    NOW,
    FakeLog,
    SetClock,
    batch_event,
    deliver,
    log_of,
    runtime_on,
    started,
    written_and_read,
)

UTC = ZoneInfo("UTC")
DAY = 86_400
OLD = day_of(NOW - 9 * DAY, UTC)


def old(number: int, days: int = 9) -> Any:
    return batch_event(number, time_seconds=NOW - days * DAY, cost_nano_usd=7**number)


def spent(states: list[PartitionState], day: str = OLD) -> int:
    return sum(past_curves(states, [day]).get(day, []))


@pytest.mark.parametrize("partition", [0, 3, 1000])
def test_keys_tell_states_and_histories_apart_and_two_places_take_turns(partition: int) -> None:
    keys = [state_key(partition), *(history_key(partition, version) for version in range(1, 5))]
    assert [is_state(key) for key in keys] == [True, False, False, False, False]
    assert {partition_of(key) for key in keys} == {partition}
    assert keys[1] != keys[2]
    assert keys[1::2] == [keys[1]] * 2
    assert [parsed_key(json.dumps(key).encode()) for key in keys] == keys
    assert [parsed_key(raw) for raw in (None, b"", b"{", b"\xff")] == [""] * 4


def test_it_is_written_once_for_each_change_and_the_state_names_it() -> None:
    state = PartitionState(next_offset=0)
    assert (state.history.freeze(), state.to_record()["history"]) == (None, 0)
    state.book(old(1), UTC, 100, NOW)
    state.prune(NOW, UTC)
    first = state.history.freeze()
    assert first is not None
    assert (first["version"], state.to_record()["history"]) == (1, 1)
    assert state.history.freeze() == first, "until its state is acknowledged the same is written again"
    state.book(old(2), UTC, 100, NOW)
    state.prune(NOW, UTC)
    assert state.history.freeze() == first
    assert state.days[OLD]["all"].cost_nano_usd == 49, "the day waits"
    assert spent([state]) == 7 + 49
    state.history.written()
    assert state.history.freeze() is None
    state.prune(NOW, UTC)
    second = state.history.freeze()
    assert second is not None
    assert (second["version"], OLD in state.days, spent([state])) == (2, False, 56)
    assert first["spend"] != second["spend"], "a copy that later changes do not touch"


def test_the_record_of_a_state_is_no_larger_for_what_it_remembers() -> None:
    state = PartitionState(next_offset=0)
    for days in range(28, KEEP_DAYS, -1):
        for number in range(50):
            event = batch_event(0, time_seconds=NOW - days * DAY, model=f"m{number}", cost_nano_usd=10**9)
            state.book(event, UTC, 1000, NOW - days * DAY)
    state.prune(NOW, UTC)
    empty = PartitionState(next_offset=0, events=state.events, old_events=0)
    assert len(state.history.spend) == 51
    assert len(json.dumps(state.to_record())) == len(json.dumps(empty.to_record()))
    assert written_and_read(state) == state


def test_the_history_of_a_version_2_state_is_kept_and_written_apart() -> None:
    record = PartitionState(next_offset=7).to_record()
    del record["unsaid"]
    record |= {"v": 2, "history": {"all": {OLD: "0,7"}}}
    state = PartitionState.from_record(record)
    assert (spent([state]), state.history.version, state.history.changed) == (7, 0, True)
    assert record["history"] == {"all": {OLD: "0,7"}}, "the table's own record is not touched"
    again = written_and_read(state)
    assert (spent([again]), again.history.version, again.history.changed) == (7, 1, False)
    nothing = PartitionState.from_record(record | {"history": {}})
    assert nothing.history.freeze() is None


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"v": 1, "version": 4, "spend": {}}],
        [{"v": 2, "version": 5, "spend": {}}],
        [{"v": 1, "version": 5, "spend": {"all": 7}}],
        [{"v": 1, "version": 5}],
    ],
)
def test_a_history_that_is_not_there_costs_the_forecasts_and_no_money(
    records: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    assert History.named(5, records) == History(version=5, missing=True)
    runtime = runtime_on(log_of(batch_event()))
    record = PartitionState(next_offset=0, events=3).to_record() | {"history": 5}
    with caplog.at_level(logging.WARNING):
        runtime.recover({0: record}, {0}, {0: records})
    assert "spend of earlier days is missing in partitions [0]" in caplog.text
    assert runtime.world.partitions[0].events == 3


def test_another_process_reads_it_from_the_topic_of_states() -> None:
    world = new_world()
    merger = Merger(world, "app", 2)

    def key(text: str) -> bytes:
        return json.dumps(text).encode()

    state = PartitionState(next_offset=1)
    state.book(old(1), UTC, 100, NOW)
    state.prune(NOW, UTC)
    history = state.history.freeze()
    assert history is not None
    assert not merger.take_state(1, key(history_key(1, 1)), json.dumps(history).encode())
    assert merger.take_state(1, key("p1"), json.dumps(state.to_record()).encode())
    assert spent(list(world.partitions.values())) == 7
    first = world.partitions[1].history
    state.history.written()
    state.next_offset = 2
    assert merger.take_state(1, key("p1"), json.dumps(state.to_record()).encode())
    assert world.partitions[1].history is first, "not decoded again every second"

    # A day is forgotten here before it is by the process that holds the partition.
    state.book(old(2), UTC, 100, NOW)
    state.next_offset = 3
    assert merger.take_state(1, key("p1"), json.dumps(state.to_record()).encode())
    world.tidy(NOW)
    assert spent(list(world.partitions.values())) == 7 + 49
    state.next_offset = 4
    assert merger.take_state(1, key("p1"), json.dumps(state.to_record()).encode())
    assert spent(list(world.partitions.values())) == 7 + 49, "the day is not in both"

    assert not merger.take_state(0, key("p0-history-1"), b"{")
    other = PartitionState(next_offset=1).to_record() | {"history": 1}
    assert merger.take_state(0, key("p0"), json.dumps(other).encode())
    assert world.partitions[0].history.missing


def test_a_flush_writes_it_when_it_has_changed_and_before_the_state_that_names_it() -> None:
    async def scenario() -> None:
        log = log_of(*[old(number) for number in range(7)])
        runtime = started(log)

        async def flush(*, forget: bool = False) -> tuple[int, int, int]:
            """Histories and states written so far, and the version that the last state names."""
            await deliver(log, runtime, 1)
            if forget:
                runtime.world.tidy(NOW)
            with contextlib.suppress(TimeoutError):
                await runtime.flush()
            return log.history_writes, log.writes, log.table[0]["history"]

        assert await flush() == (0, 1, 0)
        assert await flush(forget=True) == (1, 2, 1)
        assert await flush() == (1, 3, 1)
        log.history_plan = ["lost"]
        assert await flush(forget=True) == (1, 3, 1), "no state names what was not written"
        log.write_plan = ["lost"]
        assert await flush(forget=True) == (2, 3, 1)
        assert [each["version"] for each in log.histories[0].values()] == [1, 2], (
            "that of the last state is still there"
        )
        assert await flush() == (3, 4, 2), "it is not known whether a state names it: again as it was"
        assert await flush() == (3, 5, 2)

    asyncio.run(scenario())


fates = st.sampled_from(["kept", "kept", "lost", "unsure"])
steps = st.one_of(
    st.tuples(st.just("deliver"), st.integers(1, 3)),
    st.tuples(st.just("flush"), st.lists(fates, min_size=1, max_size=2)),
    st.tuples(st.just("tidy"), st.none()),
    st.tuples(st.just("midnight"), st.none()),
    st.tuples(st.just("crash"), st.none()),
    st.tuples(st.just("commit"), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(days=st.lists(st.integers(0, 5), min_size=1, max_size=12), plan=st.lists(steps, max_size=40))
def test_whatever_happens_each_day_is_in_the_history_or_in_the_state_and_never_in_both(
    days: list[int], plan: list[tuple[str, Any]]
) -> None:
    """Events of today and of days before, over midnights, with writes that fail either way and crashes in between."""
    log: FakeLog = log_of(*[old(number, ago) for number, ago in enumerate(days)])
    clock = SetClock()

    def come_back() -> Runtime:
        log.reassign()
        return started(log, clock)

    async def scenario() -> None:
        runtime = started(log, clock)
        for what, detail in plan:
            if what == "deliver":
                await deliver(log, runtime, detail)
            elif what == "flush":
                log.history_plan, log.write_plan = list(detail[:1]), list(detail[1:])
                with contextlib.suppress(TimeoutError):
                    await runtime.flush()
                log.history_plan, log.write_plan = [], []
            elif what == "tidy":
                runtime.world.tidy(clock.now())
            elif what == "midnight":
                clock.moved_seconds += DAY
            elif what == "commit":
                log.commit()
            elif what == "crash":
                runtime = come_back()
        for _ in range(3):
            await deliver(log, runtime, 100)
            await runtime.flush()
            runtime.world.tidy(clock.now())
        for each in (runtime, started(log, clock)):
            (state,) = each.world.partitions.values()
            assert not state.history.missing
            for ago in set(days):
                truth = sum(7**number for number, day in enumerate(days) if day == ago)
                assert spent([state], days_before(day_of(NOW, UTC), ago)) == truth

    asyncio.run(scenario())
