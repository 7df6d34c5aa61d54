"""From a breach published to the message at Slack, and the same breaches through Prometheus and Alertmanager beside it.

Everything runs at once on one machine: agents, alerting with a bot token, the Slack stand-in, and Debian's Prometheus
and Alertmanager twice: as they come (scraped and judged each 15 s, grouped for 30 s) and tuned (5 s, 5 s, no wait).
They scrape the same agents' `/metrics` and send to a webhook here. The packages are fetched and unpacked for the run;
where they cannot be had the peers are missing, and that is said.

Breaches are further apart than Slack's limit of a message a second, and the cap on messages is off: what is measured is
the way of one alert, not how a storm is kept calm.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks import rig
from benchmarks.agents_rig import PARTITIONS, Agents, batch_events
from benchmarks.claims import Claim, Result
from embedwatch.codec import encode
from embedwatch.events import BatchEvent
from embedwatch.kafka import producer
from embedwatch.processes import Child, free_port
from embedwatch.services.slack_standin import SlackStandIn
from embedwatch.sketch import Sketch

P95 = Claim(
    "slack_latency_p95_s", "breach published to the message at Slack, p95 of 200 breaches, beside Prometheus and "
    "Alertmanager on the same breaches", "s", 1.0, "at_most",
)  # fmt: skip
LONGEST = Claim("slack_latency_max_s", "the slowest of the same 200", "s", 2.0, "at_most")
CLAIMS = (P95, LONGEST)

MODELS = 200
EVERY_SECONDS = 1.2
TEXTS = 256
SLOW_MS, LIMIT_MS = 9000.0, 5000.0
#: A minute in which the peers that wait longest can still tell of the last breach.
TAIL_SECONDS = 75.0
#: Debian's Alertmanager reads its templates from /usr/share: it sees the unpacked one there, and nobody else does.
IN_ITS_PLACE = ("unshare", "-rm", "sh", "-c", 'mount --bind "$1" /usr/share && shift && exec "$@"', "sh")
PACKAGES = ("prometheus", "prometheus-alertmanager")
#: Of a peer: scraped and judged each, how long a group waits for others, how often it says more.
PEERS = {"prometheus_default": ("15s", "30s", "5m"), "prometheus_tuned": ("5s", "0s", "1s")}


def measure(ids: frozenset[str]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory() as name, rig.broker() as broker:
        folder = Path(name)
        rules = folder / "rules.yaml"
        rules.write_bytes(msgspec.json.encode({"rules": [{
            "name": "slow", "metric": "latency_p95_ms", "threshold": LIMIT_MS, "window": "1h", "by": ["model"],
        }]}))  # fmt: skip
        agents = Agents(broker, folder, f"bench-{uuid.uuid4().hex[:8]}", rules=rules, lag_interval_seconds=5)
        binaries = _unpacked(folder)
        with SlackStandIn() as slack, agents.running() as child, _alerting(agents, slack, folder):
            agents.wait_ready(child)
            with contextlib.ExitStack() as peers:
                hooks = {
                    peer: peers.enter_context(_prometheus(peer, binaries, agents.port, folder)) for peer in PEERS
                } if binaries else {}  # fmt: skip
                sent = _breach(agents)
                _wait(sent, slack, hooks)
                ours = {_model_of(m): m.received_at_seconds for m in slack.inbox() if m.metadata and not m.thread_ts}
                theirs = {peer: dict(hook.heard) for peer, hook in hooks.items()}
    lost = sent.keys() - ours.keys()
    if lost:
        raise SystemExit(f"{len(lost)} of {len(sent)} messages did not come, for one {min(lost)}")
    took = np.array([ours[model] - at for model, at in sent.items()])
    numbers: dict[str, float] = {"messages": len(took), "p50_s": float(np.median(took))}
    for peer, heard in theirs.items():
        found = np.array([heard[model] - at for model, at in sent.items() if model in heard])
        numbers[f"{peer}_told"] = len(found)
        if len(found):
            numbers[f"{peer}_p50_s"] = float(np.median(found))
            numbers[f"{peer}_p95_s"] = _p95(found)
            numbers[f"{peer}_max_s"] = float(found.max())
    spread = (float(took.min()), float(took.max()))
    if P95.id in ids:
        yield Result(P95, _p95(took), spread, numbers)
    if LONGEST.id in ids:
        yield Result(LONGEST, float(took.max()), spread)


def _p95(values: Any) -> float:
    return float(np.quantile(values, 0.95, method="higher"))


def _breach(agents: Agents) -> dict[str, float]:
    """One slow batch of each model, at a steady pace; when each was published."""
    slow = Sketch.of([SLOW_MS] * TEXTS).to_text()
    (usual,) = batch_events(1, TEXTS, first_seconds=0.0)
    client = producer(agents.kafka, "bench-producer", linger_ms=0)
    sent: dict[str, float] = {}
    try:
        begun = time.monotonic()
        for number in range(MODELS):
            time.sleep(max(0.0, begun + number * EVERY_SECONDS - time.monotonic()))
            model, now = f"model-{number}", time.time()
            event: BatchEvent = msgspec.structs.replace(
                usual, event_id=f"bench:{number}", time_seconds=now, model=model, latency_sketch=slow
            )
            client.send(agents.settings.topics.metrics, value=encode(event), partition=number % PARTITIONS)
            sent[model] = now
        client.flush(10)
    finally:
        client.close()
    return sent


def _wait(sent: dict[str, float], slack: SlackStandIn, hooks: dict[str, _Hook]) -> None:
    deadline = time.monotonic() + TAIL_SECONDS
    while time.monotonic() < deadline:
        ours = {_model_of(m) for m in slack.inbox() if m.metadata}
        if sent.keys() <= ours and all(sent.keys() <= hook.heard.keys() for hook in hooks.values()):
            return
        time.sleep(0.5)


def _model_of(message: Any) -> str:
    alert_id: str = message.metadata["event_payload"]["alert_id"]
    return alert_id.rpartition("model=")[2]


@contextlib.contextmanager
def _alerting(agents: Agents, slack: SlackStandIn, folder: Path) -> Iterator[None]:
    child = Child(
        "alerts", [sys.executable, "-m", "embedwatch", "alerts"], folder / "alerts.log",
        {
            "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": agents.kafka.bootstrap_servers,
            "EMBEDWATCH_KAFKA_TOPIC_PREFIX": agents.name,
            "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN": "xoxb-1-bench", "EMBEDWATCH_ALERTS_SLACK_API_URL": slack.api_url,
            "EMBEDWATCH_ALERTS_AGENTS_URL": f"http://127.0.0.1:{agents.port}",
            "EMBEDWATCH_ALERTS_CAP_POSTS": "10000", "EMBEDWATCH_ALERTS_CAP_SECONDS": "1",
        },
    )  # fmt: skip
    try:
        child.wait_until(lambda: "alerting: ready" in child.log.read_text(), 60, "alerting")
        yield
    finally:
        child.stop()


class _Hook:
    """Where Alertmanager sends: when each model was first told as firing."""

    def __init__(self) -> None:
        self.heard: dict[str, float] = {}
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                now = time.time()
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                for alert in body["alerts"]:
                    if alert["status"] == "firing":
                        hook.heard.setdefault(alert["labels"]["model"], now)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/"


def _unpacked(folder: Path) -> Path | None:
    """The folder with Debian's two programs; None, and why, where they cannot be had."""
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        print("peers are missing: no apt-get here", file=sys.stderr)
        return None
    place = folder / "debian"
    place.mkdir()
    done = subprocess.run(
        ["apt-get", "download", *PACKAGES], cwd=place, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        print(f"peers are missing: {done.stderr.strip()[-200:]}", file=sys.stderr)
        return None
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(package), str(place)], check=True, timeout=60)
    return place / "usr/bin"


