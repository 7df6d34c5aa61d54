"""How far a group is behind, as the reader tells it, on both brokers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import OffsetAndMetadata
from kafka.admin import ConfigResource, ConfigResourceType

from embedwatch import wire
from embedwatch.clock import SystemClock
from embedwatch.kafka import TopicPartition, admin_client, consumer, producer
from embedwatch.lag.reader import LagReader, Reading
from embedwatch.lag.tracker import GroupTracker, Lag, Place, total
from embedwatch.settings import KafkaSettings
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import make_topic, opened, read, send_all

CHUNK_TEXTS = 100
TEXTS_PER_SECOND = 10_000


@dataclass(slots=True)
class Group:
    """A group whose commits the test makes, and its lag."""

    kafka: KafkaSettings
    topic: str
    reader: LagReader
    tracker: GroupTracker
    client: Any

    def commit(self, offset: int, partition: int = 0) -> None:
        self.client.commit({TopicPartition(self.topic, partition): OffsetAndMetadata(offset, "", -1)})

    def look(self) -> tuple[Reading, dict[int, Lag]]:
        reading = self.reader.read()
        lags = self.tracker.observe(reading.samples)
        return reading, {place.partition: lag for place, lag in lags.items()}

    def lag(self, partition: int = 0) -> Lag:
        return self.look()[1][partition]


@contextmanager
def group_on(kafka: KafkaSettings, topic: str, **options: Any) -> Iterator[Group]:
    name = f"{topic}.group"
    with (
        LagReader(kafka, name, [topic], SystemClock(), **options) as reader,
        opened(consumer(kafka, "test-commits", group=name)) as client,
    ):
        yield Group(kafka, topic, reader, GroupTracker(), client)


@contextmanager
def transactions(kafka: KafkaSettings) -> Iterator[Any]:
    with opened(producer(kafka, "tx", transactional_id=f"{kafka.topic_prefix}.tx", linger_ms=0)) as client:
        client.init_transactions()
        yield client


def write(client: Any, topic: str, *, commit: bool) -> None:
    """One record in a transaction of its own."""
    client.begin_transaction()
    client.send(topic, b"x", partition=0).get(30)
    if commit:
        client.commit_transaction()
    else:
        client.abort_transaction()


def test_a_group_that_never_committed_has_everything_before_it(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings, partitions=3)
    send_all(kafka_settings, topic, [b"x"] * 50, partition=1, linger_ms=300)
    for size in (1, 20, 7):
        send_all(kafka_settings, topic, [b"x"] * size, partition=2, linger_ms=50)
    with group_on(kafka_settings, topic) as group:
        reading, lags = group.look()
        assert reading.members == 0
        assert [lags[p].lag_messages for p in range(3)] == [0, 50, 28]
        assert [lags[p].status for p in range(3)] == ["OK", "STOPPED", "STOPPED"]
        assert (lags[0].oldest_age_seconds, lags[0].drain_seconds) == (0.0, 0.0)
        whole = total(lags.values())
        assert (whole.status, whole.lag_messages, whole.lag_texts) == ("STOPPED", 78, 78)


def test_commits_in_the_midst_of_batches_and_at_the_end(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    send_all(kafka_settings, topic, [b"x"] * 50, linger_ms=300)
    with group_on(kafka_settings, topic) as group:
        for done in (0, 1, 49, 50):
            group.commit(done)
            assert (group.lag().committed_offset, group.lag().lag_messages) == (done, 50 - done)
        send_all(kafka_settings, topic, [b"x"])
        lag = group.lag()
        assert (lag.lag_messages, lag.log_end_offset) == (1, 51)
        assert lag.arrival_rate_per_s is not None
        assert lag.arrival_rate_per_s > 0
        group.commit(10)
        assert group.lag().status == "REWOUND"


def test_members_are_counted_while_they_are_there(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    send_all(kafka_settings, topic, [b"x"] * 20)
    with group_on(kafka_settings, topic) as group:
        with opened(consumer(kafka_settings, "member", group=f"{topic}.group", max_poll_records=5)) as member:
            member.subscribe([topic])
            assert len(read(member, 5)) == 5
            member.commit({TopicPartition(topic, 0): OffsetAndMetadata(5, "", -1)})
            reading, lags = group.look()
            assert (reading.members, lags[0].status, lags[0].lag_messages) == (1, "OK", 15)
        group.reader.close()  # what it knew of members
        reading, lags = group.look()
        assert (reading.members, lags[0].status) == (0, "STOPPED")


def test_chunks_are_counted_in_texts(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    with opened(producer(kafka_settings, "test")) as client:
        for size in (10, 30, 50, 110):
            texts = ["text"] * size
            client.send(topic, wire.encode_chunk([str(n) for n in range(size)], texts), partition=0,
                        headers=wire.chunk_headers(size)).get(30)  # fmt: skip
    with group_on(kafka_settings, topic) as group:
        group.commit(0)
        assert (group.lag().lag_messages, group.lag().lag_texts) == (4, 200)
        group.commit(2)
        assert (group.lag().lag_messages, group.lag().lag_texts) == (2, 160)
        group.commit(4)
        assert (group.lag().lag_messages, group.lag().lag_texts) == (0, 0)


def test_the_age_is_true_to_a_second_at_ten_thousand_texts_a_second(kafka_settings: KafkaSettings) -> None:
    """Chunks as producers send them, with the times they would have in 20 s of such a load."""
    partitions, seconds = 4, 20
    topic = make_topic(kafka_settings, partitions=partitions)
    chunks = TEXTS_PER_SECOND * seconds // CHUNK_TEXTS
    value = wire.encode_chunk([str(n) for n in range(CHUNK_TEXTS)], ["a text of some length"] * CHUNK_TEXTS)
    begun_ms = int(time.time() * 1000) - seconds * 1000
    written: dict[int, list[int]] = {p: [] for p in range(partitions)}
    with opened(producer(kafka_settings, "test", linger_ms=20)) as client:
        for number in range(chunks):
            when = begun_ms + number * CHUNK_TEXTS * 1000 // TEXTS_PER_SECOND
            partition = number % partitions
            client.send(topic, value, partition=partition, timestamp_ms=when, headers=wire.chunk_headers(CHUNK_TEXTS))
            written[partition].append(when)
        client.flush(60)
    with group_on(kafka_settings, topic) as group:
        for share in (0.0, 0.013, 0.31, 0.32, 0.5, 0.77, 0.999):
            done = int(share * chunks / partitions)
            for partition in range(partitions):
                group.commit(done, partition)
            reading, lags = group.look()
            for partition, lag in lags.items():
                truth = reading.time_seconds - written[partition][done] / 1000
                assert lag.oldest_age_seconds is not None
                assert abs(lag.oldest_age_seconds - truth) < 1.0
                assert lag.lag_texts == (chunks // partitions - done) * CHUNK_TEXTS
            whole = total(lags.values())
            assert whole.oldest_age_seconds == max(lag.oldest_age_seconds or 0 for lag in lags.values())


def test_a_message_larger_than_is_asked_for_at_first_has_an_age(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings, partitions=3)
    for partition in range(3):
        send_all(kafka_settings, topic, [b"x" * 900_000], partition=partition, compression_type=None)
    with group_on(kafka_settings, topic) as group:
        assert all(lag.oldest_age_seconds is not None for lag in group.look()[1].values())


def test_an_open_transaction_is_not_waited_for_by_who_reads_committed_records(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    send_all(kafka_settings, topic, [b"x"] * 5)
    with transactions(kafka_settings) as sink:
        sink.begin_transaction()
        sink.send(topic, b"open", partition=0).get(30)
        with group_on(kafka_settings, topic) as group:
            assert group.lag().lag_messages == 5
            group.commit(5)
            assert (group.lag().lag_messages, group.lag().status) == (0, "OK")
        with group_on(kafka_settings, topic, read_committed=False) as group:
            assert group.lag().lag_messages == 1
        sink.abort_transaction()


@pytest.mark.parametrize("count", [1, 3])
def test_the_marks_of_transactions_are_no_lag(kafka_settings: KafkaSettings, count: int) -> None:
    topic = make_topic(kafka_settings)
    with transactions(kafka_settings) as sink, group_on(kafka_settings, topic) as group:
        for _ in range(count):
            write(sink, topic, commit=True)
        lag = group.lag()
        assert (lag.lag_messages, lag.log_end_offset) == (count, 2 * count)
        group.commit(2 * count - 1)  # after the last record: before its mark
        for _ in range(2):
            lag = group.lag()
            assert (lag.lag_messages, lag.oldest_age_seconds, lag.drain_seconds) == (0, 0.0, 0.0)
        write(sink, topic, commit=True)
        assert group.lag().lag_messages == 1


@pytest.mark.promise("read_committed")
def test_aborted_records_are_no_lag(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    with transactions(kafka_settings) as sink, group_on(kafka_settings, topic) as group:
        group.commit(0)
        for _ in range(3):
            write(sink, topic, commit=False)
        lag = group.lag()
        assert (lag.log_end_offset, lag.lag_messages, lag.status) == (6, 0, "OK")
        write(sink, topic, commit=True)
        lag = group.lag()
        assert lag.lag_messages == 1
        assert lag.oldest_age_seconds is not None


def test_a_partition_that_does_not_exist_is_missing_and_a_topic_too(kafka_settings: KafkaSettings) -> None:
    with group_on(kafka_settings, f"{kafka_settings.topic_prefix}.nowhere") as group:
        reading = group.reader.read()
        assert (reading.samples, reading.trouble) == ({}, None)
        assert reading.topics_missing == (group.topic,)


def test_without_topics_it_reads_those_in_which_the_group_has_committed(kafka_settings: KafkaSettings) -> None:
    first, second = (make_topic(kafka_settings, name, partitions=2) for name in ("first", "second"))
    send_all(kafka_settings, first, [b"x"] * 3)
    with (
        group_on(kafka_settings, first) as group,
        LagReader(kafka_settings, f"{first}.group", None, SystemClock()) as all_,
    ):
        assert all_.read().samples == {}
        group.commit(1)
        assert set(all_.read().samples) == {Place(first, 0), Place(first, 1)}
        group.client.commit({TopicPartition(second, 0): OffsetAndMetadata(0, "", -1)})
        assert {place.topic for place in all_.read().samples} == {first, second}


@pytest.mark.restarts_broker
def test_a_broker_that_is_gone_is_unknown_and_never_zero(own_broker: Broker) -> None:
    """And known again when it is back."""
    kafka = settings_for(own_broker)
    topic = make_topic(kafka, partitions=2)
    with LagReader(kafka, "g", [topic], SystemClock()) as reader:
        tracker = GroupTracker()
        assert total(tracker.observe(reader.read().samples).values()).lag_messages == 0
        assert own_broker.stop is not None
        assert own_broker.restart is not None
        own_broker.stop()
        reading = reader.read()
        assert reading.trouble is not None
        lags = tracker.observe(reading.samples)
        assert [(lag.status, lag.lag_messages, lag.oldest_age_seconds) for lag in lags.values()] == [
            ("UNKNOWN", None, None)
        ] * 2
        assert total(lags.values()).status == "UNKNOWN"
        own_broker.restart()
        if own_broker.gap("durable") is not None:
            make_topic(kafka, partitions=2)
        deadline = time.monotonic() + 30
        while (reading := reader.read()).trouble is not None or not reading.samples:
            assert time.monotonic() < deadline, reading
        assert total(tracker.observe(reading.samples).values()).lag_messages == 0


def test_a_broker_that_was_never_there_is_trouble() -> None:
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    with LagReader(kafka, "g", ["t"], SystemClock()) as reader:
        reading = reader.read()
        assert reading.samples == {}
        assert reading.trouble == "Kafka at 127.0.0.1:1: nothing listens there"


@pytest.mark.kafka
class TestApacheKafka:
    """What the embedded broker cannot do at all."""

    def test_a_truncated_log_counts_what_is_left(self, apache_kafka: Broker) -> None:
        kafka = settings_for(apache_kafka)
        topic = make_topic(kafka)
        send_all(kafka, topic, [b"x"] * 50)
        with group_on(kafka, topic) as group, opened(admin_client(kafka)) as admin:
            group.commit(10)
            assert group.lag().lag_messages == 40
            admin.delete_records({TopicPartition(topic, 0): 30})
            lag = group.lag()
            assert (lag.lag_messages, lag.committed_offset, lag.status) == (20, 30, "STOPPED")
            assert lag.oldest_age_seconds is not None
            admin.delete_records({TopicPartition(topic, 0): 50})
            lag = group.lag()
            assert (lag.lag_messages, lag.oldest_age_seconds) == (0, 0.0)
            assert lag.reason == "40 offsets were removed from the log before they were done"

    def test_a_group_that_never_committed_begins_where_a_truncated_log_does(self, apache_kafka: Broker) -> None:
        kafka = settings_for(apache_kafka)
        topic = make_topic(kafka)
        send_all(kafka, topic, [b"x"] * 50)
        with opened(admin_client(kafka)) as admin:
            admin.delete_records({TopicPartition(topic, 0): 30})
        with group_on(kafka, topic) as group:
            assert group.lag().lag_messages == 20

    def test_compaction_leaves_no_lag_behind(self, apache_kafka: Broker) -> None:
        kafka = settings_for(apache_kafka)
        topic = make_topic(kafka, policy="compact")
        with opened(admin_client(kafka)) as admin:
            admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, {
                    "cleanup.policy": "compact", "segment.bytes": str(1024 * 1024), "segment.ms": "500",
                    "min.cleanable.dirty.ratio": "0.0001", "max.compaction.lag.ms": "500",
                })]
            )  # fmt: skip
        with group_on(kafka, topic) as group:
            group.commit(0)
            deadline = time.monotonic() + 60
            with opened(producer(kafka, "test", linger_ms=0)) as client:
                # Each record begins a new segment, so that those before it can be compacted.
                while True:
                    group.reader = LagReader(kafka, f"{topic}.group", [topic], SystemClock())
                    end = client.send(topic, b"x", key=b"same", partition=0).get(30).offset + 1
                    with group.reader:
                        lag = group.lag()
                    assert lag.log_end_offset == end
                    assert lag.lag_messages is not None
                    if lag.lag_messages <= end // 2:
                        break
                    assert time.monotonic() < deadline, f"nothing was compacted: {lag}"
                    time.sleep(0.25)  # the broker's own clock has to move on
            assert lag.oldest_age_seconds is not None
            assert lag.lag_messages >= 1

    def test_new_partitions_are_seen(self, apache_kafka: Broker) -> None:
        kafka = settings_for(apache_kafka)
        topic = make_topic(kafka)
        with group_on(kafka, topic) as group, opened(admin_client(kafka)) as admin:
            assert set(group.look()[1]) == {0}
            admin.create_partitions({topic: 3})
            send_all(kafka, topic, [b"x"] * 4, partition=2)
            group.reader._roster_read = None  # a few seconds later
            assert {p: lag.lag_messages for p, lag in group.look()[1].items()} == {0: 0, 1: 0, 2: 4}

    def test_a_deleted_group_is_rewound_and_then_stopped(self, apache_kafka: Broker) -> None:
        kafka = settings_for(apache_kafka)
        topic = make_topic(kafka)
        send_all(kafka, topic, [b"x"] * 10)
        with group_on(kafka, topic) as group, opened(admin_client(kafka)) as admin:
            group.commit(8)
            assert (group.lag().lag_messages, group.lag().status) == (2, "STOPPED")
            admin.delete_groups([f"{topic}.group"])
            lag = group.lag()
            assert (lag.lag_messages, lag.status) == (10, "REWOUND")
            assert lag.reason == "the commit at 8 is gone: the group or the topic was made anew"
            assert group.lag().status == "STOPPED"

    def test_a_topic_made_anew_begins_anew(self, apache_kafka: Broker) -> None:
        kafka = settings_for(apache_kafka)
        topic = make_topic(kafka)
        send_all(kafka, topic, [b"x"] * 10)
        with group_on(kafka, topic) as group, opened(admin_client(kafka)) as admin:
            group.commit(8)
            assert group.lag().lag_messages == 2
            admin.delete_topics([topic])
            deadline = time.monotonic() + 30
            group.reader._roster_read = None
            while group.reader.read().samples:
                assert time.monotonic() < deadline
                group.reader._roster_read = None
            make_topic(kafka)
            send_all(kafka, topic, [b"x"] * 3)
            group.reader._roster_read = None
            lag = group.lag()
            assert (lag.lag_messages, lag.status) == (3, "REWOUND")
            group.commit(500)
            lag = group.lag()
            assert (lag.lag_messages, lag.status) == (3, "REWOUND")
            assert lag.reason is not None
            assert lag.reason.startswith("the committed offset 500 lies beyond the end of the log, 3")
