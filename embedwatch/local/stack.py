"""The whole flow as processes on this machine: broker, cache, Slack stand-in, workers, agents, alerts.

What the user's settings already name (a broker, a cache, a Slack token) is used instead of ours. The stages are started
as the commands that an operator would run: this package imports none of them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from embedwatch.agents_api import default_url
from embedwatch.errors import ConnectionFailed, EmbedwatchError
from embedwatch.processes import Child, StopRequest
from embedwatch.services.broker import EmbeddedBroker
from embedwatch.services.cache import EmbeddedCache, Unavailable, start_cache
from embedwatch.services.slack_standin import SlackStandIn
from embedwatch.settings import Settings, env_name

Say = Callable[[str], None]

#: A first start reads two gigabytes of torch from a cold disk.
START_SECONDS = 300.0
_TELL_EVERY_SECONDS = 5.0
#: Any token does for the stand-in. It looks like one, so that it takes the way that a real one takes.
_STANDIN_TOKEN = "xoxb-local-stand-in"  # noqa: S105
_READY_WORDS = {"worker": "partitions assigned: ", "alerts": "alerting: ready", "agents": "agents: ready"}
#: Between two starts of a stage that ends: doubled each time, and short again once it ran for the longest of them.
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start. `broker_port` and `cache_port` None: a free port. `environ` changes that of every stage."""

    workers: int = 1
    own_broker: bool = True
    own_cache: bool = True
    own_slack: bool = True
    broker_port: int | None = None
    cache_port: int | None = None
    slack_port: int = 0
    restart: bool = False  # a stage that ends after the start is started again, instead of ending everything
    environ: Mapping[str, str | None] = field(default_factory=dict)
    worker_environ: Mapping[str, str | None] = field(default_factory=dict)


