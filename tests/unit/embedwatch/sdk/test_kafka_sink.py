"""The Kafka sink without a broker: nothing is raised, nobody waits, and what is lost is counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors
from kafka.future import Future
from pydantic import SecretStr

from embedwatch import Monitor
from embedwatch.codec import decode_metric
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.events import BatchEvent, HeartbeatEvent
from embedwatch.processes import free_port
from embedwatch.sdk import KafkaSink, kafka
from embedwatch.settings import KafkaSettings, env_name
from embedwatch.topics import Topics, TopicSpec
from tests.harness.calls import call


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


@pytest.mark.parametrize("how", ["variables", "file"])
def test_an_address_alone_has_the_security_and_partitions_of_the_settings(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = {
        "bootstrap_servers": "elsewhere:1", "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": "u", "sasl_password": "hunter2", "ssl_cafile": "/ca.pem", "partitions": "24",
        "replication_factor": "3", "topic_prefix": "theirs",
    }  # fmt: skip
    if how == "variables":
        for name, value in wanted.items():
            monkeypatch.setenv(env_name("kafka", name), value)
    else:
        file = tmp_path / "embedwatch.yaml"
        file.write_text("kafka:\n" + "".join(f"  {name}: {value}\n" for name, value in wanted.items()))
        monkeypatch.setenv("EMBEDWATCH_CONFIG", str(file))
    found = KafkaSink("broker:9093", topic_prefix="mine")._settings
    assert (found.bootstrap_servers, found.topic_prefix) == ("broker:9093", "mine")
    assert (found.security_protocol, found.sasl_mechanism, found.sasl_username) == ("SASL_SSL", "SCRAM-SHA-512", "u")
    assert found.sasl_password == SecretStr("hunter2")
    assert (found.ssl_cafile, found.partitions, found.replication_factor) == (Path("/ca.pem"), 24, 3)
    # What is given as an object comes before all of it.
    assert KafkaSink("broker:9093", settings=KafkaSettings())._settings.security_protocol == "PLAINTEXT"


def test_a_forked_child_has_a_name_of_its_own() -> None:
    program = (
        "import os, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from embedwatch import Monitor\n"
        "from embedwatch.sdk import KafkaSink\n"
        "sinks = [KafkaSink('127.0.0.1:1', worker='web-1'), KafkaSink('127.0.0.1:1', name='other')]\n"
        "monitor = Monitor('m', sinks, worker='web-2')\n"
        "child = os.fork()\n"
        "if child: os.waitpid(child, 0)\n"
        "print(os.getpid(), *(sink._identity.worker for sink in sinks), flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    (child, *names), (_, *own) = (line.split() for line in done.stdout.splitlines())
    assert own == ["web-1", "web-2"]
    assert names == [f"web-1-{child}", f"web-2-{child}"]


class Cluster:
    """Kafka as the sink meets it. `refuse`: what records and `forbid` what the creation of a topic fails with."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.refuse: Callable[[BatchEvent | HeartbeatEvent], Exception | None] = lambda event: None
        self.raises: Exception | None = None
        self.forbid: Exception | None = None
        self.attempts: list[float] = []
        self.tried: list[BatchEvent | HeartbeatEvent] = []
        self.taken: list[BatchEvent] = []
        self.made: list[tuple[KafkaSettings, TopicSpec]] = []
        self.options: dict[str, Any] = {}
        for name in ("nobody_there", "create_topics", "producer", "close_producer"):
            monkeypatch.setattr(f"embedwatch.kafka.{name}", getattr(self, name))
        clock = SimpleNamespace(monotonic=lambda: self.now, time=lambda: self.now, sleep=self.wait)
        monkeypatch.setattr("embedwatch.sdk.kafka.time", clock)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def nobody_there(self, settings: KafkaSettings) -> str | None:
        return None

    def create_topics(self, settings: KafkaSettings, specs: list[TopicSpec]) -> None:
        self.attempts.append(self.now)
        self.made += [(settings, spec) for spec in specs]
        if self.forbid is not None:
            failed = ConnectionFailed("topics could not be created")
            failed.__context__ = self.forbid
            raise failed

    def producer(self, settings: KafkaSettings, client_id: str, **options: Any) -> Cluster:
        self.options = options
        return self

    def close_producer(self, producer: Cluster, timeout_seconds: float) -> None: ...

    def flush(self, timeout_seconds: float) -> None: ...

    def send(self, topic: str, *, key: bytes, value: bytes) -> Future:
        event = decode_metric(value)
        if self.raises is not None and isinstance(event, BatchEvent):
            raise self.raises
        self.tried.append(event)
        error, future = self.refuse(event), Future()
        if error is None:
            if isinstance(event, BatchEvent):
                self.taken.append(event)
            return future.success(None)
        return future.failure(error)

    def run(self, sink: KafkaSink, seconds: float) -> None:
        """Ticks, as a monitor does."""
        until = self.now + seconds
        while self.now < until:
            sink.tick()
            self.now += sink.tick_seconds


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "embedwatch.sdk"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.TopicAuthorizationFailedError, "grant it the right WRITE"),
        (errors.ClusterAuthorizationFailedError, "IDEMPOTENT_WRITE"),
    ],
)
def test_a_right_that_is_missing_is_told_once_waited_for_ever_longer_and_its_grant_told_once(
    error: type[Exception], words: str, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    sink = KafkaSink("broker:1", max_events=5, coalesce_seconds=0.0)
    cluster.refuse = lambda event: error("embedwatch.metrics")
    for number in range(8):
        sink.record(call(tenant=str(number)))
        cluster.run(sink, 1.0)
    cluster.run(sink, 600.0)
    (line,) = [line for line in told(caplog) if "may not write" in line]
    assert words in line
    assert "broker:1" in line
    assert "embedwatch.metrics" in line
    waits = [later - earlier for earlier, later in pairwise(cluster.attempts)]
    assert waits[-1] == max(waits) <= kafka.REFUSED_LONGEST_SECONDS + sink.tick_seconds
    assert waits[0] < 2.0 < 50.0 < waits[-1]
    assert len(cluster.attempts) < 20
    assert len(cluster.tried) < 40
    assert sink.dropped == {"not_allowed": 3}
    cluster.refuse = lambda event: None
    cluster.run(sink, kafka.REFUSED_LONGEST_SECONDS + 2.0)
    assert [event.tenant for event in cluster.taken] == ["0", "1", "2", "3", "4"]
    assert sum("takes metric events again" in line for line in told(caplog)) == 1
    sink.record(call(tenant="after"))
    cluster.run(sink, 1.0)
    assert cluster.taken[-1].tenant == "after"
    assert sink.dropped_events == 3
    assert len(cluster.attempts) == len(waits) + 2


@pytest.mark.parametrize("at_once", [True, False])
def test_an_event_that_is_too_large_is_dropped_for_good_and_holds_nobody_up(
    at_once: bool, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    sink = KafkaSink("broker:1", coalesce_seconds=0.0)
    large = errors.MessageSizeTooLargeError("large")
    if at_once:
        cluster.raises = large
    else:
        cluster.refuse = lambda event: large if isinstance(event, BatchEvent) else None
    for _ in range(3):
        sink.record(call())
        cluster.run(sink, 5.0)
    cluster.raises, cluster.refuse = None, lambda event: None
    sink.record(call(tenant="small"))
    cluster.run(sink, 5.0)
    assert sink.dropped == {"too_large": 3}
    assert [event.tenant for event in cluster.taken] == ["small"]
    (line,) = told(caplog)
    assert "max.message.bytes" in line


def test_a_topic_that_may_not_be_created_is_told_with_what_to_do(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.forbid = errors.TopicAuthorizationFailedError("embedwatch.metrics")
    sink = KafkaSink("broker:1", settings=KafkaSettings(partitions=24, replication_factor=3))
    sink.record(call())
    cluster.run(sink, 300.0)
    assert cluster.tried == []
    (line,) = told(caplog)
    assert "embedwatch topics create" in line
    assert len(cluster.attempts) < 15
    # Made as the commands make it, or not at all.
    made, spec = cluster.made[0]
    assert (made.partitions, made.replication_factor) == (24, 3)
    assert spec == next(spec for spec in Topics("embedwatch").specs() if spec.name == "embedwatch.metrics")
    cluster.forbid = None
    cluster.run(sink, 62.0)
    assert len(cluster.taken) == 1
    assert cluster.options["allow_auto_create_topics"] is False
    assert "takes metric events again" in told(caplog)[-1]
    assert sink.dropped == {}


def test_what_is_refused_for_nobody_knows_what_is_tried_a_few_times_and_then_dropped(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    sink = KafkaSink("broker:1", coalesce_seconds=0.0)
    cluster.refuse = lambda event: errors.PolicyViolationError("no") if isinstance(event, BatchEvent) else None
    sink.record(call())
    cluster.run(sink, 60.0)
    assert sum(isinstance(event, BatchEvent) for event in cluster.tried) == kafka.MOST_TRIES
    assert sink.dropped == {"refused": 1}
    assert len(told(caplog)) == 1


def test_a_broker_that_takes_nothing_is_told(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "send", lambda topic, **record: Future())
    sink = KafkaSink("broker:1", coalesce_seconds=0.0)
    sink.record(call())
    cluster.run(sink, 20.0)
    assert told(caplog) == []
    cluster.run(sink, 120.0)
    (line,) = told(caplog)
    assert "no event was taken for 30 s" in line
    assert sink.dropped == {}


def test_the_monitor_tells_what_its_sinks_have_dropped_and_why() -> None:
    sink = KafkaSink(f"127.0.0.1:{free_port()}", max_events=1)
    with Monitor("m", [sink]) as monitor:
        assert monitor.summary()["dropped_events"] == {}
        for number in range(3):
            with monitor.call(1, tenant=str(number)):
                pass
        monitor.flush(0.5)
        assert monitor.dropped_events == {"kafka": sink.dropped}
        assert monitor.summary()["dropped_events"] == {"kafka": sink.dropped}
        assert monitor.summary()["dropped_calls"] == 0
    assert sum(sink.dropped.values()) == 3
