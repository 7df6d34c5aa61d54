"""A producer that sends again because nobody answered: the record is in the log once, so that it counts once."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from kafka.errors import KafkaTimeoutError

from embedwatch.kafka import close_producer, producer
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import make_topic, opened, read_topic


def sent_again(client: Any) -> float:
    """Records a second that the producer sent once more; 0 while there is none."""
    return float(client.metrics().get("producer-metrics", {}).get("record-retry-rate", 0.0))


@pytest.mark.restarts_broker
def test_a_record_sent_twice_for_want_of_an_answer_is_written_once(own_broker: Broker) -> None:
    """The broker stands still: the first request waits for it, the producer gives up on that and sends a second one.

    When it goes on it is given both. Every event is published by such a producer.
    """
    assert own_broker.pid is not None
    kafka = settings_for(own_broker)
    topic = make_topic(kafka)
    with opened(producer(kafka, "test", request_timeout_ms=1500)) as client:
        client.send(topic, b"first", partition=0).get(30)
        os.kill(own_broker.pid, signal.SIGSTOP)
        try:
            sent = [client.send(topic, str(number).encode(), partition=0) for number in range(10)]
            deadline = time.monotonic() + 30
            while not sent_again(client):
                assert time.monotonic() < deadline, "the producer did not send again"
                time.sleep(0.05)
        finally:
            os.kill(own_broker.pid, signal.SIGCONT)
        for future in sent:
            future.get(60)
        client.send(topic, b"last", partition=0).get(30)
    wanted = [b"first", *(str(number).encode() for number in range(10)), b"last"]
    found = [record.value for record in read_topic(kafka, topic, len(wanted) + 10, timeout_seconds=4.0)]
    assert found == wanted


@pytest.mark.restarts_broker
def test_a_producer_that_cannot_be_flushed_ends_all_the_same(own_broker: Broker) -> None:
    """Else its thread goes on trying, and one more with each that is opened in its place."""
    assert own_broker.pid is not None
    kafka = settings_for(own_broker)
    topic = make_topic(kafka)
    client = producer(kafka, "test", request_timeout_ms=1500)
    client.send(topic, b"first", partition=0).get(30)
    os.kill(own_broker.pid, signal.SIGSTOP)
    try:
        waiting = client.send(topic, b"second", partition=0)
        with pytest.raises(KafkaTimeoutError):
            close_producer(client, 0.5)
        client._sender.join(20)
        assert not client._sender.is_alive()
        assert waiting.failed()
    finally:
        os.kill(own_broker.pid, signal.SIGCONT)
