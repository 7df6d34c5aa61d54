"""States that others have written: a process that was frozen woke up, and one of an older version."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from embedwatch.kafka import TopicPartition, admin_client, create_topics, producer
from embedwatch.settings import KafkaSettings
from embedwatch.topics import TopicSpec
from stream_agents.compute.ledger import PartitionState
from tests.harness.agents import PARTITIONS, Agents, events, until
from tests.harness.kafka_io import opened, read_topic
from tests.harness.trial import read_states

HOURS = ",".join(["0"] * 8 + [f"{10**9:x}"])


def committed(agents: Agents) -> dict[int, int]:
    """Next offset by partition of the metrics topic, as the agents' group has committed it; 0 before it has."""
    with opened(admin_client(agents.kafka)) as admin:
        found = admin.list_group_offsets([agents.app_id]).get(agents.app_id, {})
    logs = [TopicPartition(agents.topics.metrics, p) for p in range(PARTITIONS)]
    return {log.partition: found[log].offset if log in found else 0 for log in logs}


def test_events_between_an_old_state_and_the_commit_are_counted_again(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    agents = Agents(kafka_settings, tmp_path)
    first, second = events(40), events(40, start=40)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.send(first)
        agents.wait_texts(child, 400)
        until(lambda: sum(s["events"] for s in read_states(agents.kafka, agents.app_id).values()) == 40, "first state")
        old = read_states(agents.kafka, agents.app_id)
        agents.send(second)
        agents.wait_texts(child, 800)
        until(lambda: all(offset >= old[p]["next_offset"] + 10 for p, offset in committed(agents).items()), "commit")
        child.process.terminate()
        assert child.process.wait(20) == 0
    with opened(producer(agents.kafka, "woke-up")) as client:
        for p, state in old.items():
            changelog = f"{agents.app_id}-state-changelog"
            client.send(changelog, key=f'"p{p}"'.encode(), value=json.dumps(state).encode(), partition=p).get(30)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.check_totals(child, [*first, *second])
        log = child.log.read_text()
        assert all(f"partition {p}: " in log for p in range(PARTITIONS)), "it must have been sought back to be exact"
        child.process.terminate()
        assert child.process.wait(20) == 0


def test_what_an_older_version_knew_of_earlier_days_goes_into_a_record_of_its_own(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    """Its state held the history itself. The forecast by the same weekday is there before and after kill -9."""
    agents = Agents(kafka_settings, tmp_path)
    today = datetime.now(ZoneInfo(agents.timezone)).date()
    record = PartitionState(next_offset=0).to_record()
    del record["unsaid"]
    record |= {"v": 2, "history": {"all": {(today - timedelta(days=7)).isoformat(): HOURS}}}
    changelog = f"{agents.app_id}-state-changelog"
    create_topics(agents.kafka, [TopicSpec(changelog, "", "", "tests", "compact", None, partitions=PARTITIONS)])
    with opened(producer(agents.kafka, "older-version")) as client:
        client.send(changelog, key=b'"p0"', value=json.dumps(record).encode(), partition=0).get(30)
    with agents.running() as child:
        agents.wait_ready(child)
        sent = events(8)
        agents.send(sent)
        agents.wait_texts(child, 80)
        assert agents.today()["forecast_basis"] == "weekday"
        until(lambda: read_states(agents.kafka, agents.app_id).get(0, {}).get("history") == 1, "a state that names it")
        child.process.kill()
        child.process.wait(30)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.check_totals(child, sent)
        assert agents.today()["forecast_basis"] == "weekday"
        # Flushes have passed since, and it was not written again.
        keys = [json.loads(r.key) for r in read_topic(agents.kafka, changelog, 10_000, timeout_seconds=3)]
        assert (keys.count("p0-history-1"), keys.count("p0-history-0")) == (1, 0)
        assert keys.count("p0") > 2
