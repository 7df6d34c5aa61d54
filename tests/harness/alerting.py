"""The alerting service as a process of its own, and verdicts for it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embedwatch.codec import encode
from embedwatch.events import AlertAction, Verdict
from embedwatch.kafka import create_topics, producer
from embedwatch.processes import Child
from embedwatch.services.slack_standin import InboxMessage, SlackStandIn
from embedwatch.settings import KafkaSettings
from embedwatch.topics import Topics
from tests.harness.actions import action
from tests.harness.verdicts import verdict

START_TIMEOUT_SECONDS = 60.0
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "xoxb-4711-verysecrettoken"


class Alerting:
    """One topic prefix, one Slack, and any number of processes one after the other or side by side."""

    def __init__(self, kafka: KafkaSettings, slack: SlackStandIn, folder: Path) -> None:
        self.kafka, self.slack, self.folder = kafka, slack, folder
        self.topics = Topics(kafka.topic_prefix)
        self.children: list[Child] = []
        made_at_start = (self.topics.alert_actions, self.topics.silences)
        create_topics(kafka, [spec for spec in self.topics.specs() if spec.name not in made_at_start])
        self._producer: Any = producer(kafka, "test-verdicts", linger_ms=0)

    def say(self, judgement: Any, name: str = "all", **fields: Any) -> Verdict:
        """Publish a verdict of now and wait until the broker has it."""
        said = verdict(judgement, **{"at": time.time(), "alert_id": f"latency|{name}", **fields})
        self.publish(encode(said))
        return said

    def say_all(self, judgement: Any, alerts: Mapping[str, Mapping[str, Any]]) -> None:
        """Publish one verdict of each alert, by name and fields, at once."""
        now = time.time()
        said = (
            verdict(judgement, **{"at": now, "alert_id": f"latency|{name}", **more}) for name, more in alerts.items()
        )
        for future in [self._producer.send(self.topics.verdicts, key=b"k", value=encode(each)) for each in said]:
            future.get(20)

    def publish(self, value: bytes, topic: str | None = None) -> None:
        self._producer.send(topic or self.topics.verdicts, key=b"k", value=value).get(20)

    def act(self, do: str, name: str = "all", **fields: Any) -> AlertAction:
        """Ask something of an alert, as a button does, and wait until the broker has it."""
        asked = action(do, time.time(), **{"alert_id": f"latency|{name}", **fields})
        self._producer.send(self.topics.alert_actions, key=asked.alert_id.encode(), value=encode(asked)).get(20)
        return asked

    def start(self, wait_for: str = "alerting: ready", dies: str | None = None, **environ: str) -> Child:
        """Start a process and wait for a line of its log. `dies`: where, as `dying_alerts` knows it."""
        log = self.folder / f"alerts-{len(self.children)}.log"
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "KAFKA_SESSION_TIMEOUT_SECONDS": str(self.kafka.session_timeout_seconds),
            "ALERTS_SLACK_BOT_TOKEN": TOKEN,
            "ALERTS_SLACK_API_URL": self.slack.api_url,
            "ALERTS_SEND_TIMEOUT_SECONDS": "2",
            # Here a test speaks for the agents, and not all the time.
            "ALERTS_AGENTS_SILENT_SECONDS": "3600",
            "ALERTS_DIGEST_AT": "off",  # a test may run at nine
            **environ,
        }
        variables: Mapping[str, str | None] = {f"EMBEDWATCH_{name}": value or None for name, value in settings.items()}
        program = ["-c", "from embedwatch.cli import main; main()"]
        if dies is not None:
            program = ["-m", "tests.harness.dying_alerts", dies]
        command = [sys.executable, *program, "alerts"]
        child = Child("alerts", command, log, {**variables, "PYTHONUNBUFFERED": "1"}, cwd=ROOT)
        self.children.append(child)
        self.wait_for_line(child, wait_for)
        return child

    def wait_for_line(self, child: Child, text: str, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        child.wait_until(lambda: text in child.log.read_text(encoding="utf-8"), timeout_seconds, f"line {text!r}")

    def kill(self, child: Child) -> None:
        """kill -9."""
        child.process.kill()
        child.process.wait(10)

    def wait_for_death(self, child: Child) -> None:
        """Of one that kills itself."""
        assert child.process.wait(START_TIMEOUT_SECONDS) == -signal.SIGKILL

    def logs(self) -> str:
        return "\n".join(child.log.read_text(encoding="utf-8") for child in self.children)

    def wait_for(self, found: Callable[[list[InboxMessage]], Any], timeout_seconds: float = 30.0) -> Any:
        """In Slack's inbox; on failure the logs say why."""
        try:
            return self.slack.wait_for(found, timeout_seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def close(self) -> None:
        for child in self.children:
            child.stop()
        self._producer.close()


@contextmanager
def alerting(kafka: KafkaSettings, slack: SlackStandIn, folder: Path) -> Iterator[Alerting]:
    bench = Alerting(kafka, slack, folder)
    try:
        yield bench
    finally:
        bench.close()


def roots(inbox: list[InboxMessage]) -> list[InboxMessage]:
    return [message for message in inbox if message.thread_ts is None]


def replies(inbox: list[InboxMessage]) -> list[InboxMessage]:
    return [message for message in inbox if message.thread_ts is not None]


def of_alert(inbox: list[InboxMessage], name: str) -> list[InboxMessage]:
    """Root messages of one alert."""
    wanted = f"latency|{name}"
    return [m for m in roots(inbox) if m.metadata and m.metadata["event_payload"]["alert_id"] == wanted]
