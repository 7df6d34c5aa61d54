"""The state topic ends with an older record than was committed: a process that was frozen woke up and wrote it."""

from __future__ import annotations

import json
from pathlib import Path

from embedwatch.kafka import TopicPartition, admin_client, producer
from embedwatch.settings import KafkaSettings
from tests.harness.agents import PARTITIONS, Agents, events, until
from tests.harness.kafka_io import opened
from tests.harness.trial import read_states


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
