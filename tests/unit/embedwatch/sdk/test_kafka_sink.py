"""The Kafka sink without a broker: nothing is raised, nobody waits, and what is lost is counted."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from embedwatch import Monitor
from embedwatch.errors import ConfigError
from embedwatch.processes import free_port
from embedwatch.sdk import KafkaSink
from embedwatch.settings import KafkaSettings


def test_what_no_broker_takes_is_kept_up_to_the_bound_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    sink = KafkaSink(f"127.0.0.1:{free_port()}", max_events=4)
    monitor = Monitor("m", [sink])
    for number in range(10):
        with monitor.call(1, tenant=str(number)):
            pass
    assert not monitor.flush(1.0)
    assert sink.dropped_events == 6
    monitor.close(2.0)
    assert sink.dropped_events == 10
    assert monitor.sink_errors == {}
    assert "nothing listens there" in caplog.text
    assert "4 metric events were not delivered" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"bootstrap_servers": "nowhere"}, "bootstrap_servers"),
        ({"bootstrap_servers": "a:1", "topic_prefix": "a b"}, "topic_prefix"),
        ({"bootstrap_servers": "a:1", "max_events": 0}, "max_events is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        KafkaSink(**arguments)


def test_without_an_address_it_takes_the_settings_of_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS", "there:1234")
    monkeypatch.setenv("EMBEDWATCH_KAFKA_TOPIC_PREFIX", "mine")
    sink = KafkaSink()
    assert (sink._settings.bootstrap_servers, sink._topic) == ("there:1234", "mine.metrics")


def test_a_password_is_kept_and_not_shown() -> None:
    secret = SecretStr("hunter2")
    given = KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="PLAIN", sasl_username="u", sasl_password=secret)
    sink = KafkaSink(settings=given)
    assert sink._settings.sasl_password == secret
    assert "hunter2" not in repr(vars(sink))
