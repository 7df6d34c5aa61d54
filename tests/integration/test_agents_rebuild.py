"""`embedwatch agents rebuild` where retention has removed events: what it could not see it never calls the same."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from embedwatch.codec import encode
from embedwatch.kafka import TopicPartition, admin_client, create_topics, producer
from embedwatch.settings import KafkaSettings
from tests.harness.agents import ROOT, Agents, events, until
from tests.harness.agents_log import batch_event
from tests.harness.brokers import APACHE_KAFKA
from tests.harness.commands import EMBEDWATCH, environ
from tests.harness.kafka_io import opened
from tests.harness.trial import read_states

on_kafka = pytest.mark.parametrize(
    "broker", [pytest.param(APACHE_KAFKA, id=APACHE_KAFKA, marks=pytest.mark.kafka)], indirect=True
)
DAY_SECONDS = 86_400


def rebuild(agents: Agents, *arguments: str) -> tuple[int, str]:
    """Exit code and what it prints, in lines as long as they are."""
    command = [*EMBEDWATCH, "agents", "rebuild", "--app-id", agents.app_id, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=90, env=environ(agents.kafka), check=False
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def found(agents: Agents) -> tuple[int, dict[str, Any]]:
    code, text = rebuild(agents, "--json")
    return code, json.loads(text)


def send(agents: Agents, partition: int, *times: float) -> None:
    """Batches whose records are stamped with the times of their events."""
    with opened(producer(agents.kafka, "test-producer")) as client:
        for number, at in enumerate(times):
            client.send(
                agents.topics.metrics, value=encode(batch_event(number, time_seconds=at, cost_nano_usd=7**number)),
                partition=partition, timestamp_ms=int(at * 1000),
            )  # fmt: skip
        client.flush(30)


def remove(agents: Agents, partition: int, below: int) -> None:
    """What retention does: the log begins at this offset from now on."""
    with opened(admin_client(agents.kafka)) as admin:
        admin.delete_records({TopicPartition(agents.topics.metrics, partition): below})


@on_kafka
def test_a_log_whose_beginning_is_gone_proves_the_days_it_holds_whole_and_no_other(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    agents = Agents(kafka_settings, tmp_path, create=False)
    # Without texts there is no lag to sample, so nothing but these events is in the topic.
    create_topics(kafka_settings, [spec for spec in agents.topics.specs() if spec.name != agents.topics.texts])
    now = time.time()
    today, yesterday, before = (
        datetime.fromtimestamp(now - days * DAY_SECONDS, ZoneInfo(agents.timezone)).date().isoformat()
        for days in (0, 1, 5)
    )
    send(agents, 0, *[now - days * DAY_SECONDS for days in (5, 5, 1, 1, 0, 0)])
    send(agents, 1, now, now)
    code, text = rebuild(agents)
    assert (code, f"topic {agents.app_id}-state-changelog does not exist" in text) == (3, True), text
    with agents.running() as child:
        agents.wait_ready(child)
        agents.wait_texts(child, 40)
        until(lambda: sum(s["events"] for s in read_states(agents.kafka, agents.app_id).values()) == 8, "both states")
        child.process.terminate()
        assert child.process.wait(20) == 0
    code, data = found(agents)
    assert (code, data["days"], data["unknown_days"], data["removed"]) == (0, [yesterday, today], [], [])
    assert data["timezone"] == agents.timezone
    code, text = rebuild(agents, "--timezone", "Asia/Kolkata")
    assert code == 3
    assert f"the states have the days of {agents.timezone}, and budget.timezone is Asia/Kolkata" in text

    remove(agents, 0, 1)  # what is left begins five days ago
    code, data = found(agents)
    assert (code, data["days"], data["unknown_days"]) == (0, [yesterday, today], [])
    assert [(one["partition"], one["log_start_offset"], one["next_offset"]) for one in data["removed"]] == [(0, 1, 6)]

    remove(agents, 0, 3)  # one of yesterday's two is gone
    code, data = found(agents)
    assert (code, data["days"], data["unknown_days"], data["differences"]) == (3, [today], [yesterday], [])
    code, text = rebuild(agents)
    written = datetime.fromtimestamp(now - DAY_SECONDS, ZoneInfo(agents.timezone))
    assert code == 3
    assert f"{today}: the same" in text
    assert (
        f"{yesterday}: cannot be told, events of it are, or may be, no longer in topic {agents.topics.metrics}" in text
    )
    assert (
        f"partition 0: offsets 0 to 2 were removed; the oldest event left was written on "
        f"{written:%Y-%m-%d at %H:%M:%S} ({agents.timezone})"
    ) in text
    assert "raise its retention.ms" in text
    assert f"{yesterday}: the same" not in text
    assert before not in text

    remove(agents, 1, 2)  # all that was counted of the other partition
    code, text = rebuild(agents)
    assert code == 3
    assert "the same" not in text
    assert "partition 1: offsets 0 to 1 were removed; nothing that was counted is left" in text

    # Events that nobody has counted, and that are gone; and a partition that was never counted at all.
    send(agents, 1, now, now, now)
    remove(agents, 1, 4)
    send(agents, 3, now)
    code, text = rebuild(agents)
    assert code == 3
    assert "partition 1: the state ends at offset 2, and the log begins at 4 only." in text
    assert "removed before they were counted" in text
    assert "partition 3: 1 offsets were written, and there is no state." in text

    # The state of these agents, and the events of others: told at once, not after a wait for what is not there.
    code, text = rebuild(agents, "--topic-prefix", "another")
    assert code == 3
    assert "topic another.metrics does not exist, so there are no events to replay" in text


def test_where_nothing_is_kept_nothing_is_the_same(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    """The topic of states is there as soon as agents have started, with no state in it."""
    agents = Agents(kafka_settings, tmp_path, create=False)
    create_topics(kafka_settings, [spec for spec in agents.topics.specs() if spec.name != agents.topics.texts])
    with agents.running() as child:
        agents.wait_ready(child)
        code, text = rebuild(agents)
        assert (code, "holds no state yet" in text) == (3, True), text
        # Of a day that is no longer kept: there is no other.
        agents.send(events(4, time_seconds=time.time() - 9 * DAY_SECONDS))
        until(lambda: len(read_states(agents.kafka, agents.app_id)) == 4, "states")

        def nothing_left() -> bool:
            code, text = rebuild(agents)
            return (code, "nothing to compare" in text, "the same" in text) == (3, True, False)

        until(nothing_left, "that there is nothing to compare", 60)
