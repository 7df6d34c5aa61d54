"""From the world to a decision about workers: what is measured, what is not known, what is said and to whom."""

from __future__ import annotations

import asyncio
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.structs import replace

from embedwatch.codec import encode
from embedwatch.events import HeartbeatEvent, LagEvent, PhaseSeconds, ScalingEvent
from embedwatch.scaling.policy import Aims
from stream_agents.compute.decisions import KEPT, STALE_SECONDS, Decisions, differ
from stream_agents.compute.merger import Merger
from stream_agents.compute.partials import sample_records
from stream_agents.compute.scaling import Brain, by_workers, capacity_texts_per_s, heard, texts_per_message
from stream_agents.compute.worker_panes import WorkerSums
from stream_agents.compute.world import World
from stream_agents.runtime import Runtime
from tests.harness.agents_log import NOW, FakeLog, SetClock, batch_event, deliver, log_of

UNREADY = ["partitions are being reassigned"]


def world_of(*events: Any, started: float = NOW - 3600) -> World:
    world = World(zone=ZoneInfo("UTC"), max_scopes=100, lag_group="g", lag_topic="t")
    world.started_seconds = started
    put(world, *events)
    return world


def put(world: World, *events: Any) -> None:
    for event in events:
        if isinstance(event, HeartbeatEvent):
            world.apply_heartbeat(event)
        elif isinstance(event, LagEvent):
            world.apply_lag(event)
        else:
            world.apply_batch(event, event.time_seconds)


def beat(worker: str, state: Any = "running", at: float = NOW, **more: Any) -> HeartbeatEvent:
    return HeartbeatEvent(event_id=f"{worker}:1", time_seconds=at, worker=worker, model="m", state=state, **more)


def lag(partition: int = 0, at: float = NOW, **more: Any) -> LagEvent:
    fields: dict[str, Any] = {
        "status": "OK", "lag_messages": 0, "lag_texts": 0, "oldest_age_seconds": 0.0, "consume_rate_per_s": 1.0,
        "arrival_rate_per_s": 1.0, **more,
    }  # fmt: skip
    return LagEvent(event_id="l", time_seconds=at, group="g", topic="t", partition=partition, **fields)


def work(at: float = NOW - 30, texts: int = 1000, embed: float = 10.0, phases: Any = None, **more: Any) -> Any:
    spent = PhaseSeconds(**({"embed": embed} if phases is None else phases))
    return batch_event(time_seconds=at, texts=texts, cache_hits=0, misses=texts, phase_seconds=spent, **more)


def queue(count: int = 4, **more: Any) -> list[LagEvent]:
    return [lag(partition, **more) for partition in range(count)]


@pytest.mark.parametrize(
    ("phases", "busy", "expected"),
    [
        ({"embed": 10.0}, 9.0, 100.0),
        ({"embed": 4.0, "cache_lookup": 6.0, "tokenise": 4.0}, 3.0, 100.0),
        ({"embed": 4.0, "publish": 7.0, "cache_write": 3.0}, 3.0, 100.0),
        ({"embed": 10.0, "cache_lookup": 6.0, "tokenise": 4.0, "publish": 7.0, "cache_write": 3.0}, 9.0, 100.0),
        ({"queue_wait": 500.0, "embed": 10.0}, 9.0, 100.0),
        ({}, 10.0, 100.0),
        ({}, 0.0, None),
    ],
    ids=["the model", "lookup and tokenising", "publishing", "all the same", "waiting is no work", "busy only", "none"],
)  # fmt: skip
def test_capacity_is_that_of_the_slowest_of_the_steps_that_overlap(
    phases: dict[str, float], busy: float, expected: float | None
) -> None:
    world = world_of(work(texts=1000, phases=phases, busy_seconds=busy))
    assert capacity_texts_per_s(by_workers(world, 300, NOW)) == expected


def test_what_is_refused_at_once_says_nothing_of_how_fast_the_others_are_done() -> None:
    done = WorkerSums(texts=1000, timed_texts=1000, embed_seconds=20.0)
    assert capacity_texts_per_s(done) == 50.0
    refused = WorkerSums(texts=400, timed_texts=400, errors=400, before_seconds=0.08)
    assert capacity_texts_per_s(refused) is None
    done.merge(refused)
    assert capacity_texts_per_s(done) == pytest.approx(50.0)


