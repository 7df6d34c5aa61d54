"""kill -9 of alerting at each step of a message's way, as a real process: nothing is lost, nothing comes twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedwatch.services.slack_standin import Fault, SlackStandIn
from embedwatch.settings import KafkaSettings
from tests.harness.alerting import Alerting, alerting, of_alert, replies, roots

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bench(embedded_settings: KafkaSettings, tmp_path: Path) -> Iterator[Alerting]:
    with SlackStandIn(messages_per_second=None) as slack, alerting(embedded_settings, slack, tmp_path) as found:
        yield found


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
    bench.say("ok")
    bench.wait_for(replies)
    (root,) = roots(bench.slack.inbox())
    assert root.text.startswith("✅ Resolved")


def test_killed_when_the_message_is_stored_and_slack_has_not_taken_it(bench: Alerting) -> None:
    bench.slack.fail_next([Fault("slow", seconds=20, method="chat.postMessage")])
    first = bench.start(ALERTS_SEND_TIMEOUT_SECONDS="60")
    bench.say("breached")
    bench.wait_for_line(first, "console: told of latency|all (firing)")
    bench.kill(first)
    second = bench.start()
    bench.wait_for_line(second, "slack: told of latency|all (firing)")
    assert len(of_alert(bench.slack.inbox(), "all")) == 1


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