class LocalStack:
    """Use it as a context manager: whatever ends the block stops everything, last started first.

    `say` gets one line for each step, with the time it took. Raises `KeyboardInterrupt` when `stop` was asked for.
    """

    def __init__(self, settings: Settings, folder: Path, plan: Plan, say: Say, stop: StopRequest) -> None:
        self.settings = settings
        self.folder = folder
        self.plan = plan
        self.children: list[Child] = []
        self.slack: SlackStandIn | None = None
        self._broker: EmbeddedBroker | None = None
        self._cache: EmbeddedCache | None = None
        self._up = False
        self._starts: dict[str, _Start] = {}
        self._say = say
        self._stop_request = stop
        self._edges = contextlib.ExitStack()
        self._environ: dict[str, str | None] = {"PYTHONUNBUFFERED": "1", **plan.environ}
        # Readiness is read from the logs' INFO lines.
        if os.environ.get("EMBEDWATCH_LOG_LEVEL", "").upper() != "DEBUG":
            self._environ["EMBEDWATCH_LOG_LEVEL"] = "INFO"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        """All stages at once, so that the slowest is waited for once; then what they stand on, last started first."""
        running = [child for child in self.children if child.running()]
        if running:
            for child in running:
                child.ask_to_stop()
            # The terminal may be gone, which must keep nothing alive.
            with contextlib.suppress(OSError, SystemExit):
                self._say(f"stopping {', '.join(child.name for child in running)} ...")
        self._edges.close()

    @property
    def agents_url(self) -> str:
        return default_url(self.settings)

    def addresses(self) -> dict[str, str]:
        """Where to look, by what is there."""
        found = {
            "page": f"{self.agents_url}/ui",
            "numbers (JSON)": f"{self.agents_url}/api/v1/summary",
            "Prometheus metrics": f"{self.agents_url}/metrics",
            "Kafka": self.settings.kafka.bootstrap_servers,
        }
        if self.slack is not None:
            found["Slack inbox (stand-in)"] = self.slack.url
        found["logs"] = str(self.folder)
        return found

    def environ(self) -> dict[str, str | None]:
        """Changes to our own environment for a command that is to work on this stack."""
        return dict(self._environ)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "embedwatch", *arguments]

    def child(self, name: str, *arguments: str, environ: Mapping[str, str | None] | None = None) -> Child:
        """Start a command on this stack; it is stopped with it."""
        log = self.folder / f"{name}.log"
        if not self._up:
            log.unlink(missing_ok=True)  # readiness and last words are read from it: not from those of another run
        child = Child(name, self.command(*arguments), log, {**self._environ, **(environ or {})})
        self._edges.callback(child.stop)
        return child

    def check(self) -> None:
        """Raises `EmbedwatchError` when a stage has ended: with what it said is wrong, else with its last words.

        Raises `KeyboardInterrupt` when a stop was asked for.
        """
        self._stop_request.check()
        if self._broker is not None and not self._broker.running():
            raise EmbedwatchError(
                f"the embedded broker has ended, and all that was in it is gone (log: {self._broker.log})"
            )
        if self._cache is not None and not self._cache.running():
            self._say("the embedded cache has ended; starting it again, empty")
            self._cache.start()
        for index, child in enumerate(self.children):
            if not child.running():
                if not (self.plan.restart and self._up):
                    raise ended(child)
                self.children[index] = self._again(child)

    # --- the start ---

    def _start(self) -> None:
        steps = (
            (self.plan.own_broker, self._start_broker),
            (self.plan.own_cache, self._start_cache),
            (self.plan.own_slack, self._start_slack),
            (True, self._create_topics),
            (True, self._start_stages),
        )
        for wanted, step in steps:
            self._stop_request.check()
            if wanted:
                step()
        self._up = True

    def _use(self, section: str, name: str, value: str) -> None:
        """A setting found at run time: for ourselves, and for the stages by their environment."""
        part = getattr(self.settings, section)
        changed = type(part).model_validate({**part.model_dump(), name: value})
        self.settings = self.settings.model_copy(update={section: changed})
        self._environ[env_name(section, name)] = value

    def _start_broker(self) -> None:
        began = time.monotonic()
        broker = self._edges.enter_context(EmbeddedBroker(self.folder / "broker", port=self.plan.broker_port))
        self._broker = broker
        self._use("kafka", "bootstrap_servers", broker.bootstrap_servers)
        self._took(f"embedded broker at {broker.bootstrap_servers}", began)

    def _start_cache(self) -> None:
        began = time.monotonic()
        cache = start_cache(self.folder / "cache", port=self.plan.cache_port)
        if isinstance(cache, Unavailable):
            self._say(f"no shared cache: {cache.reason}; each worker has only the cache in its own memory")
            return
        self._edges.callback(cache.stop)
        self._cache = cache
        self._use("cache", "url", cache.url)
        self._took(f"embedded cache ({cache.server.origin}) at {cache.url}", began)

    def _start_slack(self) -> None:
        began = time.monotonic()
        self.slack = self._edges.enter_context(SlackStandIn(port=self.plan.slack_port))
        self._use("alerts", "slack_bot_token", _STANDIN_TOKEN)
        self._use("alerts", "slack_api_url", self.slack.api_url)
        self._took(f"Slack stand-in at {self.slack.url}", began)

    def _create_topics(self) -> None:
        from embedwatch.kafka import create_topics

        began = time.monotonic()
        made = create_topics(self.settings.kafka, self.settings.topics.specs())
        new = sum(state == "created" for state in made.values())
        self._took(f"topics: {new} created, {len(made) - new} there already", began)

    def _start_stages(self) -> None:
        began = time.monotonic()
        waiting = {name: self._stage(name, name) for name in ("agents", "alerts")}
        for number in range(1, self.plan.workers + 1):
            name = f"worker-{number}" if self.plan.workers > 1 else "worker"
            named = {env_name("worker", "name"): self.settings.worker.name or f"{name}-{os.getpid()}"}
            if self.settings.worker.name and self.plan.workers > 1:
                named = {env_name("worker", "name"): f"{self.settings.worker.name}-{number}"}
            waiting[name] = self._stage(name, "worker", environ={**named, **self.plan.worker_environ})
        told = began
        while waiting:
            self.check()
            for name, child in list(waiting.items()):
                if self._ready(child):
                    del waiting[name]
                    self._took(f"{name} ready", began)
            now = time.monotonic()
            if now - began > START_SECONDS:
                name, child = next(iter(waiting.items()))
                raise ConnectionFailed(
                    f"{name} was not ready after {START_SECONDS:.0f} s (log: {child.log}). Its last words:\n"
                    f"{child.last_words()}"
                )
            if now - told >= _TELL_EVERY_SECONDS:
                told = now
                names = " and ".join(_doing(name) for name in waiting)
                self._say(f"... still waiting for {names}, {now - began:.0f} s so far")
            time.sleep(0.1)

    def _stage(self, name: str, command: str, environ: Mapping[str, str | None] | None = None) -> Child:
        stage = self.child(name, command, environ=environ)
        self.children.append(stage)
        self._starts[name] = _Start(command, environ, time.monotonic())
        return stage

    def _again(self, child: Child) -> Child:
        """The stage started again, or itself while the pause is not over."""
        start, now = self._starts[child.name], time.monotonic()
        if start.due_at is None:
            if now - start.began > LONGEST_PAUSE_SECONDS:
                start.pause_seconds = FIRST_PAUSE_SECONDS
            start.due_at = now + start.pause_seconds
            self._say(f"{ended(child)}")
            self._say(f"{child.name} is started again in {start.pause_seconds:.0f} s")
            start.pause_seconds = min(2 * start.pause_seconds, LONGEST_PAUSE_SECONDS)
        if now < start.due_at:
            return child
        start.began, start.due_at = now, None
        return self.child(child.name, start.command, environ=start.environ)

    def _ready(self, child: Child) -> bool:
        words = _READY_WORDS[child.name.split("-")[0]]
        return words in child.log.read_text(encoding="utf-8", errors="replace")

    def _took(self, what: str, began: float) -> None:
        self._say(f"{what} ({time.monotonic() - began:.1f} s)")


@dataclass(slots=True)
class _Start:
    """How a stage was started, and when it may be again."""

    command: str
    environ: Mapping[str, str | None] | None
    began: float
    pause_seconds: float = FIRST_PAUSE_SECONDS
    due_at: float | None = None


def ended(child: Child) -> EmbedwatchError:
    """The error of a command that has ended, with its exit code. Its own complaint comes last in its log."""
    status = child.process.returncode
    lines = child.last_words(3).splitlines()
    if lines and lines[-1].startswith("embedwatch: "):
        error = EmbedwatchError(f"{child.name}: {lines[-1].removeprefix('embedwatch: ')}")
    else:
        error = EmbedwatchError(
            f"{child.name} ended unexpectedly with status {status} (log: {child.log}). Its last words:\n"
            f"{child.last_words()}"
        )
    error.exit_code = status if status > 0 else 1
    return error


def _doing(name: str) -> str:
    return f"{name} (loads torch and the model)" if name.startswith("worker") else f"{name} (joins its group)"
