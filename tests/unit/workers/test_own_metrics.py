"""What a worker answers of itself, from its state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from embedwatch.settings import WorkerSettings
from embedwatch.stage_metrics import grouped
from workers.broker_watch import BrokerWatch
from workers.own_metrics import FAMILIES, Counts, View, look
from workers.own_view import Parts, view
from workers.stopping import Stop
from workers.telemetry import Status

READY = View(
    "running", Counts(7, 70, 2, 6, 60, 1, 3, 1, 1, 1000.5), queued_texts=5, in_flight_texts=10, delivered_messages=8,
    retries=2, cache_hits=4, duplicate_texts=3, tokens_embedded=99, busy_seconds=1.5, errors={"other": 1},
    model_load_seconds=2.5, assigned_partitions=2, broker_heard_seconds_ago=1.0, progress_seconds_ago=0.1,
    resident_bytes=1024,
)  # fmt: skip
#: As the first thing that is asked of a process.
STARTING = View("starting", Counts())


def numbers(seen: View) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels]): sample.number
        for _, samples in grouped(FAMILIES, look(seen).samples)
        for sample in samples
    }


def test_every_family_has_its_number_where_all_is_known() -> None:
    assert numbers(READY) == {
        "ready": 1, "taken_messages": 7, "taken_texts": 70, "finished_cycles": 2, "finished_messages": 6,
        "finished_texts": 60, "dead_letters": 1, "commits": 3, "refused_commits": 1, "reconnections": 1,
        "last_finished_timestamp_seconds": 1000.5, "queued_texts": 5, "in_flight_texts": 10, "delivered_messages": 8,
        "retries": 2, "cache_hits": 4, "duplicate_texts": 3, "tokens_embedded": 99, "busy_seconds": 1.5,
        "errors other": 1, "model_load_seconds": 2.5, "assigned_partitions": 2, "broker_silent_seconds": 1,
        "resident_memory_bytes": 1024,
    }  # fmt: skip
    assert {key.split()[0] for key in numbers(READY)} == {family.name for family in FAMILIES}


def test_what_is_not_known_yet_has_no_number() -> None:
    absent = {key.split()[0] for key in numbers(READY)} - set(numbers(STARTING))
    assert absent == {
        "assigned_partitions", "broker_silent_seconds", "errors", "last_finished_timestamp_seconds",
        "model_load_seconds", "resident_memory_bytes", "retries",
    }  # fmt: skip
    assert numbers(STARTING)["ready"] == 0


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, []),
        ({"assigned_partitions": 0}, []),  # it stands by
        ({"model_load_seconds": None}, ["the model is not loaded yet"]),
        ({"assigned_partitions": None}, ["the group has not given it partitions, nor told it to stand by"]),
        ({"broker_heard_seconds_ago": 31.0}, ["the broker has not answered for 31 s"]),
        ({"broker_heard_seconds_ago": None}, ["the broker has not answered yet"]),
        ({"state": "stopping", "assigned_partitions": None}, ["it is stopping"]),
    ],
)
def test_ready_is_with_a_model_a_place_in_the_group_and_a_broker(change: Any, reasons: list[str]) -> None:
    seen = look(replace(READY, **change))
    assert (seen.unready, seen.dead) == (reasons, [])
    assert numbers(replace(READY, **change))["ready"] == (not reasons)


def test_it_lives_while_its_loop_turns_and_while_a_model_loads() -> None:
    assert look(replace(STARTING, progress_seconds_ago=None)).dead == []
    assert look(replace(READY, progress_seconds_ago=60.0)).dead == []
    hangs = look(replace(READY, progress_seconds_ago=61.0))
    assert hangs.dead == ["its main loop has not moved for 61 s; 60 s are allowed"]
    assert numbers(replace(READY, progress_seconds_ago=61.0))["ready"] == 0


class Publisher:
    def __init__(self, delivered: int) -> None:
        self.delivered = delivered


@pytest.fixture
def parts(clock: Any) -> Parts:
    watch = BrokerWatch(where="b:1", heartbeat_seconds=2.0, retry_seconds=60.0, clock=clock)
    settings = WorkerSettings(drain_seconds=100, broker_retry_seconds=60)
    return Parts(settings, clock, Stop(100, clock), Status(), watch, Counts())


def test_a_view_is_whole_before_there_is_a_model_or_a_consumer(parts: Parts) -> None:
    seen = view(parts)
    assert (seen.state, seen.progress_seconds_ago, seen.assigned_partitions) == ("starting", None, None)
    assert seen.broker_heard_seconds_ago is None
    assert len(look(seen).unready) == 3


def test_a_view_follows_the_parts(parts: Parts, clock: Any) -> None:
    parts.broker.seen()
    parts.status.progress = clock.monotonic()
    clock.pass_by(161.0)
    seen = view(parts)
    assert (seen.broker_heard_seconds_ago, seen.progress_seconds_ago) == (161.0, 161.0)
    # It may wait as long for what drains: that alone is no reason to start it again.
    assert look(seen).dead == ["its main loop has not moved for 161 s; 160 s are allowed"]
    parts.stop.request()
    assert view(parts).state == "stopping"


def test_messages_of_connections_made_anew_are_added_up(parts: Parts) -> None:
    first: Any = Publisher(5)
    second: Any = Publisher(2)
    parts.publish_with(first)
    parts.publish_with(second)
    assert view(parts).delivered_messages == 7
