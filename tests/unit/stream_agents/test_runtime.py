"""The runtime behind fake edges: every event counts once, whatever delivery, state and group do in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from embedwatch.codec import encode
from embedwatch.events import BatchEvent, HeartbeatEvent, LagEvent, PhaseSeconds, window_key
from embedwatch.rules import default_rules
from embedwatch.sketch import Sketch
from stream_agents.compute.ledger import STATE_VERSION, DayTotals
from stream_agents.delivering import Kind, WatchedEdges
from stream_agents.runtime import IDLE_CHECK_SECONDS, LASTING_GAP_SECONDS, UNPUBLISHED_SECONDS, Runtime
from tests.harness.agents_log import (
    NOW,
    FakeDelivery,
    FakeLog,
    SetClock,
    batch_event,
    deliver,
    log_at,
    log_of,
    runtime_on,
    started,
)


def totals(runtime: Runtime) -> DayTotals:
    return runtime.world.day(runtime.world.today(NOW))


def test_records_are_acknowledged_by_the_flush_that_wrote_their_state() -> None:
    async def scenario() -> None:
        log = log_of(*[batch_event(n) for n in range(3)])
        runtime = started(log)
        await deliver(log, runtime, 2)
        assert log.acked == {}, "counted, but not written yet"
        await runtime.flush()
        assert log.acked == {0: {0, 1}}
        assert log.table[0]["next_offset"] == 2
        await runtime.flush()
        assert log.writes == 1, "nothing new, nothing written"

    asyncio.run(scenario())


@pytest.mark.parametrize("plan", ["lost", "unsure"])
def test_a_write_that_failed_acknowledges_nothing_and_the_next_flush_covers_it(plan: str) -> None:
    async def scenario() -> None:
        log = log_of(*[batch_event(n) for n in range(3)], b"broken")
        runtime = started(log)
        await deliver(log, runtime, 4)
        log.write_plan = [plan]
        with pytest.raises(TimeoutError):
            await runtime.flush()
        assert log.acked == {}
        await runtime.flush()
        assert log.acked == {0: {0, 1, 2, 3}}
        assert totals(runtime).texts == 30

    asyncio.run(scenario())


def test_an_event_that_does_not_decode_is_rejected_once_and_stops_nothing() -> None:
    async def scenario() -> None:
        log = log_of(batch_event(), b'{"type":"nope"}', None, b"\xff", batch_event(latency_sketch="!"), batch_event())
        runtime = started(log)
        await deliver(log, runtime, 6)
        await runtime.flush()
        assert [(offset, reason) for _, offset, _, reason in log.kept] == [
            (1, "invalid"), (2, "empty"), (3, "not_json"), (4, "invalid"),
        ]  # fmt: skip
        assert log.kept[0][2] == b'{"type":"nope"}'
        log.reassign()  # nothing was committed: all come again
        runtime.recover(log.tables(), log.partitions)
        await deliver(log, runtime, 6)
        await runtime.flush()
        assert runtime.world.partitions[0].rejected == {"invalid": 2, "empty": 1, "not_json": 1}
        assert len(log.kept) == 4
        assert totals(runtime).texts == 20
        assert log.acked == {0: set(range(6))}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "fields",
    [
        {"time_seconds": 1e20}, {"time_seconds": -1e20}, {"time_seconds": 1e300}, {"time_seconds": NOW * 1000},
        {"time_seconds": NOW + 3 * 86_400}, {"time_seconds": -62135596801.0}, {"queue_wait_sketch": "AAAA"},
        {"latency_sketch": "é"}, {"cost_nano_usd": 10**400}, {"texts": 2**53 + 9, "misses": 2**53 + 7},
        {"padding_tokens": 2**64},
        {"texts": 10**30 + 10, "errors": {"other": 10**30}}, {"texts": 11}, {"texts": 11, "errors": {"other": 2}},
        {"model": ""}, {"latency_sketch": Sketch.of([50.0] * 11).to_text()},
        {"queue_wait_sketch": Sketch.of([5.0] * 11).to_text()},
    ],
)  # fmt: skip
def test_an_event_that_decodes_but_cannot_be_booked_is_rejected_and_left_out_of_everything(
    fields: dict[str, Any],
) -> None:
    async def scenario() -> None:
        log = log_of(batch_event(**fields), batch_event())
        runtime = started(log)
        await deliver(log, runtime, 2)
        await runtime.flush()
        assert [(offset, reason) for _, offset, _, reason in log.kept] == [(0, "invalid")]
        assert totals(runtime).texts == 10
        assert runtime.world.windows.window((), 60, NOW).texts == 10
        assert log.acked == {0: {0, 1}}

    asyncio.run(scenario())


def test_a_rejected_event_is_kept_before_it_is_acknowledged() -> None:
    async def scenario() -> None:
        log = log_of(b"broken")
        runtime = started(log)
        log.reject_failures = 1
        await deliver(log, runtime)
        with pytest.raises(TimeoutError):
            await runtime.flush()
        assert log.acked == {}
        await runtime.flush()
        assert len(log.kept) == 1
        assert log.acked == {0: {0}}

    asyncio.run(scenario())


def test_of_rejected_events_only_those_that_were_not_kept_are_sent_again() -> None:
    async def scenario() -> None:
        log = log_of(*[b"broken"] * 4)
        runtime = started(log)
        log.reject_failures = 1
        await deliver(log, runtime, 4)
        with pytest.raises(TimeoutError):
            await runtime.flush()
        assert sorted(offset for _, offset, _, _ in log.kept) == [1, 2, 3]
        log.write_plan = ["lost"]
        with pytest.raises(TimeoutError):
            await runtime.flush()
        await runtime.flush()
        assert sorted(offset for _, offset, _, _ in log.kept) == [0, 1, 2, 3], "none of them twice"
        assert log.acked == {0: {0, 1, 2, 3}}

    asyncio.run(scenario())


def test_an_event_encoded_twice_is_two_events() -> None:
    """What tells events apart is their place in the log."""

    async def scenario() -> None:
        value = encode(batch_event(1))
        log = log_of(value, value)
        runtime = started(log)
        await deliver(log, runtime, 2)
        assert totals(runtime).texts == 20

    asyncio.run(scenario())


def test_a_rebalance_in_the_middle_of_a_write_acknowledges_nothing_of_before() -> None:
    async def scenario() -> None:
        log = log_of(*[batch_event(n) for n in range(4)])
        runtime = started(log)
        await deliver(log, runtime, 2)

        async def rebalance() -> None:
            log.reassign()
            runtime.recover(log.tables(), log.partitions)

        log.during_write = rebalance
        await runtime.flush()
        assert log.acked == {}
        assert await deliver(log, runtime, 10) == 4
        await runtime.flush()
        assert log.acked == {0: {0, 1, 2, 3}}
        assert totals(runtime).texts == 40

    asyncio.run(scenario())


def test_what_is_counted_during_a_write_belongs_to_the_next() -> None:
    async def scenario() -> None:
        log = log_of(*[batch_event(n) for n in range(4)])
        runtime = started(log)
        await deliver(log, runtime, 2)

        async def more() -> None:
            await deliver(log, runtime, 2)

        log.during_write = more
        await runtime.flush()
        assert log.table[0]["next_offset"] == 2
        assert log.acked == {0: {0, 1}}
        await runtime.flush()
        assert log.acked == {0: {0, 1, 2, 3}}

    asyncio.run(scenario())


def test_records_that_were_skipped_are_sought_back_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        log = log_of(*[batch_event(n) for n in range(6)])
        clock = SetClock()
        runtime = started(log, clock)
        await deliver(log, runtime, 1)
        log.skip(0, 2)
        await deliver(log, runtime, 3)
        assert totals(runtime).texts == 10
        assert runtime.unready() == [], "a gap just met may be closed at once"
        clock.passed_seconds += LASTING_GAP_SECONDS
        assert runtime.unready() == ["gaps are open in partitions [0]"]
        await runtime.flush()
        assert log.acked == {0: {0}}
        with caplog.at_level(logging.WARNING):
            await runtime.mend()
            await runtime.mend()
        assert caplog.text.count("seeking back") == 1, "sought again, since one seek can be overrun, and told once"
        assert "partition 0: expected offset 1, got 3; records were skipped, seeking back to 1" in caplog.text
        await deliver(log, runtime, 5)
        await runtime.flush()
        assert runtime.unready() == []
        assert log.acked == {0: set(range(6))}
        assert totals(runtime).texts == 60
        assert (runtime.guard.skipped, runtime.world.partitions[0].accepted_gaps) == (1, 0)

    asyncio.run(scenario())


def test_a_log_that_does_not_answer_leaves_the_gap_open_and_is_asked_again() -> None:
    async def scenario() -> None:
        log = log_at({0: {0: batch_event(), 2: batch_event()}})
        runtime = started(log)
        await deliver(log, runtime, 2)
        log.dumb = True
        await runtime.mend()
        await deliver(log, runtime, 1)
        assert totals(runtime).texts == 10
        assert 0 in runtime.guard.open
        log.dumb = False
        await runtime.mend()
        await deliver(log, runtime, 1)
        assert totals(runtime).texts == 20
        assert runtime.guard.open == {}

    asyncio.run(scenario())


def test_gaps_of_transactions_are_legal_and_one_question_explains_several(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        log = log_at({0: {offset: batch_event(offset) for offset in (0, 2, 4, 5, 8)}})
        log.reach = 100
        runtime = started(log)
        await deliver(log, runtime, 5)
        await runtime.mend()
        await deliver(log, runtime, 5)
        await runtime.flush()
        assert log.asked == 1
        assert totals(runtime).texts == 50
        assert log.acked == {0: {0, 2, 4, 5, 8}}
        assert runtime.world.partitions[0].accepted_gaps == 3
        assert runtime.guard.skipped == 0

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.text == ""


def test_records_skipped_at_the_end_of_the_log_are_noticed_though_nothing_comes_after_them() -> None:
    async def scenario() -> None:
        log, clock = log_of(*[batch_event(n) for n in range(3)]), SetClock()
        runtime = started(log, clock)
        await deliver(log, runtime, 1)
        log.skip(0, 2)
        clock.passed_seconds += IDLE_CHECK_SECONDS
        await runtime.mend()
        assert log.asked == 0, "the partition has moved since"
        clock.passed_seconds += IDLE_CHECK_SECONDS
        await runtime.mend()
        assert await deliver(log, runtime, 5) == 2
        assert totals(runtime).texts == 30
        clock.passed_seconds += IDLE_CHECK_SECONDS
        await runtime.mend()
        clock.passed_seconds += IDLE_CHECK_SECONDS
        await runtime.mend()
        asked = log.asked
        for _ in range(5):
            clock.passed_seconds += IDLE_CHECK_SECONDS
            await runtime.mend()
        assert log.asked == asked, "a partition that was found complete is not asked about for ever"

    asyncio.run(scenario())


def test_a_start_skips_nothing_either_and_knows_what_retention_removed() -> None:
    async def scenario() -> None:
        log = log_at({0: {offset: batch_event(offset) for offset in (700, 701, 702)}})
        runtime = started(log)
        log.skip(0, 1)
        await deliver(log, runtime, 2)
        assert totals(runtime).texts == 0
        await runtime.mend()
        await deliver(log, runtime, 3)
        assert totals(runtime).texts == 30

    asyncio.run(scenario())


def test_nothing_is_judged_or_written_before_recovery_and_during_a_rebalance() -> None:
    async def scenario() -> None:
        log = log_of(batch_event(), batch_event())
        runtime = runtime_on(log, rules=default_rules())
        assert runtime.unready() == ["the state is not recovered yet"]
        await runtime.flush()
        await runtime.mend()
        await runtime.evaluate()
        assert await deliver(log, runtime, 1) == 1
        runtime.recover(log.tables(), log.partitions)
        log.reassign()
        await deliver(log, runtime, 1)
        log.moving = True
        assert runtime.unready() == ["partitions are being reassigned"]
        await runtime.flush()
        await runtime.evaluate()
        assert (log.table, log.published, log.acked) == ({}, [], {})
        log.moving = False
        await runtime.flush()
        await runtime.evaluate()
        assert log.acked == {0: {0}}
        assert {v.alert_type for v in log.published} >= {"HIGH_LATENCY", "BUDGET_EXCEEDED"}

    asyncio.run(scenario())


def test_records_of_a_partition_that_was_taken_away_are_left_to_its_new_owner() -> None:
    async def scenario() -> None:
        log = log_at({0: {0: batch_event()}, 1: {0: batch_event()}})
        runtime = started(log)
        await deliver(log, runtime, partition=0)
        await deliver(log, runtime, partition=1)
        await runtime.flush()
        runtime.recover(log.tables(), {1})
        assert totals(runtime).texts == 20, "it is still known, until the new owner has written more"
        await runtime.consume(0, [(1, encode(batch_event()))], FakeDelivery(log, 0, [1]))
        await runtime.flush()
        assert totals(runtime).texts == 20
        assert log.acked == {0: {0}, 1: {0}}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "record", [{"v": STATE_VERSION + 1, "next_offset": 5}, {"next_offset": 5}, {"v": 1}, {"v": 1, "next_offset": "5"}]
)
def test_a_state_that_is_not_ours_is_refused_and_nothing_is_counted_on_top_of_it(record: dict[str, Any]) -> None:
    runtime = runtime_on(log_of(batch_event()))
    with pytest.raises(ValueError):
        runtime.recover({0: record}, {0})
    assert not runtime.recovered


def test_days_of_another_time_zone_are_refused_with_what_to_do() -> None:
    async def scenario() -> None:
        log = log_of(batch_event(), batch_event())
        runtime = started(log)
        await deliver(log, runtime, 2)
        await runtime.flush()
        record = log.tables()[0]
        assert record["timezone"] == "UTC"
        runtime_on(log).recover({0: record}, {0})
        runtime_on(log).recover({0: {**record, "timezone": None}}, {0})  # written before the zone was noted
        kolkata = {**record, "timezone": "Asia/Kolkata"}
        with pytest.raises(ValueError, match=r"days are those of the time zone Asia/Kolkata.* --timezone Asia/Kolkata"):
            runtime_on(log).recover({0: kolkata}, {0})
        empty = {**kolkata, "days": {}}  # nothing was booked by the wrong zone yet
        other = runtime_on(log)
        other.recover({0: empty}, {0})
        assert other.world.partitions[0].timezone == "UTC"

    asyncio.run(scenario())


def test_after_a_failure_nothing_is_counted_or_acknowledged() -> None:
    async def scenario() -> None:
        log = log_of(batch_event(), batch_event())
        runtime = started(log)
        await deliver(log, runtime)
        runtime.fail("the state cannot be read")
        await deliver(log, runtime)
        await runtime.flush()
        await runtime.mend()
        assert (log.table, log.acked) == ({}, {})
        assert runtime.unready()

    asyncio.run(scenario())


def test_records_delivered_together_are_acknowledged_together_and_not_across_a_gap() -> None:
    async def scenario() -> None:
        log = log_at({0: {offset: batch_event(offset) for offset in (0, 1, 4, 5, 6)}})
        runtime = started(log)
        await deliver(log, runtime, 4, together=4)
        assert totals(runtime).texts == 20, "what lies before the gap is counted"
        await runtime.flush()
        assert log.table[0]["next_offset"] == 2
        assert log.acked == {}, "what lies behind it was not"
        await runtime.mend()
        assert log.position[0] == 4
        await deliver(log, runtime, 3, together=3)
        await runtime.flush()
        assert totals(runtime).texts == 50
        assert log.acked == {0: {4, 5, 6}}

    asyncio.run(scenario())


def test_the_stream_waits_while_too_much_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_agents.runtime.MAX_PENDING", 3)

    async def scenario() -> None:
        log = log_of(*[batch_event(n) for n in range(6)])
        runtime = started(log)
        await deliver(log, runtime, 3, together=3)
        log.write_plan = ["lost"]
        with pytest.raises(TimeoutError):
            await runtime.flush()
        fourth = asyncio.create_task(deliver(log, runtime, 1))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not fourth.done()
        assert totals(runtime).texts == 30
        await runtime.flush()
        await fourth
        assert totals(runtime).texts == 40
        # A rebalance lets go of the one that waits: it is delivered again.
        await deliver(log, runtime, 2)
        waiting = asyncio.create_task(runtime.consume(0, [(9, None)], FakeDelivery(log, 0, [9])))
        await asyncio.sleep(0)
        log.reassign()
        runtime.recover(log.tables(), log.partitions)
        await waiting
        assert totals(runtime).texts == 30
        assert runtime.guard.open == {}

    asyncio.run(scenario())


def test_a_verdict_that_could_not_be_published_is_published_later() -> None:
    async def scenario() -> None:
        log = log_of(*[batch_event(n) for n in range(3)])
        runtime = runtime_on(log, rules=default_rules())
        runtime.recover({}, {0})
        await deliver(log, runtime, 3)
        log.publish_failures = 1
        with pytest.raises(TimeoutError):
            await runtime.evaluate()
        assert log.published == []
        await runtime.evaluate()
        first = len(log.published)
        assert first == len(runtime.verdicts) > 0
        await runtime.evaluate()
        assert len(log.published) == first, "nothing changed and nothing is due"

    asyncio.run(scenario())


def test_news_wake_the_judge_and_heartbeats_do_not() -> None:
    async def scenario() -> None:
        beat = HeartbeatEvent(event_id="b", time_seconds=NOW, worker="w", model="m", state="running")
        lag = LagEvent(event_id="l", time_seconds=NOW, group="g", topic="t", partition=0, status="OK")
        log = log_of(encode(beat), batch_event(), encode(lag))
        runtime = started(log)
        for expected in (False, True, True):
            await deliver(log, runtime)
            waiting = asyncio.create_task(runtime.wait_for_news(60))
            for _ in range(10):
                await asyncio.sleep(0)
            assert waiting.done() is expected
            waiting.cancel()
        await runtime.wait_for_news(0.001)  # the tick ends it
        assert list(runtime.world.workers) == ["w"]
        assert list(runtime.world.lags) == [0]

    asyncio.run(scenario())


def test_a_gap_wakes_whoever_mends_once_and_a_replay_does_not_close_it() -> None:
    async def scenario() -> None:
        clock = SetClock()
        log = log_at({0: {offset: batch_event(offset) for offset in (0, 2, 3, 5)}})
        runtime = started(log, clock)
        waiting = asyncio.create_task(runtime.wait_for_gap(60))
        await deliver(log, runtime)
        await asyncio.sleep(0)
        assert not waiting.done()
        await deliver(log, runtime)
        await asyncio.wait_for(waiting, 5)
        await deliver(log, runtime)
        await runtime.wait_for_gap(0.001)  # still the same gap: the time ends it
        log.position[0] = 0
        await deliver(log, runtime)
        clock.passed_seconds += LASTING_GAP_SECONDS
        assert runtime.unready() == ["gaps are open in partitions [0]"]
        await runtime.mend()
        await deliver(log, runtime, 2)
        assert runtime.unready() == []
        await runtime.mend()
        await deliver(log, runtime)
        assert totals(runtime).texts == 40

    asyncio.run(scenario())


PARTITIONS = 2
steps = st.one_of(
    st.tuples(st.just("deliver"), st.integers(0, PARTITIONS - 1), st.integers(1, 6)),
    st.tuples(st.just("deliver together"), st.integers(0, PARTITIONS - 1), st.integers(2, 15)),
    st.tuples(st.just("skip"), st.integers(0, PARTITIONS - 1), st.integers(1, 6)),
    st.tuples(st.just("flush"), st.sampled_from(["kept", "lost", "unsure"]), st.sampled_from(["kept", "unsure"])),
    st.tuples(st.just("flush while"), st.sampled_from(["rebalance", "deliver"]), st.just(0)),
    st.tuples(st.just("mend"), st.booleans(), st.just(0)),
    st.tuples(st.just("rewind"), st.integers(0, PARTITIONS - 1), st.integers(0, 3)),
    st.tuples(st.just("keeping fails"), st.just(0), st.just(0)),
    st.tuples(st.just("commit"), st.just(0), st.just(0)),
    st.tuples(st.just("rebalance"), st.just(0), st.just(0)),
    st.tuples(st.just("crash"), st.just(0), st.just(0)),
    st.tuples(st.just("time passes"), st.just(0), st.just(0)),
)


class Misfortune:
    """A process and a log, and what can happen to them."""

    def __init__(self, log: FakeLog) -> None:
        self.log = log
        self.clock = SetClock()
        self.runtime = started(log, self.clock)

    async def rebalance(self) -> None:
        self.log.reassign()
        self.runtime.recover(self.log.tables(), self.log.partitions)

    async def deliver(self) -> None:
        for partition in self.log.partitions:
            await deliver(self.log, self.runtime, 2, partition, together=2)

    async def flush(self) -> None:
        with contextlib.suppress(TimeoutError):
            await self.runtime.flush()

    async def step(self, what: str, one: Any, two: Any) -> None:
        log = self.log
        if what == "deliver":
            await deliver(log, self.runtime, two, one)
        elif what == "deliver together":
            await deliver(log, self.runtime, two, one, together=two)
        elif what == "skip":
            log.skip(one, two)
        elif what == "flush":
            log.write_plan = [one, two]
            await self.flush()
            log.write_plan = []
        elif what == "flush while":
            log.during_write = self.rebalance if one == "rebalance" else self.deliver
            await self.flush()
            log.during_write = None
        elif what == "mend":
            log.dumb = one
            await self.runtime.mend()
            log.dumb = False
        elif what == "rewind":  # Faust was seen to deliver a record twice
            log.position[one] = max(log.committed[one], log.position[one] - two)
        elif what == "keeping fails":
            log.reject_failures = 1
        elif what == "commit":
            log.commit()
        elif what == "rebalance":
            await self.rebalance()
        elif what == "crash":
            log.reassign()
            self.runtime = started(log, self.clock)
        else:
            self.clock.passed_seconds += IDLE_CHECK_SECONDS

    async def settle(self) -> None:
        """Nothing more goes wrong."""
        for _ in range(12):
            await self.deliver_all()
            await self.flush()
            await self.runtime.mend()
            self.clock.passed_seconds += IDLE_CHECK_SECONDS

    async def deliver_all(self) -> None:
        for partition in self.log.partitions:
            await deliver(self.log, self.runtime, 1000, partition, together=4)


@settings(max_examples=300, deadline=None)
@given(
    there=st.lists(st.lists(st.booleans(), max_size=15), min_size=PARTITIONS, max_size=PARTITIONS),
    broken=st.sets(st.integers(0, 14)),
    reach=st.integers(1, 5),
    plan=st.lists(steps, max_size=40),
)
def test_totals_are_the_sum_of_the_events_whatever_happens(
    there: list[list[bool]], broken: set[int], reach: int, plan: list[tuple[str, Any, Any]]
) -> None:
    """Records missing from the log, skipped, doubled; writes lost or unsure; rebalances and crashes at any point."""
    records: dict[int, dict[int, bytes | BatchEvent | None]] = {
        partition: {
            offset: b"broken" if offset in broken else batch_event(cost_nano_usd=3 ** (partition * 15 + offset))
            for offset, exists in enumerate(exist)
            if exists
        }
        for partition, exist in enumerate(there)
    }
    good = {(p, o) for p, at in records.items() for o, value in at.items() if value != b"broken"}

    async def scenario() -> None:
        log = log_at(records)
        log.reach = reach
        fate = Misfortune(log)
        for step in plan:
            await fate.step(*step)
        await fate.settle()
        runtime = fate.runtime
        # Each event costs another power of three: its digit in base three says how often it was counted.
        assert totals(runtime).cost_nano_usd == sum(3 ** (p * 15 + o) for p, o in good)
        assert totals(runtime).texts == 10 * len(good)
        assert runtime.world.windows.window((), 60, NOW).texts <= 10 * len(good), "nothing twice here either"
        assert runtime.unready() == []
        bad = {(p, o) for p, at in records.items() for o in at} - good
        assert {(p, o) for p, o, _, _ in log.kept} == bad
        rejected = sum(count for state in runtime.world.partitions.values() for count in state.rejected.values())
        assert rejected == len(bad)
        log.commit()
        assert all(log.committed[p] >= offset for p, offset in log.delivered.items()), "nothing waits for ever"
        written = {p: log.table.get(p, {"next_offset": 0})["next_offset"] for p in log.partitions}
        assert all(log.committed[p] <= written[p] for p in log.partitions), "nothing is committed that is not written"
        # A restart finds the same: all of it had been written before it was acknowledged.
        again = started(log)
        assert totals(again).cost_nano_usd == totals(runtime).cost_nano_usd

    asyncio.run(scenario())


def test_closed_windows_that_the_broker_does_not_take_are_published_later_and_once() -> None:
    """A backlog of two minutes ago: its minute is over at once when nothing more comes."""
    clock = SetClock()
    log = log_of(batch_event(time_seconds=NOW - 120), batch_event(time_seconds=NOW - 200, model="n"))

    async def run() -> None:
        runtime = started(log, clock)
        await runtime.publish_windows()
        assert log.windows == [], "what waits in the partition is given the time to come"
        await deliver(log, runtime, 2)
        clock.moved_seconds = 31.0
        log.publish_failures = 1
        with pytest.raises(TimeoutError):
            await runtime.publish_windows()
        log.moving = True
        await runtime.publish_windows()
        assert log.windows == []
        log.moving = False
        await runtime.publish_windows()
        await runtime.publish_windows()

    asyncio.run(run())
    keys = [window_key(window) for window in log.windows]
    assert len(keys) == len(set(keys))
    assert {(w.scope, w.events) for w in log.windows if w.window_seconds == 60} == {
        ("all", 1), ("model=m", 1), ("model=n", 1),
    }  # fmt: skip
    assert all(window.partial for window in log.windows), "the process began after them"


def test_of_two_flushes_at_once_the_older_state_is_not_written_last() -> None:
    """As when a process is stopped while it flushes."""

    async def scenario() -> None:
        log = log_of(batch_event(0), batch_event(1))
        runtime = started(log)
        write, go_on = log.write_state, asyncio.Event()

        async def slow_at_first(partition: int, record: Any) -> None:
            if record["next_offset"] == 1:
                await go_on.wait()
            await write(partition, record)

        log.write_state = slow_at_first  # type: ignore[method-assign]
        await deliver(log, runtime, 1)
        first = asyncio.create_task(runtime.flush())
        await asyncio.sleep(0)
        await deliver(log, runtime, 1)
        second = asyncio.create_task(runtime.flush())
        for _ in range(20):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, second)
        assert (log.table[0]["next_offset"], log.acked) == (2, {0: {0, 1}})

    asyncio.run(scenario())


def test_an_event_that_was_refused_is_refused_by_whoever_takes_over_with_the_panes_of_the_first() -> None:
    """The panes of the first process are out, its state is not: what they cover was refused, not counted."""

    async def scenario() -> None:
        log = log_of(batch_event(), batch_event(latency_sketch="!"), batch_event())
        runtime = started(log)
        runtime.world.windows.part(0).complete_to(3)
        await deliver(log, runtime, 3)
        await runtime.flush()
        state = runtime.world.partitions[0]
        assert (state.events, state.rejected) == (2, {"invalid": 1})

    asyncio.run(scenario())


def test_a_sample_from_the_future_is_one_of_now() -> None:
    async def scenario() -> None:
        ahead = LagEvent(
            event_id="a", time_seconds=1e300, group="g", topic="t", partition=0, committed_offset=0,
            log_end_offset=0, lag_messages=0, status="OK",
        )  # fmt: skip
        right = replace(ahead, event_id="b", lag_messages=1_000_000, log_end_offset=1_000_000, time_seconds=NOW + 1)
        beat = HeartbeatEvent(event_id="h", time_seconds=NOW + 3 * 86_400, worker="w", model="m", state="running")
        clock = SetClock()
        log = log_of(encode(ahead), encode(beat), encode(right))
        runtime = started(log, clock)
        await deliver(log, runtime, 2)
        assert runtime.world.workers["w"].time_seconds <= clock.now()
        clock.passed_seconds += 5
        await deliver(log, runtime, 1)
        assert runtime.world.lags[0].lag_messages == 1_000_000

    asyncio.run(scenario())


@pytest.mark.parametrize("absurd", [{"busy_seconds": 1e308}, {"phase_seconds": PhaseSeconds(embed=1e308)}])
def test_absurd_seconds_are_refused(absurd: dict[str, Any]) -> None:
    async def scenario() -> None:
        log = log_of(batch_event(**absurd), batch_event())
        runtime = started(log)
        await deliver(log, runtime, 2)
        assert runtime.world.partitions[0].rejected == {"invalid": 1}

    asyncio.run(scenario())


def test_a_broker_that_is_away_makes_the_numbers_those_of_then() -> None:
    log, clock = log_of(batch_event(), batch_event(1)), SetClock()
    runtime = runtime_on(log, clock=clock)
    runtime.recover({}, {0})

    async def run() -> None:
        await deliver(log, runtime)
        log.write_plan = ["lost"]
        with pytest.raises(TimeoutError):
            await runtime.flush()
        clock.passed_seconds = 29.0
        assert runtime.unready() == []
        clock.passed_seconds = 42.0
        assert runtime.unready() == ["1 records wait for 42 s for the broker to take the state"]
        await runtime.flush()
        assert runtime.unready() == []

    asyncio.run(run())
    # Nothing is left to be written: then it tells by the topic that is read all the time.
    runtime.alerts.heard(clock.now())
    clock.passed_seconds += 29.0
    clock.moved_seconds += 40.0
    assert runtime.unready() == [], "it has taken a state since"
    clock.passed_seconds += 1.0
    assert runtime.unready() == ["the broker has not answered for 30 s"]
    runtime.alerts.heard(clock.now())
    assert runtime.unready() == []


def test_a_topic_that_takes_nothing_is_told_and_counted_until_it_does_again() -> None:
    log, clock = log_of(batch_event(time_seconds=NOW - 120)), SetClock()
    world = runtime_on(log).world
    runtime = Runtime(world, default_rules(), log, clock)
    runtime.recover({}, {0})

    async def fail() -> None:
        log.publish_failures = 1
        with pytest.raises(TimeoutError):
            await runtime.evaluate()

    async def run() -> None:
        await fail()
        clock.passed_seconds = UNPUBLISHED_SECONDS - 1
        await fail()
        assert runtime.unready() == [], "a broker that is started again takes that long"
        clock.passed_seconds = 42.0
        (reason,) = runtime.unready()
        assert reason.startswith("verdicts could not be published for 42 s: ")
        assert runtime.unreliable() == [], "decisions about workers go by the numbers, and those are right"
        assert runtime.edges.failures.counts == {"verdicts": 2}
        await runtime.evaluate()
        assert (log.published != [], runtime.unready()) == (True, [])
        await fail_windows()
        clock.passed_seconds += UNPUBLISHED_SECONDS
        assert [reason.split()[0] for reason in runtime.unready()] == ["windows"]
        assert runtime.edges.failures.counts == {"verdicts": 2, "windows": 1}
        runtime.recover(log.tables(), {0})
        assert runtime.unready() == [], "whoever has the partitions now says what is owed"

    async def fail_windows() -> None:
        await deliver(log, runtime)
        await runtime.flush()
        clock.moved_seconds = 31.0
        log.publish_failures = 1
        with pytest.raises(TimeoutError):
            await runtime.publish_windows()

    asyncio.run(run())


def test_what_is_not_owed_any_more_is_not_told() -> None:
    log, clock = log_of(), SetClock()
    runtime = started(log, clock)
    for kind in ("verdicts", "windows"):
        runtime.edges.failures.failed(kind, 0.0)
    clock.passed_seconds = UNPUBLISHED_SECONDS
    assert len(runtime.unready()) == 2
    asyncio.run(runtime.evaluate())
    asyncio.run(runtime.publish_windows())
    assert runtime.unready() == []


@pytest.mark.parametrize("kind", ["days", "corrections", "partials", "decisions"])
def test_whatever_is_published_is_watched(kind: Kind) -> None:
    clock = SetClock()

    class Away(FakeLog):
        async def publish_days(self, days: object) -> None:
            raise TimeoutError

        publish_corrections = publish_scaling = send_partials = publish_days

    edges = WatchedEdges(Away({}), clock)
    send: dict[Kind, Any] = {
        "days": edges.publish_days, "corrections": edges.publish_corrections, "partials": edges.send_partials,
        "decisions": edges.publish_scaling,
    }  # fmt: skip
    with pytest.raises(TimeoutError):
        asyncio.run(send[kind]([]))
    assert edges.failures.counts == {kind: 1}
    assert edges.failures.lasting(30.0, 30.0) == {kind: 30.0}


def test_a_refused_event_is_found_in_the_log_by_its_id_and_its_place(caplog: pytest.LogCaptureFixture) -> None:
    broken = encode(batch_event(7)).replace(b'"texts":10', b'"texts":-1')
    log = log_of(broken)
    runtime = runtime_on(log)
    runtime.recover({}, {0})
    asyncio.run(deliver(log, runtime))
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    found = tuple(record.__dict__[name] for name in ("event_id", "partition", "offset", "reason"))
    assert found == ("w:7", 0, 0, "invalid")
