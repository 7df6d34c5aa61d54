"""`embedwatch worker --processes N` on the embedded broker: the work is shared, and no process is lost or left."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from embedwatch.events import HeartbeatEvent
from embedwatch.processes import Child
from embedwatch.settings import KafkaSettings
from tests.harness.brokers import Broker, settings_for
from tests.harness.waiting import gone
from tests.harness.workers import ENDS_WHEN_IDLE, HASHING, Flow, said, until

CREW = (*HASHING, "--processes", 2, "--name", "w")


@pytest.fixture
def flow(embedded_settings: KafkaSettings, tmp_path: Path) -> Flow:
    return Flow(embedded_settings, tmp_path)


@pytest.fixture
def apache_flow(apache_kafka: Broker, tmp_path: Path) -> Flow:
    """For what two workers that leave the group in the same moment do: the embedded broker forgets one of the two."""
    return Flow(settings_for(apache_kafka), tmp_path)


def processes(child: Child, name: str) -> list[int]:
    """Process ids that this member of the crew has had, latest last."""
    return [int(pid) for pid in re.findall(rf" {name} started, process (\d+)\n", child.log.read_text())]


def both_work(child: Child) -> None:
    for name in ("w-1", "w-2"):
        child.wait_until(
            lambda name=name: re.search(rf"\[{name}\] .*partitions assigned: \S", child.log.read_text()) is not None,
            60,
            f"partitions of {name}",
        )


def test_two_processes_share_the_texts_and_one_that_is_killed_comes_back(flow: Flow) -> None:
    with flow.worker(*CREW) as child:
        both_work(child)
        ids = flow.send_chunks(40, 5)
        until(lambda: {text_id for text_id, _ in flow.vectors()} == set(ids))
        assert {event.worker for event in flow.batches()} == {"w-1", "w-2"}

        (killed,) = processes(child, "w-1")
        os.kill(killed, signal.SIGKILL)
        said(child, "w-1 was ended by SIGKILL (out of memory?); it starts again in 1 s")
        child.wait_until(lambda: child.log.read_text().count("[w-1] ") and len(processes(child, "w-1")) == 2, 30, "w-1")
        ids += flow.send_chunks(40, 5, start=len(ids))
        until(lambda: {text_id for text_id, _ in flow.vectors()} == set(ids))

        child.process.terminate()
        assert child.process.wait(45) == 0
        log = child.log.read_text()
        # Each was asked once: a second time would have cut off what was in flight.
        assert "second signal" not in log.replace("a second signal stops at once", "")
        assert all(gone(pid) for name in ("w-1", "w-2") for pid in processes(child, name))
    got = Counter(text_id for text_id, _ in flow.vectors())
    assert set(got) == set(ids)


def test_when_all_have_nothing_more_to_do_the_command_ends_well(flow: Flow) -> None:
    ids = flow.send_chunks(20, 5)
    log = flow.work(*CREW)
    assert "w-1 is done" in log
    assert "w-2 is done" in log
    assert {text_id for text_id, _ in flow.vectors()} == set(ids)


def test_what_no_restart_mends_ends_the_command_with_its_code(flow: Flow) -> None:
    with flow.worker(*CREW, "--delivery", "exactly_once", *ENDS_WHEN_IDLE) as child:
        assert child.process.wait(60) == 2
        log = child.log.read_text()
    assert re.search(r"^\[w-[12]\] embedwatch: .*exactly", log, re.MULTILINE)
    assert "starting it again would not help: all are stopped" in log
    assert all(len(processes(child, name)) == 1 for name in ("w-1", "w-2"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_command_killed_with_9_leaves_no_worker_behind_and_they_finish_what_they_had(apache_flow: Flow) -> None:
    flow = apache_flow
    with flow.worker(*CREW, "--hashing-seconds-per-text", 0.02, "--max-poll-texts", 20) as child:
        both_work(child)
        ids = flow.send_chunks(20, 20)
        until(lambda: len(flow.vectors()) > 20)
        child.process.kill()
        pids = [processes(child, name)[-1] for name in ("w-1", "w-2")]
        until(lambda: all(gone(pid) for pid in pids))
        assert len(flow.vectors()) < len(ids), "they had ended before the command was killed"
    # They stopped in order, although nobody read any more what they said: only a clean end is announced.
    last = {event.worker: event.state for event in flow.events() if isinstance(event, HeartbeatEvent)}
    assert last == {"w-1": "stopping", "w-2": "stopping"}
    flow.work(*HASHING)
    got = Counter(text_id for text_id, _ in flow.vectors())
    assert set(got) == set(ids)
    assert sum(got.values()) <= len(ids) + 40  # what was in flight while the group changed may come twice
