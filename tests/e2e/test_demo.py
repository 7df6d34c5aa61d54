"""`embedwatch demo` as a newcomer runs it: real texts, the real model, an alert that fires and clears."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedwatch.processes import Child

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.usefixtures("cache_server")]

COMMAND = [sys.executable, "-m", "embedwatch", "demo"]


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Child]:
    ours = {name: None for name in os.environ if name.startswith("EMBEDWATCH_")}
    child = Child("demo", [*COMMAND, "--logs", str(folder / "logs"), *arguments], folder / "demo.log", ours)
    try:
        yield child
    finally:
        child.stop(30)


def descendants(pid: int) -> set[int]:
    """Processes below `pid`, from /proc or ps."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listed.splitlines())}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    running = {int(pid) for pid, state in (line.split() for line in listed.splitlines()) if not state.startswith("Z")}
    return pids & running


@pytest.mark.timeout(400)
def test_every_text_comes_out_and_an_alert_fires_and_clears(tmp_path: Path) -> None:
    outcome = tmp_path / "out.json"
    with demo(tmp_path, "--texts", "2000", "--json", str(outcome)) as child:
        child.wait_until(lambda: "everything runs" in said(child) or "sending up to" in said(child), 180, "its start")
        started = descendants(child.pid)
        assert len(started) >= 5  # broker, cache, worker, agents, alerts
        assert child.process.wait(300) == 0, child.last_words(40)
    assert not alive(started)
    found = json.loads(outcome.read_text())
    assert found["texts_in"] == 2000
    assert found["vectors_out"] + found["dead_letters"] == 2000
    assert found["model"] == "all-MiniLM-L6-v2"
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["p99"]
    assert found["tokens"] > 2000
    assert found["cost_usd"] > 0
    assert found["saved_usd"] > 0  # the documentation repeats itself
    states = [change["state"] for change in found["alerts"] if change["type"] == "HIGH_LATENCY"]
    # A machine that is busy with other things may be slow once more: that is told, and that it is over.
    assert (states[:2], states[-1]) == (["firing", "resolved"], "resolved")
    assert found["alerts"][0]["value"] > found["alerts"][0]["threshold"]
    assert found["slack_messages"] >= 2
    words = said(child)
    for part in ("PERFORMANCE", "CACHE", "COST", "OVERALL", "Slack #embedwatch"):
        assert part in words


@pytest.mark.timeout(200)
def test_own_texts_that_cannot_be_embedded_become_dead_letters(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    good = [{"body": f"a sentence about number {n}", "key": f"k{n}"} for n in range(20)]
    bad = [{"body": "", "key": "empty"}, {"body": "word " * 210_000, "key": "large"}]
    texts.write_text("\n".join(map(json.dumps, [*good, *bad])))
    outcome = tmp_path / "out.json"
    with demo(
        tmp_path, "--input", str(texts), "--field", "body", "--id-field", "key", "--rate", "20", "--json", str(outcome)
    ) as child:  # fmt: skip
        assert child.process.wait(180) == 0, child.last_words(40)
    found = json.loads(outcome.read_text())
    assert (found["texts_in"], found["vectors_out"], found["dead_letters"]) == (22, 21, 1)
    assert found["error_rate_pct"] == pytest.approx(100 / 22)


@pytest.mark.parametrize("when", ["sending up to", "topics:"])
def test_ctrl_c_stops_everything(tmp_path: Path, when: str) -> None:
    with demo(tmp_path, "--texts", "500") as child:
        child.wait_until(lambda: when in said(child), 120, when)
        started = descendants(child.pid)
        os.kill(child.pid, signal.SIGINT)
        assert child.process.wait(60) == 130, child.last_words()
    assert not alive(started)
    assert "Traceback" not in said(child)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a parent that was killed")
def test_nothing_outlives_a_demo_that_was_killed(tmp_path: Path) -> None:
    with demo(tmp_path, "--texts", "500") as child:
        child.wait_until(lambda: "sending up to" in said(child), 120, "its start")
        started = descendants(child.pid)
        child.process.kill()
        child.process.wait(10)
        waiter = Child("waiter", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "waiter.log")
        try:
            waiter.wait_until(lambda: not alive(started), 45, "the end of all parts", step_seconds=0.5)
        finally:
            waiter.stop()


def test_a_model_that_is_not_here_is_one_line_and_its_exit_code(tmp_path: Path) -> None:
    with demo(tmp_path, "--model", "no-such-model") as child:
        assert child.process.wait(120) == 6, child.last_words()
    last = said(child).splitlines()[-1]
    assert last.startswith("embedwatch: worker: model 'no-such-model' is not on this machine")
    assert "Traceback" not in said(child)


def said(child: Child) -> str:
    return child.log.read_text(encoding="utf-8", errors="replace")
