"""What other processes say: taken in when it says more, refused when it is broken, old or not ours; and told apart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from embedwatch.events import BatchEvent, CacheEvent, HeartbeatEvent, LagEvent
from stream_agents.compute.ledger import STATE_VERSION, DayTotals, PartitionState
from stream_agents.compute.merger import STALE_SECONDS, Merger
from stream_agents.compute.partials import (
    Checkpoint,
    Record,
    checkpoint_record,
    marker_record,
    pane_records,
    sample_records,
)
from stream_agents.compute.windows import Totals, pane_start
from tests.harness.agents_cluster import APP_ID, Cluster, new_world, numbers, reference
from tests.harness.agents_log import NOW, batch_event

START = pane_start(NOW)
BEAT = HeartbeatEvent(event_id="b", time_seconds=NOW, worker="w", model="m", state="running")
LAG = LagEvent(event_id="l", time_seconds=NOW, group="g", topic="t", partition=0, status="OK")
CACHE = CacheEvent(event_id="c", time_seconds=NOW, worker="w", available=True)


@pytest.fixture
def starting() -> Merger:
    """A process that still reads what was there before it."""
    return Merger(new_world(), APP_ID, 4)


@pytest.fixture
def merger(starting: Merger) -> Merger:
    starting.unpack(NOW)
    return starting


def take(merger: Merger, *records: Record) -> bool:
    changed = [merger.take_partial(*record, NOW) for record in records]  # all of them, not up to the first
    return any(changed)


def pane(texts: int = 10, partition: int = 1, as_of: int = 5, app_id: str = APP_ID) -> list[Record]:
    return pane_records(app_id, partition, START, as_of, {(): Totals(texts=texts, events=1, first_seconds=NOW)})


def texts(merger: Merger) -> int:
    return merger.world.windows.window((), 60, NOW).texts


def test_the_newest_by_offset_counts_whatever_the_order(merger: Merger) -> None:
    assert take(merger, *pane(10, as_of=5))
    assert take(merger, *pane(30, as_of=9))
    assert not take(merger, *pane(10, as_of=5)), "a process that was paused says what is known already"
    assert texts(merger) == 30
    assert take(merger, *pane(7, partition=2))
    assert texts(merger) == 37


def test_another_application_on_the_same_topic_is_not_heard(merger: Merger) -> None:
    assert not take(merger, *pane(app_id="app2"), *pane(app_id=""))
    assert texts(merger) == 0
    assert merger.refused == {}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"), (b"", "empty"), (b"nothing", "invalid"), (b'{"type":"pane"}', "invalid"),
        (b'{"type":"other","v":1}', "invalid"), (b"\xff", "invalid"), (b"[1]", "invalid"),
        (b'{"type":"checkpoint","v":1,"partition":4,"next_offset":1,"time_seconds":1}', "invalid"),
        (b'{"type":"checkpoint","v":1,"partition":-1,"next_offset":1,"time_seconds":1}', "invalid"),
        (pane()[0][1].replace(b'"texts":10', b'"texts":"x"'), "invalid"),
        (pane()[0][1].replace(b'"all"', b'"nonsense"'), "invalid"),
        (pane()[0][1].replace(b'"pieces":1', b'"pieces":9007199254740992'), "invalid"),
        (pane()[0][1].replace(b'"piece":0', b'"piece":1'), "invalid"),
        (pane()[0][1].replace(b'"v":1', b'"v":2'), "wrong_version"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_counted_and_changes_nothing(merger: Merger, value: bytes | None, reason: str) -> None:
    before = numbers(merger.world)
    assert not merger.take_partial(b"app|1|pane", value, NOW)
    assert merger.refused == {reason: 1}
    assert numbers(merger.world) == before


def test_a_newer_version_is_named(merger: Merger) -> None:
    merger.states_read = True
    take(merger, (b"app|x", b'{"type":"what is it","v":9}'))
    assert "another process is newer than this one: a partial of version 9; this agent knows 1" in merger.trouble(NOW)


def test_a_newer_process_that_is_gone_is_forgotten_as_others_are(merger: Merger) -> None:
    merger.states_read = True
    take(merger, (b"app|x", b'{"type":"what is it","v":9}'))
    assert merger.newer(NOW + STALE_SECONDS) is not None
    assert merger.newer(NOW + STALE_SECONDS + 1) is None
    assert not any("newer" in reason for reason in merger.trouble(NOW + STALE_SECONDS + 1))


def test_a_newer_state_is_told_until_one_that_can_be_read_takes_its_place(merger: Merger) -> None:
    record = PartitionState(next_offset=5).to_record()
    newer = json.dumps({**record, "v": STATE_VERSION + 1}).encode()
    assert not merger.take_state(2, b'"p2"', newer)
    words = f"state of version {STATE_VERSION + 1}; this agent knows {STATE_VERSION}"
    assert merger.newer(NOW + 3600) == words, "nobody knows what is in it, however long ago it was written"
    assert merger.take_state(2, b'"p2"', json.dumps(record).encode())
    assert merger.newer(NOW) is None
    merger.take_state(1, b'"p1"', newer)
    merger.owned = frozenset({1})
    assert merger.newer(NOW) is None, "what is held here was read, or this process has ended"


def test_a_large_pane_comes_in_pieces_and_counts_when_all_are_there(merger: Merger) -> None:
    scopes = {(("model", f"m{n}"),): Totals(texts=n, events=1, first_seconds=NOW) for n in range(50)}
    pieces = pane_records(APP_ID, 1, START, 5, scopes, max_bytes=4000)
    assert len(pieces) > 3
    assert all(len(value) < 4400 for _, value in pieces)
    assert len({key for key, _ in pieces}) == len(pieces)
    later = pane_records(
        APP_ID, 1, START, 6, {**scopes, (): Totals(texts=1, events=1, first_seconds=NOW)}, max_bytes=4000
    )
    assert not take(merger, *pieces[:-1], *later[:1])
    assert merger.world.windows.scopes() == [()], "half a pane is none"
    assert not take(merger, pieces[-1]), "what was begun has ended with the newer one"
    assert take(merger, *later[1:])
    assert merger.world.windows.window((("model", "m49"),), 60, NOW).texts == 49


def test_panes_never_finished_take_no_memory_without_end(merger: Merger) -> None:
    scopes = {(("model", f"m{n}"),): Totals(texts=n, events=1) for n in range(3)}
    for number in range(300):
        take(merger, pane_records(APP_ID, 1, START - 10 * number, 5, scopes, max_bytes=10)[0])
    assert len(merger._pieces._open) <= 64


def test_samples_are_the_newest_of_each_sender(merger: Merger) -> None:
    newer = [
        HeartbeatEvent(event_id="b", time_seconds=NOW + 1, worker="w", model="m", state="running", queued_texts=7),
        LagEvent(event_id="l", time_seconds=NOW + 1, group="g", topic="t", partition=0, status="STOPPED"),
        CacheEvent(event_id="c", time_seconds=NOW + 1, worker="w", available=False),
    ]
    take(merger, *sample_records(APP_ID, 1, 0, newer), *sample_records(APP_ID, 2, 0, [BEAT, LAG, CACHE]))
    world = merger.world
    assert (world.workers["w"].queued_texts, world.lags[0].status, world.caches["w"].available) == (7, "STOPPED", False)


def test_many_samples_are_several_records_in_slots_that_come_round() -> None:
    records = sample_records(APP_ID, 1, 598, [BEAT] * 50, max_bytes=2000)
    assert len(records) > 4
    assert [key for key, _ in records[:3]] == [b"app|1|samples|598", b"app|1|samples|599", b"app|1|samples|0"]


def state(next_offset: int, cost_nano_usd: int = 1, timezone: str | None = None) -> bytes:
    days = {"2027-01-15": {"all": DayTotals(texts=1, cost_nano_usd=cost_nano_usd)}}
    return json.dumps(PartitionState(next_offset=next_offset, days=days, timezone=timezone).to_record()).encode()


def test_the_ledger_of_another_partition_is_its_latest_state(merger: Merger) -> None:
    def cost() -> int:
        return merger.world.day("2027-01-15").cost_nano_usd

    assert merger.take_state(1, b'"p1"', state(5, 100))
    assert merger.take_state(1, b'"p1"', state(9, 300))
    assert not merger.take_state(1, b'"p1"', state(7, 200)), "written by a process that was paused"
    assert cost() == 300
    merger.owned = frozenset({1})
    assert not merger.take_state(1, b'"p1"', state(20, 900)), "who holds it knows better"
    for value in (None, b"", b"[]", b"{", b'"x"', b'{"v":1}'):
        assert not merger.take_state(2, b'"p2"', value)
    assert not merger.take_state(99, b'"p99"', state(5))
    assert cost() == 300


def test_days_of_another_time_zone_are_no_days_of_ours_and_that_is_said(merger: Merger) -> None:
    assert not merger.take_state(1, b'"p1"', state(5, 100, "Asia/Kolkata"))
    assert merger.world.day("2027-01-15").cost_nano_usd == 0
    reason = "another process books partitions [1] by days of another time zone"
    assert reason in merger.trouble(NOW)
    assert merger.take_state(1, b'"p1"', state(9, 300, "UTC"))
    assert reason not in merger.trouble(NOW)


def test_while_it_starts_panes_are_kept_as_they_came_and_checkpoints_wait_for_them(starting: Merger) -> None:
    merger = starting
    checkpoint = Checkpoint(1, 9, NOW, late_events=3, last_batch_seconds=NOW - 1)
    broken = pane(partition=2)[0][1].replace(b'"texts":10', b'"texts":"x"')
    take(merger, *pane(30, as_of=9), checkpoint_record(APP_ID, checkpoint), *pane(10, as_of=5), (b"app|2", broken))
    assert not take(merger, checkpoint_record(APP_ID, Checkpoint(1, 5, NOW)))
    assert (texts(merger), merger.partials_read) == (0, False)
    assert merger.unpack(NOW, limit=1)
    assert not merger.unpack(NOW, limit=1)
    assert (texts(merger), merger.partials_read, merger.refused) == (30, True, {"invalid": 1})
    assert merger.world.windows.part(1).next_offset == 9
    assert (merger.world.windows.late_events, merger.world.last_batch_seconds) == (3, NOW - 1)


def test_what_is_known_of_the_whole_is_told(starting: Merger) -> None:
    merger = starting
    merger.owned = frozenset({0, 1})
    assert merger.trouble(NOW) == ["the partials of partitions [2, 3] are not read yet"]
    assert not merger.caught_up
    assert merger.coverage(NOW)["stale_partitions"] == [2, 3]
    merger.expect("id")
    take(merger, marker_record("app2", "id"))
    assert not merger.reached("id")
    take(merger, marker_record(APP_ID, "other"), marker_record(APP_ID, "id"))
    assert merger.reached("id")
    merger.unpack(NOW)
    assert merger.trouble(NOW) == ["the state of partitions [2, 3] is not read yet"]
    merger.states_ended()
    assert merger.caught_up
    assert merger.trouble(NOW) == ["partitions [2, 3] were not heard of for 10 s"]
    take(merger, *[checkpoint_record(APP_ID, Checkpoint(p, 1, NOW)) for p in (2, 3)])
    assert merger.trouble(NOW + STALE_SECONDS) == []
    assert merger.coverage(NOW) == {"total": 4, "held_here": 2, "fresh": 4, "stale_partitions": []}
    assert merger.coverage(NOW + STALE_SECONDS + 1)["fresh"] == 2


def test_a_process_alone_needs_nobodys_state(merger: Merger) -> None:
    merger.owned = frozenset(range(4))
    assert merger.trouble(NOW) == []
    assert merger.caught_up


def test_what_was_said_long_before_the_start_is_not_fresh(starting: Merger) -> None:
    take(starting, *[checkpoint_record(APP_ID, Checkpoint(p, 1, NOW - ago)) for p, ago in ((2, 60), (3, 5))])
    starting.unpack(NOW)
    assert starting.stale(NOW) == [0, 1, 2]


def run_two(log: list[list[BatchEvent]], scenario: Any) -> None:
    async def run() -> None:
        cluster = Cluster(log, 2)
        cluster.assign([0, 1])
        await scenario(cluster)

    asyncio.run(run())


def test_only_the_holder_of_the_first_partition_speaks_for_the_whole() -> None:
    async def scenario(cluster: Cluster) -> None:
        one, two = cluster.members
        for member in cluster.members:
            await member.runtime.tell()
        for member in cluster.members:
            member.read()
        assert (one.runtime.leads, two.runtime.leads) == (True, False)
        one.merger.partials_read = False
        assert not one.runtime.leads, "not before it knows what the others know"

    run_two([[batch_event()], [batch_event()]], scenario)


def test_a_state_written_without_its_panes_is_made_good_by_the_replay() -> None:
    """A process that could not tell for long wrote states alone, and died before it acknowledged."""
    log = [[batch_event(n) for n in range(4)], []]

    expected = numbers(reference(log))

    async def scenario(cluster: Cluster) -> None:
        one, two = cluster.members
        one.runtime._publish_failures = 99
        await one.deliver(0, 4)
        one.plan = ["lost", "kept"]
        await one.runtime.flush()
        assert cluster.tables()[0]["next_offset"] == 4
        assert cluster.partials == []
        cluster.crash(0)
        cluster.assign([1, 1])
        await two.deliver(0, 4)
        assert numbers(two.runtime.world) == expected

    run_two(log, scenario)


def test_partials_that_cannot_be_sent_hold_up_the_ledger_for_a_while_only() -> None:
    async def scenario(cluster: Cluster) -> None:
        one = cluster.members[0]
        await one.deliver(0, 1)
        for _ in range(2):
            one.plan = ["lost"]
            with pytest.raises(TimeoutError):
                await one.runtime.flush()
            assert cluster.tables() == {}
        one.plan = ["lost", "kept"]
        await one.runtime.flush()
        assert cluster.tables()[0]["next_offset"] == 1
        await one.runtime.tell()
        cluster.members[1].read()
        assert cluster.members[1].runtime.world.windows.window((), 60, NOW).texts == 10, "told when it can be"

    run_two([[batch_event()], []], scenario)


def test_samples_reach_the_other_process_and_a_failed_send_keeps_them() -> None:
    async def scenario(cluster: Cluster) -> None:
        one, two = cluster.members
        one.runtime.publisher.note(0, BEAT)
        one.plan = ["lost"]
        with pytest.raises(TimeoutError):
            await one.runtime.tell()
        await one.runtime.tell()
        two.read()
        assert list(two.runtime.world.workers) == ["w"]
        sent = len(cluster.partials)
        await one.runtime.tell()
        assert len(cluster.partials) == sent, "nothing new, and its checkpoint is fresh"

    run_two([[], []], scenario)
