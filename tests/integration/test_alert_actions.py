"""What people ask of alerts, through Kafka and back to Slack, with the service as a real process."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from alerting.cli import app
from alerting.states import AlertState
from alerting.store import load as load_states
from embedwatch.errors import InputError
from embedwatch.kafka import create_topics
from embedwatch.services.slack_standin import SlackStandIn
from embedwatch.settings import KafkaSettings, Settings
from tests.harness.alerting import Alerting, alerting, of_alert, replies

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bench(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Alerting]:
    """On both brokers."""
    with SlackStandIn(messages_per_second=None) as slack, alerting(kafka_settings, slack, tmp_path) as found:
        yield found


def state(bench: Alerting, name: str) -> AlertState:
    return load_states(Settings(kafka=bench.kafka))[f"latency|{name}"]


def told(bench: Alerting) -> list[str]:
    """First words of each line in a thread."""
    return [message.text.split(":")[0] for message in replies(bench.slack.inbox())]


def test_an_acknowledgement_is_told_kept_and_outlives_a_kill(bench: Alerting) -> None:
    first = bench.start()
    bench.say("breached")
    bench.wait_for_line(first, "slack: told of latency|all (firing)")
    bench.act("acknowledge", by="kim", note="looking")
    bench.wait_for_line(first, "alert latency|all: acknowledged by kim (slack)")
    bench.wait_for_line(first, "slack: told of latency|all (acknowledged)")
    bench.kill(first)
    second = bench.start(ALERTS_REPEAT_INTERVAL_SECONDS="1")
    bench.say("breached")
    bench.say("breached", "other")
    bench.wait_for_line(second, "slack: told of latency|other (firing)")
    bench.wait_for_line(second, "slack: told of latency|other (repeat)")
    bench.say("ok")
    bench.wait_for_line(second, "slack: told of latency|all (resolved)")
    assert second.stop() == 0
    (root,) = of_alert(bench.slack.inbox(), "all")
    lines = [line for line in told(bench) if not line.startswith("🔴")]  # reminders of the other alert
    assert [line[0] for line in lines] == ["👀", "✅"], lines
    assert lines[0] == "👀 Acknowledged by kim"
    assert root.text.startswith("✅ Resolved")
    (act,) = (t.act for t in state(bench, "all").history if t.act is not None)
    assert (act.by, act.via, act.note) == ("kim", "slack", "looking")


def test_what_was_asked_while_nobody_listened_counts_unless_it_is_too_late(bench: Alerting) -> None:
    first = bench.start()
    for name in ("snoozed", "over", "later"):
        bench.say("breached", name)
        bench.wait_for_line(first, f"slack: told of latency|{name} (firing)")
    bench.kill(first)
    bench.act("snooze", "snoozed", until_seconds=time.time() + 3600)
    bench.act("acknowledge", "over", episode=7)
    bench.say("breached", "snoozed")
    second = bench.start()
    bench.wait_for_line(second, "slack: told of latency|snoozed (snoozed)")
    bench.act("acknowledge", "later")
    bench.wait_for_line(second, "slack: told of latency|later (acknowledged)")
    assert second.stop() == 0
    assert {name: state(bench, name).status for name in ("snoozed", "over", "later")} == {
        "snoozed": "snoozed",
        "over": "firing",
        "later": "acknowledged",
    }


def test_a_record_that_is_no_act_stops_nothing(bench: Alerting) -> None:
    create_topics(bench.kafka, bench.topics.specs())
    bench.publish(b"{", bench.topics.alert_actions)
    child = bench.start()
    bench.wait_for_line(child, "alerting: no act at")
    bench.say("breached")
    bench.wait_for_line(child, "slack: told of latency|all (firing)")
    bench.act("acknowledge")
    bench.wait_for_line(child, "slack: told of latency|all (acknowledged)")


def test_the_commands_show_acknowledge_snooze_and_tell_the_history(
    bench: Alerting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS", bench.kafka.bootstrap_servers)
    monkeypatch.setenv("EMBEDWATCH_KAFKA_TOPIC_PREFIX", bench.kafka.topic_prefix)

    def command(*arguments: str) -> Any:
        return CliRunner().invoke(app, list(arguments))

    child = bench.start()
    bench.say("breached")
    bench.say("breached", "second")
    bench.wait_for_line(child, "slack: told of latency|second (firing)")
    done = command("ack", "latency|all", "--by", "kim", "--note", "a deploy", "--wait-seconds", "60")
    assert done.output == "latency|all: acknowledged by kim\n"
    done = command("snooze", "second", "--for", "2h", "--by", "lee", "--wait-seconds", "60")
    assert done.output == "latency|second: snoozed by lee\n"
    assert "acknowledged (acknowledged), kim (command): a deploy" in command("show", "all").output
    happened = json.loads(command("history", "--json").output)
    assert [(h["alert_id"], h["status"]) for h in happened if h["act"]] == [
        ("latency|all", "acknowledged"),
        ("latency|second", "snoozed"),
    ]
    assert json.loads(command("show", "second", "--json").output)["status"] == "snoozed"
    bench.say("ok")
    bench.wait_for_line(child, "slack: told of latency|all (resolved)")
    refused = command("ack", "latency|all")
    assert isinstance(refused.exception, InputError)
    assert "does not fire, it is resolved" in str(refused.exception)
    assert child.stop() == 0
    done = command("ack", "second", "--wait-seconds", "0.1")
    assert "not taken within 0.1 s" in done.output
