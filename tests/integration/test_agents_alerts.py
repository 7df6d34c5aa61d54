"""The agents tell what alerting has written, as it changes, and say when they cannot know it."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from alerting.states import encode
from embedwatch.kafka import producer
from embedwatch.settings import KafkaSettings
from tests.harness.agents import Agents, until
from tests.harness.agents_web import alert_states
from tests.harness.kafka_io import opened


def test_states_of_alerting_are_read_from_their_topic(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    agents = Agents(kafka_settings, tmp_path)
    firing, over, quiet = alert_states()

    def found() -> dict[str, str]:
        return {row["alert_id"]: row["status"] for row in agents.get("/api/v1/alerts")[1]["states"]}

    with opened(producer(kafka_settings, "test")) as client, agents.running() as child:
        for state in (firing, over):
            client.send(agents.topics.alerts, key=state.alert_id.encode(), value=encode(state)).get(20)
        agents.wait_ready(child)
        until(lambda: agents.get("/api/v1/alerts")[1]["states_known"], "states of alerts")
        assert found() == {firing.alert_id: "acknowledged", over.alert_id: "resolved"}
        client.send(agents.topics.alerts, key=quiet.alert_id.encode(), value=encode(quiet)).get(20)
        gone = replace(firing, status="resolved", reason="recovered")
        client.send(agents.topics.alerts, key=gone.alert_id.encode(), value=encode(gone)).get(20)
        until(lambda: found().get(gone.alert_id) == "resolved" and quiet.alert_id in found(), "what changed")
        assert agents.get("/api/v1/alerts")[1]["states_reason"] is None
        status, text = agents.get("/ui")
        assert status == 200
        assert "<title>embedwatch</title>" in text
        assert agents.get("/ui/app.js")[0] == 200
