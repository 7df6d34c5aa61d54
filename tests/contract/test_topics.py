"""Topics: created once, with the partitions and the configuration that the design gives them."""

from __future__ import annotations

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from embedwatch.kafka import admin_client, create_topics, partitions_of
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics, TopicSpec
from tests.harness.kafka_io import make_topic, opened, read_topic, send_all


def described(kafka: KafkaSettings, topic: str) -> dict[str, str]:
    """The topic's configuration as the broker has it, defaults included."""
    with opened(admin_client(kafka)) as admin:
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    return {name: entry["value"] for name, entry in answer["topic"][topic].items()}


def test_creating_the_topics_twice_changes_nothing(kafka_settings: KafkaSettings) -> None:
    specs = Topics(kafka_settings.topic_prefix).specs()
    first = create_topics(kafka_settings, specs)
    second = create_topics(kafka_settings, specs)
    assert set(first.values()) == {"created"}
    assert set(second.values()) == {"exists"}
    assert list(first) == list(second) == [spec.name for spec in specs]


def test_each_topic_has_its_partitions(kafka_settings: KafkaSettings) -> None:
    specs = Topics(kafka_settings.topic_prefix).specs()
    create_topics(kafka_settings, specs)
    found = {spec.name: len(partitions_of(kafka_settings, spec.name)) for spec in specs}
    assert found == {spec.name: spec.partitions or kafka_settings.partitions for spec in specs}


def test_each_topic_has_the_configuration_of_its_specification(kafka_settings: KafkaSettings) -> None:
    specs = Topics(kafka_settings.topic_prefix).specs()
    create_topics(kafka_settings, specs)
    for spec in specs:
        config = described(kafka_settings, spec.name)
        assert {name: config.get(name) for name in spec.config()} == spec.config(), spec.name


@pytest.mark.parametrize("policy", ["delete", "compact", "compact,delete"])
def test_a_cleanup_policy_is_accepted_and_visible(kafka_settings: KafkaSettings, policy: str) -> None:
    topic = make_topic(kafka_settings, policy=policy)
    assert described(kafka_settings, topic)["cleanup.policy"] == policy


def test_a_topic_that_exists_keeps_its_partitions(kafka_settings: KafkaSettings) -> None:
    topic = make_topic(kafka_settings, partitions=2)
    more = TopicSpec(topic, "", "", "tests", "compact", None, partitions=8)
    assert create_topics(kafka_settings, [more]) == {topic: "exists"}
    assert len(partitions_of(kafka_settings, topic)) == 2
    assert described(kafka_settings, topic)["cleanup.policy"] == "delete"


def test_a_topic_can_be_written_and_read_at_once_after_it_was_created(kafka_settings: KafkaSettings) -> None:
    for number in range(5):
        topic = make_topic(kafka_settings, f"at-once-{number}")
        send_all(kafka_settings, topic, [b"first"])
        assert [record.value for record in read_topic(kafka_settings, topic, 1)] == [b"first"]


def test_a_topic_that_does_not_exist_has_no_partitions(kafka_settings: KafkaSettings) -> None:
    assert partitions_of(kafka_settings, f"{kafka_settings.topic_prefix}.nowhere") == []
