"""A broker that is stopped, or killed, and started again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embedwatch.kafka import TopicPartition, consumer, partitions_of, producer
from tests.harness.apache_kafka import ApacheKafka
from tests.harness.brokers import APACHE_KAFKA, PROMISES, Broker, settings_for
from tests.harness.kafka_io import make_topic, opened, read, read_topic, send_all
from tests.harness.requirements import start_kafka

pytestmark = pytest.mark.restarts_broker


@pytest.mark.promise("durable")
def test_records_and_commits_survive_a_restart_and_clients_go_on(own_broker: Broker) -> None:
    assert own_broker.restart is not None
    kafka = settings_for(own_broker)
    topic = make_topic(kafka)
    send_all(kafka, topic, [b"before"] * 10)
    # A request that was under way when the broker fell is waited for as long as the answers below.
    made = producer(kafka, "test", max_block_ms=60_000)
    with opened(consumer(kafka, "test", group=topic)) as client, opened(made) as sender:
        client.subscribe([topic])
        assert len(read(client, 10)) == 10
        client.commit()
        own_broker.restart()
        assert partitions_of(kafka, topic) == [TopicPartition(topic, 0)]
        sender.send(topic, b"after", partition=0).get(60)
        assert [record.value for record in read(client, 1, 60.0)] == [b"after"]
        assert client.committed(TopicPartition(topic, 0)) == 10


@pytest.mark.kafka
def test_what_apache_kafka_acknowledged_survives_kill_9(tmp_path: Path, say: Callable[[str], None]) -> None:
    service = ApacheKafka(tmp_path, say=say)
    start_kafka(service)
    with service:
        kafka = settings_for(Broker(APACHE_KAFKA, service.bootstrap_servers, PROMISES))
        topic = make_topic(kafka)
        send_all(kafka, topic, [str(number).encode() for number in range(500)])
        service.kill()
        service.start()
        assert [record.offset for record in read_topic(kafka, topic, 500, timeout_seconds=60.0)] == list(range(500))
