"""Records: what is acknowledged comes back as it was sent, whatever its size and compression."""

from __future__ import annotations

import random
import string
import time

import pytest
from kafka import errors as kafka_errors

from embedwatch.kafka import create_topics, describe_error, producer
from embedwatch.settings import KafkaSettings
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES, Topics
from embedwatch.wire import TEXTS_FORMAT, decode_texts, encode_chunk
from tests.harness.kafka_io import make_topic, opened, read_topic, send_all

MEGABYTE = 1_000_000


def incompressible(size: int) -> bytes:
    """A text that compression does not make small, so that its size is what the broker sees."""
    return "".join(random.Random(size).choices(string.ascii_letters + string.digits, k=size)).encode()


def test_key_headers_timestamp_and_value_come_back_as_sent(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    now_ms = int(time.time() * 1000)
    headers = [("model", b"all-MiniLM-L6-v2"), ("tenant", "Zoë".encode()), ("empty", b"")]
    with opened(producer(kafka_settings, "test")) as client:
        sent = client.send(topic, b"value", key="clé".encode(), headers=headers, timestamp_ms=now_ms, partition=0)
        client.flush(30)
        offset = sent.get(30).offset
    (record,) = read_topic(kafka_settings, topic, 1)
    assert (record.offset, record.key, record.value) == (offset, "clé".encode(), b"value")
    assert list(record.headers) == headers
    assert record.timestamp == now_ms


def test_absent_key_and_absent_value_are_not_empty_ones(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    with opened(producer(kafka_settings, "test")) as client:
        client.send(topic, b"", key=b"", partition=0)
        client.send(topic, None, key=b"tombstone", partition=0)
        client.send(topic, b"no key", partition=0)
    records = read_topic(kafka_settings, topic, 3)
    assert [(r.key, r.value) for r in records] == [(b"", b""), (b"tombstone", None), (None, b"no key")]


def test_a_partition_keeps_the_order_of_a_producer(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    values = [str(number).encode() for number in range(2000)]
    offsets = send_all(kafka_settings, topic, values, batch_size=2048)
    assert offsets == list(range(2000))
    assert [record.value for record in read_topic(kafka_settings, topic, 2000)] == values


def test_the_same_key_goes_to_the_same_partition(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings, partitions=4)
    with opened(producer(kafka_settings, "test")) as client:
        for number in range(200):
            client.send(topic, b"x", key=str(number % 20).encode())
    where: dict[bytes, set[int]] = {}
    for record in read_topic(kafka_settings, topic, 200, partitions=4):
        where.setdefault(record.key, set()).add(record.partition)
    assert len(where) == 20
    assert all(len(partitions) == 1 for partitions in where.values())
    assert len(set.union(*where.values())) > 1


@pytest.mark.parametrize("compression", [None, "gzip", "lz4"])
def test_compressed_batches_come_back_whole(kafka_settings: KafkaSettings, compression: str | None) -> None:
    topic = make_topic(kafka_settings)
    values = [f"{number} ".encode() * 100 for number in range(300)]
    send_all(kafka_settings, topic, values, compression_type=compression)
    assert [record.value for record in read_topic(kafka_settings, topic, 300)] == values


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_every_kind_of_acknowledgement_delivers(kafka_settings: KafkaSettings, acks: int | str) -> None:
    topic = make_topic(kafka_settings)
    with opened(producer(kafka_settings, "test", acks=acks, enable_idempotence=acks == "all")) as client:
        client.send(topic, b"value", partition=0)
        client.flush(30)
    assert [record.value for record in read_topic(kafka_settings, topic, 1)] == [b"value"]


@pytest.mark.parametrize("size", [MEGABYTE, 4 * MEGABYTE])
@pytest.mark.parametrize("compression", [None, "lz4"])
def test_a_large_text_passes_through_the_texts_topic(
    kafka_settings: KafkaSettings, size: int, compression: str | None
) -> None:
    topics = Topics(kafka_settings.topic_prefix)
    create_topics(kafka_settings, topics.specs())
    for topic in (topics.texts, topics.dead_letters):
        send_all(kafka_settings, topic, [incompressible(size)], compression_type=compression)
        (record,) = read_topic(kafka_settings, topic, 1)
        assert record.value == incompressible(size)


def test_a_text_above_the_limit_is_refused_in_words(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    # The client itself refuses it, in `send` and not in the future.
    with (
        opened(producer(kafka_settings, "test")) as client,
        pytest.raises(kafka_errors.MessageSizeTooLargeError) as refused,
    ):
        client.send(topic, bytes(TEXTS_MAX_MESSAGE_BYTES + 1))
    assert "larger" in describe_error(refused.value)


def test_a_chunk_of_texts_survives_the_broker(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings)
    ids, texts = [f"id-{n}" for n in range(256)], [f"text {n} – ünïcode 🙂" for n in range(256)]
    with opened(producer(kafka_settings, "test")) as client:
        headers = [("format", TEXTS_FORMAT), ("model", b"m")]
        client.send(topic, encode_chunk(ids, texts), key=ids[0].encode(), headers=headers)
    (record,) = read_topic(kafka_settings, topic, 1)
    items = decode_texts(record.key, record.value, record.headers, fallback_id="x")
    assert [(item.id, item.text, item.model) for item in items] == [
        (i, t, "m") for i, t in zip(ids, texts, strict=True)
    ]