def test_capacity_is_of_the_mix_that_arrives() -> None:
    world = world_of(
        batch_event(time_seconds=NOW - 30, texts=900, cache_hits=900, misses=0,
                    phase_seconds=PhaseSeconds(cache_lookup=1.0)),
        work(texts=100, embed=10.0),
    )  # fmt: skip
    assert capacity_texts_per_s(by_workers(world, 300, NOW)) == 100.0
    assert capacity_texts_per_s(WorkerSums()) is None


def test_what_agents_counted_before_they_knew_of_steps_is_no_capacity() -> None:
    """Their sums have texts, and no seconds."""
    old = WorkerSums(*msgspec.to_builtins(WorkerSums(texts=5000))[:8])
    assert capacity_texts_per_s(old) is None
    timed = WorkerSums(texts=1000, timed_texts=1000, embed_seconds=10.0)
    timed.merge(old)
    assert capacity_texts_per_s(timed) == 100.0


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (queue(2, lag_messages=10, lag_texts=640), 64.0),
        ([lag(0, lag_messages=10, lag_texts=100), lag(1, lag_messages=30, lag_texts=900)], 25.0),
        # Nothing waits: 600 texts were done in 60 s, by 0.5 messages a second.
        ([lag(consume_rate_per_s=0.5), work(NOW - 50, 300), work(NOW - 20, 300)], 600 / 50 / 0.5),
        ([lag(consume_rate_per_s=1000.0), work(NOW - 30, 30)], 1.0),
        ([lag(consume_rate_per_s=0.0), work()], None),
        ([lag()], None),
        ([lag(lag_messages=5, lag_texts=None)], None),
    ],
)
def test_texts_of_a_message(events: list[Any], expected: float | None) -> None:
    world = world_of(*events)
    assert texts_per_message(world, world.queue(NOW), NOW) == (None if expected is None else pytest.approx(expected))


def test_workers_are_counted_by_state_and_silence() -> None:
    world = world_of(
        beat("a"), beat("b", at=NOW - 20), beat("c", at=NOW - 20.5), beat("d", "starting"), beat("e", "stopping")
    )
    there = heard(world, NOW, 20.0)
    assert (there.running, there.starting, there.all) == (2, 1, 3)


def test_a_caller_of_the_sdk_is_no_worker() -> None:
    world = world_of(beat("a"), beat("b", role="caller"))
    assert heard(world, NOW, 20.0).all == 1


@pytest.mark.parametrize("goodbye", [False, True])
def test_what_programs_with_the_sdk_do_says_nothing_of_a_worker(goodbye: bool) -> None:
    """They are slow, fail and are many; also when they have ended, what they did is still in the windows."""
    calls = work(texts=5000, embed=5000.0, worker="web")
    calls = msgspec.structs.replace(calls, misses=0, errors={"timeout": 5000})
    waits = queue(4, lag_messages=0, lag_texts=0, consume_rate_per_s=1.0)
    world = world_of(*waits, beat("a"), beat("web", role="caller"), work(texts=400, embed=4.0, worker="a"), calls)
    if goodbye:
        put(world, beat("web", "stopping", role="caller"))
    load = Brain(Aims()).load(world, NOW, heard(world, NOW, 20.0))
    assert (load.capacity_texts_per_s, load.error_rate_pct) == (100.0, 0.0)
    assert texts_per_message(world, world.queue(NOW), NOW) == pytest.approx(400 / 30 / 4)
    assert by_workers(world, 300, NOW).texts == 400
    # Nothing but calls: it is not said that texts are done without a worker.
    calls = msgspec.structs.replace(calls, time_seconds=NOW - 1)
    alone = world_of(*queue(consume_rate_per_s=0.0), beat("web", role="caller"), calls)
    load = Brain(Aims()).load(alone, NOW, heard(alone, NOW, 20.0))
    assert (load.status, load.capacity_texts_per_s) == ("OK", None)
    world.tidy(NOW + 7300)
    assert not world.callers


def test_a_load_has_what_was_measured() -> None:
    world = world_of(
        *queue(4, lag_messages=10, lag_texts=640, arrival_rate_per_s=2.0, oldest_age_seconds=3.0),
        beat("a", model_load_seconds=20.0), beat("b", "starting"), work(texts=1000, embed=10.0, errors={}),
    )  # fmt: skip
    brain = Brain(Aims())
    load = brain.load(world, NOW, heard(world, NOW, 20.0))
    assert (load.status, load.partitions, load.backlog_texts, load.workers, load.starting) == ("OK", 4, 2560.0, 1, 1)
    assert load.arrival_texts_per_s == pytest.approx(8 * 64)
    assert (load.capacity_texts_per_s, load.oldest_age_seconds, load.warm_up_seconds) == (100.0, 3.0, 25.0)
    assert load.error_rate_pct == 0.0
    given = Brain(Aims(), worker_texts_per_s=7.0)
    assert given.load(world, NOW, heard(world, NOW, 20.0)).capacity_texts_per_s == 7.0


