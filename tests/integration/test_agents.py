"""`embedwatch agents` as a process on real brokers: exact totals through crashes, aborted work and skipped records."""

from __future__ import annotations

import json
import re
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from embedwatch.codec import decode_verdict, decode_window
from embedwatch.events import WindowEvent, window_key
from embedwatch.kafka import create_topics, producer
from embedwatch.processes import Child, free_port, port_answers
from embedwatch.settings import KafkaSettings
from embedwatch.sketch import Sketch
from embedwatch.topics import TopicSpec
from stream_agents.compute.ledger import STATE_VERSION
from tests.harness import json_schema
from tests.harness.agents import PARTITIONS, ROOT, Agents, events, put, until
from tests.harness.brokers import APACHE_KAFKA
from tests.harness.kafka_io import opened, read_topic, send_all
from tests.harness.open_transaction import TENANT

on_kafka = pytest.mark.parametrize(
    "broker", [pytest.param(APACHE_KAFKA, id=APACHE_KAFKA, marks=pytest.mark.kafka)], indirect=True
)
REFERENCE = ROOT / "docs" / "reference"
SKIPPING = (sys.executable, "-m", "tests.harness.skipping_agents")


@pytest.fixture
def agents(kafka_settings: KafkaSettings, tmp_path: Path) -> Agents:
    return Agents(kafka_settings, tmp_path)


@pytest.fixture
def embedded_agents(embedded_settings: KafkaSettings, tmp_path: Path) -> Agents:
    return Agents(embedded_settings, tmp_path)