@contextlib.contextmanager
def _prometheus(peer: str, binaries: Path, agents_port: int, folder: Path) -> Iterator[_Hook]:
    """One pair of them. Alerts of a model are a group of their own: what waits is told apart from what is grouped."""
    each, group_wait, group_interval = PEERS[peer]
    own = folder / peer
    own.mkdir()
    hook, ports = _Hook(), (free_port(), free_port())
    expression = f'embedwatch_model_latency_seconds{{quantile="0.95"}} > {LIMIT_MS / 1000}'
    files = {
        "rules.yml": {"groups": [{"name": "g", "rules": [{"alert": "Slow", "expr": expression}]}]},
        "prometheus.yml": {
            "global": {"scrape_interval": each, "evaluation_interval": each},
            "rule_files": [str(own / "rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports[1]}"]}]}]},
            "scrape_configs": [{"job_name": "e", "static_configs": [{"targets": [f"127.0.0.1:{agents_port}"]}]}],
        },
        "alertmanager.yml": {
            "route": {
                "receiver": "hook", "group_by": ["model"], "group_wait": group_wait,
                "group_interval": group_interval,
            },
            "receivers": [{"name": "hook", "webhook_configs": [{"url": hook.url}]}],
        },
    }  # fmt: skip
    for name, content in files.items():
        (own / name).write_bytes(msgspec.json.encode(content))  # JSON is YAML
    children = [
        Child(
            "alertmanager",
            [
                *IN_ITS_PLACE, str(binaries.parent / "share"), str(binaries / "prometheus-alertmanager"),
                f"--config.file={own / 'alertmanager.yml'}",
                f"--storage.path={own / 'am'}", f"--web.listen-address=127.0.0.1:{ports[1]}",
                "--cluster.listen-address=",
            ],
            own / "alertmanager.log", {},
        ),
        Child(
            "prometheus",
            [
                str(binaries / "prometheus"), f"--config.file={own / 'prometheus.yml'}",
                f"--storage.tsdb.path={own / 'tsdb'}", f"--web.listen-address=127.0.0.1:{ports[0]}",
            ],
            own / "prometheus.log", {},
        ),
    ]  # fmt: skip
    try:
        for child, word in zip(children, ("Listening on", "Server is ready"), strict=True):
            child.wait_until(lambda c=child, w=word: w in c.log.read_text(), 30, word)  # type: ignore[misc]
        yield hook
    finally:
        for child in children:
            child.stop()
        hook.server.shutdown()
        hook.server.server_close()
