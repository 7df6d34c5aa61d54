"""The publisher against a producer whose acknowledgements the test gives, with kafka-python's own futures."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from kafka.producer.future import FutureProduceResult, FutureRecordMetadata
from kafka.structs import TopicPartition

from embedwatch import kafka
from embedwatch.errors import DeliveryError
from embedwatch.settings import KafkaSettings
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES
from producers import publish
from producers.packing import Message
from producers.publish import MAX_IN_FLIGHT_BYTES, Publisher


class Clock:
    """Half a second passes whenever somebody looks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        self.seconds += 0.5
        return self.seconds


class Producer:
    def __init__(self) -> None:
        self.results: list[FutureProduceResult] = []
        self.sent: list[tuple[str, bytes, bytes, list[tuple[str, bytes]]]] = []
        self.refuses: Exception | None = None

    def send(self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> FutureRecordMetadata:
        if self.refuses is not None:
            raise self.refuses
        self.sent.append((topic, value, key, headers))
        self.results.append(FutureProduceResult(TopicPartition(topic, 0)))
        return FutureRecordMetadata(self.results[-1], 0, 0, None, len(key), len(value), -1)

    def acknowledge(self, *places: int) -> None:
        for place in places:
            self.results[place].success((place, None, None))

    def fail(self, error: Exception, *places: int) -> None:
        for place in places:
            self.results[place].success((-1, -1, lambda _: error))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "_SLICE_SECONDS", 0.001)


def publisher(producer: Producer, **more: int) -> Publisher:
    return Publisher(producer, "t.texts", Clock(), delivery_timeout_seconds=10.0, **more)


def message(last: int, texts: int = 10, size: int = 5) -> Message:
    return Message(b"k", b"v" * (size - 1), [], texts, last)


def test_only_what_is_acknowledged_counts_and_only_a_prefix_is_settled() -> None:
    producer = Producer()
    sender = publisher(producer)
    for last in (10, 20, 30):
        sender.send(message(last))
    producer.acknowledge(1)
    sender.collect()
    assert (sender.sent_texts, sender.acknowledged_texts, sender.in_flight_texts) == (30, 10, 20)
    assert (sender.settled, sender.settled_texts) == (0, 0)
    producer.acknowledge(0)
    sender.collect()
    assert (sender.acknowledged_texts, sender.settled, sender.settled_texts) == (20, 20, 20)
    producer.acknowledge(2)
    sender.flush()
    assert (sender.acknowledged_texts, sender.settled, sender.in_flight_texts) == (30, 30, 0)
    assert (sender.acknowledged_messages, sender.acknowledged_bytes) == (3, 15)


def test_it_is_known_since_when_the_broker_owes_an_answer() -> None:
    producer = Producer()
    sender = publisher(producer)
    assert (sender.owed_since, sender.last_acknowledged) == (None, None)
    for last in (10, 20):
        sender.send(message(last))
    first = sender.owed_since
    assert first is not None
    sender.collect()
    assert (sender.owed_since, sender.last_acknowledged) == (first, None)
    producer.acknowledge(0)
    sender.collect()
    assert sender.owed_since is not None
    assert sender.owed_since > first, "an answer is a sign of life"
    producer.acknowledge(1)
    sender.collect()
    assert sender.owed_since is None
    assert sender.last_acknowledged is not None


@pytest.mark.parametrize(
    "bound", [{"max_in_flight_messages": 4}, {"max_in_flight_bytes": 20}], ids=lambda bound: next(iter(bound))
)
def test_no_more_than_the_bound_is_under_way(bound: dict[str, int]) -> None:
    producer = Producer()
    sender = publisher(producer, **bound)
    most, waits = 0, 0

    def answer() -> None:
        nonlocal waits
        waits += 1
        producer.acknowledge(next(n for n, result in enumerate(producer.results) if not result.is_done))

    sender.meanwhile = answer
    for last in range(1, 51):
        sender.send(message(last, texts=1))
        most = max(most, sender.in_flight_texts)
    assert most == 4
    assert waits == 46


