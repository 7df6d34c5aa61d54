"""Offsets: where a log ends, how far a group is behind, and what happens at the end."""

from __future__ import annotations

import time

import pytest

from embedwatch.kafka import TopicPartition, admin_client, consumer, producer, true_end_offsets
from embedwatch.settings import KafkaSettings
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import make_topic, opened, read, send_all


def write_logs(kafka: KafkaSettings) -> dict[TopicPartition, int]:
    """Four partitions: empty, one record, one batch of 50, 333 records in many batches. Returns their true ends."""
    topic = make_topic(kafka, partitions=4)
    send_all(kafka, topic, [b"x"], partition=1)
    send_all(kafka, topic, [b"x"] * 50, partition=2, linger_ms=500)
    for size in (1, 100, 7, 225):
        send_all(kafka, topic, [b"x"] * size, partition=3, linger_ms=100)
    return {TopicPartition(topic, partition): end for partition, end in enumerate((0, 1, 50, 333))}


def test_true_end_offsets_are_right_for_empty_single_and_batched_logs(kafka_settings: KafkaSettings) -> None:
    ends = write_logs(kafka_settings)
    assert true_end_offsets(kafka_settings, ends) == ends


def test_true_end_offsets_of_nothing_is_nothing(kafka_settings: KafkaSettings) -> None:
    assert true_end_offsets(kafka_settings, []) == {}


def test_a_partition_that_does_not_exist_is_unknown_and_not_zero(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    asked = [TopicPartition(topic, 0), TopicPartition(topic, 7), TopicPartition(f"{topic}-nowhere", 0)]
    assert true_end_offsets(kafka_settings, asked) == {TopicPartition(topic, 0): 0}


@pytest.mark.kafka
def test_true_end_offsets_are_right_when_everything_was_deleted(apache_kafka: Broker) -> None:
    kafka = settings_for(apache_kafka)
    topic = make_topic(kafka)
    log = TopicPartition(topic, 0)
    send_all(kafka, topic, [b"x"] * 50)
    with opened(admin_client(kafka)) as admin:
        admin.delete_records({log: 50})
    assert true_end_offsets(kafka, [log]) == {log: 50}


@pytest.mark.promise("end_offsets")
def test_the_brokers_own_end_offsets_are_right(kafka_settings: KafkaSettings) -> None:
    ends = write_logs(kafka_settings)
    with opened(consumer(kafka_settings, "test", group=None)) as client:
        assert client.end_offsets(list(ends)) == ends


def test_lag_is_the_true_end_less_what_was_committed(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    log = TopicPartition(topic, 0)
    send_all(kafka_settings, topic, [b"x"] * 50, linger_ms=500)
    with opened(consumer(kafka_settings, "test", group=topic, max_poll_records=20)) as client:
        client.subscribe([topic])
        seen = 0
        while seen < 40:
            seen += len(read(client, 20))
            client.commit()
            committed = client.committed(log)
            assert committed == seen
            assert true_end_offsets(kafka_settings, [log])[log] - committed == 50 - seen


@pytest.mark.promise("latest")
def test_latest_begins_after_what_is_there(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    log = TopicPartition(topic, 0)
    send_all(kafka_settings, topic, [b"old"] * 50, linger_ms=500)
    with opened(consumer(kafka_settings, "test", group=None, auto_offset_reset="latest")) as client:
        client.assign([log])
        assert client.position(log) is not None
        send_all(kafka_settings, topic, [b"new"])
        assert [record.value for record in read(client, 1)] == [b"new"]


def test_a_consumer_can_go_back(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    log = TopicPartition(topic, 0)
    send_all(kafka_settings, topic, [str(number).encode() for number in range(30)])
    with opened(consumer(kafka_settings, "test", group=None)) as client:
        client.assign([log])
        assert len(read(client, 30)) == 30
        client.seek(log, 12)
        assert [record.offset for record in read(client, 18)] == list(range(12, 30))


@pytest.mark.promise("offsets_for_times")
def test_an_offset_is_found_by_time(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    log = TopicPartition(topic, 0)
    start_ms = int(time.time() * 1000) - 10_000
    with opened(producer(kafka_settings, "test")) as client:
        for number in range(3):
            client.send(topic, b"x", partition=0, timestamp_ms=start_ms + number * 1000).get(30)
    with opened(consumer(kafka_settings, "test", group=None)) as client:
        found = client.offsets_for_times({log: start_ms + 500})[log]
        assert (found.offset, found.timestamp) == (1, start_ms + 1000)
        assert client.offsets_for_times({log: start_ms + 60_000})[log] is None
