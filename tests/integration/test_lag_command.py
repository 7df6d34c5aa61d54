"""`embedwatch lag` against a broker."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from kafka import OffsetAndMetadata

from embedwatch import wire
from embedwatch.kafka import TopicPartition, consumer, create_topics, producer
from embedwatch.settings import KafkaSettings, Settings
from tests.harness.commands import run, say, start
from tests.harness.kafka_io import make_topic, opened, send_all


def texts(kafka: KafkaSettings, messages: int) -> str:
    """Chunks of 50 texts in the texts topic."""
    topics = Settings(kafka=kafka).topics
    create_topics(kafka, topics.specs())
    value = wire.encode_chunk([str(n) for n in range(50)], ["text"] * 50)
    with opened(producer(kafka, "test")) as client:
        for number in range(messages):
            client.send(topics.texts, value, partition=number % 2, headers=wire.chunk_headers(50))
    return topics.texts


def test_the_workers_queue_by_default(embedded_settings: KafkaSettings) -> None:
    texts(embedded_settings, 6)
    shown = say(embedded_settings, "lag")
    assert f"{embedded_settings.topic_prefix}-workers (0 members)" in shown
    assert "STOPPED (2 of 4 partitions, 2 OK)" in shown
    assert "6 messages, 300 texts" in shown
    assert "STOPPED 0, 1: the group has no members" in shown
    found = json.loads(say(embedded_settings, "lag", "--json", "--look-seconds", "0"))
    assert (found["total"]["lag_messages"], found["total"]["lag_texts"]) == (6, 300)
    assert found["total"]["consume_rate_per_s"] is None
    assert len(found["partitions"]) == 4


def test_any_group_where_it_has_committed(embedded_settings: KafkaSettings) -> None:
    kafka = embedded_settings
    first, second = make_topic(kafka, "orders"), make_topic(kafka, "bills")
    for topic in (first, second):
        send_all(kafka, topic, [b"x"] * 10)
    with opened(consumer(kafka, "test", group=f"{first}-g")) as client:
        client.commit({TopicPartition(first, 0): OffsetAndMetadata(4, "", -1)})
        client.commit({TopicPartition(second, 0): OffsetAndMetadata(10, "", -1)})
    asked = ("lag", "--group", f"{first}-g", "--json", "--look-seconds", "0.2")
    both = json.loads(say(kafka, *asked))
    assert [(row["topic"], row["lag_messages"]) for row in both["partitions"]] == [(second, 0), (first, 6)]
    assert both["total"]["consume_rate_per_s"] == 0
    one = json.loads(say(kafka, *asked, "--topic", second))
    assert [row["topic"] for row in one["partitions"]] == [second]


def test_what_is_not_there_is_said(embedded_settings: KafkaSettings) -> None:
    kafka = embedded_settings
    assert f"no such topic: {kafka.topic_prefix}.texts; `embedwatch topics create`" in say(kafka, "lag", code=3)
    assert "no such topic: nowhere" in say(kafka, "lag", "--topic", "nowhere", code=3)
    assert "group 'nobody-at-all' has committed nothing" in say(kafka, "lag", "--group", "nobody-at-all", code=3)


def test_it_follows_until_it_is_stopped(embedded_settings: KafkaSettings, tmp_path: Path) -> None:
    topic = texts(embedded_settings, 2)
    log = tmp_path / "lag.log"
    with start(embedded_settings, log, "lag", "--follow", "--every-seconds", "0.2") as child:
        child.wait_until(lambda: "2 messages, 100 texts" in log.read_text(), 30, "first line")
        send_all(embedded_settings, topic, [b"one text"], partition=1)
        child.wait_until(lambda: "3 messages" in log.read_text(), 30, "line with the new message")
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(15) == 0
    assert "STOPPED 0, 1: the group has no members" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_every_reading_is_a_line_of_json(embedded_settings: KafkaSettings, tmp_path: Path) -> None:
    texts(embedded_settings, 1)
    log = tmp_path / "lag.log"
    with start(embedded_settings, log, "lag", "--follow", "--json", "--every-seconds", "0.2") as child:
        child.wait_until(lambda: log.read_text().count("\n") >= 2, 30, "two lines")
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(15) == 0
    for each in log.read_text().splitlines():
        assert json.loads(each)["total"]["lag_messages"] == 1


def test_any_topic_of_a_group_that_reads_everything(embedded_settings: KafkaSettings) -> None:
    topic = make_topic(embedded_settings, "elsewhere")
    send_all(embedded_settings, topic, [b"x"] * 3)
    done = run(embedded_settings, "lag", "-t", topic, "--look-seconds", "0", "--uncommitted")
    assert b"3 messages, 3 texts" in done.stdout
