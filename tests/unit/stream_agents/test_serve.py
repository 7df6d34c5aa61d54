"""What is checked before Faust starts."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from embedwatch.errors import ConfigError
from embedwatch.settings import KafkaSettings, Settings
from stream_agents.app import broker_options
from stream_agents.serve import bindable_port
from stream_agents.transport import ReadCommittedThread


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            bindable_port("127.0.0.1", port)
    assert str(caught.value) == (
        f"the HTTP API cannot listen at 127.0.0.1:{port}: Address already in use; "
        "choose others with --web-host and --web-port"
    )
    assert bindable_port("127.0.0.1", port) == port


def test_port_0_is_a_free_port_that_can_be_told() -> None:
    assert bindable_port("127.0.0.1", 0) > 0


def test_a_host_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen at 192\.0\.2\.1:6066"):
        bindable_port("192.0.2.1", 6066)


def settings(**kafka: Any) -> Settings:
    return Settings(kafka=KafkaSettings(**kafka))


def test_every_broker_named_is_given_to_faust() -> None:
    assert broker_options(settings(bootstrap_servers="a:1, b:2")) == {"broker": "kafka://a:1;kafka://b:2"}


def test_credentials_reach_faust_and_never_a_text() -> None:
    options = broker_options(
        settings(security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="me", sasl_password="hush-hush")
    )
    credentials = options["broker_credentials"]
    assert (credentials.username, credentials.password, credentials.mechanism.value) == ("me", "hush-hush", "PLAIN")
    assert credentials.ssl_context is not None
    assert "hush-hush" not in repr(options)
    encrypted = broker_options(settings(security_protocol="SSL"))
    assert encrypted["broker_credentials"].context is not None


def test_an_aiokafka_that_hides_its_isolation_level_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """To count aborted records without a word would be worse than not to start."""
    made: list[Any] = []

    def create(self: Any, transport: Any) -> Any:
        made.append(type("Client", (), {"_isolation_level": "read_uncommitted"})() if not made else object())
        return made[-1]

    monkeypatch.setattr("faust.transport.drivers.aiokafka.AIOKafkaConsumerThread._create_worker_consumer", create)
    thread = object.__new__(ReadCommittedThread)
    assert thread._create_worker_consumer(None)._isolation_level == "read_committed"
    with pytest.raises(RuntimeError, match="no _isolation_level"):
        thread._create_worker_consumer(None)
