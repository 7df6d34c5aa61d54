"""A press of a button in Slack to the topic `alert-actions`, with the service as a real process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.slack_buttons import ACKNOWLEDGE, SNOOZE_HOUR
from embedwatch.codec import decode_action
from embedwatch.services.slack_standin import SlackStandIn
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


def test_who_presses_is_on_the_topic_and_the_service_ends_soon(bench: Alerting) -> None:
    slack = bench.slack
    child = bench.start(ALERTS_SLACK_APP_TOKEN="xapp-1-A0-verysecret")
    bench.say("breached")
    posted = slack.wait_for(roots, 30)[0]
    assert eventually(lambda: slack.socket_connections == 1)
    before = time.time()
    assert slack.press(posted, ACKNOWLEDGE, "grace", timeout_seconds=20)
    assert slack.press(posted, SNOOZE_HOUR, "ada", timeout_seconds=20)
    first, second = [decode_action(r.value) for r in read_topic(bench.kafka, bench.topics.alert_actions, 2)]
    assert (first.alert_id, first.do, first.by, first.via, first.episode) == (
        "latency|all",
        "acknowledge",
        "grace",
        "slack",
        1,
    )
    assert (second.do, second.by) == ("snooze", "ada")
    assert second.until_seconds is not None
    assert before + 3600 - 5 <= second.until_seconds <= time.time() + 3600
    assert child.stop(20) == 0
    assert "verysecret" not in child.log.read_text()
