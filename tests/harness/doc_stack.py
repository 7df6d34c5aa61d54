"""What the commands of the documentation are tried on: an `embedwatch up` without a model, texts, letters, an alert.

A command sees what its reader would: `embedwatch` on the path, the agents at their port, files of the names that the
pages use, and nothing of a developer's own settings.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from embedwatch.agents_api import AgentsApi
from embedwatch.processes import Child, free_port
from tests.harness.doc_blocks import ROOT, Command
from tests.harness.doc_ways import Run
from tests.harness.embedding_api import EmbeddingApi

EMBEDWATCH = [sys.executable, "-m", "embedwatch"]
#: Where pages say that the agents are.
AGENTS = "127.0.0.1:6066"
LONGEST_SECONDS = 60.0
_RULES = "thresholds:\n  latency_p95_ms: 0.001\n  unpriced_tokens: 0\n"


class DocStack:
    """Made by `doc_stack`. `run` and `python` raise `AssertionError` with what was printed."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder = folder
        self.done: set[str] = set()
        self._port = free_port()
        self._theirs = {name: value for name, value in os.environ.items() if not name.startswith("EMBEDWATCH_")}
        (folder / "rules.yaml").write_text(_RULES)
        environ = {
            "EMBEDWATCH_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            "EMBEDWATCH_WORKER_BACKEND": "hashing",
            "EMBEDWATCH_WORKER_MAX_POLL_TEXTS": "10",  # many batches: a baseline wants 20
            "EMBEDWATCH_WORKER_MODEL": "test-model",
            "EMBEDWATCH_AGENTS_WEB_PORT": str(self._port),
            "EMBEDWATCH_AGENTS_RULES": str(folder / "rules.yaml"),
            "EMBEDWATCH_PRICING_USD_PER_MILLION_TOKENS": '{"test-model": 0.02}',
        }
        removed: dict[str, str | None] = dict.fromkeys(set(os.environ) - set(self._theirs))
        self.up = Child(
            "up", [*EMBEDWATCH, "up", "--broker-port", "0", "--logs", str(folder / "logs")], folder / "up.log",
            removed | self._theirs | environ,
        )  # fmt: skip
        self.environ = self._theirs | environ | {
            "COLUMNS": "100",
            "EMBEDWATCH_SIMULATE_THRESHOLDS": "2",  # of KEDA: ten take a while
            "OPENAI_BASE_URL": endpoint,
            "OPENAI_API_KEY": "sk-stand-in",
            "PATH": f"{_command(folder)}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def wait(self) -> None:
        # The last line of its start: the addresses stand before it.
        self.up.wait_until(lambda: "in another terminal: " in self.up.log.read_text(), 120, "its start")
        said = self.up.log.read_text()
        self.environ["EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS"] = _told(said, "Kafka")
        inbox = _told(said, "Slack inbox (stand-in)")
        self.environ["EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN"] = "xoxb-local-stand-in"
        self.environ["EMBEDWATCH_ALERTS_SLACK_API_URL"] = f"{inbox.rstrip('/')}/api/"

    def fill(self) -> None:
        """Texts of two models, one of which nobody has; until they are counted and an alert fires."""
        self._embedwatch("produce", "--stdlib-docs", "--limit", "600", "--tenant", "search", "--chunk-texts", "10")
        self._embedwatch("produce", "--stdlib-docs", "--limit", "40", "--model", "no-such-model")
        with AgentsApi(f"http://127.0.0.1:{self._port}") as api:
            self.up.wait_until(lambda: api.summary()["today"]["texts"] >= 640, 60, "640 texts counted")
        self.up.wait_until(self._fires, 60, "an alert")
        for baseline in ("main", "branch"):
            self._embedwatch("baseline", "save", baseline, "--dir", str(self.folder))

    def page_folder(self, name: str) -> Path:
        """A folder with the files that pages name."""
        folder = self.folder / name
        folder.mkdir()
        articles = [{"body": f"Article number {n}.", "url": f"https://example.org/{n}"} for n in range(60)]
        (folder / "articles.jsonl").write_text("".join(json.dumps(each) + "\n" for each in articles))
        (folder / "texts.txt").write_text("".join(f"Text number {n}.\n" for n in range(60)))
        (folder / "logs.gz").write_bytes(gzip.compress(b"a line\nanother line\n"))
        (folder / "embedwatch.yaml").write_text("budget:\n  timezone: Europe/Berlin\n")
        (folder / "rules.yaml").write_text((ROOT / "deploy" / "rules.yaml").read_text())
        (folder / "deploy").symlink_to(ROOT / "deploy")
        for name in ("main.json", "branch.json"):
            (folder / name).write_bytes((self.folder / name).read_bytes())
        return folder

    def run(self, command: Command, way: Run, folder: Path) -> None:
        calls = command.calls()
        if all(call.program == "curl" for call in calls):
            for call in calls:
                self._get(call.words)
            return
        text = command.text.replace(AGENTS, f"127.0.0.1:{self._port}") + way.more
        if way.until is not None:
            self._run_until(text, way.until, folder)
            return
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=self.environ, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert done.returncode in way.codes, f"{command.place}: {command.text}\nended with {done.returncode}:\n{said}"
        assert "Traceback" not in said, said

    def python(self, source: str, folder: Path) -> None:
        """A page's blocks, one after another as one program."""
        done = subprocess.run(
            [sys.executable, "-W", "error::SyntaxWarning", "-c", source], cwd=folder, env=self.environ,
            capture_output=True, timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")

    def _run_until(self, text: str, until: str, folder: Path) -> None:
        log = folder / f"{len(list(folder.iterdir()))}.log"
        child = Child("command", ["bash", "-c", f"exec {text}"], log, {**self.environ}, cwd=folder)
        try:
            child.wait_until(lambda: re.search(until, log.read_text()) is not None, LONGEST_SECONDS, f"{until!r}")
            os.kill(child.pid, signal.SIGINT)
            assert child.process.wait(40) in (0, 130), child.last_words()
        finally:
            child.stop()

    def _get(self, words: tuple[str, ...]) -> None:
        """What curl would ask for; of a stream its first line."""
        for word in words:
            if word.startswith("http"):
                url = word.replace(AGENTS, f"127.0.0.1:{self._port}")
                with httpx.stream("GET", url, timeout=10) as answer:
                    assert answer.status_code == 200, f"{word}: {answer.status_code}"
                    assert next(answer.iter_bytes())

    def _embedwatch(self, *arguments: str) -> bytes:
        done = subprocess.run(
            [*EMBEDWATCH, *arguments], env=self.environ, capture_output=True, timeout=LONGEST_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def _fires(self) -> bool:
        time.sleep(0.2)
        alerts: Any = json.loads(self._embedwatch("alerts", "list", "--json"))
        return "latency_p95_ms" in json.dumps(alerts)


@contextmanager
def doc_stack(folder: Path) -> Iterator[DocStack]:
    with EmbeddingApi() as endpoint:
        stack = DocStack(folder, endpoint.url)
        try:
            stack.wait()
            stack.fill()
            yield stack
        finally:
            stack.up.stop(40)


def _command(folder: Path) -> Path:
    """A folder with `embedwatch` and `python` as these tests have them."""
    found = folder / "bin"
    found.mkdir()
    for name, line in (("embedwatch", f'"{sys.executable}" -m embedwatch'), ("python", f'"{sys.executable}"')):
        (found / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        (found / name).chmod(0o755)
    return found


def _told(said: str, what: str) -> str:
    (line,) = [line for line in said.splitlines() if line.strip().startswith(f"{what}:")]
    return line.split()[-1]
