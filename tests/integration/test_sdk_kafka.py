"""What a monitor sends is what the agents count: to the nano-USD, also when the broker was away for a while."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from embedwatch import Monitor
from embedwatch.codec import decode_metric
from embedwatch.events import BatchEvent, HeartbeatEvent
from embedwatch.sdk import KafkaSink
from embedwatch.settings import KafkaSettings
from tests.harness.agents import PARTITIONS, Agents
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import read_topic
from tests.harness.sdk import RecordingSink


def make_calls(monitor: Monitor) -> None:
    """Priced, cached, failed and without a price, of three tenants."""
    for number in range(40):
        with monitor.call(5, tenant=f"t{number % 3}") as call:
            call.usage(101 + number)
            call.cache(hits=number % 4, duplicates=number % 2, tokens_saved=7 * number)
        with monitor.call(2, model="nobody-sells-it") as call:
            call.usage(13)
        with contextlib.suppress(TimeoutError), monitor.call(3):
            raise TimeoutError
        monitor.track(lambda texts: None)(["counted here"])


def test_the_ledger_of_the_agents_is_what_was_called(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    agents, seen = Agents(kafka_settings, tmp_path), RecordingSink()
    sink = KafkaSink(settings=kafka_settings)
    with agents.running() as child:
        agents.wait_ready(child)
        with Monitor("text-embedding-3-small", [sink, seen]) as monitor:
            make_calls(monitor)
            assert monitor.flush(30)
            assert (sink.dropped_events, monitor.sink_errors) == (0, {})
        calls = seen.calls
        texts = sum(call.texts for call in calls)
        agents.wait_texts(child, texts)
        today = agents.today()
    assert texts == 40 * 11
    assert today["texts"] == texts
    for name in ("cost_nano_usd", "saved_nano_usd"):
        assert today[name] == sum(getattr(call, name) or 0 for call in calls), name
    for name in ("cache_hits", "misses"):
        assert today[name] == sum(getattr(call, name) for call in calls), name
    assert today["tokens_embedded"] == sum(call.tokens or 0 for call in calls)
    assert today["unpriced_tokens"] == 40 * 13


@pytest.mark.restarts_broker
def test_events_wait_for_a_broker_that_is_away(own_broker: Broker) -> None:
    assert own_broker.stop is not None
    assert own_broker.restart is not None
    own_broker.stop()
    kafka = settings_for(own_broker)
    sink = KafkaSink(settings=kafka, max_events=100, coalesce_seconds=0.0, worker="waits")
    with Monitor("text-embedding-3-small", [sink]) as monitor:
        for number in range(5):
            with monitor.call(1, tenant=str(number)) as call:
                call.usage(number + 1)
        assert not monitor.flush(0.5)
        assert sink.dropped_events == 0
        own_broker.restart()
        assert monitor.flush(60)
    topic = f"{kafka.topic_prefix}.metrics"
    events = [
        decode_metric(record.value) for record in read_topic(kafka, topic, 7, partitions=PARTITIONS, timeout_seconds=20)
    ]
    batches = [event for event in events if isinstance(event, BatchEvent)]
    beats = [event for event in events if isinstance(event, HeartbeatEvent)]
    assert sorted(event.cost_nano_usd for event in batches) == [20, 40, 60, 80, 100]
    assert len({event.event_id for event in batches}) == 5
    assert {(beat.worker, beat.role) for beat in beats} == {("waits", "caller")}
    assert beats[-1].state == "stopping"


def test_a_forked_child_sends_its_own_and_spoils_nothing_of_its_parent(embedded_settings: KafkaSettings) -> None:
    script = (
        "import os, sys, warnings; warnings.simplefilter('ignore')\n"
        "from embedwatch import Monitor\n"
        "from embedwatch.sdk import KafkaSink\n"
        "monitor = Monitor('text-embedding-3-small', [KafkaSink(sys.argv[1], topic_prefix=sys.argv[2])])\n"
        "def call(tokens):\n"
        "    with monitor.call(1) as call: call.usage(tokens)\n"
        "call(1)\n"
        "assert monitor.flush(30)\n"
        "call(10)\n"
        "child = os.fork()\n"
        "call(100 if child else 1000)\n"
        "assert monitor.flush(30)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
    )
    import subprocess
    import sys

    arguments = [embedded_settings.bootstrap_servers, embedded_settings.topic_prefix]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: list[BatchEvent] = []
    deadline = time.monotonic() + 20
    while sum(event.tokens_embedded for event in found) < 1111 and time.monotonic() < deadline:
        records = read_topic(
            embedded_settings, f"{embedded_settings.topic_prefix}.metrics", 8, partitions=PARTITIONS, timeout_seconds=2
        )
        found = [event for record in records if isinstance(event := decode_metric(record.value), BatchEvent)]
    assert sum(event.tokens_embedded for event in found) == 1111
    assert len({event.event_id.rpartition(":")[0] for event in found}) == 2
