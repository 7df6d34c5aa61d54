from __future__ import annotations

import logging
from typing import Any

import pytest

from embedwatch.errors import ConnectionFailed
from workers.broker_watch import BrokerWatch


@pytest.fixture
def watch(clock: Any) -> BrokerWatch:
    return BrokerWatch(where="broker:9092", heartbeat_seconds=2.0, retry_seconds=60.0, clock=clock)


def test_silence_and_return_are_each_said_once(
    watch: BrokerWatch, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            clock.pass_by(1.0)
            watch.check()
        watch.seen()
        for _ in range(5):
            watch.check()
    assert [record.getMessage() for record in caplog.records] == [
        "Kafka at broker:9092 does not answer; tried again for up to 60 s",
        "Kafka at broker:9092 answers again",
    ]


def test_ordinary_heartbeats_are_no_silence(watch: BrokerWatch, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        clock.pass_by(2.0)
        watch.check()
        watch.seen()
    assert not caplog.records


def test_a_broker_that_stays_away_ends_the_worker_and_one_that_returns_in_time_does_not(
    watch: BrokerWatch, clock: Any
) -> None:
    clock.pass_by(62.0)
    watch.check()
    watch.seen()
    clock.pass_by(62.5)
    with pytest.raises(ConnectionFailed, match=r"broker:9092: no answer for 62 s"):
        watch.check()


def test_it_tells_since_when_nothing_was_heard(watch: BrokerWatch, clock: Any) -> None:
    clock.pass_by(3.0)
    assert watch.heard_seconds_ago is None, "never yet"
    watch.seen()
    clock.pass_by(2.0)
    assert watch.heard_seconds_ago == 2.0
