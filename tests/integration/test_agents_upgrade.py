"""A roll-out: the state is of the version before, one process after another is replaced, somebody always answers."""

from __future__ import annotations

import json
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from embedwatch.codec import decode_metric
from embedwatch.events import BatchEvent
from embedwatch.kafka import create_topics, producer
from embedwatch.topics import TopicSpec
from tests.harness.agents import PARTITIONS, Agents, events
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import opened

BEFORE = 1000


class Watch:
    """Asks both processes all the time, as those who look at the numbers do."""

    def __init__(self, *agents: Agents) -> None:
        self.agents = agents
        self.asked = 0
        self.silent: list[Any] = []
        self.fell: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        most = 0
        while not self._stop.wait(0.05):
            answers = [one.get("/api/v1/summary") for one in self.agents]
            texts = [found["today"]["texts"] for status, found in answers if status == 200]
            self.asked += 1
            if not texts:
                self.silent.append(answers)
            if texts and max(texts) < most:
                self.fell.append((most, max(texts)))
            most = max([most, *texts])


@pytest.mark.kafka
def test_one_after_another_is_replaced_nobody_is_without_an_answer_and_no_number_falls(
    apache_kafka: Broker, tmp_path: Path
) -> None:
    """Not on the embedded broker: of a topic that others write to it tells an end that is too early, so who takes over
    begins with a state that is a moment old, and numbers fall until the rest is read again."""
    kafka = settings_for(apache_kafka)
    one = Agents(kafka, tmp_path / "one")
    two = Agents(kafka, tmp_path / "two", create=False)
    two.sent = one.sent
    before, sent = the_version_before_wrote_a_state(one), events(BEFORE)
    assert len(before) == 40
    with one.running() as old, two.running() as older:
        one.wait_ready(old)
        two.wait_ready(older)
        one.send(sent[:500])
        one.wait_texts(old, 5400)
        two.wait_texts(older, 5400)
        with Watch(one, two) as watch:
            old.process.terminate()
            assert old.process.wait(30) == 0
            one.send(sent[500:800])
            with one.running() as new:
                one.wait_ready(new)
                one.wait_texts(new, 8400)
                older.process.terminate()
                assert older.process.wait(30) == 0
                one.send(sent[800:])
                with two.running() as newer:
                    two.wait_ready(newer)
                    two.wait_texts(newer, 10_400)
                    one.check_totals(new, [*before, *sent])
                    two.check_totals(newer, [*before, *sent])
                    watch.stop()
    assert watch.asked > 20
    assert (watch.silent, watch.fell) == ([], [])


def the_version_before_wrote_a_state(agents: Agents) -> list[BatchEvent]:
    """Recorded with that version's code (state version 4), on a day that is moved to this one. What it counted stands
    in its state only: the events are no longer kept. They come back, to be added up here."""
    text = (Path(__file__).parent / "state_v4.json").read_text(encoding="utf-8")
    day, now = json.loads(text)["day"], time.time()
    recorded = json.loads(text.replace(day, datetime.fromtimestamp(now, ZoneInfo(agents.timezone)).date().isoformat()))
    changelog = f"{agents.app_id}-state-changelog"
    create_topics(agents.kafka, [TopicSpec(changelog, "", "", "tests", "compact", None, partitions=PARTITIONS)])
    with opened(producer(agents.kafka, "version-before")) as client:
        for name, state in recorded["states"].items():
            assert state["v"] == 4
            record = json.dumps({**state, "timezone": agents.timezone}).encode()
            client.send(changelog, key=f'"{name}"'.encode(), value=record, partition=int(name[1:])).get(30)
    events = [decode_metric(json.dumps({**event, "time_seconds": now}).encode()) for event in recorded["events"]]
    return [event for event in events if isinstance(event, BatchEvent)]
