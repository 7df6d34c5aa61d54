"""A press of a button in Slack to the topic `alert-actions`, with the service as a real process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.slack_buttons import ACKNOWLEDGE, SNOOZE_HOUR, SNOOZE_TOMORROW
from embedwatch.codec import decode_action
from embedwatch.services.slack_socket import press
from embedwatch.services.slack_standin import InboxMessage, SlackStandIn
from embedwatch.settings import KafkaSettings
from tests.harness.alerting import Alerting, alerting, roots
from tests.harness.kafka_io import read_topic
from tests.harness.waiting import eventually

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    with SlackStandIn(messages_per_second=None) as standin:
        yield standin


@pytest.fixture
def bench(embedded_settings: KafkaSettings, slack: SlackStandIn, tmp_path: Path) -> Iterator[Alerting]:
    with alerting(embedded_settings, slack, tmp_path) as found:
        yield found


def buttons(message: InboxMessage) -> list[str]:
    return [each["action_id"] for block in message.blocks if block["type"] == "actions" for each in block["elements"]]


def test_who_presses_is_kept_and_shown_and_what_is_over_stays_over(bench: Alerting) -> None:
    slack = bench.slack
    child = bench.start(ALERTS_SLACK_APP_TOKEN="xapp-1-A0-verysecret")
    bench.say("breached")
    (posted,) = bench.wait_for(roots)
    assert buttons(posted) == [ACKNOWLEDGE, SNOOZE_HOUR, SNOOZE_TOMORROW]
    assert eventually(lambda: slack.socket_connections == 1)
    before = time.time()
    assert slack.press(posted, SNOOZE_HOUR, "ada", timeout_seconds=20)
    (snoozed,) = bench.wait_for(lambda inbox: [m for m in roots(inbox) if "Snoozed for 1 h by ada" in m.text])
    assert buttons(snoozed) == [ACKNOWLEDGE]
    assert slack.press(snoozed, ACKNOWLEDGE, "grace", timeout_seconds=20)
    (taken,) = bench.wait_for(lambda inbox: [m for m in roots(inbox) if "Acknowledged by grace" in m.text])
    assert buttons(taken) == []
    first, second = [decode_action(r.value) for r in read_topic(bench.kafka, bench.topics.alert_actions, 2)]
    assert (first.alert_id, first.do, first.by, first.via) == ("latency|all", "snooze", "ada", "slack")
    assert first.until_seconds is not None
    assert before + 3600 - 5 <= first.until_seconds <= time.time() + 3600
    assert (second.do, second.by, second.episode) == ("acknowledge", "grace", 1)

    late = press(snoozed, ACKNOWLEDGE, "late")
    bench.say("ok")
    bench.wait_for(lambda inbox: [m for m in roots(inbox) if m.text.startswith("✅")])
    assert slack.deliver(late, 20)
    bench.say("breached", "other")  # what was pressed before has been read when this is said
    bench.wait_for(lambda inbox: len(roots(inbox)) == 2)
    over, _ = roots(slack.inbox())
    assert (over.text[:1], buttons(over)) == ("✅", [])
    assert child.stop(20) == 0
    assert "verysecret" not in child.log.read_text()
