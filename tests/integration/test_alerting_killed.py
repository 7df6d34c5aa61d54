"""kill -9 of alerting at each step of a message's way, as a real process: nothing is lost, nothing comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.store import load as load_states
from embedwatch.kafka import TopicPartition, consumer
from embedwatch.services.slack_standin import Fault, SlackStandIn
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.topics import Topics
from tests.harness.alerting import Alerting, alerting, of_alert, replies, roots
from tests.harness.kafka_io import opened

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bench(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Alerting]:
    """On both brokers."""
    with SlackStandIn(messages_per_second=None) as slack, alerting(kafka_settings, slack, tmp_path) as found:
        yield found


def committed(kafka: KafkaSettings) -> int | None:
    with opened(consumer(kafka, "test", group=f"{kafka.topic_prefix}-alerts")) as client:
        found: int | None = client.committed(TopicPartition(Topics(kafka.topic_prefix).verdicts, 0))
        return found


def ends_once(bench: Alerting) -> None:
    """The alert is over, and one message with one line in its thread is all there ever was."""
    bench.say("ok")
    bench.wait_for(replies)
    bench.wait_for_line(bench.children[-1], "slack: told of latency|all (resolved)")
    (root,) = roots(bench.slack.inbox())
    assert root.text.startswith("✅ Resolved")
    assert len(replies(bench.slack.inbox())) == 1


def test_killed_when_the_message_is_decided_and_not_stored(bench: Alerting) -> None:
    first = bench.start(dies="before_storing")
    bench.say("breached")
    bench.wait_for_death(first)
    assert load_states(Settings(kafka=bench.kafka)) == {}
    assert bench.slack.inbox() == []
    second = bench.start()
    bench.wait_for_line(second, "slack: told of latency|all (firing)")
    ends_once(bench)


def test_killed_when_slack_has_the_message_and_its_answer_is_on_the_way(bench: Alerting) -> None:
    bench.slack.fail_next([Fault("hang", seconds=20, method="chat.postMessage")])
    first = bench.start(ALERTS_SEND_TIMEOUT_SECONDS="60")
    bench.say("breached")
    bench.wait_for(roots)
    bench.kill(first)
    assert "slack: told of" not in bench.logs()
    second = bench.start()
    bench.wait_for_line(second, "slack: told of latency|all (firing)")
    assert len(bench.slack.inbox()) == 1
    ends_once(bench)


def test_killed_when_the_message_is_marked_sent_and_its_verdict_not_committed(bench: Alerting) -> None:
    first = bench.start(dies="marked_sent")
    bench.say("breached")
    bench.wait_for_death(first)
    state = load_states(Settings(kafka=bench.kafka))["latency|all"]
    assert [entry for entry in state.owed if entry.receiver == "slack"] == []
    assert not committed(bench.kafka)
    bench.start()
    bench.say("breached", "next")
    bench.wait_for(lambda inbox: of_alert(inbox, "next"))  # it has read what comes before
    assert len(of_alert(bench.slack.inbox(), "all")) == 1
    assert len(roots(bench.slack.inbox())) == 2


def test_killed_when_the_message_is_stored_and_slack_has_not_taken_it(bench: Alerting) -> None:
    bench.slack.fail_next([Fault("slow", seconds=20, method="chat.postMessage")])
    first = bench.start(ALERTS_SEND_TIMEOUT_SECONDS="60")
    bench.say("breached")
    bench.wait_for_line(first, "console: told of latency|all (firing)")
    bench.kill(first)
    second = bench.start()
    bench.wait_for_line(second, "slack: told of latency|all (firing)")
    assert len(of_alert(bench.slack.inbox(), "all")) == 1
    ends_once(bench)


def test_killed_when_the_end_is_in_slack_and_its_answer_is_on_the_way(bench: Alerting) -> None:
    first = bench.start(ALERTS_SEND_TIMEOUT_SECONDS="60")
    bench.say("breached")
    bench.wait_for_line(first, "slack: told of latency|all (firing)")
    bench.slack.fail_next([Fault("hang", seconds=20, method="chat.postMessage")])
    bench.say("ok")
    bench.wait_for(replies)
    bench.kill(first)
    second = bench.start()
    bench.wait_for_line(second, "slack: told of latency|all (resolved)")
    assert len(roots(bench.slack.inbox())) == len(replies(bench.slack.inbox())) == 1
