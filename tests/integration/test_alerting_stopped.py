"""SIGSTOP of the alerting process that has the alerts, until another has them; then it goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.store import load as load_states
from embedwatch.processes import Child
from embedwatch.services.slack_standin import Fault, SlackStandIn
from embedwatch.settings import KafkaSettings, Settings
from tests.harness.alerting import Alerting, alerting, of_alert, replies, roots

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bench(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Alerting]:
    """On both brokers."""
    with SlackStandIn(messages_per_second=None) as slack, alerting(kafka_settings, slack, tmp_path) as found:
        yield found


def settled(child: Child) -> int:
    """How often the group told it what it has."""
    return child.log.read_text(encoding="utf-8").count("alerting: ready")


@pytest.mark.parametrize("dies", [None, "stands_still"])
def test_nothing_is_lost_doubled_or_taken_back(bench: Alerting, dies: str | None) -> None:
    """Stopped at any moment, or with a record in its hand that it writes when it goes on."""
    bench.slack.fail_next([Fault("status", status=503, method="chat.postMessage")] * 1000)
    first, second = bench.start(dies=dies), bench.start(dies=dies)
    second.wait_until(lambda: "standing by" in bench.logs(), 30, "a process that stands by")
    bench.say("breached")
    first.wait_until(lambda: "alert latency|all: inactive -> firing" in bench.logs(), 30, "an alert that fires")
    owner, other = (first, second) if "-> firing" in first.log.read_text() else (second, first)
    bench.wait_for_line(owner, "the message stays owed")
    before = settled(owner)
    os.kill(owner.pid, signal.SIGSTOP)
    bench.slack.clear_faults()
    bench.wait_for(lambda inbox: of_alert(inbox, "all"), 60)
    bench.wait_for_line(other, "slack: told of latency|all (firing)")
    bench.say("ok")
    bench.wait_for(replies)
    bench.wait_for_line(other, "slack: told of latency|all (resolved)")
    os.kill(owner.pid, signal.SIGCONT)
    noticed = ("this process stood still for", "the group has given our alerts to another")  # at a cycle's end, within
    owner.wait_until(lambda: any(line in owner.log.read_text() for line in noticed), 30, "line of its loss")
    owner.wait_until(lambda: settled(owner) > before, 60, "its place in the group")
    bench.say("breached", "later")
    bench.wait_for(lambda inbox: of_alert(inbox, "later"), 60)
    second.wait_until(lambda: "slack: told of latency|later (firing)" in bench.logs(), 30, "the answer of Slack")
    assert owner.stop() == other.stop() == 0
    inbox = bench.slack.inbox()
    assert [m.text.split(":")[0] for m in of_alert(inbox, "all")] == ["✅ Resolved"]
    assert len(of_alert(inbox, "later")) == 1
    assert len(roots(inbox)) == 2
    assert len(replies(inbox)) == 1
    states = load_states(Settings(kafka=bench.kafka))
    found = {alert_id: (state.status, len(state.owed)) for alert_id, state in states.items()}
    assert found == {"latency|all": ("resolved", 0), "latency|later": ("firing", 0)}
