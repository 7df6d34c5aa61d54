"""The real Prometheus scrapes what the agents serve, with the configuration and the rules of deploy/prometheus."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from msgspec.structs import replace

from embedwatch.processes import free_port
from stream_agents.runtime import Runtime
from stream_agents.web.api import add_routes
from tests.harness.agents_log import NOW, SetClock, batch_event
from tests.harness.agents_web import busy_runtime
from tests.harness.dashboards import filled, targets
from tests.harness.promql import PROMETHEUS, rules
from tests.harness.requirements import need_prometheus
from tests.harness.waiting import eventually

SECONDS = "1s"
#: Of panels and annotations: what the busy world has none of, by the end of the name.
NOT_HERE = (
    "Energy per million tokens A", "GPU temperature A", "Evicted, and failed calls A",
    # An alert fires after a minute at the least, and nobody asks for another number of workers.
    ": Alerts of Prometheus", ": Another number of workers was asked for",
)  # fmt: skip


class Served:
    """The agents' HTTP API over a runtime, on a loop and a port of its own. Each scrape counts a batch more."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        @web.middleware
        async def goes_on(request: web.Request, handler: Any) -> web.StreamResponse:
            self.runtime.world.apply_batch(batch_event(errors={"timeout": 1}, saved_nano_usd=10**9), NOW)
            answer: web.StreamResponse = await handler(request)
            return answer

        app = web.Application(middlewares=[goes_on])
        add_routes(app.router, self.runtime, SetClock())
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._started.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:  # noqa: S310
            return json.load(answer)["data"]

    def values(self, expr: str) -> list[tuple[dict[str, str], float]]:
        found = self.get("/api/v1/query", query=expr)["result"]
        return [(row["metric"], float(row["value"][1])) for row in found]

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def prometheus(folder: Path, targets: list[str]) -> Iterator[Prometheus]:
    """With our configuration, other targets and no time to lose."""
    program = need_prometheus()
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": SECONDS, "scrape_timeout": SECONDS, "evaluation_interval": SECONDS}
    config["rule_files"] = [str(PROMETHEUS / "rules" / "*.yml")]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": targets}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}", "--log.level=warn",
            ],
            stdout=log, stderr=subprocess.STDOUT, cwd=folder,
        )  # fmt: skip
    try:
        found = Prometheus(f"http://{address}")
        assert eventually(lambda: found.ready() or process.poll() is not None), (folder / "log").read_text()
        assert process.poll() is None, (folder / "log").read_text()
        yield found
    finally:
        process.terminate()
        process.wait(30)


def complete_runtime() -> Runtime:
    """A busy one in which nothing is missing that a recording rule asks for."""
    runtime = busy_runtime()
    # The queue of the busy one stands still, and its cache saved next to nothing.
    runtime.world.lags = {n: replace(lag, status="OK") for n, lag in runtime.world.lags.items()}
    return runtime


def test_every_recording_rule_gives_values_and_alerts_fire(tmp_path: Path) -> None:
    need_prometheus()
    with (
        Served(complete_runtime()) as agents,
        prometheus(tmp_path, [f"127.0.0.1:{agents.port}", "127.0.0.1:9"]) as found,
    ):
        records = [rule["record"] for rule in rules("recording.yml")]
        silent: list[str] = []

        def all_speak() -> bool:
            silent[:] = [name for name in records if not found.values(name)]
            return not silent

        assert eventually(all_speak), f"no value of {silent}"
        latency = {row["quantile"]: value for row, value in found.values("job_quantile:embedwatch_latency_seconds:max")}
        assert latency["0.95"] == pytest.approx(2.0, rel=0.005)
        ((_, ratio),) = found.values('job_model:embedwatch_errors_per_text:ratio_rate5m{model="m"}')
        assert 0 < ratio < 1
        assert found.values("job_rule_scope:embedwatch_budget_spent:ratio")[0][1] == pytest.approx(0.02, rel=0.1)
        kinds = found.get("/api/v1/targets/metadata", metric="embedwatch_latency_seconds")
        assert {row["type"] for row in kinds} == {"summary"}
        groups = found.get("/api/v1/rules")["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
        # What the dashboards ask for, too; only what this world has not got is empty.
        empty = {whose for whose, expr in targets() if not found.values(filled(expr))}
        assert {whose for whose in empty if not whose.endswith(NOT_HERE)} == set()
        # One target does not answer, and is told from the one that does.
        assert eventually(
            lambda: any(
                row["alertname"] == "EmbedwatchAgentsDown" and row["instance"] == "127.0.0.1:9"
                for row, _ in found.values("ALERTS")
            )
        )
        names = {row["alertname"] for row, _ in found.values("ALERTS")}
        assert {"EmbedwatchHighLatency", "EmbedwatchHighErrorRate"} <= names
        assert not names & {"EmbedwatchAgentsAbsent", "EmbedwatchBudgetExceeded", "EmbedwatchQueueLagUnknown"}
