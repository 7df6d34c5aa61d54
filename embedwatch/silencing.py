"""Silences in their topic: read whole, and written. What they mean stands in `silences`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from kafka import errors as kafka_errors

from embedwatch.codec import decode_silence, encode
from embedwatch.errors import ConnectionFailed, InvalidEvent
from embedwatch.events import Silence
from embedwatch.kafka import close_producer, create_topics, describe_error, producer
from embedwatch.reading import TopicReader
from embedwatch.settings import Settings
from embedwatch.silences import forgettable, mistake

log = logging.getLogger(__name__)

WRITE_SECONDS = 20.0
#: The others are forgotten with the next silence.
FORGET_AT_ONCE = 1000


class Known:
    """The newest record of each silence. Records that do not decode, or cannot be obeyed, are left out and said."""

    def __init__(self) -> None:
        self.by_id: dict[str, Silence] = {}

    def take(self, key: bytes | None, value: bytes | None, place: str) -> None:
        silence_id = (key or b"").decode("utf-8", "replace")
        if value is None:
            self.by_id.pop(silence_id, None)
            return
        try:
            silence = decode_silence(value)
        except InvalidEvent as error:
            log.error("a silence at %s is left out: %s", place, str(error)[:300])  # noqa: TRY400
            return
        if (wrong := mistake(silence)) is not None:
            log.error("the silence at %s is left out: %s", place, wrong[:300])
            return
        self.by_id[silence.silence_id] = silence


def read(settings: Settings) -> dict[str, Silence]:
    """All silences, those that are over too. Raises `ConnectionFailed`."""
    topic = settings.topics.silences
    _make(settings)
    known = Known()
    with TopicReader(settings.kafka, topic) as reader:
        for batch in reader.batches():
            for record in batch:
                known.take(record.key, record.value, f"{topic}-{record.partition}-{record.offset}")
    return known.by_id


def write(settings: Settings, silence: Silence) -> None:
    """Until the broker has it. Raises `ConnectionFailed`."""
    _make(settings)
    _send(settings, {silence.silence_id: encode(silence)})


def forget(settings: Settings, now: float) -> int:
    """Take out of the topic what has been over for a week, so that it stays as small as what is asked for lately.

    Those who write silences do it, after they wrote: only by them the topic grows, and who may only read needs to do no
    more. Compaction keeps the newest record of a key, however old; it drops those that say nothing. Says how many they
    were. Raises `ConnectionFailed`: then the next silence does it.
    """
    old = [each.silence_id for each in read(settings).values() if forgettable(each, now)][:FORGET_AT_ONCE]
    if old:
        _send(settings, dict.fromkeys(old))
    return len(old)


def _send(settings: Settings, records: Mapping[str, bytes | None]) -> None:
    client = producer(settings.kafka, "embedwatch-silence", linger_ms=0, delivery_timeout_ms=20_000)
    topic = settings.topics.silences
    try:
        for sent in [client.send(topic, key=key.encode(), value=value) for key, value in records.items()]:
            sent.get(WRITE_SECONDS)
        close_producer(client, WRITE_SECONDS)
    except (kafka_errors.KafkaError, OSError) as error:
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers}: the silence was not written: {describe_error(error)}"
        ) from None


def _make(settings: Settings) -> None:
    """The topic came with a later version than the others."""
    topics = settings.topics
    create_topics(settings.kafka, [spec for spec in topics.specs() if spec.name == topics.silences])
