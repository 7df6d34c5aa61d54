"""A topic that is deleted under running agents: they say that no verdict goes out, and go on when it is back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from embedwatch.kafka import admin_client, create_topics
from tests.harness.agents import Agents, events, until
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import opened


@pytest.mark.kafka
def test_agents_whose_verdicts_go_nowhere_are_not_ready(apache_kafka: Broker, tmp_path: Path) -> None:
    agents = Agents(settings_for(apache_kafka), tmp_path)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.send(events(10))
        agents.wait_texts(child, 100)
        with opened(admin_client(agents.kafka)) as admin:
            admin.delete_topics([agents.topics.verdicts])

        def reasons() -> list[str]:
            found: list[str] = agents.get("/readyz")[1].get("reasons", [])
            return found

        until(lambda: any(reason.startswith("verdicts could not be published for") for reason in reasons()), "reason",
              120)  # fmt: skip
        metrics = agents.get("/metrics")[1]
        counted = re.search(r'^embedwatch_publish_failures_total\{kind="verdicts"\} (\S+)$', metrics, re.MULTILINE)
        assert counted is not None
        assert float(counted[1]) >= 1
        agents.send(events(10, start=10))
        agents.wait_texts(child, 200)
        create_topics(agents.kafka, agents.topics.specs())
        until(lambda: agents.get("/readyz")[0] == 200, "readiness", 120)
