"""What a producer answers of itself, from its state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from embedwatch.stage_metrics import grouped
from producers.own_metrics import FAMILIES, View, look
from producers.own_view import Watch
from producers.run import Counts

READY = View(
    True, read=20, skipped=1, bad=2, too_large=3, invalid_utf8=4, empty=5, sent_messages=6, sent_texts=14,
    acknowledged_messages=5, acknowledged_texts=12, acknowledged_bytes=99, broker_owes_seconds=0.5,
    last_acknowledged=1000.0, progress_seconds_ago=1.0,
)  # fmt: skip


def numbers(view: View) -> dict[str, float]:
    return {s.name: s.number for _, samples in grouped(FAMILIES, look(view).samples) for s in samples}


def test_every_family_has_its_number_where_all_is_known() -> None:
    assert numbers(READY) == {
        "ready": 1, "read_texts": 20, "skipped_texts": 1, "bad_records": 2, "too_large_texts": 3,
        "invalid_utf8_texts": 4, "empty_texts": 5, "sent_messages": 6, "sent_texts": 14, "acknowledged_messages": 5,
        "acknowledged_texts": 12, "acknowledged_bytes": 99, "in_flight_texts": 2, "broker_owes_seconds": 0.5,
        "last_acknowledged_timestamp_seconds": 1000,
    }  # fmt: skip
    assert set(numbers(READY)) == {family.name for family in FAMILIES}


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, []),
        ({"broker_owes_seconds": 30.0}, []),
        ({"broker_owes_seconds": 31.0}, ["the broker has not answered for 31 s"]),
        ({"connected": False}, ["the broker has not answered yet"]),
        ({"stopping": True}, ["it is stopping"]),
    ],
)
def test_ready_is_while_the_broker_takes_what_is_sent(change: Any, reasons: list[str]) -> None:
    seen = look(replace(READY, **change))
    assert (seen.unready, seen.dead) == (reasons, [])
    assert numbers(replace(READY, **change))["ready"] == (not reasons)


def test_it_lives_while_its_loop_turns_and_while_it_connects() -> None:
    assert look(replace(READY, progress_seconds_ago=120.0)).dead == []
    assert look(replace(READY, progress_seconds_ago=121.0)).dead
    assert look(View(False, progress_seconds_ago=500.0)).dead == []


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Part:
    """Of a run, a publisher and a stop, as much as is looked at."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


def test_it_moves_while_it_reads_or_turns() -> None:
    clock, stop = Clock(), Part(signum=None)
    watch = Watch(clock, stop)  # type: ignore[arg-type]
    assert not watch.view().connected
    run: Any = Part(counts=Counts(), turns=0)
    publisher: Any = Part(
        owed_since=90.0, sent_messages=1, sent_texts=3, acknowledged_messages=0, acknowledged_texts=0,
        acknowledged_bytes=0, last_acknowledged=None,
    )  # fmt: skip
    watch.run, watch.publisher = run, publisher
    assert (watch.view().progress_seconds_ago, watch.view().broker_owes_seconds) == (0.0, 10.0)
    clock.time += 50
    assert watch.view().progress_seconds_ago == 50
    run.counts.read += 1
    assert watch.view().progress_seconds_ago == 0
    clock.time += 50
    run.turns += 1
    assert watch.view().progress_seconds_ago == 0
    stop.signum = 15
    assert watch.view().stopping
