"""`embedwatch report` of a period, on agents and a broker: exact with agents, without them, after a correction."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from embedwatch.settings import KafkaSettings
from tests.harness.agents import Agents, events, until
from tests.harness.commands import run, say

DAY_SECONDS = 86_400


@pytest.fixture
def agents(kafka_settings: KafkaSettings, tmp_path: Path) -> Agents:
    return Agents(kafka_settings, tmp_path)


def document(agents: Agents, *more: object) -> dict[str, Any]:
    arguments = ("report", "--app-id", agents.app_id, "--agents-url", f"http://127.0.0.1:{agents.port}", *more)
    found: dict[str, Any] = json.loads(run(agents.kafka, *arguments, "--format", "json").stdout)
    return found


def test_a_day_is_reported_to_the_nano_dollar_with_agents_and_without(agents: Agents, tmp_path: Path) -> None:
    yesterday = [
        *events(9, tenant="search", time_seconds=time.time() - DAY_SECONDS),
        *events(5, 20, model="other", time_seconds=time.time() - DAY_SECONDS),
    ]
    today = events(4, 40)
    old = events(2, 60, time_seconds=time.time() - 6 * DAY_SECONDS)
    cost = sum(event.cost_nano_usd for event in yesterday)

    def closed() -> dict[str, Any]:
        try:
            return document(agents, "--day", "yesterday", "--by", "model,tenant")
        except AssertionError:  # nothing is known of it yet
            return {"total": {"cost_nano_usd": None}, "complete": False}

    with agents.running() as child:
        agents.wait_ready(child)
        agents.send([*yesterday, *today, *old])
        until(lambda: closed()["complete"] and closed()["total"]["cost_nano_usd"] == cost, "the closed day", 90)
        found = closed()
        rows = {(row["model"], row["tenant"]): row["cost_nano_usd"] for row in found["groups"]}
        assert rows == {
            ("m", "search"): sum(e.cost_nano_usd for e in yesterday[:9]),
            ("other", None): sum(e.cost_nano_usd for e in yesterday[9:]),
        }
        now = document(agents, "--day", "today")
        assert now["total"]["cost_nano_usd"] == sum(e.cost_nano_usd for e in today)
        assert [one["state"] for one in now["missing"]] == ["running"]
        late = events(1, 80, tenant="search", time_seconds=time.time() - DAY_SECONDS)
        agents.send(late)
        cost += late[0].cost_nano_usd
        until(lambda: closed()["total"]["cost_nano_usd"] == cost, "the correction", 60)
        first = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 6 * DAY_SECONDS + _offset(agents.timezone)))

        def forgotten() -> bool:
            try:
                whole: int = document(agents, "--day", first)["total"]["cost_nano_usd"]
            except AssertionError:
                return False
            return whole == sum(e.cost_nano_usd for e in old)

        until(forgotten, "a day that the agents no longer keep", 60)
        child.process.terminate()
        assert child.process.wait(20) == 0
    without = ("--app-id", agents.app_id, "--agents-url", "http://127.0.0.1:1", "--tz", agents.timezone)
    page = tmp_path / "day.html"
    told = say(agents.kafka, "report", *without, "--day", "yesterday", "--by", "model", "-o", page)
    assert f"{page} written" in told
    assert "<svg" in page.read_text()
    table = run(agents.kafka, "report", *without, "--day", "yesterday", "--by", "model", "--format", "csv").stdout
    assert sum(int(row["cost_nano_usd"]) for row in csv.DictReader(io.StringIO(table.decode()))) == cost
    assert "nothing is known of 2020-01" in say(agents.kafka, "report", *without, "--month", "2020-01", code=3)


def _offset(timezone: str) -> float:
    """Of a zone such as Etc/GMT-3, which is three hours ahead."""
    return -3600.0 * int(timezone.removeprefix("Etc/GMT"))
