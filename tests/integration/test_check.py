"""`embedwatch check` beside real brokers: what topics are like is read from them, and what mends it is told."""

from __future__ import annotations

from embedwatch.checks import _kafka, guarded
from embedwatch.kafka import create_topics
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.topics import Topics


def test_topics_as_we_make_them_are_in_order_and_a_missing_one_is_told(kafka_settings: KafkaSettings) -> None:
    specs = Topics(kafka_settings.topic_prefix).specs()
    create_topics(kafka_settings, specs[1:])
    _, missing = guarded("kafka", _kafka, Settings(kafka=kafka_settings))
    assert (missing.state, missing.exit_code) == ("failed", 4)
    assert missing.detail == f"{specs[0].name} not there yet"
    assert f"topics create -b {kafka_settings.bootstrap_servers} --topic-prefix {kafka_settings.topic_prefix}" in (
        missing.fix
    )
    create_topics(kafka_settings, specs)
    answered, topics = guarded("kafka", _kafka, Settings(kafka=kafka_settings))
    assert (answered.state, topics.state) == ("ok", "ok"), topics
    assert topics.detail.endswith("as expected")


def test_other_partitions_than_those_of_the_settings_are_told(kafka_settings: KafkaSettings) -> None:
    create_topics(kafka_settings, Topics(kafka_settings.topic_prefix).specs())
    wanted = kafka_settings.model_copy(update={"partitions": 6})
    found = [check for check in guarded("kafka", _kafka, Settings(kafka=wanted)) if check.name == "topics"]
    assert [check.state for check in found] == ["warning"] * 3
    assert all("4 partitions, kafka.partitions is 6" in check.detail for check in found)
    assert all("--partitions 6`" in check.fix for check in found)
