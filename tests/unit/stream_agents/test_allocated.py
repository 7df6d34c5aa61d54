"""Seconds that workers were there: between heartbeats, once, split at midnight."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from embedwatch.events import HeartbeatEvent
from stream_agents.compute.allocated import FORGET_MS, MAX_GAP_MS, MAX_MODELS, MAX_PROCESSES, Allocation, allocated_ms
from tests.harness.agents_log import NOW

UTC_ZONE = ZoneInfo("UTC")
TODAY = "2027-01-15"


def beat(at_seconds: float, worker: str = "w", run: str = "a", **more: Any) -> HeartbeatEvent:
    fields = {"model": "m", "state": "running", **more}
    return HeartbeatEvent(event_id=f"{run}:{at_seconds}", time_seconds=at_seconds, worker=worker, **fields)


def counted(*beats: HeartbeatEvent, zone: ZoneInfo = UTC_ZONE, now: float = NOW) -> dict[str, dict[str, int]]:
    allocation = Allocation()
    for event in beats:
        allocation.add(event, zone, now)
    return allocation.alive_ms


def test_it_is_from_the_first_heartbeat_to_the_last_of_a_process() -> None:
    beats = [beat(NOW - ago, state=state) for ago, state in ((20, "starting"), (15, "running"), (1.5, "stopping"))]
    assert counted(*beats) == {TODAY: {"m": 18_500}}


def test_steps_that_are_no_whole_milliseconds_add_up_to_the_whole() -> None:
    beats = [beat(NOW - 1000 + n / 3) for n in range(3001)]
    assert counted(*beats) == {TODAY: {"m": 1_000_000}}


def test_a_process_that_starts_anew_was_not_there_in_between() -> None:
    assert counted(beat(NOW - 60), beat(NOW - 50), beat(NOW - 20, run="b"), beat(NOW - 15, run="b")) == {
        TODAY: {"m": 15_000}
    }


@pytest.mark.parametrize(("gap_ms", "counts"), [(MAX_GAP_MS, MAX_GAP_MS), (MAX_GAP_MS + 1, 0)])
def test_a_long_silence_is_nobodys_time(gap_ms: int, counts: int) -> None:
    found = counted(beat(NOW - 1000), beat(NOW - 1000 + gap_ms / 1000), beat(NOW - 1000 + gap_ms / 1000 + 5))
    assert found == {TODAY: {"m": counts + 5000}}


def test_out_of_order_and_repeated_heartbeats_count_nothing_twice() -> None:
    beats = [beat(NOW - ago) for ago in (30, 20, 25, 20, 10, 30, 0)]
    assert counted(*beats) == {TODAY: {"m": 30_000}}


def test_a_caller_of_the_sdk_is_no_machine() -> None:
    assert counted(beat(NOW - 20, role="caller"), beat(NOW, role="caller")) == {}


def test_a_clock_that_is_wrong_is_not_counted() -> None:
    for wrong in (float("nan"), float("inf"), -5.0, NOW + 90_000):
        assert counted(beat(NOW - 2), beat(wrong), beat(NOW)) == {TODAY: {"m": 2000}}


def test_workers_and_models_are_apart_and_added_up_by_model() -> None:
    beats = [
        beat(NOW - ago, worker=worker, model=model)
        for ago in (10, 0)
        for worker, model in (("v", "a"), ("w", "a"), ("x", "b"))
    ]
    one, two = Allocation(), Allocation()
    for number, event in enumerate(beats):
        (one, two)[number % 3 == 2].add(event, UTC_ZONE, NOW)
    assert allocated_ms([one, two], TODAY) == {"a": 20_000, "b": 10_000}
    assert allocated_ms([one, two], "2020-01-01") == {}


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("UTC", "2026-03-08", 24), ("America/New_York", "2026-03-08", 23), ("America/New_York", "2026-11-01", 25),
     ("Asia/Kolkata", "2026-03-08", 24), ("Pacific/Apia", "2011-12-31", 24)],
)  # fmt: skip
def test_a_day_around_the_clock_has_the_seconds_of_the_day(zone: str, day: str, hours: int) -> None:
    place = ZoneInfo(zone)
    begin = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=place).timestamp()
    beats = [beat(begin - 61.7 + 59 * n) for n in range(int((hours + 1) * 3600 / 59))]
    found = counted(*beats, zone=place, now=begin + 90_000)
    assert found[day] == {"m": hours * 3_600_000}
    assert sum(models["m"] for models in found.values()) == round((len(beats) - 1) * 59 * 1000)


def test_memory_is_bounded_and_days_are_forgotten() -> None:
    allocation = Allocation()
    for number in range(MAX_PROCESSES + 10):
        allocation.add(beat(NOW - 5, worker=f"w{number}"), UTC_ZONE, NOW)
    assert len(allocation.last_ms) == MAX_PROCESSES
    allocation.add(beat(NOW, worker="w0"), UTC_ZONE, NOW)
    allocation.prune(TODAY)
    assert (len(allocation.last_ms), allocation.alive_ms) == (MAX_PROCESSES, {TODAY: {"m": 5000}})
    allocation.add(beat(NOW + FORGET_MS / 1000, worker="w1"), UTC_ZONE, NOW)
    allocation.prune("2027-01-16")
    assert (set(allocation.last_ms), allocation.alive_ms) == ({"w0", "w1"}, {})


def test_pruning_in_between_changes_no_number() -> None:
    generator = random.Random(3)
    beats = sorted((beat(NOW - generator.uniform(0, 3000), worker=f"w{n % 5}") for n in range(400)),
                   key=lambda event: event.time_seconds)  # fmt: skip
    plain, pruned = Allocation(), Allocation()
    for event in beats:
        plain.add(event, UTC_ZONE, NOW)
        pruned.add(event, UTC_ZONE, NOW)
        pruned.prune("2027-01-13")
    assert plain.alive_ms == pruned.alive_ms


def test_made_up_models_are_bounded_and_their_time_is_kept() -> None:
    beats = [beat(NOW - 1000 + n, model=f"made-up-{n}" + "😀" * 200) for n in range(1000)]
    found = counted(*beats)[TODAY]
    assert len(found) == MAX_MODELS + 1
    assert sum(found.values()) == 999_000
    assert found["other"] == 999_000 - MAX_MODELS * 1000
