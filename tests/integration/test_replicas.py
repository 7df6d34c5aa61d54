"""On a cluster as it comes: every topic of ours, and the agents' state, is kept by as many brokers as was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedwatch import checks
from embedwatch.kafka import admin_client, create_topics, described_topics
from embedwatch.settings import KafkaSettings, Settings
from embedwatch.topics import Topics, state_topic
from tests.harness.agents import Agents, events
from tests.harness.apache_kafka import why_not
from tests.harness.kafka_cluster import KafkaCluster
from tests.harness.kafka_io import opened
from tests.harness.requirements import missing


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_the_state_of_agents_that_were_told_nothing_is_kept_as_often_as_their_topics(tmp_path: Path) -> None:
    if (reason := why_not()) is not None:
        missing("kafka", reason)
    with KafkaCluster(tmp_path / "kafka", brokers=3, in_sync=1) as cluster:
        made = KafkaSettings(bootstrap_servers=cluster.bootstrap_servers, topic_prefix="copies", replication_factor=3)
        create_topics(made, Topics("copies").specs()[:-2])  # the rest is made by one who was told nothing
        plain = made.model_copy(update={"replication_factor": 1})
        agents = Agents(plain, tmp_path)
        with agents.running() as child:
            agents.wait_ready(child)
            agents.send(events(5))
            agents.wait_texts(child, 50)
            state = state_topic(agents.app_id)
            with opened(admin_client(plain)) as admin:
                found = described_topics(admin, [*(spec.name for spec in Topics("copies").specs()), state])
            copies = {(each.replicas, (each.config or {}).get("min.insync.replicas")) for each in found.values()}
            assert copies == {(3, "2")}, found
            settings = Settings()
            whose = settings.agents.model_copy(update={"app_id": agents.app_id})
            settings = settings.model_copy(update={"kafka": plain, "agents": whose})
            told = [(each.state, each.detail) for each in checks._kafka(settings) if each.name == "topics"]
            assert told == [("ok", "all 12 there, prefix copies, as expected")]
            child.process.terminate()
            assert child.process.wait(30) == 0