def test_what_was_measured_once_is_known_when_little_arrives() -> None:
    world = world_of(*queue(lag_messages=10, lag_texts=640), beat("a"), work(NOW - 250, 1000, 10.0))
    brain = Brain(Aims())
    brain.decide(world, NOW)
    later = NOW + 400
    put(world, *queue(at=later), beat("a", at=later), work(later, 1, 5.0))
    load = brain.load(world, later, heard(world, later, 20.0))
    assert load.capacity_texts_per_s == 100.0, "one text in five minutes says nothing"
    assert load.arrival_texts_per_s == pytest.approx(4 * 64.0)


@pytest.mark.parametrize(
    ("events", "not_ready", "words"),
    [
        ([beat("a"), work()], [], "no lag sample yet"),
        ([*queue(at=NOW - 31), beat("a"), work()], [], "the last lag sample is 31 s old"),
        ([lag(0), lag(1, status="UNKNOWN", lag_messages=None, reason="no leader"), beat("a")], [], "no leader"),
        ([*queue(), beat("a"), work()], UNREADY, "partitions are being reassigned"),
        ([*queue(), work()], [], "no worker is heard of"),
        ([*queue(), beat("a", at=NOW - 21), work()], [], "no worker is heard of"),
    ],
)
def test_what_is_not_known_decides_nothing(events: list[Any], not_ready: list[str], words: str) -> None:
    event = Brain(Aims(min_workers=0)).decide(world_of(*events), NOW, not_ready)
    assert (event.cause, event.holds) == ("unknown", True)
    assert words in event.reason


def test_agents_that_just_started_listen_for_workers_first() -> None:
    world = world_of(*queue(consume_rate_per_s=0.0), started=NOW - 5)
    brain = Brain(Aims(), silent_seconds=20.0)
    first = brain.decide(world, NOW)
    assert (first.holds, first.reason) == (True, "the agents have listened for workers for 5 s only")
    put(world, *queue(at=NOW + 15, consume_rate_per_s=0.0))
    assert (brain.decide(world, NOW + 15).cause, brain.decide(world, NOW + 15).desired_workers) == ("first", 1)


def test_all_workers_gone_is_known_where_there_were_some() -> None:
    world = world_of(*queue(lag_messages=10, lag_texts=100), beat("a"), work())
    brain = Brain(Aims())
    brain.decide(world, NOW)
    later = NOW + 21
    put(world, *queue(at=later, lag_messages=10, lag_texts=100))
    event = brain.decide(world, later)
    assert (event.cause, event.running_workers, event.desired_workers >= 1) == ("first", 0, True)


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        (
            [
                lag(0, status="STALLED", lag_messages=9, lag_texts=9, reason="no commit", consume_rate_per_s=0.0),
                lag(1, consume_rate_per_s=0.0),
            ],
            "stalled",
        ),
        ([*queue(lag_messages=9, lag_texts=900), work(errors={"timeout": 600})], "failing"),
    ],
)
def test_a_stalled_or_failing_queue_is_not_scaled(events: list[Any], cause: str) -> None:
    if cause == "failing":
        events[-1] = replace(events[-1], misses=400)
    event = Brain(Aims()).decide(world_of(beat("a"), *events), NOW)
    assert (event.cause, event.holds) == (cause, True)


def test_one_partition_that_stands_still_does_not_hold_back_the_others() -> None:
    stuck = lag(0, status="STALLED", lag_messages=1, lag_texts=1, reason="no commit", consume_rate_per_s=0.0)
    events = [stuck, *(lag(n, lag_messages=1000, lag_texts=10_000, consume_rate_per_s=1.0) for n in range(1, 24))]
    event = Brain(Aims(max_workers=24)).decide(world_of(beat("a"), work(), *events), NOW)
    assert (event.holds, event.cause) == (False, "backlog")
    assert event.desired_workers > 1


