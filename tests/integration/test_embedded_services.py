"""The real embedded broker and cache: up, used, gone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import redis

from embedwatch.kafka import admin_client
from embedwatch.processes import Child, port_answers
from embedwatch.services.broker import EmbeddedBroker
from embedwatch.services.cache import EmbeddedCache, start_cache
from embedwatch.services.loopback import PortInUse
from embedwatch.settings import KafkaSettings
from tests.harness.brokers import Broker
from tests.harness.kafka_io import make_topic, opened, read_topic, send_all

ROOT = Path(__file__).resolve().parents[2]


def test_the_broker_takes_and_gives_records_and_then_is_gone(embedded_broker: Broker, tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as service:
        kafka = KafkaSettings(bootstrap_servers=service.bootstrap_servers)
        topic = make_topic(kafka)
        send_all(kafka, topic, [b"x"])
        assert [record.value for record in read_topic(kafka, topic, 1)] == [b"x"]
        assert service.bootstrap_servers in service.log.read_text()
    assert not port_answers(service.port)


def test_the_broker_does_not_follow_variables_or_files_of_the_user(
    embedded_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTENER_URL", "tcp://0.0.0.0:9092")
    monkeypatch.setenv("SCHEMA_REGISTRY", "not-a-url")
    (tmp_path / ".env").write_text("SCHEMA_REGISTRY=not-a-url\nSTORAGE_ENGINE=s3://elsewhere/\n")
    with EmbeddedBroker(tmp_path / "work") as service, opened(
        admin_client(KafkaSettings(bootstrap_servers=service.bootstrap_servers))
    ) as admin:  # fmt: skip
        assert admin.list_topics() == []


def test_two_brokers_run_side_by_side_and_know_nothing_of_each_other(embedded_broker: Broker, tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as service:
        assert service.bootstrap_servers != embedded_broker.bootstrap_servers
        make_topic(KafkaSettings(bootstrap_servers=service.bootstrap_servers, topic_prefix="here"))
        with opened(admin_client(KafkaSettings(bootstrap_servers=embedded_broker.bootstrap_servers))) as admin:
            assert "here.topic" not in admin.list_topics()


def test_a_second_broker_on_the_same_port_is_refused(embedded_broker: Broker, tmp_path: Path) -> None:
    port = int(embedded_broker.bootstrap_servers.rpartition(":")[2])
    with pytest.raises(PortInUse, match=str(port)):
        EmbeddedBroker(tmp_path, port=port).start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children of a parent that was killed")
def test_broker_and_cache_do_not_outlive_a_killed_command(
    embedded_broker: Broker, cache_server: EmbeddedCache, tmp_path: Path
) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from embedwatch.services.broker import EmbeddedBroker; from embedwatch.services.cache import start_cache\n"
        "folder = Path(sys.argv[1]); broker = EmbeddedBroker(folder); broker.start(); cache = start_cache(folder)\n"
        "print('ports', broker.port, cache.port, flush=True); time.sleep(600)\n"
    )
    with Child("command", [sys.executable, "-c", code, str(tmp_path)], tmp_path / "command.log", cwd=ROOT) as command:
        command.wait_until(lambda: "ports" in command.last_words(), 30.0, "both services")
        ports = [int(word) for word in command.last_words().split()[1:]]
        assert all(port_answers(port) for port in ports)
        command.process.kill()
        command.process.wait(10)
        # The children are ended by the kernel, not by us: wait for their ports to close.
        deadline = time.monotonic() + 20.0
        while any(port_answers(port) for port in ports) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(port_answers(port) for port in ports)


def test_the_cache_keeps_values_and_forgets_the_oldest_when_it_is_full(tmp_path: Path, cache_server: object) -> None:
    cache = start_cache(tmp_path, max_memory_bytes=8 * 1024 * 1024)
    assert isinstance(cache, EmbeddedCache)
    with cache, redis.Redis.from_url(cache.url) as client:
        for number in range(200):
            client.set(f"key-{number}", bytes(100_000))
        assert client.info("stats")["evicted_keys"] > 0
        assert client.get("key-199") == bytes(100_000)
        assert client.config_get("save")["save"] == ""
        assert client.config_get("appendonly")["appendonly"] == "no"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert not port_answers(cache.port)
    assert not list(tmp_path.glob("*.rdb"))


def test_a_given_port_of_the_cache_that_is_taken_is_an_error(cache_server: EmbeddedCache, tmp_path: Path) -> None:
    with pytest.raises(PortInUse, match=str(cache_server.port)):
        start_cache(tmp_path, port=cache_server.port)
