"""Closed days are on their topic and add up to what was sent, also where a process is killed or others take over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from embedwatch.codec import decode_kept
from embedwatch.events import DayEvent, day_key
from embedwatch.settings import KafkaSettings
from tests.harness.agents import PARTITIONS, ROOT, Agents, events, until
from tests.harness.days import sums
from tests.harness.kafka_io import read_topic

DYING = (sys.executable, "-m", "tests.harness.dying_agents")
DAY_SECONDS = 86_400


@pytest.fixture
def agents(kafka_settings: KafkaSettings, tmp_path: Path) -> Agents:
    return Agents(kafka_settings, tmp_path)


def kept(agents: Agents) -> list[DayEvent]:
    """Records of days on the topic, those that come in a second with them."""
    found = []
    for record in read_topic(agents.kafka, agents.topics.days, 10_000, timeout_seconds=1.5):
        event = decode_kept(record.value)
        if isinstance(event, DayEvent):
            assert record.key.decode() == day_key(event)
            found.append(event)
    return found


def whole(agents: Agents, days_ago: int = 1) -> tuple[int, int] | None:
    """Texts and cost of a day, as the topic has them."""
    records = kept(agents)
    wanted = time.time() - days_ago * DAY_SECONDS
    day = next((e.day for e in records if e.begin_seconds <= wanted < e.end_seconds), None)
    row = sums(records).get((str(day), "all"))
    return None if row is None else (row["texts"], row["cost_nano_usd"])


def report(agents: Agents, day: str) -> Any:
    """What `embedwatch report` says of a day."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
    said = subprocess.run(
        [
            sys.executable, "-m", "embedwatch", "report", "--day", day, "--by", "model,tenant", "--format", "json",
            "--app-id", agents.app_id, "--bootstrap-servers", agents.kafka.bootstrap_servers,
            "--topic-prefix", agents.kafka.topic_prefix, "--tz", agents.timezone,
            "--agents-url", f"http://127.0.0.1:{agents.port}",
        ],
        env=ours, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


@pytest.mark.parametrize("when", ["before-day", "after-day"])
def test_killed_around_saying_a_closed_day_and_booked_late_after_that(agents: Agents, when: str) -> None:
    """About noon in the budget's zone: yesterday is closed, so that what comes for it corrects it."""
    first = events(8, time_seconds=time.time() - DAY_SECONDS)
    forgotten = events(3, 100, time_seconds=time.time() - 9 * DAY_SECONDS)
    with agents.running(command=(*DYING, when)) as child:
        agents.wait_ready(child)
        agents.send(first)
        assert child.process.wait(60) == -signal.SIGKILL
    with agents.running() as child:
        agents.wait_ready(child)
        until(lambda: whole(agents) == (80, sum(e.cost_nano_usd for e in first)), "the closed day", 60)
        second = events(PARTITIONS, 50, time_seconds=time.time() - DAY_SECONDS)
        agents.send([*second, *forgotten])
        expected = (120, sum(e.cost_nano_usd for e in [*first, *second]))
        until(lambda: whole(agents) == expected, "the day with what came late", 60)
        old = (30, sum(e.cost_nano_usd for e in forgotten))
        until(lambda: whole(agents, 9) == old, "the day that was no longer kept", 60)
        records = kept(agents)
        days = {e.day for e in records if e.scopes}
        assert len(days) == 2
        yesterday = max(days)
        assert {e.partition for e in records if e.day == yesterday} == set(range(PARTITIONS))
        assert sums(records)[yesterday, "all"]["late_texts"] == 120
        child.process.terminate()
        assert child.process.wait(20) == 0
    day = report(agents, yesterday)  # of agents that are away: from the topic alone
    assert (day["total"]["texts"], day["total"]["cost_nano_usd"]) == expected
    assert (day["complete"], day["total"]["late_texts"]) == (True, 120)
    assert sum(row["cost_nano_usd"] for row in day["groups"]) == expected[1]
    with agents.running() as child:  # says again what it keeps: the same
        agents.wait_ready(child)
        before = len(records)
        until(lambda: len(kept(agents)) >= before + PARTITIONS, "the days once more", 60)
        assert whole(agents) == expected
        assert whole(agents, 9) == old
        assert report(agents, yesterday)["total"] == day["total"]


def test_of_several_processes_each_says_the_days_of_its_partitions(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    one = Agents(kafka_settings, tmp_path / "one")
    two = Agents(kafka_settings, tmp_path / "two", create=False)
    sent = events(40, time_seconds=time.time() - DAY_SECONDS)
    expected = (400, sum(event.cost_nano_usd for event in sent))
    with one.running() as child:
        with two.running() as other:
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
            one.send(sent)
            until(lambda: whole(one) == expected, "the whole day", 60)
        # The other one was killed: whoever takes its partitions says its days again.
        before = len(kept(one))
        until(lambda: len(kept(one)) >= before + PARTITIONS, "the days of all partitions", 90)
        assert whole(one) == expected
