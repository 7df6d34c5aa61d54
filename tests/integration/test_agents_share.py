"""Two `embedwatch agents` processes share the partitions: each tells the numbers of the whole, one killed or not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from embedwatch.codec import decode_verdict, decode_window
from embedwatch.events import BatchEvent, WindowEvent, window_key
from embedwatch.processes import Child
from embedwatch.settings import KafkaSettings
from tests.harness.agents import COMMAND, PARTITIONS, ROOT, Agents, events, until
from tests.harness.kafka_io import read_topic


def pair(kafka: KafkaSettings, folder: Path) -> tuple[Agents, Agents]:
    first = Agents(kafka, folder / "first")
    second = Agents(kafka, folder / "second", create=False)
    return first, second


def held(agents: Agents) -> int:
    found: int = agents.get("/api/v1/summary")[1].get("partitions", {}).get("held_here", 0)
    return found


def wait_ready(agents: Agents, child: Child, partitions: int) -> None:
    """Ready, with so many partitions held by this process."""
    child.wait_until(
        lambda: held(agents) == partitions and agents.get("/readyz")[0] == 200, 90, "readiness", step_seconds=0.2
    )


def window_texts(agents: Agents) -> tuple[int, int]:
    _, data = agents.get("/api/v1/summary?window_seconds=3600")
    return data["performance"]["texts"], data["performance"]["latency_ms"]["count"]


def test_both_know_the_whole_and_a_survivor_goes_on_with_complete_windows(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    one, two = pair(kafka_settings, tmp_path)
    first, second, third = events(1000), events(600, start=1000), events(400, start=1600)
    with one.running() as child:
        wait_ready(one, child, PARTITIONS)
        one.send(first[:400])
        with two.running() as other:
            wait_ready(two, other, PARTITIONS // 2)
            wait_ready(one, child, PARTITIONS // 2)
            one.send(first[400:])
            for agents, process in ((one, child), (two, other)):
                agents.wait_texts(process, 10_000)
                until(lambda agents=agents: window_texts(agents) == (10_000, 10_000), "whole windows")
                assert agents.today()["cost_nano_usd"] == sum(event.cost_nano_usd for event in first)
                assert agents.get("/api/v1/summary")[1]["partitions"] == {
                    "total": PARTITIONS, "held_here": PARTITIONS // 2, "fresh": PARTITIONS, "stale_partitions": [],
                }  # fmt: skip
            one.send(second)
            child.process.kill()  # some of it is counted, some written, some told, some not even read
            child.process.wait(30)
            two.wait_texts(other, 16_000, timeout_seconds=90)
            wait_ready(two, other, PARTITIONS)
            assert two.today()["cost_nano_usd"] == sum(event.cost_nano_usd for event in [*first, *second])
            assert window_texts(two) == (16_000, 16_000)
            with one.running() as child:
                one.wait_texts(child, 16_000)
                wait_ready(one, child, PARTITIONS // 2)
                wait_ready(two, other, PARTITIONS // 2)
                one.send(third)
                for agents, process in ((one, child), (two, other)):
                    agents.wait_texts(process, 20_000)
                    until(lambda agents=agents: window_texts(agents) == (20_000, 20_000), "whole windows")
                    assert agents.today()["cost_nano_usd"] == sum(e.cost_nano_usd for e in [*first, *second, *third])
                verdicts = [decode_verdict(r.value) for r in read_topic(one.kafka, one.topics.verdicts, 40)]
                assert len({verdict.alert_id for verdict in verdicts}) > 4
                for process in (child, other):
                    process.process.terminate()
                for process in (child, other):
                    assert process.process.wait(20) == 0
                    log = process.log.read_text()
                    assert "Traceback" not in log, log


def rebuilt(agents: Agents) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `embedwatch agents rebuild`."""
    command = [*COMMAND, "agents", "rebuild", "--app-id", agents.app_id, "-b", agents.kafka.bootstrap_servers]
    command += ["--topic-prefix", agents.kafka.topic_prefix, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_windows_survive_a_restart_and_the_ledger_is_that_of_the_events(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    agents = Agents(kafka_settings, tmp_path)
    sent = events(200)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.send(sent)
        agents.wait_texts(child, 2000)
        # All of it is written: what comes back does not come from reading the events again.
        read_topic(agents.kafka, f"{agents.app_id}-state-changelog", PARTITIONS, partitions=PARTITIONS)
        child.process.kill()
        child.process.wait(30)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.check_totals(child, sent)
        until(lambda: rebuilt(agents)[1]["events"] == len(agents.sent), "state of the marks")
        code, found = rebuilt(agents)
        assert (code, found["differences"], found["unknown_days"]) == (0, [], [])
        assert found["days"] == [agents.today()["day"]]
        assert window_texts(agents)[0] == 2000 + PARTITIONS, "and the marks that were sent behind them"


def test_closed_windows_of_the_whole_are_published_once_whoever_speaks(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    one, two = pair(kafka_settings, tmp_path)
    settings = {"EMBEDWATCH_AGENTS_WINDOW_SECONDS": "10,20", "EMBEDWATCH_AGENTS_LATE_GRACE_SECONDS": "5"}
    found: dict[str, WindowEvent] = {}

    def published(length: int) -> tuple[int, int]:
        """Events and cost of the windows on the topic; one that is out does not change."""
        for record in read_topic(one.kafka, one.topics.windows, 2000, timeout_seconds=2):
            window = decode_window(record.value)
            known = found.setdefault(window_key(window), window)
            assert (known.events, known.cost_nano_usd) == (window.events, window.cost_nano_usd), (known, window)
        whole = [w for w in found.values() if (w.scope, w.window_seconds) == ("all", length)]
        return sum(w.events for w in whole), sum(w.cost_nano_usd for w in whole)

    def all_out(*sent: BatchEvent) -> None:
        expected = len(sent), sum(event.cost_nano_usd for event in sent)
        until(lambda: all(published(length) == expected for length in (10, 20)), "windows on the topic", 90)

    with two.running(environment=settings) as other, one.running(environment=settings) as child:
        wait_ready(one, child, PARTITIONS // 2)
        wait_ready(two, other, PARTITIONS // 2)
        first = events(40)
        one.send(first)
        all_out(*first)
        for agents in (one, two):
            until(
                lambda agents=agents: (
                    sum(
                        row["events"]
                        for row in agents.get("/api/v1/windows?window_seconds=10&limit=100")[1]["windows"]
                        if row["state"] == "closed"
                    )
                    == 40
                ),
                "closed windows in both APIs",
            )
        child.process.kill()
        child.process.wait(30)
        wait_ready(two, other, PARTITIONS)
        second = events(20, start=40)
        one.send(second)
        all_out(*first, *second)
        with one.running(environment=settings) as child:
            wait_ready(one, child, PARTITIONS // 2)
            wait_ready(two, other, PARTITIONS // 2)
            third = events(20, start=60)
            one.send(third)
            all_out(*first, *second, *third)