def test_as_many_bytes_as_may_be_are_under_way_and_a_message_of_one_more_waits() -> None:
    for more in (0, 1):
        producer = Producer()
        sender = publisher(producer)
        waits: list[int] = []

        def answer(waits: list[int] = waits, producer: Producer = producer) -> None:
            waits.append(len(producer.sent))
            producer.acknowledge(0)

        sender.meanwhile = answer
        sender.send(message(1, size=MAX_IN_FLIGHT_BYTES // 2))
        sender.send(message(2, size=MAX_IN_FLIGHT_BYTES // 2 + more))
        assert waits == [1] * more, "it went when the first was acknowledged, and not before"
        assert len(producer.sent) == 2


def test_a_message_above_the_bound_goes_when_nothing_else_is_under_way() -> None:
    producer = Producer()
    sender = publisher(producer, max_in_flight_bytes=20)
    sender.send(message(1, texts=1))
    sender.meanwhile = lambda: producer.acknowledge(0)
    sender.send(message(2, texts=1, size=1000))
    assert sender.in_flight_texts == 1


def test_a_message_that_fails_stops_with_the_count_of_all_that_arrived() -> None:
    producer = Producer()
    sender = publisher(producer)
    for last in (10, 20, 30, 40):
        sender.send(message(last))
    producer.acknowledge(0)
    producer.fail(KafkaTimeoutError("Expiring 1 record(s)"), 1)
    later: list[Callable[[], None]] = [lambda: producer.acknowledge(2), lambda: producer.acknowledge(3)]
    sender.meanwhile = lambda: later.pop(0)()
    with pytest.raises(DeliveryError, match=r"topic t.texts: no answer in time") as caught:
        sender.send(message(50))
    # The answers that were still out are waited for: the count is final.
    assert later == []
    assert caught.value.delivered == sender.acknowledged_texts == 30
    assert (sender.settled, sender.settled_texts) == (10, 10)
    assert len(producer.sent) == 4


def test_a_failure_is_found_by_flush_as_well() -> None:
    producer = Producer()
    sender = publisher(producer)
    sender.send(message(10))
    producer.fail(MessageSizeTooLargeError("no"), 0)
    with pytest.raises(DeliveryError, match=r"larger than the topic allows: raise its max.message.bytes, or lower"):
        sender.flush()


class Offline(KafkaProducer):
    """kafka-python's own `send`, up to where it would keep a record for the broker."""

    def __init__(self, **options: Any) -> None:
        self.config = {**self.DEFAULT_CONFIG, **options, "api_version": (4, 0)}
        self.kept: list[bytes] = []
        self._closed = False
        self._transaction_manager = None
        self._metadata = SimpleNamespace(partitions_for_topic=lambda topic: {0})
        self._accumulator = SimpleNamespace(append=self._keep)

    def __del__(self) -> None: ...

    def _partition(self, *_: object) -> int:
        return 0

    def _keep(self, tp: TopicPartition, at: int, key: bytes, value: bytes, headers: object, **_: object) -> Any:
        self.kept.append(value)
        return FutureRecordMetadata(FutureProduceResult(tp), 0, 0, None, len(key), len(value), -1), False, False, False


def test_a_message_at_the_limit_is_taken_and_the_client_refuses_one_byte_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size is that of the record: the value, the key, the headers and what is around them."""
    monkeypatch.setattr(kafka, "_be_let_in", lambda settings: None)
    monkeypatch.setattr(kafka, "KafkaProducer", Offline)
    client = kafka.producer(KafkaSettings(), "test")
    probe = bytes(TEXTS_MAX_MESSAGE_BYTES - 1000)  # a length takes more bytes the larger it is
    around = client._estimate_size_in_bytes(b"k", probe, []) - len(probe)
    sender = Publisher(client, "t.texts", Clock(), delivery_timeout_seconds=10.0)
    sender.send(message(1, size=TEXTS_MAX_MESSAGE_BYTES - around + 1))
    assert [len(value) for value in client.kept] == [TEXTS_MAX_MESSAGE_BYTES - around]
    client = kafka.producer(KafkaSettings(), "test")
    sender = Publisher(client, "t.texts", Clock(), delivery_timeout_seconds=10.0)
    with pytest.raises(DeliveryError, match="the message is larger than the topic allows"):
        sender.send(message(1, size=TEXTS_MAX_MESSAGE_BYTES - around + 2))
    assert client.kept == []


def test_a_producer_that_refuses_a_message_is_a_failure() -> None:
    producer = Producer()
    sender = publisher(producer)
    sender.send(message(10))
    producer.acknowledge(0)
    producer.refuses = KafkaTimeoutError("Failed to update metadata after 10.0 secs.")
    with pytest.raises(DeliveryError, match="no answer in time") as caught:
        sender.send(message(20))
    assert caught.value.delivered == 10


def test_a_broker_that_never_answers_is_not_waited_for_for_ever() -> None:
    sender = publisher(Producer())
    sender.send(message(10))
    with pytest.raises(DeliveryError, match="no acknowledgement in 20 s") as caught:
        sender.flush()
    assert caught.value.delivered == 0


def test_what_meanwhile_raises_ends_the_wait() -> None:
    producer = Producer()
    sender = publisher(producer)
    sender.send(message(10))

    def enough() -> None:
        raise InterruptedError

    sender.meanwhile = enough
    with pytest.raises(InterruptedError):
        sender.flush()
    assert sender.in_flight_texts == 10