def test_texts_are_done_and_no_worker_is_heard_of() -> None:
    """Their clocks are wrong, or heartbeats are lost: that there is none is not known."""
    brain, world = Brain(Aims(max_workers=24)), world_of(beat("a"), work(), *queue(lag_messages=0, lag_texts=0))
    brain.decide(world, NOW)
    later = NOW + 30
    put(world, *queue(at=later, lag_messages=0, lag_texts=0))
    put(world, work(later - 1))
    event = brain.decide(world, later)
    assert (event.cause, event.holds) == ("unknown", True)


def test_few_failures_say_nothing() -> None:
    event = Brain(Aims()).decide(
        world_of(beat("a"), *queue(), work(), replace(work(NOW - 10, 19), misses=0, errors={"timeout": 19})), NOW
    )
    assert not event.holds


def arriving(rate: float, at: float = NOW, count: int = 8, **more: Any) -> list[LagEvent]:
    """Messages of one text."""
    return queue(count, at=at, arrival_rate_per_s=rate / count, lag_messages=1, lag_texts=1, **more)


def test_workers_on_their_way_are_counted_until_they_should_have_been_heard_of() -> None:
    world = world_of(*arriving(250.0), beat("a"), work())  # one does 100 texts/s
    brain = Brain(Aims(warm_up_seconds=30.0))
    event = brain.decide(world, NOW)
    assert (event.desired_workers, event.workers, event.running_workers) == (4, 1, 1)
    brain.said(event)
    for seconds, workers in ((5, 4), (59, 4), (61, 1)):
        at = NOW + seconds
        put(world, *arriving(250.0, at), beat("a", at=at), work(at))
        again = brain.decide(world, at)
        assert (again.desired_workers, again.workers) == (4, workers), seconds
    # Asked for once more: not for ever on their way.
    put(world, *arriving(250.0, NOW + 66), beat("a", at=NOW + 66))
    assert brain.decide(world, NOW + 66).workers == 1


def test_the_time_until_they_work_is_measured() -> None:
    world = world_of(*arriving(250.0), beat("a"), work())
    brain = Brain(Aims(warm_up_seconds=30.0))
    brain.said(brain.decide(world, NOW))
    at = NOW + 12
    put(world, *arriving(250.0, at), *(beat(name, at=at) for name in "abcd"), work(at))
    brain.decide(world, at)
    assert brain.load(world, at, heard(world, at, 20.0)).warm_up_seconds == 12.0


def test_a_change_is_said_at_once_and_the_same_once_a_minute() -> None:
    world = world_of(*arriving(50.0), beat("a"), work())
    brain = Brain(Aims())
    said = []
    for step in range(0, 185, 5):
        at = NOW + step
        rate = 50.0 if step < 150 else 250.0
        put(world, *arriving(rate, at), beat("a", at=at), work(at))
        event = brain.decide(world, at)
        if brain.is_due(event):
            brain.said(event)
            said.append((step, event.desired_workers, event.changes_today))
    assert said == [(0, 1, 0), (60, 1, 0), (120, 1, 0), (150, 4, 1)]
    brain = Brain(Aims())
    assert brain.is_due(event)


def test_changes_are_counted_by_the_day_and_go_on_in_the_next_process() -> None:
    world = world_of(*arriving(250.0), beat("a"), work())
    before = replace(Brain(Aims()).decide(world, NOW), time_seconds=NOW - 60, desired_workers=1, changes_today=7)
    world.apply_scaling(before)
    brain = Brain(Aims())
    brain.resume(world)
    assert (brain.decide(world, NOW).desired_workers, brain.decide(world, NOW).changes_today) == (4, 8)
    world.decisions.newest = replace(before, time_seconds=NOW - 86_400)
    brain.resume(world)
    assert brain.decide(world, NOW).changes_today == 1, "yesterday's are not today's"
    world.decisions.newest = replace(before, desired_workers=4)
    brain.resume(world)
    assert brain.decide(world, NOW).changes_today == 7, "no change, none counted"


def test_limits_and_money_are_told() -> None:
    world = world_of(*arriving(250.0, count=3), beat("a"), work())
    event = Brain(Aims(worker_usd_per_hour=1.5)).decide(world, NOW)
    assert (event.desired_workers, event.limited_by, event.at_capacity) == (3, "partitions", True)
    assert event.wanted_workers > 3
    assert event.cost_usd_per_hour == 4.5
    assert event.wanted_cost_usd_per_hour == 1.5 * event.wanted_workers


