"""What comes for a day that is closed is said on the topic of corrections, once, also where its process is killed."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from embedwatch.codec import decode_correction
from embedwatch.events import CorrectionEvent, DaySums
from embedwatch.settings import KafkaSettings
from tests.harness.agents import PARTITIONS, Agents, events, until
from tests.harness.commands import say
from tests.harness.corrections import added, newest
from tests.harness.kafka_io import read_topic
from tests.harness.trial import read_states

DYING = (sys.executable, "-m", "tests.harness.dying_agents")
COST = 10**9
DAY_SECONDS = 86_400


@pytest.fixture
def agents(kafka_settings: KafkaSettings, tmp_path: Path) -> Agents:
    return Agents(kafka_settings, tmp_path)


def late(count: int, start: int = 0) -> list[Any]:
    """Batches of ten texts from this time yesterday, when it was about noon in the budget's zone."""
    return events(count, start, time_seconds=time.time() - DAY_SECONDS)


def said(agents: Agents, at_least: int = 0) -> list[CorrectionEvent]:
    """All records on the topic: `at_least` so many, and those that come in the second after."""
    found: list[Any] = []

    def there() -> bool:
        found[:] = read_topic(agents.kafka, agents.topics.corrections, 10_000, timeout_seconds=1.5)
        return len(found) >= at_least

    until(there, f"{at_least} corrections", 60)
    assert all(record.key.decode() == decode_correction(record.value).event_id for record in found)
    return [decode_correction(record.value) for record in found]


def all_written(agents: Agents) -> bool:
    """No state holds a correction that is not said, as far as it knows."""
    return not any(state["unsaid"] for state in read_states(agents.kafka, agents.app_id).values())


def yesterday(agents: Agents) -> dict[str, Any]:
    rows = agents.get("/api/v1/ledger?scope=all")[1].get("rows") or [{}]
    found: dict[str, Any] = rows[0]
    return found


def test_events_for_yesterday_are_corrections_on_the_topic_in_the_report_and_in_the_api(agents: Agents) -> None:
    with agents.running() as child:
        agents.wait_ready(child)
        today = events(PARTITIONS)
        first = late(1)
        agents.send([*today, *first])
        agents.wait_texts(child, 10 * PARTITIONS)
        found = {c.scope: c for c in said(agents, 2)}
        row = yesterday(agents)
        assert set(found) == {"all", "model=m"}
        assert found["all"] == CorrectionEvent(
            event_id=f"{agents.app_id}:0:1:{row['day']}:all", time_seconds=row["last_correction_seconds"],
            day=row["day"], timezone=agents.timezone, scope="all", partition=0, from_offset=1, until_offset=2, events=1,
            added=DaySums(10, 2, 0, 8, 0, 1000, 800, 200, COST, 200, 0),
            total=DaySums(10, 2, 0, 8, 0, 1000, 800, 200, COST, 200, 0),
        )  # fmt: skip
        assert [row[name] for name in ("late_events", "late_texts", "late_cost_nano_usd")] == [1, 10, COST]
        page = say(
            agents.kafka, "report", "--day", "yesterday", "--agents-url", f"http://127.0.0.1:{agents.port}"
        )  # fmt: skip
        assert "after its close by $1.0000, 10 texts in 1 event" in page
        metrics = agents.get("/metrics")[1]
        counted = re.findall(r"^embedwatch_day_corrections(\w*)_total (\S+)$", metrics, re.MULTILINE)
        assert [(name, float(value)) for name, value in counted] == [("", 2.0), ("_cost_usd", 1.0)]
        until(lambda: all_written(agents), "a state that knows that they are said")
        child.process.terminate()
        assert child.process.wait(20) == 0
    with agents.running() as child:
        agents.wait_ready(child)
        second = late(PARTITIONS, start=1)
        agents.send(second)
        until(lambda: yesterday(agents).get("late_events") == 1 + PARTITIONS, "late events in the ledger")
        until(lambda: len(newest(said(agents))) == 2 + 2 * PARTITIONS, "a correction of each partition")
        whole = sum(event.cost_nano_usd for event in [*first, *second])
        assert added(said(agents))[row["day"], "all"] == (1 + PARTITIONS, 10 + 10 * PARTITIONS, whole)
        assert yesterday(agents)["cost_nano_usd"] == whole
        until(lambda: all_written(agents), "a state that knows that they are said")
        records = said(agents)
        assert len(records) == len({c.event_id for c in records}), "nothing was said twice"


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_publishing_a_correction_is_said_and_once_in_effect(agents: Agents, when: str) -> None:
    sent = late(8)
    with agents.running(command=(*DYING, when)) as child:
        agents.wait_ready(child)
        agents.send(sent)
        assert child.process.wait(60) == -signal.SIGKILL
    before = said(agents)
    assert (before == []) == (when == "before")
    with agents.running() as child:
        agents.wait_ready(child)
        until(lambda: yesterday(agents).get("late_events") == 8, "late events in the ledger")
        day = yesterday(agents)["day"]
        expected = (8, 80, sum(event.cost_nano_usd for event in sent))
        until(lambda: added(said(agents)).get((day, "all")) == expected, "corrections of all of it", 60)
        until(lambda: all_written(agents), "a state that knows that they are said")
        after = said(agents)
        assert added(after)[day, "all"] == expected
        assert {c.event_id for c in before} <= {c.event_id for c in after[len(before) :]}, (
            "they came again as they were"
        )


def test_of_several_processes_each_says_the_corrections_of_its_partitions(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    one = Agents(kafka_settings, tmp_path / "one")
    two = Agents(kafka_settings, tmp_path / "two", create=False)
    with one.running() as child, two.running() as other:
        for agents, process in ((one, child), (two, other)):
            process.wait_until(
                lambda agents=agents: (
                    agents.get("/readyz")[0] == 200
                    and agents.get("/api/v1/summary")[1]["partitions"]["held_here"] == PARTITIONS // 2
                ),
                90,
                "half of the partitions",
                step_seconds=0.2,
            )
        sent = late(40)
        one.send(sent)
        expected = (40, 400, sum(event.cost_nano_usd for event in sent))
        for agents in (one, two):
            until(
                lambda agents=agents: [
                    yesterday(agents).get(name) for name in ("late_events", "late_texts", "late_cost_nano_usd")
                ] == list(expected),
                "the whole correction in both APIs",
            )  # fmt: skip
        day = yesterday(one)["day"]
        until(lambda: added(said(one)).get((day, "all")) == expected, "corrections of all of it", 60)
        until(lambda: all_written(one), "a state that knows that they are said")
        records = said(one)
        assert len(records) == len({c.event_id for c in records}), "each is said once"
        assert {c.partition for c in records} == set(range(PARTITIONS))
        for agents in (one, two):
            metrics = agents.get("/metrics")[1]
            counted = re.findall(r"^embedwatch_day_corrections_total (\S+)$", metrics, re.MULTILINE)
            assert 0 < float(counted[0]) < len(records)
