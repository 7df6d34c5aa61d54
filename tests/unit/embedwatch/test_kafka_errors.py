from __future__ import annotations

import socket
import threading

import pytest
from kafka import errors as kafka_errors
from pydantic import SecretStr

from embedwatch.errors import ConnectionFailed
from embedwatch.kafka import (
    TopicPartition,
    admin_client,
    client_options,
    consumer,
    create_topics,
    describe_error,
    producer,
    true_end_offsets,
    wait_for_broker,
)
from embedwatch.processes import free_port
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics

PASSWORD = "s3cr3t-hunter2"


@pytest.fixture
def nobody() -> KafkaSettings:
    """An address where nothing listens."""
    return KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", connect_timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (kafka_errors.KafkaTimeoutError("Failed to update metadata"), "no answer in time"),
        (kafka_errors.KafkaConnectionError("<BrokerConnection object at 0x7f>"), "refused or dropped"),
        (kafka_errors.MessageSizeTooLargeError("x"), "larger than the topic allows"),
        (kafka_errors.UnknownTopicOrPartitionError(), "embedwatch topics create"),
        (kafka_errors.TopicAuthorizationFailedError(), "not allowed"),
        (kafka_errors.SaslAuthenticationFailedError(), "user name or password refused"),
    ],
)
def test_an_error_of_kafka_is_told_in_plain_words(error: Exception, words: str) -> None:
    text = describe_error(error)
    assert words in text
    assert "0x" not in text
    assert "\n" not in text


def test_an_unknown_error_keeps_its_name_and_first_line_cut_to_size() -> None:
    assert describe_error(RuntimeError("first\nsecond")) == "RuntimeError: first"
    assert describe_error(RuntimeError()) == "RuntimeError"
    assert len(describe_error(RuntimeError("x" * 5000))) < 250


@pytest.mark.parametrize(
    "use",
    [
        lambda kafka: admin_client(kafka),
        lambda kafka: producer(kafka, "test"),
        lambda kafka: consumer(kafka, "test", group=None),
        lambda kafka: create_topics(kafka, Topics().specs()),
        lambda kafka: true_end_offsets(kafka, [TopicPartition("t", 0)]),
        lambda kafka: wait_for_broker(kafka, 0.0),
    ],
    ids=["admin", "producer", "consumer", "create_topics", "true_end_offsets", "wait_for_broker"],
)
def test_a_broker_that_is_not_there_is_named_with_what_to_do(nobody: KafkaSettings, use: object) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        use(nobody)  # type: ignore[operator]
    text = str(caught.value)
    assert nobody.bootstrap_servers in text
    assert "--bootstrap-servers" in text
    assert "\n" not in text
    assert caught.value.exit_code == 4


def test_something_that_is_no_broker_is_told_within_the_time_set() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match=address):
            admin_client(KafkaSettings(bootstrap_servers=address, connect_timeout_seconds=0.5))


def test_a_password_is_given_to_the_client_and_shown_in_no_error() -> None:
    kafka = KafkaSettings(
        bootstrap_servers=f"127.0.0.1:{free_port()}",
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="me",
        sasl_password=SecretStr(PASSWORD),
        connect_timeout_seconds=0.3,
    )
    options = client_options(kafka, "test")
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("me", PASSWORD)
    with pytest.raises(ConnectionFailed) as caught:
        producer(kafka, "test")
    assert PASSWORD not in str(caught.value)


def test_several_servers_are_split_and_plain_settings_bring_no_security_options() -> None:
    options = client_options(KafkaSettings(bootstrap_servers="a:1, b:2"), "test")
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert not [name for name in options if name.startswith(("sasl", "ssl"))]


def test_no_partitions_need_no_broker(nobody: KafkaSettings) -> None:
    assert true_end_offsets(nobody, []) == {}


def test_waiting_for_a_broker_that_is_not_there_leaves_no_threads(nobody: KafkaSettings) -> None:
    before = threading.active_count()
    with pytest.raises(ConnectionFailed, match="nothing listens there"):
        wait_for_broker(nobody, 0.5)
    assert threading.active_count() == before
