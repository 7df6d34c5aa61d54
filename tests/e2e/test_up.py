"""`embedwatch up` and the commands that a user runs beside it, as processes, without the real model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedwatch.agents_api import AgentsApi
from embedwatch.processes import Child, free_port

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cache_server")]

EMBEDWATCH = [sys.executable, "-m", "embedwatch"]


class Running:
    """An `up` with the hashing backend on free ports, and commands on it."""

    def __init__(self, folder: Path) -> None:
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
        self.environ |= {
            "EMBEDWATCH_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "EMBEDWATCH_WORKER_BACKEND": "hashing",
            "EMBEDWATCH_WORKER_MODEL": "test-model",
            "EMBEDWATCH_AGENTS_WEB_PORT": str(free_port()),
            "EMBEDWATCH_PRICING_USD_PER_MILLION_TOKENS": '{"test-model": 0.02}',
        }
        removed = dict.fromkeys(set(os.environ) - set(self.environ))
        self.child = Child(
            "up", [*EMBEDWATCH, "up", "--broker-port", "0", "--workers", "2", "--logs", str(folder / "logs")],
            folder / "up.log", removed | self.environ,
        )  # fmt: skip
        self.api = AgentsApi(f"http://127.0.0.1:{self.environ['EMBEDWATCH_AGENTS_WEB_PORT']}")

    def said(self) -> str:
        return self.child.log.read_text()

    def wait(self) -> None:
        self.child.wait_until(lambda: "in another terminal" in self.said(), 120, "its start")
        (servers,) = [line.split()[-1] for line in self.said().splitlines() if line.strip().startswith("Kafka:")]
        self.environ["EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS"] = servers

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*EMBEDWATCH, *arguments], env=self.environ, input=stdin, capture_output=True, timeout=60)

    def await_texts(self, count: int) -> dict[str, Any]:
        self.child.wait_until(lambda: self.api.summary()["today"]["texts"] >= count, 60, f"{count} texts counted")
        return self.api.summary()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    up = Running(tmp_path_factory.mktemp("up"))
    try:
        up.wait()
        yield up
    finally:
        up.api.close()
        up.child.stop(40)


def test_texts_of_all_kinds_are_counted_to_the_last_and_none_is_lost(running: Running) -> None:
    before = running.api.summary()["today"]
    lines = [f"text number {n}".encode() for n in range(300)] + [b"\xff\xfe not utf-8", b"x" * 1_000_000]
    sent = running.run("produce", "-", "--tenant", "bad-input", "--json", stdin=b"\n".join(lines))
    assert sent.returncode == 0, sent.stderr
    assert json.loads(sent.stdout)["texts_acknowledged"] == 302
    summary = running.await_texts(before["texts"] + 302)
    assert summary["today"]["texts"] - before["texts"] == 302
    assert summary["today"]["errors"] - before["errors"] == 1
    assert summary["today"]["cost_nano_usd"] > before["cost_nano_usd"]
    assert summary["today"]["unpriced_tokens"] == 0
    assert summary["performance"]["errors_by_class"] == {"invalid_utf8": 1}


def test_the_report_and_its_json_show_the_same_numbers(running: Running) -> None:
    before = running.api.summary()["today"]["texts"]
    assert running.run("produce", "--stdlib-docs", "--limit", "50").returncode == 0
    summary = running.await_texts(before + 50)
    shown = running.run("report")
    assert shown.returncode == 0, shown.stderr
    assert f"{summary['today']['texts']:,} today" in shown.stdout.decode()
    data = json.loads(running.run("report", "--json").stdout)
    assert data["today"]["texts"] == summary["today"]["texts"]
    assert len(data["workers"]) == 2
    assert data["ready"] is True
    refused = running.run("report", "--window-seconds", "7")
    assert refused.returncode == 2
    assert b"multiple of 10" in refused.stderr


def test_the_check_finds_everything_in_order(running: Running) -> None:
    checked = running.run("check", "--json")
    states = {check["name"]: check["state"] for check in json.loads(checked.stdout)}
    assert checked.returncode == 0, checked.stdout
    assert {states[name] for name in ("settings", "rules", "kafka", "topics", "agents")} == {"ok"}


def test_a_port_that_is_taken_is_told_with_the_way_out(running: Running) -> None:
    port = running.environ["EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2]
    environ = {name: value for name, value in running.environ.items() if "BOOTSTRAP" not in name}
    refused = subprocess.run(
        [*EMBEDWATCH, "up", "--broker-port", port], env=environ, capture_output=True, timeout=60, check=False
    )
    assert refused.returncode == 4
    assert b"--broker-port" in refused.stderr
    assert b"Traceback" not in refused.stderr


def test_a_worker_that_was_killed_is_started_again_and_no_text_is_lost(running: Running) -> None:
    before = running.api.summary()["today"]["texts"]
    ids = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    workers = [
        int(pid)
        for pid, parent, command in (line.split(maxsplit=2) for line in ids.splitlines())
        if int(parent) == running.child.pid and command.endswith("embedwatch worker")
    ]
    assert len(workers) == 2
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert running.run("produce", "--stdlib-docs", "--limit", "40").returncode == 0
    running.await_texts(before + 40)
    assert "worker-1 is started again" in running.said()


def test_texts_for_a_model_nobody_has_become_dead_letters_and_stop_nothing(running: Running) -> None:
    before = running.api.summary()["today"]
    assert running.run("produce", "--stdlib-docs", "--limit", "400", "--model", "no-such-model").returncode == 0
    summary = running.await_texts(before["texts"] + 400)
    assert summary["today"]["errors"] - before["errors"] == 400
    assert running.child.running()


def test_ctrl_c_ends_it_and_all_its_parts_with_exit_code_zero(running: Running) -> None:
    os.kill(running.child.pid, signal.SIGINT)
    assert running.child.process.wait(60) == 0, running.child.last_words()
    assert "stopped" in running.said()
    assert "Traceback" not in running.said()