def test_from_events_to_numbers_verdicts_and_a_clean_end(agents: Agents, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    slow = Sketch.of([100.0] * 8 + [650.0] * 2).to_text()
    batches = events(40, latency_sketch=slow, tenant="acme")
    agents.send([*batches, b'{"type":"nope"}', b"\xff\xfe"])
    send_all(agents.kafka, agents.topics.texts, [b"text"] * 3, partition=1)
    with agents.running(environment={"EMBEDWATCH_AGENTS_DATA_DIR": None, "TMPDIR": str(temporary)}) as child:
        child.wait_until(lambda: "agents: ready, http://" in child.log.read_text(), 60, "line that says it is ready")
        assert agents.get("/readyz") == (200, {"ready": True, "reasons": []})
        assert len(list(temporary.iterdir())) == 1
        agents.check_totals(child, batches)

        _, data = agents.get("/api/v1/summary?scope=tenant%3Dacme")
        assert data["performance"]["latency_ms"]["p95"] == pytest.approx(650, rel=0.005)
        assert data["performance"]["latency_ms"]["p50"] == pytest.approx(100, rel=0.005)
        assert data["performance"]["texts"] == 400
        assert data["cache"]["hit_rate_pct"] == 20
        _, data = agents.get("/api/v1/summary")
        assert sum(data["rejected_events"].values()) == 2
        assert agents.get("/api/v1/summary?window_seconds=7")[0] == 400
        _, text = agents.get("/metrics")
        assert 'embedwatch_model_latency_seconds{model="m",quantile="0.95"} 0.6' in text

        # The queue: three texts that no worker has taken, read by the agents themselves.
        until(lambda: agents.get("/api/v1/summary")[1]["queue"]["depth_texts"] == 3, "depth of the queue")
        queue = agents.get("/api/v1/summary")[1]["queue"]
        assert (queue["status"], queue["lag_messages"], queue["partitions"]) == ("STOPPED", 3, PARTITIONS)
        assert queue["lag_seconds"] > 0

        breached: dict[str, Any] = {}

        def both() -> bool:
            for record in read_topic(agents.kafka, agents.topics.verdicts, 1):
                verdict = decode_verdict(record.value)
                assert record.key.decode() == verdict.alert_id
                if verdict.judgement == "breached":
                    breached[verdict.alert_type] = verdict
            return {"HIGH_LATENCY", "LOW_CACHE_HIT_RATE"} <= set(breached)

        until(both, "verdicts")
        assert breached["HIGH_LATENCY"].value == pytest.approx(650, rel=0.005)

        letters = read_topic(agents.kafka, agents.topics.dead_letters, 2)
        assert {letter.value for letter in letters} == {b'{"type":"nope"}', b"\xff\xfe"}
        for letter in letters:
            headers = dict(letter.headers)
            assert headers["stage"] == b"agents.decode"
            assert headers["source_topic"].decode() == agents.topics.metrics
            assert headers["source_offset"].isdigit()

        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(20) == 0
        log = child.log.read_text()
    assert "agents: stopped after" in log
    for unwanted in ("Traceback", "\x1b", "stream_agents.transport"):
        assert unwanted not in log, log
    assert not port_answers(agents.port)
    assert list(temporary.iterdir()) == []


def test_closed_windows_are_on_their_topic_and_add_up_to_the_events_sent(agents: Agents) -> None:
    described = json.loads((REFERENCE / "openapi.json").read_text(encoding="utf-8"))
    lengths = {"EMBEDWATCH_AGENTS_WINDOW_SECONDS": "10,20", "EMBEDWATCH_AGENTS_LATE_GRACE_SECONDS": "2"}
    with agents.running(environment=lengths) as child:
        agents.wait_ready(child)
        # A backlog of minutes ago, in order and within one window each, is over as soon as nothing more comes.
        begin = time.time() // 60 * 60 - 300
        for number in range(3):
            agents.send(
                events(8, start=8 * number, time_seconds=begin + 20 * number + 5, model=f"m{number % 2}", tenant="t",
                       latency_sketch=Sketch.of([10.0 * (number + 1)] * 10).to_text())
            )  # fmt: skip
        agents.wait_texts(child, 240)
        until(lambda: closed(agents, "all", 10) == 24, "windows of 10 s in the API")
        # One of now: the process has seen the whole of it.
        agents.send(events(8, start=24, model="m0", tenant="t"))
        agents.wait_texts(child, 320)
        found: dict[str, WindowEvent] = {}

        def all_there() -> bool:
            for record in read_topic(agents.kafka, agents.topics.windows, 500, timeout_seconds=2):
                window = decode_window(record.value)
                assert record.key.decode() == window_key(window)
                assert found.setdefault(window_key(window), window) == window, "a window that is out does not change"
            return all(
                sum(w.events for w in found.values() if (w.scope, w.window_seconds) == ("all", length)) == 32
                for length in (10, 20)
            ) and any(not w.partial and w.scope == "all" for w in found.values())

        until(all_there, "windows on the topic", 90)
        sent = agents.sent
        for scope, mine in (
            ("all", sent), ("tenant=t", sent), ("model=m0,tenant=t", [e for e in sent if e.model == "m0"]),
            ("model=m1", [e for e in sent if e.model == "m1"]),
        ):  # fmt: skip
            for length in (10, 20):
                windows = [w for w in found.values() if (w.scope, w.window_seconds) == (scope, length)]
                for window in windows:
                    inside = [e for e in mine if window.start_seconds <= e.time_seconds < window.end_seconds]
                    assert window.events == len(inside)
                    assert window.cost_nano_usd == sum(e.cost_nano_usd for e in inside)
                    expected = Sketch.merged(Sketch.from_text(e.latency_sketch) for e in inside)
                    told = Sketch.from_text(window.latency_sketch)
                    assert [told.quantile(q / 10) for q in range(11)] == [expected.quantile(q / 10) for q in range(11)]
                assert sum(w.texts for w in windows) == sum(e.texts for e in mine)
        assert {w.partial for w in found.values() if w.start_seconds < begin + 60} == {True}, "it began after them"

        # One that belongs to a window that is out: late, and booked.
        agents.send(events(1, start=40, time_seconds=begin + 5))
        agents.wait_texts(child, 330)
        assert agents.get("/api/v1/summary")[1]["late_events"] == 1
        schemas = json_schema.closed(described["components"]["schemas"])
        for path, operations in described["paths"].items():
            answers = operations["get"]["responses"]["200"]["content"]
            if "application/json" in answers:
                status, data = agents.get(path)
                assert (status, json_schema.misfit(data, answers["application/json"]["schema"], schemas)) == (200, None)

        # A stream that is open does not hold up the end.
        with urllib.request.urlopen(f"http://127.0.0.1:{agents.port}/events", timeout=10) as stream:
            assert stream.readline() == b"event: summary\n"
            child.process.send_signal(signal.SIGTERM)
            assert child.process.wait(20) == 0
        assert "Traceback" not in child.log.read_text()


def closed(agents: Agents, scope: str, length: int) -> int:
    """Events in the closed windows that the API remembers."""
    _, data = agents.get(f"/api/v1/windows?scope={scope}&window_seconds={length}&limit=1000")
    return sum(row["events"] for row in data.get("windows", ()) if row["state"] == "closed")


def test_after_kill_9_every_event_is_counted_once(agents: Agents) -> None:
    first, second, third = events(400), events(400, start=400), events(400, start=800)
    with agents.running() as child:
        agents.wait_ready(child)
        with opened(producer(agents.kafka, "test-producer")) as client:
            # It is killed in the middle: some are written, some only counted, some not even read.
            put(client, agents.topics.metrics, first)
            agents.wait_texts(child, 10 * len(first) // 2)
            put(client, agents.topics.metrics, second)
            client.flush(30)
        child.process.kill()
        child.process.wait(30)
    agents.send(third)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.check_totals(child, [*first, *second, *third])
        child.process.terminate()
        assert child.process.wait(20) == 0


@on_kafka
def test_work_that_was_aborted_is_not_counted_and_its_gaps_stop_nobody(agents: Agents) -> None:
    done, aborted = events(60), events(40, start=1000, tenant="aborted")
    with (
        agents.running() as child,
        opened(producer(agents.kafka, "worker", transactional_id=f"{agents.kafka.topic_prefix}.worker")) as client,
    ):
        client.init_transactions()
        for number in range(5):
            client.begin_transaction()
            put(client, agents.topics.metrics, done[number * 10 : number * 10 + 10])
            client.commit_transaction()
            client.begin_transaction()
            put(client, agents.topics.metrics, aborted[number * 8 : number * 8 + 8])
            client.flush(30)
            if number == 3:
                agents.wait_ready(child)
            client.abort_transaction()
        agents.wait_texts(child, 500)
        agents.send(done[50:])
        agents.check_totals(child, done)
        _, data = agents.get("/api/v1/summary")
        assert data["accepted_gaps"] > 0
        assert agents.today("tenant%3Daborted")["texts"] == 0
        assert "records were skipped" not in child.log.read_text()
        # A worker that died inside a transaction: its successor takes the id, which aborts what was open.
        client.begin_transaction()
        put(client, agents.topics.metrics, aborted)
        client.flush(30)
        with opened(
            producer(agents.kafka, "successor", transactional_id=f"{agents.kafka.topic_prefix}.worker")
        ) as successor:
            successor.init_transactions()
        agents.check_totals(child, done)
        assert agents.today("tenant%3Daborted")["texts"] == 0
        child.process.terminate()
        assert child.process.wait(20) == 0, "the client that asks about gaps holds up nothing"


@on_kafka
def test_a_worker_killed_inside_a_transaction_counts_nothing_and_holds_up_nobody_for_good(agents: Agents) -> None:
    """Nobody takes its id again. What was published after it waits until the broker aborts, and is counted then."""
    before, after = events(40), events(40, start=40)
    command = [
        sys.executable, "-m", "tests.harness.open_transaction", agents.kafka.bootstrap_servers, agents.topics.metrics,
        f"{agents.kafka.topic_prefix}.dies", "40",
    ]  # fmt: skip
    agents.send(before)
    with agents.running() as child:
        agents.wait_ready(child)
        with Child("worker", command, agents.folder / "worker.log", cwd=ROOT) as worker:
            worker.wait_until(lambda: "open" in worker.log.read_text(), 30, "open transaction")
            worker.process.kill()
            worker.process.wait(30)
        agents.send(after)
        agents.check_totals(child, [*before, *after])
        assert agents.today(f"tenant%3D{TENANT}")["texts"] == 0
        child.process.terminate()
        assert child.process.wait(20) == 0


@on_kafka
def test_records_that_are_skipped_on_the_way_are_found_and_counted(
    kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    """In one partition in the middle, in another at the very end, where no later record would show it."""
    agents = Agents(kafka_settings, tmp_path, create=False)
    # Without texts there is no lag to sample, and no worker is asked for: nothing but these events is in the topic.
    create_topics(kafka_settings, [spec for spec in agents.topics.specs() if spec.name != agents.topics.texts])
    sent = events(80)
    agents.send(sent)  # twenty a partition
    alone = {"EMBEDWATCH_SCALING_ENABLED": "false"}
    with agents.running(command=(*SKIPPING, "0:5-8,2:15-19"), environment=alone) as child:
        agents.wait_ready(child)
        agents.wait_texts(child, 800)
        log = child.log.read_text()
        assert "withheld 4 of partition 0" in log
        assert "withheld 5 of partition 2" in log
        assert "partition 0: expected offset 5, got 9; records were skipped, seeking back to 5" in log
        assert "partition 2: offset 15 was not delivered, seeking back to it" in log
        agents.check_totals(child, sent)
        _, metrics = agents.get("/metrics")
        # Two at least: a delivery that is only slow may be taken for a loss, which costs a seek and no exactness.
        skipped = re.search(r"^embedwatch_skipped_deliveries_total (\S+)$", metrics, re.MULTILINE)
        assert skipped is not None
        assert float(skipped[1]) >= 2


def fails(agents: Agents, *arguments: object) -> tuple[int, str]:
    """Exit code and the one line of an agents process that ends by itself."""
    with agents.running(*arguments) as child:
        code = child.process.wait(60)
        lines = child.log.read_text().splitlines()
    assert not any("Traceback" in line for line in lines), lines
    said = [line for line in lines if line.startswith("embedwatch: ")]
    assert len(said) == 1, lines
    return code, said[0]


def test_a_broker_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    nowhere = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}", topic_prefix="t")
    code, line = fails(Agents(nowhere, tmp_path, create=False))
    assert code == 4
    assert nowhere.bootstrap_servers in line


def test_topics_that_are_missing_are_named_with_the_command_that_makes_them(
    embedded_settings: KafkaSettings, tmp_path: Path
) -> None:
    code, line = fails(Agents(embedded_settings, tmp_path, create=False))
    assert code == 4
    assert f"topic {embedded_settings.topic_prefix}.metrics does not exist" in line
    assert "embedwatch topics create" in line


def test_a_port_that_is_taken_is_one_line(embedded_agents: Agents) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", embedded_agents.port))
        other.listen()
        code, line = fails(embedded_agents)
    assert code == 2
    assert f"cannot listen at 127.0.0.1:{embedded_agents.port}" in line
    assert "--web-port" in line


def test_a_rules_file_with_a_mistake_is_shown_where_it_is(embedded_agents: Agents, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("thresholds:\n  latency_p95: 300\n")
    code, line = fails(embedded_agents, "--rules", rules)
    assert code == 2
    assert f"{rules}, line 2: unknown metric 'latency_p95'; did you mean latency_p95_ms?" in line


def test_a_state_that_is_not_ours_ends_it_before_anything_is_counted(embedded_agents: Agents) -> None:
    """A newer version wrote it, say: to start from nothing instead would lose what was counted."""
    agents = embedded_agents
    agents.send(events(4))
    changelog = f"{agents.app_id}-state-changelog"
    create_topics(agents.kafka, [TopicSpec(changelog, "", "", "tests", "compact", None, partitions=PARTITIONS)])
    with opened(producer(agents.kafka, "test-producer")) as client:
        client.send(
            changelog, key=b'"p0"', value=json.dumps({"v": STATE_VERSION + 1, "next_offset": 7}).encode(), partition=0
        ).get(30)
    code, line = fails(agents)
    assert code == 1
    assert f"the state in topic {changelog} cannot be used: state of version {STATE_VERSION + 1}; this" in line


def test_agents_of_another_time_zone_do_not_take_over_the_days_that_are_booked(embedded_agents: Agents) -> None:
    agents = embedded_agents
    agents.send(events(4))
    with agents.running() as child:
        agents.wait_ready(child)
        agents.wait_texts(child, 40)
        child.process.terminate()
        assert child.process.wait(30) == 0
    code, line = fails(agents, "--timezone", "Asia/Kolkata")
    assert code == 1
    assert f"its days are those of the time zone {agents.timezone}, and budget.timezone is Asia/Kolkata" in line
