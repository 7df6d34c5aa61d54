"""A burst of texts through real agents that decide and `embedwatch autoscale` that acts: up, down, and nothing lost."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedwatch.events import BatchEvent, HeartbeatEvent
from embedwatch.processes import Child
from embedwatch.settings import KafkaSettings
from embedwatch.sketch import Sketch
from tests.harness.agents import Agents
from tests.harness.commands import EMBEDWATCH
from tests.harness.waiting import gone
from tests.harness.workers import HASHING, Flow, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TEXTS = 50_000
CHUNK = 50
TARGET_SECONDS = 60
#: Of one text: one worker has more than two minutes to do with the burst, and the target is one.
SECONDS_PER_TEXT = 0.0025
SCALING = {
    "EMBEDWATCH_SCALING_TARGET_SECONDS": str(TARGET_SECONDS),
    "EMBEDWATCH_SCALING_MIN_WORKERS": "1",
    "EMBEDWATCH_SCALING_MAX_WORKERS": "4",
    "EMBEDWATCH_SCALING_INTERVAL_SECONDS": "1",
    "EMBEDWATCH_SCALING_WARM_UP_SECONDS": "10",
    # Short, for nobody wants to wait for what this test does not look at.
    "EMBEDWATCH_SCALING_HOLD_SECONDS": "15",
}


@pytest.fixture
def flow(embedded_settings: KafkaSettings, tmp_path: Path) -> Flow:
    return Flow(embedded_settings, tmp_path)


@pytest.fixture
def agents(flow: Flow, tmp_path: Path) -> Iterator[Agents]:
    agents = Agents(flow.kafka, tmp_path, create=False)
    with agents.running(environment=SCALING) as child:
        agents.wait_ready(child)
        yield agents


def changes(child: Child) -> list[tuple[int, int]]:
    """From and to of every change that the command told."""
    found = re.findall(r"workers: (\d+) -> (\d+): ", child.log.read_text())
    return [(int(before), int(after)) for before, after in found]


def now_at(child: Child, workers: int) -> bool:
    return bool(changes(child)) and changes(child)[-1][1] == workers


def test_a_burst_brings_four_workers_and_then_one_again(flow: Flow, agents: Agents) -> None:
    options = ("--agents-url", f"http://127.0.0.1:{agents.port}", "--interval", "500ms", "--name", "w", "--max", 4)
    cost = ("--hashing-seconds-per-text", SECONDS_PER_TEXT, "--max-poll-texts", 100)
    with flow.worker(*HASHING, *options, *cost, command=[*EMBEDWATCH, "autoscale"]) as child:
        # A few texts first: one worker, whose speed is known.
        ids = flow.send_chunks(20, CHUNK)
        until(lambda: agents.today().get("texts", 0) >= len(ids), 90)
        assert now_at(child, 1)

        ids += flow.send_chunks(TEXTS // CHUNK, CHUNK, start=len(ids))
        until(lambda: now_at(child, 4), 60)
        until(lambda: agents.today().get("texts", 0) >= len(ids), 180)
        until(lambda: now_at(child, 1), 180)
        child.wait_until(lambda: len(running(child)) == 1, 60, "one worker left")
        said = changes(child)

        child.process.terminate()
        assert child.process.wait(60) == 0
        assert all(gone(pid) for pid in processes(child).values())

    # Up, then down: no more than one change of direction.
    directions = [after > before for before, after in said]
    assert directions == sorted(directions, reverse=True), said
    assert max(after for _, after in said) == 4

    got = Counter(text_id for text_id, _ in flow.vectors())
    assert set(got) == set(ids)
    assert flow.dead() == {}
    p95_ms = waits_after_warm_up(flow).quantile(0.95)
    assert p95_ms is not None
    assert p95_ms <= TARGET_SECONDS * 1000


def processes(child: Child) -> dict[str, int]:
    """The latest process of each name."""
    return {name: int(pid) for name, pid in re.findall(r" (\S+) started, process (\d+)\n", child.log.read_text())}


def running(child: Child) -> list[str]:
    return [name for name, pid in processes(child).items() if name != "agents" and not gone(pid)]


def waits_after_warm_up(flow: Flow) -> Sketch:
    """How long texts had waited that were begun since four workers were at work."""
    events = flow.events()
    first_seen: dict[str, float] = {}
    for event in events:
        if isinstance(event, HeartbeatEvent) and event.state == "running":
            first_seen[event.worker] = min(event.time_seconds, first_seen.get(event.worker, time.time()))
    assert len(first_seen) == 4
    waits = Sketch()
    for event in events:
        if isinstance(event, BatchEvent) and event.time_seconds >= max(first_seen.values()):
            waits.merge(Sketch.from_text(event.queue_wait_sketch))
    assert waits.count > TEXTS / 4
    return waits
