"""Verdicts in Kafka to messages in Slack, with the service as a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alerting.store import load as load_states
from embedwatch.kafka import TopicPartition, consumer, create_topics, partitions_of
from embedwatch.processes import free_port
from embedwatch.services.slack_standin import Fault, SlackStandIn
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.topics import Topics
from tests.harness.alerting import TOKEN, Alerting, alerting, of_alert, replies, roots
from tests.harness.brokers import APACHE_KAFKA, Broker, settings_for
from tests.harness.kafka_io import opened, read_topic
from tests.harness.own_endpoint import numbers, probe
from tests.harness.workers import until

pytestmark = pytest.mark.timeout(240)
#: What rests on the broker's own promises is not run on the embedded one as well: each takes a quarter of a minute.
ON_APACHE_KAFKA = [pytest.param(APACHE_KAFKA, id=APACHE_KAFKA, marks=pytest.mark.kafka)]


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    with SlackStandIn(messages_per_second=None) as standin:
        yield standin


@pytest.fixture
def bench(kafka_settings: KafkaSettings, slack: SlackStandIn, tmp_path: Path) -> Iterator[Alerting]:
    """On both brokers."""
    with alerting(kafka_settings, slack, tmp_path) as found:
        yield found


@pytest.fixture
def quick(embedded_settings: KafkaSettings, slack: SlackStandIn, tmp_path: Path) -> Iterator[Alerting]:
    """On the embedded broker alone, for what has to do with Slack and not with Kafka."""
    with alerting(embedded_settings, slack, tmp_path) as found:
        yield found


def states(bench: Alerting) -> dict[str, str]:
    found = load_states(Settings(kafka=bench.kafka))
    return {alert_id.removeprefix("latency|"): state.status for alert_id, state in found.items()}


def committed(bench: Alerting) -> int | None:
    with opened(consumer(bench.kafka, "test", group=f"{bench.kafka.topic_prefix}-alerts")) as client:
        found: int | None = client.committed(TopicPartition(bench.topics.verdicts, 0))
        return found


def test_agents_that_fall_silent_are_told_of_and_their_return_ends_it(quick: Alerting) -> None:
    port = free_port()
    child = quick.start(ALERTS_AGENTS_SILENT_SECONDS="5", ALERTS_METRICS_PORT=str(port))
    assert probe(port, "/livez") == (200, [])
    until(lambda: probe(port, "/readyz") == (200, []))
    assert numbers(port)["embedwatch_alerting_alerts firing"] == 0
    (root,) = quick.wait_for(roots)
    assert root.text.startswith("🔴 Critical: no data")
    assert "The agents have given no verdict for" in root.text
    quick.say("ok")
    (reply,) = quick.wait_for(replies)
    assert reply.thread_ts == root.ts
    (root,) = roots(quick.slack.inbox())
    assert root.text.startswith("✅ Resolved: no data")
    until(lambda: numbers(port)["embedwatch_alerting_alerts resolved"] == 1)
    # Counted when Slack's answer is there, which may be after the message is.
    until(lambda: numbers(port)["embedwatch_alerting_sent_messages_total slack"] == 2)
    seen = numbers(port)
    assert seen["embedwatch_alerting_verdicts_total"] == 1
    assert seen["embedwatch_alerting_broker_silent_seconds"] < 30
    assert child.stop() == 0
    assert probe(port, "/livez") is None
    assert committed(quick) == 1


def test_a_breach_is_posted_and_its_end_edits_the_message(bench: Alerting) -> None:
    child = bench.start()
    bench.say("ok")
    bench.say("breached")
    (root,) = bench.wait_for(lambda inbox: roots(inbox))
    assert root.channel_name == "embedwatch"
    assert "high latency (model minilm)" in root.text
    bench.say("breached", value=3000.0)
    bench.say("ok")
    (reply,) = bench.wait_for(replies)
    (root,) = roots(bench.slack.inbox())
    assert reply.thread_ts == root.ts
    assert root.text.startswith("✅ Resolved")
    assert "3,000 ms at worst" in root.text
    assert len(root.edits) == 1
    bench.wait_for_line(child, "slack: told of latency|all (resolved)")
    assert child.stop() == 0
    assert states(bench) == {"all": "resolved"}
    assert committed(bench) == 4
    log = bench.logs()
    assert "alert latency|all: inactive -> firing (fired)" in log
    assert "alert latency|all: firing -> resolved (recovered)" in log
    assert "🔴 Critical: high latency" in log, "the console is told too"
    assert "0 messages owed" in log


def test_as_json_every_line_is_one_and_an_alert_is_found_by_its_id(quick: Alerting) -> None:
    child = quick.start(LOG_FORMAT="json", ALERTS_CONSOLE="false")
    quick.say("breached")
    quick.wait_for(roots)
    quick.say("ok")
    quick.wait_for(replies)
    quick.wait_for_line(child, "slack: told of latency|all (resolved)")
    assert child.stop() == 0
    lines = [json.loads(line) for line in quick.logs().splitlines()]
    assert [line["message"] for line in lines if line.get("alert_id") == "latency|all"] == [
        "alert latency|all: inactive -> firing (fired)", "slack: told of latency|all (firing)",
        "alert latency|all: firing -> resolved (recovered)", "slack: told of latency|all (resolved)",
    ]  # fmt: skip


def test_killed_in_the_middle_of_an_alert_it_goes_on_where_it_was(bench: Alerting) -> None:
    first = bench.start()
    bench.say("breached")
    bench.say("breached", "waits", for_seconds=1.0)
    bench.wait_for(lambda inbox: of_alert(inbox, "all") and of_alert(inbox, "waits"))
    bench.wait_for_line(first, "slack: told of latency|waits (firing)")
    bench.kill(first)
    bench.say("ok")
    bench.say("breached", "meanwhile")
    bench.say("ok", "meanwhile")
    second = bench.start()
    bench.wait_for(lambda inbox: replies(inbox) and of_alert(inbox, "meanwhile"))
    bench.say("ok", "waits")
    bench.wait_for(lambda inbox: len(replies(inbox)) == 2)
    inbox = bench.slack.inbox()
    assert [m.text.split(":")[0] for m in of_alert(inbox, "all")] == ["✅ Resolved"]
    assert [m.text.split(":")[0] for m in of_alert(inbox, "waits")] == ["✅ Resolved"]
    assert [m.text.split(":")[0] for m in of_alert(inbox, "meanwhile")] == ["✅ Fired and cleared"]
    assert len(inbox) == 5, "nothing twice"
    bench.wait_for_line(second, "slack: told of latency|waits (resolved)")
    assert second.stop() == 0
    assert states(bench) == {"all": "resolved", "waits": "resolved", "meanwhile": "resolved"}


@pytest.mark.parametrize("broker", ON_APACHE_KAFKA, indirect=True)
def test_killed_while_slack_was_away_it_still_owes_its_messages(bench: Alerting) -> None:
    bench.slack.fail_next([Fault("status", status=503, method="chat.postMessage")] * 1000)
    first = bench.start()
    bench.say("breached")
    bench.say("breached", "over")
    bench.slack.wait_for_requests(lambda requests: any(r.status == 503 for r in requests), 30)
    bench.say("ok", "over")
    bench.wait_for_line(first, "alert latency|over: firing -> resolved")
    bench.wait_for_line(first, "console: told of latency|over")
    bench.kill(first)
    assert bench.slack.inbox() == []
    bench.slack.clear_faults()
    bench.start()
    bench.wait_for(lambda inbox: len(inbox) == 2)
    inbox = bench.slack.inbox()
    assert [m.text.split(":")[0] for m in of_alert(inbox, "all")] == ["🔴 Critical"]
    assert [m.text.split(":")[0] for m in of_alert(inbox, "over")] == ["✅ Fired and cleared"]


@pytest.mark.parametrize("broker", ON_APACHE_KAFKA, indirect=True)
def test_of_two_processes_one_speaks_and_the_other_takes_over(bench: Alerting) -> None:
    first = bench.start()
    second = bench.start()
    second.wait_until(lambda: "standing by" in bench.logs(), 30, "a process that stands by")  # the group chooses which
    bench.say("breached")
    bench.wait_for(lambda inbox: roots(inbox))
    bench.say("breached", "second")
    bench.wait_for(lambda inbox: of_alert(inbox, "second"))
    assert len(bench.slack.inbox()) == 2
    owner, other = (first, second) if "told of" in first.log.read_text() else (second, first)
    bench.wait_for_line(owner, "slack: told of latency|second (firing)")
    bench.kill(owner)
    bench.say("ok")
    bench.wait_for(replies, 60)
    assert len(bench.slack.inbox()) == 3
    assert other.running()


@pytest.mark.restarts_broker
@pytest.mark.parametrize("own_broker", ON_APACHE_KAFKA, indirect=True)
def test_a_broker_that_goes_and_comes_back_is_waited_for(
    own_broker: Broker, slack: SlackStandIn, tmp_path: Path
) -> None:
    with alerting(settings_for(own_broker), slack, tmp_path) as bench:
        child = bench.start()
        bench.say("breached")
        bench.wait_for(lambda inbox: roots(inbox))
        bench.wait_for_line(child, "slack: told of latency|all (firing)")
        assert own_broker.restart is not None
        own_broker.restart()
        bench.say("ok")
        bench.wait_for(replies, 60)
        assert child.running()
        assert len(slack.inbox()) == 2


def test_429_is_waited_out_and_nothing_is_lost(quick: Alerting) -> None:
    quick.start()
    quick.slack.fail_next([Fault("rate_limited", retry_after_seconds=2, method="chat.postMessage")])
    said = time.monotonic()
    quick.say("breached")
    quick.wait_for(lambda inbox: roots(inbox))
    assert time.monotonic() - said >= 2.0, "Retry-After was obeyed"
    posts = [r.status for r in quick.slack.requests() if r.method == "chat.postMessage"]
    assert posts == [429, 200]


def test_errors_of_slack_are_outlived_in_order(quick: Alerting) -> None:
    child = quick.start()
    faults = [
        *[Fault("status", status=500, method="chat.postMessage")] * 2,
        Fault("drop", method="chat.postMessage"),
        Fault("error", error="internal_error", method="chat.postMessage"),
        Fault("slow", seconds=4.0, method="auth.test"),
    ]
    quick.slack.fail_next(faults)
    for name in ("one", "two", "three"):
        quick.say("breached", name)
    quick.wait_for(lambda inbox: len(inbox) == 3)
    alerts = [m.metadata["event_payload"]["alert_id"] for m in quick.slack.inbox() if m.metadata]
    assert alerts == ["latency|one", "latency|two", "latency|three"]
    quick.wait_for_line(child, "slack: works again")
    assert quick.logs().count("Slack answers with status 500") == 1, "told once, not at each attempt"


def test_a_dead_slack_stops_neither_verdicts_nor_the_console(quick: Alerting) -> None:
    quick.slack.fail_next([Fault("slow", seconds=20.0, method="chat.postMessage")] * 3)
    each = {"ALERTS_BUNDLE_FROM": "1000", "ALERTS_CAP_POSTS": "1000"}
    child = quick.start(ALERTS_SEND_TIMEOUT_SECONDS="30", **each)
    for i in range(20):
        quick.say("breached", f"a{i}")
    for i in range(20):
        quick.wait_for_line(child, f"console: told of latency|a{i} (firing)")
    assert committed(quick) is not None
    child.process.terminate()
    child.process.wait(20)  # within its deadline, though Slack still holds a request
    assert child.process.returncode == 0
    assert "the next start sends them" in quick.logs()
    quick.slack.clear_faults()
    quick.start(**each)
    told = {f"latency|a{i}" for i in range(20)}  # at one a second
    quick.wait_for(lambda inbox: {m.metadata["event_payload"]["alert_id"] for m in inbox if m.metadata} == told, 60)


def test_a_refused_token_is_reported_once_stays_visible_and_is_mended_by_a_restart(quick: Alerting) -> None:
    child = quick.start(ALERTS_SLACK_BOT_TOKEN="xoxb-invalid")
    quick.wait_for_line(child, "ERROR alerting.sending: slack: Slack refuses the bot token")
    quick.say("breached")
    quick.wait_for_line(child, "the message stays owed")
    quick.say("breached", "two")
    quick.wait_for_line(child, "console: told of latency|two (firing)")
    child.stop()
    assert quick.logs().count("the message stays owed") == 1
    listed = _list(quick, "--json")
    (trouble,) = {state["troubles"]["slack"] for state in json.loads(listed) if "troubles" in state}
    assert "invalid_auth" in trouble
    assert "invalid_auth" in _list(quick)
    quick.start()
    quick.wait_for(lambda inbox: of_alert(inbox, "all") and of_alert(inbox, "two"))


def test_a_verdict_that_is_none_is_kept_and_stops_nothing(quick: Alerting) -> None:
    child = quick.start()
    quick.publish(b'{"type": "verdict", "v": 1}')
    quick.publish(b"\xff\xfe")
    quick.say("breached")
    quick.wait_for(lambda inbox: roots(inbox))
    child.stop()
    letters = read_topic(quick.kafka, quick.topics.dead_letters, 2)
    assert [letter.value for letter in letters] == [b'{"type": "verdict", "v": 1}', b"\xff\xfe"]
    headers = dict(letters[0].headers)
    assert (headers["stage"], headers["source_offset"]) == (b"alerting", b"0")
    assert committed(quick) == 3


def test_no_secret_is_in_any_log(quick: Alerting) -> None:
    """With a token and with a webhook, through every fault, at the most talkative level."""
    faults = [
        Fault("rate_limited", retry_after_seconds=1),
        Fault("status", status=500),
        Fault("drop"),
        Fault("error", error="invalid_blocks"),
        Fault("error", error="channel_not_found"),
    ]
    quick.slack.fail_next([Fault("error", error="internal_error", method="auth.test"), *faults])
    with_token = quick.start(LOG_LEVEL="DEBUG")
    quick.say("breached", "token")
    quick.slack.wait_for_requests(lambda requests: any(r.error == "channel_not_found" for r in requests), 60)
    with_token.stop()
    quick.slack.clear_faults()
    quick.slack.fail_next(faults)
    path = {"ALERTS_SLACK_BOT_TOKEN": "", "ALERTS_SLACK_WEBHOOK_URL": quick.slack.webhook_url}
    with_webhook = quick.start(LOG_LEVEL="DEBUG", **path)
    quick.say("breached", "hook")
    quick.slack.wait_for_requests(lambda requests: sum(r.error == "channel_not_found" for r in requests) == 2, 60)
    with_webhook.stop()
    log = quick.logs()
    assert len(log) > 2000
    assert TOKEN not in log
    assert TOKEN.removeprefix("xoxb-") not in log
    assert quick.slack.webhook_url.rsplit("/", 1)[1] not in log


def test_missing_topics_are_named_with_the_command_that_creates_them(
    embedded_settings: KafkaSettings, slack: SlackStandIn
) -> None:
    topics = Topics(embedded_settings.topic_prefix)
    create_topics(embedded_settings, [spec for spec in topics.specs() if spec.name != topics.alerts])
    done = _embedwatch(embedded_settings, "alerts")
    assert done.returncode == 4
    assert f"topic {topics.alerts} missing" in done.stderr
    assert "embedwatch topics create" in done.stderr
    assert "Traceback" not in done.stderr


def test_topics_that_came_later_are_made_at_the_start(quick: Alerting) -> None:
    wanted = [quick.topics.alert_actions, quick.topics.silences]
    assert [partitions_of(quick.kafka, topic) for topic in wanted] == [[], []]
    quick.start()
    assert [len(partitions_of(quick.kafka, topic)) for topic in wanted] == [1, 1]


def _list(bench: Alerting, *arguments: str) -> str:
    done = _embedwatch(bench.kafka, "alerts", "list", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _embedwatch(kafka: KafkaSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = {
        "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "EMBEDWATCH_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "COLUMNS": "250",
    }
    program = [sys.executable, "-c", "from embedwatch.cli import main; main()", *arguments]
    return subprocess.run(program, env={**os.environ, **where}, capture_output=True, text=True, timeout=60, check=False)
