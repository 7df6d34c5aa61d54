"""`embedwatch autoscale` with real workers on the embedded broker, and a stand-in for the agents that decide."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedwatch.events import HeartbeatEvent
from embedwatch.processes import Child, free_port
from embedwatch.settings import KafkaSettings
from tests.harness.own_endpoint import numbers, probe
from tests.harness.scaling_agents import ScalingAgents
from tests.harness.waiting import gone
from tests.harness.workers import HASHING, PARTITIONS, Flow, said, until

COMMAND = [sys.executable, "-c", "from embedwatch.cli import main; main()", "autoscale"]
QUICK = ("--interval", "100ms", "--name", "w")


@pytest.fixture
def flow(embedded_settings: KafkaSettings, tmp_path: Path) -> Flow:
    return Flow(embedded_settings, tmp_path)


@pytest.fixture
def agents(flow: Flow) -> Iterator[ScalingAgents]:
    with ScalingAgents(flow.group, flow.topics.texts) as agents:
        yield agents


@contextlib.contextmanager
def autoscale(flow: Flow, agents: ScalingAgents, *arguments: object) -> Iterator[Child]:
    """The command; killed at the end if it still runs."""
    with flow.worker(*HASHING, *QUICK, "--agents-url", agents.url, *arguments, command=COMMAND) as child:
        yield child


def started(child: Child) -> dict[str, list[int]]:
    """Process ids by name, the latest last."""
    found: dict[str, list[int]] = {}
    for name, pid in re.findall(r" (\S+) started, process (\d+)\n", child.log.read_text()):
        found.setdefault(name, []).append(int(pid))
    return found


def running(child: Child) -> list[str]:
    """Names of workers with a process."""
    return [
        name
        for name, pids in sorted(started(child).items())
        if name not in ("agents", "metrics") and not gone(pids[-1])
    ]


def held(child: Child, name: str) -> set[str]:
    """The partitions that a worker was given last, since its last start."""
    since = child.log.read_text().rpartition(f" {name} started, process ")[2]
    lines = re.findall(rf"^\[{name}\] .*partitions assigned: (.*)$", since, re.MULTILINE)
    return set(re.findall(r"\S+-\d+", lines[-1])) if lines else set()


def at_work(child: Child, *names: str) -> None:
    """Exactly these have a process, and together they have all partitions, each at least one.

    The embedded broker never comes to the end of a rebalance during which the last member leaves: it is not asked to.
    """

    def settled() -> bool:
        if running(child) != list(names):
            return False
        shares = [held(child, name) for name in names]
        return not names or (all(shares) and sum(map(len, shares)) == len(set().union(*shares)) == PARTITIONS)

    child.wait_until(settled, 60, f"exactly {names} at work")


def test_workers_come_and_go_as_the_agents_ask_and_no_text_is_lost(flow: Flow, agents: ScalingAgents) -> None:
    ids: list[str] = []

    def more() -> None:
        ids.extend(flow.send_chunks(20, 5, start=len(ids)))

    agents.desired = 1
    with autoscale(flow, agents, "--min", 0, "--slots", 4, "--hashing-seconds-per-text", 0.002) as child:
        at_work(child, "w-1")
        for desired, names in ((3, ["w-1", "w-2", "w-3"]), (1, ["w-1"]), (0, [])):
            more()  # while it changes
            agents.desired = desired
            at_work(child, *names)
        more()
        agents.mute = True
        said(child, "workers: 0 stay: no stream agents at")
        asked = agents.asked
        until(lambda: agents.asked > asked + 3)
        assert running(child) == []
        agents.desired, agents.mute = 2, False
        at_work(child, "w-1", "w-2")
        more()
        until(lambda: {text_id for text_id, _ in flow.vectors()} == set(ids))

        child.process.terminate()
        assert child.process.wait(60) == 0
        assert all(gone(pid) for pids in started(child).values() for pid in pids)
        log = child.log.read_text()
    changes = re.findall(r"workers: (\d+ (?:-> \d+|stay)): ([^;\n]*)", log)
    # The first is before the agents have answered; what is told, is told once.
    assert [change for change, _ in changes] == [
        "0 stay", "0 -> 1", "1 -> 3", "3 -> 1", "1 -> 0", "0 stay", "0 -> 2",
    ]  # fmt: skip
    assert ("1 -> 3", "the test wants it") in changes
    # Each was asked once: a second time would have cut off what was in flight.
    assert "second signal" not in log.replace("a second signal stops at once", "")
    assert "killed" not in log
    last = {event.worker: event.state for event in flow.events() if isinstance(event, HeartbeatEvent)}
    assert last == dict.fromkeys(("w-1", "w-2", "w-3"), "stopping")
    got = Counter(text_id for text_id, _ in flow.vectors())
    assert set(got) == set(ids)


def test_a_worker_that_is_killed_comes_back_and_one_that_went_by_itself_too(flow: Flow, agents: ScalingAgents) -> None:
    agents.desired, port = 2, free_port()
    with autoscale(flow, agents, "--slots", 2, "--metrics-port", port) as child:
        at_work(child, "w-1", "w-2")
        assert (probe(port, "/livez"), probe(port, "/readyz")) == ((200, []), (200, []))
        os.kill(started(child)["w-1"][0], signal.SIGKILL)
        said(child, "w-1 was ended by SIGKILL (out of memory?); it starts again in 1 s")
        os.kill(started(child)["w-2"][0], signal.SIGTERM)
        said(child, "w-2 ended with status 0; it starts again in 1 s")
        child.wait_until(lambda: all(len(started(child)[name]) == 2 for name in ("w-1", "w-2")), 30, "second starts")
        at_work(child, "w-1", "w-2")
        until(lambda: numbers(port)["embedwatch_autoscaler_places up"] == 2)
        seen = numbers(port)
        assert (seen["embedwatch_autoscaler_crashes_total"], seen["embedwatch_autoscaler_restarts_total"]) == (2, 2)
        assert (seen["embedwatch_autoscaler_wanted_workers"], seen["embedwatch_autoscaler_started_workers_total"]) == (
            2,
            2,
        )
        ids = flow.send_chunks(10, 5)
        until(lambda: {text_id for text_id, _ in flow.vectors()} == set(ids))
        os.kill(child.pid, signal.SIGINT)
        assert child.process.wait(60) == 0
        assert all(gone(pid) for pids in started(child).values() for pid in pids)


def test_when_every_worker_fails_it_is_told_and_ends_with_their_code(flow: Flow, agents: ScalingAgents) -> None:
    agents.desired = 1
    # The embedded broker has no transactions that a worker could rely on: no worker starts.
    with autoscale(flow, agents, "--slots", 4, "--delivery", "exactly_once") as child:
        assert child.process.wait(60) == 2
        log = child.log.read_text()
    assert log.count("starting it again would not help: it is given up") == 3
    assert "the place of w-1 stays empty for 30 min; the others work on" in log
    assert "no worker keeps running, 3 were given up: all are stopped" in log
    assert all(gone(pid) for pids in started(child).values() for pid in pids)


def test_a_second_signal_ends_at_once_and_leaves_nothing(flow: Flow, agents: ScalingAgents) -> None:
    agents.desired = 2
    with autoscale(flow, agents, "--slots", 2) as child:
        at_work(child, "w-1", "w-2")
        for name in ("w-1", "w-2"):
            os.kill(started(child)[name][0], signal.SIGSTOP)  # whoever sleeps drains nothing
        child.process.terminate()
        said(child, "a second signal stops at once")

        def asked_again() -> bool:
            """A signal right after the first is taken as the same wish: this one is repeated until it counts."""
            if child.process.poll() is None:
                child.process.terminate()
            return child.process.returncode is not None

        until(asked_again)
        assert child.process.returncode == 128 + signal.SIGTERM
        until(lambda: all(gone(pid) for pids in started(child).values() for pid in pids))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_command_killed_with_9_leaves_nobody_behind(flow: Flow, agents: ScalingAgents) -> None:
    agents.desired = 2
    with autoscale(flow, agents, "--slots", 2) as child:
        at_work(child, "w-1", "w-2")
        child.process.kill()
        until(lambda: all(gone(pid) for pids in started(child).values() for pid in pids))


def test_agents_of_another_group_are_not_followed(embedded_settings: KafkaSettings, tmp_path: Path) -> None:
    flow = Flow(embedded_settings, tmp_path)
    with ScalingAgents("others", flow.topics.texts) as agents:
        agents.desired = 3
        with autoscale(flow, agents, "--min", 0, "--slots", 3) as child:
            said(child, f"the agents look at the group others, and these workers are of {flow.group}")
            assert running(child) == []


def dry_lines(agents_url: str, *arguments: str, count: int) -> list[str]:
    """The first lines of a dry run, which is then stopped by SIGTERM. There is no broker that it could ask."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
    environ["EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{free_port()}"
    arguments = ("--dry-run", "--interval", "100ms", "--name", "w", "--agents-url", agents_url, *arguments)
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=environ)
    with process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().rstrip("\n") for _ in range(count)]
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
    return lines


def test_a_dry_run_prints_and_starts_nothing() -> None:
    with ScalingAgents("embedwatch-workers", "embedwatch.texts") as agents:
        agents.desired = 2
        assert dry_lines(agents.url, "--slots", "3", "--threads", "1", count=5) == [
            "workers: 0 -> 2: the test wants it",
            "  place  device  CPU threads  what is done",
            "  w-1    auto    1            start",
            "  w-2    auto    1            start",
            "workers: 2 stay: the test wants it",
        ]
        first, second = map(json.loads, dry_lines(agents.url, "--max", "1", "--json", count=2))
        assert (first["from_workers"], first["to_workers"], first["limited_by"]) == (0, 1, "max")
        assert (second["from_workers"], second["to_workers"], second["start"]) == (1, 1, [])
    (line,) = dry_lines(f"http://127.0.0.1:{free_port()}", "--json", count=1)
    assert json.loads(line)["held"] is True
    assert "connection refused" in json.loads(line)["reason"]
