"""Publisher, telemetry and signals, with what is behind them replaced."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
from kafka import errors as kafka_errors

from embedwatch import codec
from embedwatch.errors import DeliveryError
from embedwatch.events import CacheEvent, HeartbeatEvent
from embedwatch.pricing import Price
from workers.meter import Identity, Meter
from workers.publisher import KafkaPublisher
from workers.stopping import Stop, StoppedEarly
from workers.telemetry import Status, Telemetry, resident_bytes


class Future:
    def __init__(self, exception: Exception | None = None, done: bool = True) -> None:
        self.exception = exception
        self._done = done

    def succeeded(self) -> bool:
        return self._done and self.exception is None


class FakeProducer:
    def __init__(self) -> None:
        self.future = Future()
        self.send_error: Exception | None = None
        self.flush_error: Exception | None = None

    def send(self, topic: str, **_: Any) -> Future:
        if self.send_error is not None:
            raise self.send_error
        return self.future

    def flush(self, timeout: float) -> None:
        if self.flush_error is not None:
            raise self.flush_error


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()


def deliver(producer: FakeProducer) -> KafkaPublisher:
    publisher = KafkaPublisher(producer, where="broker:9092", timeout_seconds=1.0)
    publisher.send("t", key=b"k", value=b"v", headers=[])
    publisher.flush()
    return publisher


def test_a_flush_returns_when_everything_is_acknowledged(producer: FakeProducer) -> None:
    deliver(producer)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("future", Future(kafka_errors.KafkaTimeoutError()), "no answer in time"),
        ("future", Future(done=False), "no answer in time"),
        ("future", Future(kafka_errors.TopicAuthorizationFailedError()), "not allowed to use this topic"),
        ("flush_error", kafka_errors.KafkaTimeoutError(), "no answer in time"),
        ("send_error", kafka_errors.MessageSizeTooLargeError(), "larger than the topic allows"),
    ],
)
def test_what_is_not_acknowledged_is_an_error_in_words(
    producer: FakeProducer, field: str, value: Any, words: str
) -> None:
    setattr(producer, field, value)
    with pytest.raises(DeliveryError, match=rf"broker:9092: .*{words}.*Nothing of this poll was committed"):
        deliver(producer)


def test_an_error_carries_how_much_did_arrive(producer: FakeProducer) -> None:
    publisher = deliver(producer)
    producer.flush_error = kafka_errors.KafkaTimeoutError()
    with pytest.raises(DeliveryError) as raised:
        publisher.flush()
    assert raised.value.delivered == 1


def make_telemetry(clock: Any, send: Any, status: Status | None = None, heartbeat_seconds: float = 60.0) -> Telemetry:
    return Telemetry(
        identity=Identity("w1"), model="m", status=status or Status(), send=send,
        heartbeat_seconds=heartbeat_seconds, cache_seconds=0.001, clock=clock,
    )  # fmt: skip


def test_a_heartbeat_says_how_the_worker_is(clock: Any) -> None:
    status = Status("running", 1.5, 10, 20, 1024)
    event = make_telemetry(clock, lambda event: None, status).heartbeat()
    assert (event.worker, event.model, event.state, event.model_load_seconds) == ("w1", "m", "running", 1.5)
    assert (event.in_flight_texts, event.queued_texts, event.batch_budget_tokens) == (10, 20, 1024)
    assert event.gpus[0].unavailable == "the model is not loaded yet"
    assert codec.decode_metric(codec.encode(event)) == event


def test_a_heartbeat_counts_the_tokens_of_the_process_and_none_before_there_is_a_meter(clock: Any) -> None:
    telemetry = make_telemetry(clock, lambda event: None)
    assert telemetry.heartbeat().tokens_embedded == 0
    price = Price("unknown")
    telemetry.meter = meter = Meter(Identity("w1"), model="m", token_method="model", price=price)
    meter.tokens_embedded = 1234
    assert telemetry.heartbeat().tokens_embedded == 1234


def test_memory_is_known_or_none_but_never_zero() -> None:
    assert resident_bytes() is None or (resident_bytes() or 0) > 10**6


def test_the_cache_is_sampled_and_an_outage_is_a_state_with_a_reason(clock: Any, store: Any) -> None:
    telemetry = make_telemetry(clock, lambda event: None)
    empty = telemetry.cache_sample(store)
    assert (empty.available, empty.entries, empty.bytes_per_entry) == (True, 0, None)
    store.items = {b"a": b"1", b"b": b"2"}
    full = telemetry.cache_sample(store)
    assert (full.entries, full.bytes_per_entry, full.evictions, full.hits, full.misses) == (2, 500.0, 1, 2, 3)
    store.down = True
    down = telemetry.cache_sample(store)
    assert (down.available, down.entries) == (False, None)
    assert "no answer" in (down.reason or "")


def test_heartbeats_begin_at_once_and_the_last_one_says_that_it_stops(clock: Any, store: Any) -> None:
    sent: list[Any] = []
    first = threading.Event()

    def send(data: bytes) -> None:
        sent.append(codec.decode_metric(data))
        if isinstance(sent[-1], CacheEvent):
            first.set()

    status = Status()
    telemetry = make_telemetry(clock, send, status)
    telemetry.store = store
    telemetry.start()
    assert first.wait(10)
    status.state = "stopping"
    telemetry.stop()
    states = [event.state for event in sent if isinstance(event, HeartbeatEvent)]
    assert states == ["starting", "stopping"]


def test_a_heartbeat_that_cannot_be_sent_is_said_and_the_next_one_is_tried(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Semaphore(0)

    def refuse(data: bytes) -> None:
        tried.release()
        raise kafka_errors.KafkaTimeoutError("no broker")

    telemetry = make_telemetry(clock, refuse, heartbeat_seconds=0.001)
    telemetry.start()
    assert all(tried.acquire(timeout=10) for _ in range(3))
    telemetry.stop()
    assert "telemetry: not sent: KafkaTimeoutError" in caplog.text


def test_telemetry_that_was_never_started_can_be_stopped(clock: Any) -> None:
    make_telemetry(clock, lambda event: None).stop()


def test_a_signal_while_nothing_is_in_flight_breaks_off_at_once(clock: Any) -> None:
    stop = Stop(20.0, clock)
    with stop.on_signals(), pytest.raises(StoppedEarly):
        signal.raise_signal(signal.SIGTERM)
    assert stop.requested


def test_a_signal_while_texts_are_in_flight_gives_them_time_and_no_more(clock: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop(20.0, clock)
    stop.in_flight = True
    with stop.on_signals():
        assert not stop.requested
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        stop.sleep(60.0)  # returns at once
        assert not stop.out_of_time()
        clock.pass_by(20.0)
        assert stop.out_of_time()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_ends_the_process_at_once(clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    stop = Stop(20.0, clock)
    stop.in_flight = True
    with stop.on_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert not ended, "`timeout` signals a process, then its group: that is one wish to stop"
        clock.pass_by(1.0)
        signal.raise_signal(signal.SIGINT)
    assert ended == [128 + signal.SIGINT]
