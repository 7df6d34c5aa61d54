"""What is known at a moment: workers, queue, cache, and what is forgotten."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from embedwatch.events import CacheEvent, HeartbeatEvent, LagEvent
from stream_agents.compute.world import (
    FORGET_PARTITION_SECONDS,
    FORGET_WORKER_SECONDS,
    MAX_PARTITIONS,
    STALE_LAG_SECONDS,
    World,
)
from tests.harness.agents_log import NOW, batch_event


def world() -> World:
    return World(zone=ZoneInfo("UTC"), max_scopes=100, lag_group="g", lag_topic="t")


def beat(worker: str = "w", seconds_ago: float = 0.0, **more: Any) -> HeartbeatEvent:
    fields: dict[str, Any] = {"state": "running", "model": "m", **more}
    return HeartbeatEvent(event_id="e", time_seconds=NOW - seconds_ago, worker=worker, **fields)


def lag(partition: int = 0, seconds_ago: float = 0.0, **more: Any) -> LagEvent:
    fields: dict[str, Any] = {
        "group": "g", "topic": "t", "status": "OK", "lag_messages": 10, "lag_texts": 100, "oldest_age_seconds": 2.0,
        "consume_rate_per_s": 5.0, "arrival_rate_per_s": 3.0, **more,
    }  # fmt: skip
    return LagEvent(event_id="e", time_seconds=NOW - seconds_ago, partition=partition, **fields)


def cache(worker: str, seconds_ago: float = 0.0) -> CacheEvent:
    return CacheEvent(event_id="e", time_seconds=NOW - seconds_ago, worker=worker, available=True)


def queue_of(*lags: LagEvent) -> Any:
    knows = world()
    for event in lags:
        knows.apply_lag(event)
    return knows.queue(NOW)


def test_the_queue_is_the_sum_of_its_partitions_and_the_oldest_age() -> None:
    queue = queue_of(lag(0), lag(1, lag_messages=30, lag_texts=50, oldest_age_seconds=8.0))
    assert (queue.status, queue.depth_texts, queue.lag_messages, queue.lag_seconds) == ("OK", 150, 40, 8.0)
    assert (queue.arrival_rate_per_s, queue.consume_rate_per_s, queue.drain_seconds) == (6.0, 10.0, 10.0)
    assert (queue.stalled_partitions, queue.partitions, queue.reason) == (0, 2, None)


@pytest.mark.parametrize(
    ("field", "lost"),
    [
        ("lag_texts", "depth_texts"), ("lag_messages", "lag_messages"), ("oldest_age_seconds", "lag_seconds"),
        ("arrival_rate_per_s", "drain_seconds"),
    ],
)  # fmt: skip
def test_half_a_queue_is_not_a_queue(field: str, lost: str) -> None:
    queue = queue_of(lag(0), lag(1, **{field: None}))
    assert getattr(queue, lost) is None


def test_a_partition_that_is_unknown_makes_the_queue_unknown_with_its_reason() -> None:
    queue = queue_of(lag(0), lag(1, status="UNKNOWN", reason="no answer", lag_messages=None))
    assert (queue.status, queue.reason, queue.stalled_partitions) == ("UNKNOWN", "no answer", None)


@pytest.mark.parametrize(
    ("statuses", "worst", "stalled"),
    [
        (("OK", "REWOUND"), "REWOUND", 0), (("STALLED", "REWOUND"), "STALLED", 1),
        (("STALLED", "STOPPED"), "STOPPED", 2), (("STOPPED", "UNKNOWN"), "UNKNOWN", None),
    ],
)  # fmt: skip
def test_the_worst_partition_speaks_for_the_queue(statuses: tuple[str, ...], worst: str, stalled: int | None) -> None:
    queue = queue_of(*[lag(n, status=status) for n, status in enumerate(statuses)])
    assert (queue.status, queue.stalled_partitions) == (worst, stalled)


def test_no_sample_and_an_old_sample_are_unknown_and_never_an_empty_queue() -> None:
    assert (queue_of().status, queue_of().depth_texts, queue_of().reason) == ("UNKNOWN", None, "no lag sample yet")
    old = queue_of(lag(0), lag(1, seconds_ago=STALE_LAG_SECONDS + 1))
    assert (old.status, old.depth_texts, old.lag_seconds) == ("UNKNOWN", None, None)
    assert old.reason == "the last lag sample is 31 s old"


def test_who_tells_again_what_it_knew_is_no_sign_of_life_and_a_wrong_clock_is_no_silence() -> None:
    found = world()
    late = beat("a", 60.0)
    found.apply_heartbeat(late, NOW)
    assert found.silent_workers(NOW + 5) == [("a", 5.0)]
    found.apply_heartbeat(late, NOW + 20)
    assert found.silent_workers(NOW + 30) == [("a", 30.0)]
    found.apply_heartbeat(replace(late, time_seconds=NOW - 30), NOW + 30)
    assert found.silent_workers(NOW + 31) == [("a", 1.0)]


def test_partitions_of_the_queue_are_bounded_and_those_known_stay() -> None:
    knows = world()
    for number in range(MAX_PARTITIONS):
        knows.apply_lag(lag(number))
    assert knows.queue(NOW).partitions == MAX_PARTITIONS
    knows.apply_lag(lag(MAX_PARTITIONS))
    knows.apply_lag(lag(MAX_PARTITIONS - 1, lag_texts=101))
    queue = knows.queue(NOW)
    assert (queue.partitions, queue.depth_texts) == (MAX_PARTITIONS, MAX_PARTITIONS * 100 + 1)


def test_a_partition_that_is_gone_is_forgotten_and_a_reader_that_stopped_is_not() -> None:
    found = world()
    found.apply_lag(lag(0))
    found.apply_lag(lag(1, seconds_ago=FORGET_PARTITION_SECONDS))
    found.tidy(NOW)
    assert found.queue(NOW).status == "UNKNOWN"
    found.apply_lag(replace(lag(0), time_seconds=NOW + 1))
    found.tidy(NOW + 1)
    assert (found.queue(NOW + 1).status, found.queue(NOW + 1).partitions) == ("OK", 1)
    found.tidy(NOW + 90_000)
    assert found.queue(NOW + 90_000).status == "UNKNOWN"


def test_an_age_goes_on_between_samples_and_an_empty_queue_does_not_age() -> None:
    assert queue_of(lag(0, seconds_ago=10)).lag_seconds == pytest.approx(12)
    assert queue_of(lag(0, seconds_ago=-600)).lag_seconds == pytest.approx(2)  # the clock was set back since
    empty = queue_of(lag(0, seconds_ago=10, lag_messages=0, lag_texts=0, oldest_age_seconds=0.0))
    assert (empty.lag_seconds, empty.drain_seconds) == (0.0, 0.0)


def test_lag_of_other_groups_and_topics_is_not_ours() -> None:
    assert queue_of(lag(group="other"), lag(topic="other")).partitions == 0


def test_a_worker_is_known_by_its_last_heartbeat_until_it_says_goodbye() -> None:
    knows = world()
    knows.apply_heartbeat(beat("a", 30, in_flight_texts=3))
    knows.apply_heartbeat(beat("a", 10, in_flight_texts=7))
    knows.apply_heartbeat(beat("a", 20, in_flight_texts=5))  # through another partition, and late
    knows.apply_heartbeat(beat("b", 2))
    assert knows.workers["a"].in_flight_texts == 7
    assert knows.silent_workers(NOW) == [("a", 10.0), ("b", 2.0)]
    knows.apply_cache(cache("a"))
    knows.apply_heartbeat(beat("a", 40, state="stopping"))
    assert "a" in knows.workers, "a goodbye of before"
    knows.apply_heartbeat(beat("a", 0, state="stopping"))
    assert list(knows.workers) == ["b"]
    assert knows.caches == {}
    knows.apply_heartbeat(beat("c", state="stopping"))
    assert list(knows.workers) == ["b"]


def test_a_heartbeat_from_a_clock_ahead_is_no_negative_silence() -> None:
    knows = world()
    knows.apply_heartbeat(beat("a", -100))
    assert knows.silent_workers(NOW) == [("a", 0.0)]


def test_what_nobody_asks_about_is_forgotten() -> None:
    knows = world()
    knows.apply_heartbeat(beat("old", FORGET_WORKER_SECONDS + 1))
    knows.apply_heartbeat(beat("silent", FORGET_WORKER_SECONDS - 1))
    knows.apply_cache(cache("old", FORGET_WORKER_SECONDS + 1))
    knows.apply_batch(batch_event(), NOW)
    knows.tidy(NOW)
    assert list(knows.workers) == ["silent"]
    assert knows.caches == {}
    assert len(knows.windows.scopes()) == 2
    knows.tidy(NOW + 7200)
    assert knows.windows.scopes() == [()]


def test_workers_and_caches_are_bounded_and_those_known_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_agents.compute.world.MAX_WORKERS", 2)
    knows = world()
    for number in range(5):
        knows.apply_heartbeat(beat(f"w{number}", 5))
        knows.apply_cache(cache(f"w{number}", 5))
    knows.apply_heartbeat(beat("w0", 0))
    knows.apply_cache(cache("w1", 0))
    assert sorted(knows.workers) == sorted(knows.caches) == ["w0", "w1"]
    assert knows.workers["w0"].time_seconds == NOW


def test_the_last_batch_is_the_latest_and_never_in_the_future() -> None:
    knows = world()
    assert knows.last_batch_seconds is None
    for seconds in (NOW - 10, NOW - 50, NOW + 3600):
        knows.apply_batch(batch_event(time_seconds=seconds), NOW)
        if seconds < NOW:
            assert knows.last_batch_seconds == NOW - 10
    assert knows.last_batch_seconds == NOW


def test_today_is_the_day_of_the_budgets_zone() -> None:
    knows = World(zone=ZoneInfo("Pacific/Apia"), max_scopes=10, lag_group="g", lag_topic="t")
    assert (world().today(NOW), knows.today(NOW)) == ("2027-01-15", "2027-01-15")
    assert (world().today(NOW + 4 * 3600), knows.today(NOW + 4 * 3600)) == ("2027-01-15", "2027-01-16")
