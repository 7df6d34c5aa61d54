"""Transactions: vectors, metrics and offsets become visible together, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from embedwatch.kafka import TopicPartition, consumer, producer
from embedwatch.settings import KafkaSettings
from tests.harness.kafka_io import make_topic, opened, read, read_topic, send_all


def transactional(kafka: KafkaSettings, name: str) -> Any:
    client = producer(kafka, name, transactional_id=f"{kafka.topic_prefix}.{name}")
    client.init_transactions()
    return client


def test_a_committed_transaction_is_visible_on_all_its_topics(kafka_settings: KafkaSettings) -> None:
    vectors, metrics = make_topic(kafka_settings, "vectors"), make_topic(kafka_settings, "metrics")
    with opened(transactional(kafka_settings, "worker")) as client:
        client.begin_transaction()
        client.send(vectors, b"v1", partition=0)
        client.send(metrics, b"m1", partition=0)
        client.commit_transaction()
    assert [record.value for record in read_topic(kafka_settings, vectors, 1)] == [b"v1"]
    assert [record.value for record in read_topic(kafka_settings, metrics, 1)] == [b"m1"]


@pytest.mark.promise("read_committed")
def test_an_aborted_transaction_is_never_seen(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    with opened(transactional(kafka_settings, "worker")) as client:
        client.begin_transaction()
        client.send(topic, b"aborted", partition=0).get(30)
        client.abort_transaction()
        client.begin_transaction()
        client.send(topic, b"committed", partition=0)
        client.commit_transaction()
    assert [record.value for record in read_topic(kafka_settings, topic, 1)] == [b"committed"]


@pytest.mark.promise("read_committed")
def test_a_worker_that_died_inside_a_transaction_leaves_nothing_visible(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    with opened(transactional(kafka_settings, "worker")) as dead:
        dead.begin_transaction()
        dead.send(topic, b"from the dead", partition=0).get(30)
        # Its successor takes the same transactional id, which aborts what was open.
        with opened(transactional(kafka_settings, "worker")) as successor:
            successor.begin_transaction()
            successor.send(topic, b"redone", partition=0)
            successor.commit_transaction()
        values = [record.value for record in read_topic(kafka_settings, topic, 1)]
    assert values == [b"redone"]


def test_offsets_committed_in_a_transaction_move_the_group(kafka_settings: KafkaSettings) -> None:
    texts, vectors = make_topic(kafka_settings, "texts"), make_topic(kafka_settings, "vectors")
    send_all(kafka_settings, texts, [b"x"] * 10)
    log = TopicPartition(texts, 0)
    with (
        opened(consumer(kafka_settings, "worker", group=texts)) as source,
        opened(transactional(kafka_settings, "worker")) as sink,
    ):
        source.subscribe([texts])
        records = read(source, 10)
        sink.begin_transaction()
        for record in records:
            sink.send(vectors, record.value, partition=0)
        sink.send_offsets_to_transaction(_after(records), source.group_metadata())
        sink.commit_transaction()
        assert source.committed(log) == 10
    assert len(read_topic(kafka_settings, vectors, 10)) == 10


def test_offsets_of_an_aborted_transaction_do_not_move_the_group(kafka_settings: KafkaSettings) -> None:
    texts = make_topic(kafka_settings, "texts")
    send_all(kafka_settings, texts, [b"x"] * 10)
    log = TopicPartition(texts, 0)
    with (
        opened(consumer(kafka_settings, "worker", group=texts)) as source,
        opened(transactional(kafka_settings, "worker")) as sink,
    ):
        source.subscribe([texts])
        sink.begin_transaction()
        sink.send_offsets_to_transaction(_after(read(source, 10)), source.group_metadata())
        sink.abort_transaction()
        assert source.committed(log) is None


def _after(records: list[Any]) -> dict[TopicPartition, Any]:
    from kafka import OffsetAndMetadata

    last = records[-1]
    return {TopicPartition(last.topic, last.partition): OffsetAndMetadata(last.offset + 1, "", -1)}
