"""What agents know goes to a file and comes back: on the log that it was counted from, and on a new one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from embedwatch.kafka import admin_client, partitions_of
from embedwatch.settings import KafkaSettings
from tests.harness.agents import COMMAND, PARTITIONS, ROOT, Agents, events, until
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import opened


def command(agents: Agents, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")} | {
        "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": agents.kafka.bootstrap_servers,
        "EMBEDWATCH_KAFKA_TOPIC_PREFIX": agents.kafka.topic_prefix,
        "EMBEDWATCH_KAFKA_PARTITIONS": str(PARTITIONS),
        "EMBEDWATCH_AGENTS_APP_ID": agents.app_id,
    }
    return subprocess.run(
        [*COMMAND, "agents", *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=90,
        check=False,
    )  # fmt: skip


def answer(agents: Agents, *arguments: str) -> dict[str, Any]:
    done = command(agents, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def delete(agents: Agents, *topics: str) -> None:
    with opened(admin_client(agents.kafka)) as admin:
        admin.delete_topics(list(topics))
    until(lambda: not any(partitions_of(agents.kafka, topic) for topic in topics), "deletion of topics")


@pytest.mark.kafka
def test_a_state_comes_back_on_the_same_log_and_on_a_new_one(apache_kafka: Broker, tmp_path: Path) -> None:
    agents, file = Agents(settings_for(apache_kafka), tmp_path), tmp_path / "state.jsonl.gz"
    changelog = f"{agents.app_id}-state-changelog"
    first, second, third = events(40), events(20, start=40), events(12, start=60)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.send(first)
        agents.wait_texts(child, 400)
        saved = agents.today()["texts"]
        until(lambda: answer(agents, "save", str(file))["records"].get("state", 0) >= PARTITIONS, "a state of each")
        agents.send(second)
        agents.wait_texts(child, 600)
        child.process.terminate()
        assert child.process.wait(20) == 0
    assert saved == 400
    assert file.stat().st_mode & 0o077 == 0, "nobody else may read what is spent"
    refused = command(agents, "restore", str(file))
    assert (refused.returncode, "there is a state already" in refused.stderr) == (3, True)

    # The state is lost and the events are not: what came after the file was written is counted from them.
    delete(agents, changelog)
    back = answer(agents, "restore", str(file))
    assert (back["log"], set(back["records"])) == ("same", {"state"})
    with agents.running() as child:
        agents.wait_ready(child)
        agents.check_totals(child, [*first, *second])
        child.process.terminate()
        assert child.process.wait(20) == 0

    # All is lost, and the topics are made anew: the sums of the file stay, and new events come on top.
    agents.sent.clear()
    delete(agents, changelog, *(spec.name for spec in agents.topics.specs()))
    assert answer(agents, "restore", str(file))["log"] == "new"
    agents.send(third)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.check_totals(child, [*first, *third])
        # What was restored is in no event of this topic: nobody can tell whether it is right.
        until(lambda: json.loads(command(agents, "rebuild", "--json").stdout or "{}").get("unknown_days"), "a state")
        rebuilt = command(agents, "rebuild")
        assert (rebuilt.returncode, "restored onto a new topic" in rebuilt.stdout + rebuilt.stderr) == (3, True)
        child.process.terminate()
        assert child.process.wait(20) == 0


def test_a_file_that_is_none_or_of_another_application_is_told(
    embedded_settings: KafkaSettings, tmp_path: Path
) -> None:
    agents = Agents(embedded_settings, tmp_path)
    nothing = command(agents, "save", str(tmp_path / "state"))
    assert (nothing.returncode, "no agents with --app-id" in nothing.stderr) == (3, True)
    (tmp_path / "other").write_text("not a file of ours")
    broken = command(agents, "restore", str(tmp_path / "other"))
    assert (broken.returncode, "cannot be read" in broken.stderr) == (3, True)
    missing = command(agents, "restore", str(tmp_path / "missing"))
    assert (missing.returncode, "No such file" in missing.stderr) == (3, True)
