"""Sums by worker: the same however they are added up, bounded, and alive through the partials."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.events import BatchEvent
from embedwatch.sketch import Sketch
from stream_agents.compute.partials import Pane, Pieces, decode_partial, pane_records, workers_of
from stream_agents.compute.shared_windows import SharedWindows
from stream_agents.compute.windows import Totals, Windows, pane_start
from stream_agents.compute.worker_panes import MAX_WORKERS, OTHER_WORKERS, WorkerPanes, Workers, WorkerSums
from tests.harness.agents_cluster import Cluster, Member
from tests.harness.agents_log import NOW, batch_event

START = pane_start(NOW)


def event(number: int, worker: str = "w", ago: int = 0, **fields: Any) -> BatchEvent:
    return batch_event(number, time_seconds=NOW - ago, worker=worker, **fields)


def plain(workers: Workers) -> dict[Any, tuple[Any, ...]]:
    return {pair: msgspec.structs.astuple(sums) for pair, sums in workers.items()}


def test_what_is_kept_of_a_worker() -> None:
    windows = Windows(max_scopes=9)
    slow = Sketch.of([400.0] * 9).to_text()
    windows.add(event(0, "a", latency_sketch=slow, errors={"timeout": 1, "cancelled": 3}, texts=10, tenant="t"), NOW)
    windows.add(event(1, "a", ago=2), NOW)
    windows.add(event(2, "b", model="n"), NOW)
    found = windows.workers_window(60, NOW)
    sums = found["m", "a"]
    assert (sums.texts, sums.errors, sums.latency_texts, sums.first_seconds) == (20, 1, 19, NOW - 2)
    assert (sums.latency_mean_ms(), sums.error_rate_pct(), sums.cache_hit_rate_pct()) == (4100 / 19, 5.0, 20.0)
    assert sums.tokens_embedded == 1600
    assert list(found.of_model("n")) == [("n", "b")]
    assert found.of_model(None) is found


def test_a_worker_with_two_models_is_one_and_one_with_nothing_has_no_rates() -> None:
    windows = Windows(max_scopes=9)
    for model in ("m", "n"):
        windows.add(event(0, "a", model=model), NOW)
    assert windows.workers_window(60, NOW).by_name()["a"].texts == 20
    idle = WorkerSums()
    assert (idle.latency_mean_ms(), idle.error_rate_pct(), idle.cache_hit_rate_pct()) == (None, None, None)


def test_above_the_cap_workers_count_together_and_the_same_ones_are_known_in_every_pane() -> None:
    panes = WorkerPanes(max_workers=2)
    nothing = Sketch()
    for start in (START, START + 10):
        for worker in ("a", "b", "c", "d") if start == START else ("d", "c", "b", "a"):
            panes.add(event(0, worker), nothing, start, NOW)
    for pane in panes.panes.values():
        assert set(pane) == {("m", "a"), ("m", "b"), OTHER_WORKERS}
        assert pane[OTHER_WORKERS].texts == 20
    panes.prune(START + 10)
    panes.add(event(0, "c"), nothing, START + 20, NOW)
    assert set(panes.panes[START + 20]) == {("m", "c")}, "there is room again"


times = st.integers(0, 3700)
events = st.lists(st.tuples(times, st.sampled_from("abc"), st.sampled_from("mn"), st.integers(0, 2)), max_size=40)


@given(log=events, looks=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([60, 300, 3600])), max_size=6))
def test_windows_over_partitions_are_what_a_sum_over_events_says(log: list[Any], looks: list[Any]) -> None:
    shared = SharedWindows(max_scopes=100)

    def check(seconds: int, upto: int) -> None:
        last = pane_start(NOW)
        first = last - seconds + 10
        seen = {"window": range(first, last + 10), "before": range(max(first - 3600, last - 3590), first)}
        asked = {"window": shared.workers_window(seconds, NOW), "before": shared.workers_before(seconds, NOW)}
        for name, span in seen.items():
            expected: dict[Any, list[float]] = {}
            for ago, worker, model, _ in log[:upto]:
                if pane_start(NOW - ago) in span:
                    row = expected.setdefault((model, worker), [0, 0])
                    row[0] += 10
                    row[1] = min(row[1] or NOW, NOW - ago)
            got = {pair: [sums.texts, sums.first_seconds] for pair, sums in asked[name].items()}
            assert got == expected, name

    for number, (ago, worker, model, partition) in enumerate(log):
        for at, seconds in looks:
            if at == number:
                check(seconds, number)
        shared.count(event(number, worker, ago, model=model), NOW, partition, number)
    for seconds in (60, 300, 3600):
        check(seconds, len(log))


def test_a_sum_over_partitions_leaves_the_panes_below_it_alone() -> None:
    shared = SharedWindows(max_scopes=10)
    for partition in (0, 1, 2):
        shared.count(event(0, "a"), NOW, partition, 0)
        assert shared.workers_window(60, NOW)["m", "a"].texts == 10 * (partition + 1)
    assert [part.workers.panes[START]["m", "a"].texts for part in shared.parts.values()] == [10, 10, 10]


def test_a_process_that_starts_now_knows_the_workers_and_so_do_the_others() -> None:
    async def scenario() -> None:
        log = [[event(0, "a"), event(1, "b", 400)], [event(2, "c"), event(3, "a", 20)]]
        cluster = Cluster(log, 2)
        cluster.assign([0, 1])
        for partition, member in enumerate(cluster.members):
            await member.deliver(partition, 2)
            await member.runtime.flush()
        for member in cluster.members:
            member.read()
        late = Member(cluster)
        late.take_over(set())
        for member in (*cluster.members, late):
            windows = member.runtime.world.windows
            recent = {pair: sums.texts for pair, sums in windows.workers_window(60, NOW).items()}
            assert recent == {("m", "a"): 20, ("m", "c"): 10}
            assert plain(windows.workers_before(60, NOW)).keys() == {("m", "b")}

    asyncio.run(scenario())


def test_a_pane_of_an_agent_that_does_not_tell_workers_replaces_ours() -> None:
    shared = SharedWindows(max_scopes=10)
    shared.count(event(0, "a"), NOW, 0, 0)
    shared.part(0).replace(START, 5, {(): Totals(texts=50, events=5)})
    shared.note(START)
    assert shared.workers_window(60, NOW) == {}


def test_as_many_as_may_be_kept_go_in_one_pane_in_pieces_too() -> None:
    panes = WorkerPanes()
    for number in range(MAX_WORKERS + 50):
        panes.add(event(0, "\x01" * 200 + str(number), model="\x01" * 250), Sketch(), START, NOW)
    workers = panes.panes[START]
    assert len(workers) == MAX_WORKERS + 1
    scopes = {(("model", f"m{n}"),): Totals(texts=n, events=1, first_seconds=NOW) for n in range(20)}
    for limit, count in ((900_000, 1), (100_000, 2)):
        records = pane_records("app", 1, START, 5, scopes, workers, limit)
        assert len(records) == count
        pieces = Pieces()
        partials = [decode_partial(value) for _, value in reversed(records)]
        found = [pieces.add(partial) for partial in partials if isinstance(partial, Pane)]
        assert found[-1] is not None
        assert plain(workers_of(found[-1].workers)) == plain(workers)
        assert len(found[-1].scopes) == 20
