"""The worker's transactions, on a broker that keeps them: all of a cycle or nothing, and never twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from embedwatch.errors import ConfigError, DeliveryError
from embedwatch.kafka import TopicPartition, consumer, producer
from embedwatch.settings import KafkaSettings
from tests.harness.brokers import APACHE_KAFKA, Broker
from tests.harness.kafka_io import make_topic, opened, poll_until, read, read_topic, send_all
from workers.transactions import Fenced, TransactionalPublisher, refuse_without_isolation

#: The embedded broker is refused: see the first test.
on_kafka = pytest.mark.parametrize(
    "broker", [pytest.param(APACHE_KAFKA, id=APACHE_KAFKA, marks=pytest.mark.kafka)], indirect=True
)


@contextmanager
def publisher(
    kafka: KafkaSettings, name: str = "worker", transaction_seconds: float = 60.0
) -> Iterator[TransactionalPublisher]:
    client = producer(
        kafka, name, transactional_id=f"{kafka.topic_prefix}.{name}",
        transaction_timeout_ms=int(transaction_seconds * 1000),
    )  # fmt: skip
    made = TransactionalPublisher(
        client, where=kafka.bootstrap_servers, timeout_seconds=20.0, transaction_seconds=transaction_seconds
    )
    try:
        yield made
    finally:
        made.close(10.0)


def after(records: list[Any]) -> dict[tuple[str, int], int]:
    return {(record.topic, record.partition): record.offset + 1 for record in records}


def test_a_broker_that_shows_aborted_records_is_refused_in_one_line(
    broker: Broker, kafka_settings: KafkaSettings
) -> None:
    if broker.gap("read_committed") is None:
        refuse_without_isolation(kafka_settings)
        return
    with pytest.raises(ConfigError, match="--delivery at_least_once") as refused:
        refuse_without_isolation(kafka_settings)
    assert "\n" not in str(refused.value)


@on_kafka
def test_vectors_and_offsets_of_a_cycle_become_visible_together(kafka_settings: KafkaSettings) -> None:
    texts, vectors = make_topic(kafka_settings, "texts"), make_topic(kafka_settings, "vectors")
    send_all(kafka_settings, texts, [b"x"] * 6)
    with (
        opened(consumer(kafka_settings, "source", group=texts)) as source,
        opened(consumer(kafka_settings, "reader", group=None)) as reader,
        publisher(kafka_settings) as sink,
    ):
        reader.assign([TopicPartition(vectors, 0)])
        reader.seek_to_beginning()
        source.subscribe([texts])
        records = read(source, 6)
        for record in records:
            sink.send(vectors, key=None, value=record.value, headers=[])
        sink.flush()
        assert read(reader, 1, timeout_seconds=1.0) == []
        assert source.committed(TopicPartition(texts, 0)) is None
        assert sink.finish(after(records), source.group_metadata())
        assert source.committed(TopicPartition(texts, 0)) == 6
        assert len(read(reader, 6)) == 6


@on_kafka
def test_a_worker_whose_partitions_went_to_another_commits_nothing_and_can_go_on(kafka_settings: KafkaSettings) -> None:
    texts, vectors = make_topic(kafka_settings, "texts", partitions=2), make_topic(kafka_settings, "vectors")
    for partition in range(2):
        send_all(kafka_settings, texts, [b"x"] * 3, partition=partition)
    with (
        opened(consumer(kafka_settings, "slow", group=texts)) as slow,
        publisher(kafka_settings, "slow") as sink,
    ):
        slow.subscribe([texts])
        records = read(slow, 6)
        old = slow.group_metadata()
        with opened(consumer(kafka_settings, "other", group=texts)) as other:
            other.subscribe([texts])
            assert poll_until(
                lambda: len(slow.assignment()) == len(other.assignment()) == 1, slow, other, timeout_seconds=40.0
            )
            sink.send(vectors, key=None, value=b"late", headers=[])
            assert not sink.finish(after(records), old)
            assert slow.committed(TopicPartition(texts, 0)) is None
            sink.send(vectors, key=None, value=b"in time", headers=[])
            mine = {(tp.topic, tp.partition): 2 for tp in slow.assignment()}
            assert sink.finish(mine, slow.group_metadata())
            # Offsets that were given up do not come with the next: they would be somebody else's.
            committed = {partition: slow.committed(TopicPartition(texts, partition)) for partition in range(2)}
            assert committed == {0: None, 1: None} | {partition: 2 for _, partition in mine}
    assert [record.value for record in read_topic(kafka_settings, vectors, 1)] == [b"in time"]


@on_kafka
def test_who_has_fallen_out_of_the_group_commits_nothing(kafka_settings: KafkaSettings) -> None:
    """Kafka takes offsets of a client that names no generation, as older ones do."""
    texts, vectors = make_topic(kafka_settings, "texts"), make_topic(kafka_settings, "vectors")
    send_all(kafka_settings, texts, [b"x"] * 3)
    with (
        opened(consumer(kafka_settings, "source", group=texts)) as source,
        opened(consumer(kafka_settings, "fallen", group=texts)) as fallen,
        publisher(kafka_settings) as sink,
    ):
        source.subscribe([texts])
        records = read(source, 3)
        sink.send(vectors, key=None, value=b"not ours", headers=[])
        assert not sink.finish(after(records), fallen.group_metadata())
        assert source.committed(TopicPartition(texts, 0)) is None
        sink.send(vectors, key=None, value=b"ours", headers=[])
        assert sink.finish(after(records), source.group_metadata())
    assert [record.value for record in read_topic(kafka_settings, vectors, 1)] == [b"ours"]


@on_kafka
def test_two_workers_of_one_name_are_told_apart_and_the_older_one_stops(kafka_settings: KafkaSettings) -> None:
    vectors = make_topic(kafka_settings, "vectors")
    with publisher(kafka_settings) as older:
        older.send(vectors, key=None, value=b"older", headers=[])
        older.flush()
        with publisher(kafka_settings) as newer:
            newer.send(vectors, key=None, value=b"newer", headers=[])
            with opened(consumer(kafka_settings, "source", group=f"{vectors}.group")) as source:
                assert newer.finish({}, source.group_metadata())
                with pytest.raises(DeliveryError, match="--name"):
                    older.finish({}, source.group_metadata())
    assert [record.value for record in read_topic(kafka_settings, vectors, 1)] == [b"newer"]


@on_kafka
def test_who_stood_still_until_the_broker_ended_its_transaction_is_no_second_worker(
    kafka_settings: KafkaSettings,
) -> None:
    vectors = make_topic(kafka_settings, "vectors")
    with opened(consumer(kafka_settings, "source", group=f"{vectors}.group")) as source:
        with publisher(kafka_settings, transaction_seconds=1.0) as frozen:
            frozen.send(vectors, key=None, value=b"too late", headers=[])
            frozen.flush()
            send_all(kafka_settings, vectors, [b"seen once it is ended"])
            assert len(read_topic(kafka_settings, vectors, 1, timeout_seconds=40.0)) == 1
            with pytest.raises(DeliveryError, match="the broker ended it") as stopped:
                frozen.finish({}, source.group_metadata())
            assert not isinstance(stopped.value, Fenced)
        with publisher(kafka_settings) as again:
            again.send(vectors, key=None, value=b"again", headers=[])
            assert again.finish({}, source.group_metadata())
    assert [record.value for record in read_topic(kafka_settings, vectors, 2)][1:] == [b"again"]


@on_kafka
def test_what_was_open_when_it_closed_is_given_up(kafka_settings: KafkaSettings) -> None:
    vectors = make_topic(kafka_settings, "vectors")
    with publisher(kafka_settings) as sink:
        sink.send(vectors, key=None, value=b"unfinished", headers=[])
        sink.flush()
    send_all(kafka_settings, vectors, [b"later"])
    assert [record.value for record in read_topic(kafka_settings, vectors, 1)] == [b"later"]


@on_kafka
def test_a_transaction_left_open_ends_by_itself_and_hides_nothing_after_it(kafka_settings: KafkaSettings) -> None:
    vectors = make_topic(kafka_settings, "vectors")
    client = producer(
        kafka_settings, "dead", transactional_id=f"{kafka_settings.topic_prefix}.dead", transaction_timeout_ms=1000
    )
    with opened(client):
        client.init_transactions()
        client.begin_transaction()
        client.send(vectors, b"left open", partition=0).get(20)
        send_all(kafka_settings, vectors, [b"after it"])
        values = [record.value for record in read_topic(kafka_settings, vectors, 1, timeout_seconds=40.0)]
    assert values == [b"after it"]
