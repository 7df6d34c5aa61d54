"""With transactions a worker that hears no answer makes its connections anew, for as long as it was told to."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from embedwatch.errors import ConnectionFailed, DeliveryError
from embedwatch.settings import Settings
from workers import service
from workers.stopping import Stop
from workers.transactions import Fenced


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Rig:
    """A worker whose broker can be gone: each look for it takes ten seconds, and so does a pause."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delivery: str = "exactly_once") -> None:
        self.clock = Clock()
        self.gone_until = 0.0
        self.made: list[dict[str, Any]] = []
        settings = Settings.model_validate({"worker": {"delivery": delivery, "broker_retry_seconds": 60}})
        stop = Stop(20.0, self.clock)
        monkeypatch.setattr(stop, "sleep", self.passes)
        monkeypatch.setattr(service.kafka, "producer", self.producer)
        self.worker = service._Worker(settings, self.clock, stop, contextlib.ExitStack())
        monkeypatch.setattr(self.worker, "_open_intake", lambda models: "intake")
        self.pipeline: Any = SimpleNamespace(deliver_to=lambda publisher: None)

    def passes(self, seconds: float) -> None:
        self.clock.seconds += 10.0

    def producer(self, kafka: Any, client_id: str, **options: Any) -> Any:
        self.passes(0.0)
        self.made.append(options)
        if self.clock.seconds < self.gone_until:
            raise ConnectionFailed("nobody there")
        return SimpleNamespace(init_transactions=lambda: None, close=lambda timeout: None)

    def fails(self, error: DeliveryError | None = None) -> bool:
        return self.worker._may_connect_anew(error or DeliveryError("no answer in time", delivered=0))


def test_a_broker_that_comes_back_in_time_is_found_and_one_that_does_not_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    rig.gone_until = 45.0
    assert rig.fails()
    found: Any = rig.worker._connect_anew(rig.pipeline, {"m"})
    assert (found, len(rig.made)) == ("intake", 3)
    rig.gone_until = 1000.0
    with pytest.raises(ConnectionFailed, match="nobody there"):
        rig.worker._connect_anew(rig.pipeline, {"m"})
    assert rig.clock.seconds == 60.0


def test_it_waits_no_longer_for_a_transaction_than_the_broker_keeps_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    assert rig.worker._open_publisher()._timeout_seconds == 15.0
    assert rig.made[0]["max_block_ms"] == 60_000  # at its start it waits for a broker that starts beside it
    assert rig.fails()
    rig.worker._open_publisher()
    assert rig.made[1]["max_block_ms"] == 15_000
    rig = Rig(monkeypatch, "at_least_once")
    assert rig.worker._open_publisher()._timeout_seconds == 61.0


def test_it_tries_as_often_as_there_is_time_for_it_and_at_least_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    assert [rig.fails() for _ in range(10)] == [True] * 10
    rig.clock.seconds = 61.0
    assert not rig.fails()
    slow = Rig(monkeypatch)
    tried = []
    for _ in range(4):
        tried.append(slow.fails())
        slow.clock.seconds += 100.0
    assert tried == [True, True, True, False]


def test_nothing_is_tried_again_where_another_worker_of_this_name_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    assert not rig.fails(Fenced("two under one name", delivered=0))
    assert not Rig(monkeypatch, "at_least_once").fails()
