"""Several processes share the partitions: each one's numbers of the whole are those of one that saw everything."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.events import BatchEvent, PhaseSeconds
from embedwatch.sketch import Sketch
from tests.harness.agents_cluster import Cluster, Member, numbers, reference
from tests.harness.agents_log import NOW, batch_event

PARTITIONS = 3
MEMBERS = 3


def event(number: int, ago_seconds: int, tenant: int, latency_ms: int) -> BatchEvent:
    # Costs are powers of three: a digit says how often the event was counted. Sums of the floats are exact.
    return batch_event(
        number, time_seconds=NOW - ago_seconds, tenant=f"t{tenant}", cost_nano_usd=3 ** (number % 33),
        latency_sketch=Sketch.of([float(latency_ms)] * 10).to_text(), phase_seconds=PhaseSeconds(embed=0.25),
        misses=7 if number % 5 == 0 else 8, errors={"other": 1} if number % 5 == 0 else {},
    )  # fmt: skip


logs = st.lists(
    st.lists(st.tuples(st.sampled_from([0, 15, 200]), st.integers(0, 1), st.integers(1, 1000)), min_size=4, max_size=8),
    min_size=PARTITIONS,
    max_size=PARTITIONS,
).map(
    lambda log: [
        [event(p * 8 + o, *fields) for o, fields in enumerate(events)] for p, events in enumerate(log)
    ]
)  # fmt: skip
fates = st.lists(st.sampled_from(["kept", "kept", "kept", "lost", "unsure"]), max_size=6)
some_member, some_partition = st.integers(0, MEMBERS - 1), st.integers(0, PARTITIONS - 1)
owners = st.lists(some_member, min_size=PARTITIONS, max_size=PARTITIONS)
steps = st.one_of(
    st.tuples(st.just("deliver"), some_member, some_partition, st.integers(1, 5)),
    st.tuples(st.just("flush"), some_member, fates, st.none()),
    st.tuples(st.just("tell"), some_member, fates, st.none()),
    st.tuples(st.just("read"), some_member, st.integers(1, 5), st.none()),
    st.tuples(st.just("commit"), some_member, st.none(), st.none()),
    st.tuples(st.just("rewind"), some_member, some_partition, st.integers(1, 4)),
    st.tuples(st.just("rebalance"), owners, st.lists(st.booleans(), min_size=MEMBERS, max_size=MEMBERS), st.none()),
    st.tuples(st.just("die in flush"), some_member, st.integers(0, 5), owners),
    st.tuples(st.just("crash"), some_member, owners, st.none()),
)


async def take(cluster: Cluster, what: str, one: Any, two: Any, three: Any) -> None:
    for each in cluster.members:
        each.runtime._publish_failures = 0  # who cannot tell for long goes on without: another promise
    member = cluster.members[one] if isinstance(one, int) else cluster.members[0]
    if what == "deliver":
        await member.deliver(two, three)
    elif what in ("flush", "tell"):
        member.plan = list(two)
        with contextlib.suppress(TimeoutError):
            await (member.runtime.flush() if what == "flush" else member.runtime.tell())
        member.plan = []
    elif what == "read":
        member.read(two)
    elif what == "commit":
        member.commit()
    elif what == "rewind" and two in member.position:
        member.position[two] = max(member.position[two] - three, 0)
    elif what == "rebalance":
        cluster.assign(one, two)
    elif what == "die in flush":
        member.plan = ["kept"] * two + ["lost"]
        with contextlib.suppress(TimeoutError):
            await member.runtime.flush()
        cluster.crash(one)
        cluster.assign(three)
    elif what == "crash":
        cluster.crash(one)
        cluster.assign(two)


async def settle(cluster: Cluster) -> None:
    """Nothing more goes wrong."""
    for _ in range(4):
        for member in cluster.members:
            for partition in range(PARTITIONS):
                await member.deliver(partition, 1000)
            await member.runtime.flush()
            await member.runtime.mend()
        for member in cluster.members:
            member.read()


@settings(max_examples=250, deadline=None)
@given(log=logs, first=owners, plan=st.lists(steps, min_size=5, max_size=40), last=owners)
def test_whatever_happens_every_process_ends_with_the_numbers_of_the_whole(
    log: list[list[BatchEvent]], first: list[int], plan: list[tuple[str, Any, Any, Any]], last: list[int]
) -> None:
    expected = numbers(reference(log))

    async def scenario() -> None:
        cluster = Cluster(log, MEMBERS)
        cluster.assign(first)
        for step in plan:
            await take(cluster, *step)
        cluster.assign(last)
        await settle(cluster)
        for member in cluster.members:
            assert numbers(member.runtime.world) == expected
            assert member.merger.caught_up
        # A process that starts now, and holds nothing, knows the same from what was written alone.
        late = Member(cluster)
        late.take_over(set())
        assert numbers(late.runtime.world) == expected

    asyncio.run(scenario())
