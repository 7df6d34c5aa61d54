"""Closed windows where several processes share the partitions: one publishes them, of the whole, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from embedwatch.events import BatchEvent, WindowEvent, window_key
from embedwatch.sketch import Sketch
from stream_agents.compute.partials import Checkpoint, checkpoint_record
from tests.harness.agents_cluster import APP_ID, Cluster, Member
from tests.harness.agents_log import NOW, batch_event

#: Longer than the grace: a partition from which nothing comes holds nothing up any more.
IDLE_SECONDS = 31.0


def log() -> list[list[BatchEvent]]:
    return [
        [batch_event(0, time_seconds=NOW - 200), batch_event(1, time_seconds=NOW + 40)],
        [batch_event(2, time_seconds=NOW - 200), batch_event(3, time_seconds=NOW - 110)],
    ]


async def counted(cluster: Cluster) -> None:
    """The first event of the first partition, both of the second; and everybody has heard of it."""
    await cluster.members[0].deliver(0, 1)
    for member in cluster.members:
        await member.deliver(1, 2)
        await member.runtime.flush()
    for member in cluster.members:
        member.read()


def later(cluster: Cluster, seconds: float) -> None:
    for member in cluster.members:
        member.clock.moved_seconds = member.clock.passed_seconds = seconds


async def tell(cluster: Cluster) -> None:
    for member in cluster.members:
        await member.runtime.tell()
    for member in cluster.members:
        member.read()


def minutes(windows: list[WindowEvent]) -> list[int]:
    """Events of each minute of everything that has some."""
    return [w.events for w in windows if w.scope == "all" and w.window_seconds == 60 and w.events]


def known(member: Member) -> list[int]:
    return minutes(member.runtime.world.closer.recent((), 60, 100))


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_the_holder_of_the_first_partition_publishes_the_whole_and_everybody_knows_it() -> None:
    async def scenario() -> None:
        cluster = Cluster(log(), 2)
        cluster.assign([0, 1])
        await counted(cluster)
        later(cluster, IDLE_SECONDS)
        await cluster.members[1].runtime.publish_windows()
        assert cluster.windows == []
        await cluster.members[0].runtime.publish_windows()
        assert minutes(cluster.windows) == [2, 1]
        assert known(cluster.members[0]) == known(cluster.members[1]) == [1, 2]

    run(scenario())


@pytest.mark.parametrize("told", [True, False])
def test_whoever_speaks_next_publishes_what_is_not_known_to_be_out(told: bool) -> None:
    async def scenario() -> None:
        cluster = Cluster(log(), 2)
        cluster.assign([0, 1])
        await counted(cluster)
        later(cluster, IDLE_SECONDS)
        await cluster.members[1].runtime.publish_windows()
        if told:
            await cluster.members[0].runtime.publish_windows()
            await tell(cluster)
        cluster.windows.clear()
        cluster.crash(0)
        later(cluster, IDLE_SECONDS + 1)
        cluster.assign([1, 1])
        later(cluster, 2 * IDLE_SECONDS + 2)
        await cluster.members[1].runtime.publish_windows()
        assert minutes(cluster.windows) == ([] if told else [2, 1])
        keys = [window_key(window) for window in cluster.windows]
        assert len(keys) == len(set(keys))

    run(scenario())


def test_a_restart_publishes_nothing_that_is_out() -> None:
    async def scenario() -> None:
        cluster = Cluster(log(), 1)
        cluster.assign([0, 0])
        await counted(cluster)
        later(cluster, IDLE_SECONDS)
        await cluster.members[0].runtime.publish_windows()
        await tell(cluster)
        out = {window_key(window) for window in cluster.windows}
        assert minutes(cluster.windows) == [2, 1]
        cluster.crash(0)
        later(cluster, IDLE_SECONDS)
        cluster.assign([0, 0])
        await cluster.members[0].deliver(0, 10)
        later(cluster, 200.0)
        cluster.windows.clear()
        await cluster.members[0].runtime.publish_windows()
        assert minutes(cluster.windows) == [1], "what came after the restart"
        assert not out & {window_key(window) for window in cluster.windows}
        assert known(cluster.members[0]) == [1, 1, 2], "but all of it is known again"

    run(scenario())


def test_a_partition_that_another_process_is_behind_with_is_waited_for() -> None:
    async def scenario() -> None:
        cluster = Cluster(log(), 2)
        cluster.assign([0, 1])
        await cluster.members[0].deliver(0, 2)
        await cluster.members[1].deliver(1, 1)
        await tell(cluster)
        later(cluster, 20.0)
        await cluster.members[1].deliver(1, 1)
        await tell(cluster)
        later(cluster, 40.0)
        await cluster.members[0].runtime.publish_windows()
        assert minutes(cluster.windows) == [2], "its newest event is in the next minute, and came 20 s ago"
        await tell(cluster)
        later(cluster, 20.0 + IDLE_SECONDS)
        await cluster.members[0].runtime.publish_windows()
        assert minutes(cluster.windows) == [2, 1], "that it is looked after holds nothing up"

    run(scenario())


def test_what_another_process_counted_too_late_is_told_and_changes_no_window() -> None:
    async def scenario() -> None:
        cluster = Cluster([log()[0], [*log()[1], batch_event(4, time_seconds=NOW - 110)]], 2)
        cluster.assign([0, 1])
        await counted(cluster)
        later(cluster, IDLE_SECONDS)
        await cluster.members[0].runtime.publish_windows()
        assert cluster.members[0].runtime.world.closer.late_events == 0
        await cluster.members[1].deliver(1, 1)
        await tell(cluster)
        await cluster.members[0].runtime.publish_windows()
        assert cluster.members[0].runtime.world.closer.late_events == 1
        assert known(cluster.members[0]) == [1, 2]
        assert cluster.members[0].runtime.world.windows.window((), 300, NOW).texts == 40, "the rules see it"

    run(scenario())


def test_what_another_process_counted_too_late_is_in_the_longer_windows_that_are_open() -> None:
    """Whoever answers: the open windows of five minutes and an hour hold what one process alone would have in them."""

    async def scenario() -> None:
        slow = Sketch.of([700.0] * 10).to_text()
        late = [
            batch_event(n, time_seconds=NOW + 70, tenant="t", latency_sketch=slow, misses=7, errors={"other": 1})
            for n in (4, 5)
        ]
        cluster = Cluster([log()[0], [*log()[1], *late]], 2)
        cluster.assign([0, 1])
        await counted(cluster)
        later(cluster, 200.0)
        for member in cluster.members:
            await member.runtime.publish_windows()
        for _ in late:  # one after the other: what came before is not added again
            await cluster.members[1].deliver(1, 1)
            await tell(cluster)
            await tell(cluster)
        found = []
        for member in cluster.members:
            world, now = member.runtime.world, member.clock.now()
            found.append({
                (scope, length): [
                    (start, totals.events, totals.texts, totals.errors, totals.latency.quantile(0.99),
                     totals.batch_share, totals.first_seconds)
                    for start, totals in world.closer.unclosed(world.windows, scope, length, now)
                ]
                for scope in ((), (("tenant", "t"),), (("model", "m"),)) for length in (300, 3600)
            })  # fmt: skip
            assert world.closer.late_events == 2
            assert known(member) == [1, 2], "the minutes are out"
        assert found[0] == found[1]
        assert [row[1] for row in found[0][(("tenant", "t"),), 3600]] == [2]
        assert [row[1] for row in found[0][(("tenant", "t"),), 300]] == [2]
        later(cluster, 3700.0)
        await tell(cluster)
        for member in cluster.members:
            await member.runtime.publish_windows()
        hours = [w for w in cluster.windows if w.window_seconds == 3600 and w.scope == "tenant=t"]
        assert [(w.events, w.errors) for w in hours] == [(2, {"other": 2})]

    run(scenario())


def test_a_moment_far_ahead_does_not_keep_windows_from_being_published() -> None:
    async def scenario() -> None:
        cluster = Cluster(log(), 1)
        cluster.partials.append(checkpoint_record(APP_ID, Checkpoint(0, 0, NOW, published_until=NOW + 1e9)))
        cluster.assign([0, 0])
        assert cluster.members[0].runtime.world.closer.published_until == NOW

    run(scenario())