def decision(at: float = NOW, desired: int = 2, **more: Any) -> ScalingEvent:
    fields: dict[str, Any] = {
        "wanted_workers": desired, "workers": desired, "cause": "arrivals", "reason": "r", "running_workers": desired,
        **more,
    }  # fmt: skip
    return ScalingEvent(
        event_id=f"e{at}", time_seconds=at, group="g", topic="t", desired_workers=desired, **fields
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ({}, {}, False),
        ({"desired": 2}, {"desired": 3}, True),
        ({}, {"limited_by": "budget"}, True),
        ({}, {"limited_by": "budget", "at_capacity": True}, True),
        ({}, {"cause": "backlog", "reason": "other", "lag_seconds": 5.0}, False),
        ({}, {"cause": "unknown"}, True),
        ({"cause": "unknown", "desired": 2}, {"cause": "unknown", "desired": 5, "reason": "6 s"}, False),
        ({"cause": "unknown"}, {"cause": "stalled"}, True),
    ],
)
def test_which_decisions_differ(one: dict[str, Any], other: dict[str, Any], differs: bool) -> None:
    assert differ(decision(**one), decision(**other)) is differs


def test_decisions_are_kept_once_each_the_newest_holds_and_only_for_a_while() -> None:
    found = Decisions("g", "t")
    assert found.doubt(NOW) == "no decision yet; none comes where scaling.enabled is false"
    for number in range(2 * KEPT):
        found.add(decision(NOW + number, 1 + number // 2 % 2))
        found.add(decision(NOW + number - 0.5, 9))  # older than the newest: heard of before
    assert [event.desired_workers for event in found.kept] == [1, 2] * (KEPT // 2)
    last = NOW + 2 * KEPT - 1
    assert (found.last_desired(), found.doubt(last + STALE_SECONDS)) == (2, None)
    assert found.current(last + STALE_SECONDS + 1) is None
    assert found.doubt(last + STALE_SECONDS + 1) == "the last decision is 91 s old: nobody decides now"
    found.add(decision(last + 1, 7, cause="stalled", reason="no commit"))
    assert (found.doubt(last + 1), found.last_desired()) == ("no commit", 2)
    found.add(replace(decision(last + 2), group="another"))
    assert found.newest is not None
    assert found.newest.cause == "stalled"


def leader(log: FakeLog, brain: Brain | None, clock: SetClock) -> Runtime:
    world = world_of()
    runtime = Runtime(world, (), log, clock, None, brain)
    world.started_seconds = NOW - 3600
    return runtime


def test_who_leads_publishes_and_everybody_who_reads_the_topic_or_the_partials_knows() -> None:
    events = [*arriving(250.0), beat("a"), work()]
    log = log_of(*(encode(event) for event in events))
    clock = SetClock()

    async def run() -> None:
        runtime = leader(log, Brain(Aims()), clock)
        await runtime.scale()
        assert log.decisions == [], "not recovered yet"
        runtime.recover({}, {0})
        await deliver(log, runtime, len(events))
        log.publish_failures = 1
        with pytest.raises(TimeoutError):
            await runtime.scale()
        assert runtime.world.decisions.newest is None, "said by nobody"
        await runtime.scale()
        await runtime.scale()
        (said,) = log.decisions
        assert said.desired_workers == 4
        assert runtime.world.decisions.newest == said
        # It comes back through the topic, and goes out to the other processes from there.
        log.partitions[0].append((len(events), encode(said)))
        await deliver(log, runtime, 1)
        await runtime.tell()
        assert list(runtime.world.decisions.kept) == [said]
        other = Merger(world_of(), runtime.merger.app_id, 2)
        for record in log.partials:
            other.take_partial(*record, NOW)
        assert other.world.decisions.newest == said
        assert other.refused == {}
        follower = leader(log, Brain(Aims()), clock)
        follower.recover({}, {1})
        await follower.scale()
        nobody = leader(log, None, clock)
        nobody.recover({}, {0})
        await nobody.scale()
        assert log.decisions == [said], "followers, and agents that are not to decide, say nothing"

    asyncio.run(run())


def test_every_decision_since_the_last_partial_is_told() -> None:
    several = [decision(NOW + n, n) for n in range(3)]
    merger = Merger(world_of(), "alone", 2)
    for record in sample_records("alone", 1, 0, several):
        merger.take_partial(*record, NOW)
    assert [event.desired_workers for event in merger.world.decisions.kept] == [0, 1, 2]
