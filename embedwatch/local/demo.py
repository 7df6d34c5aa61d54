"""The demo: real texts through the whole flow, a slow phase that makes HIGH_LATENCY fire and clear, and a report."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from embedwatch.agents_api import AgentsApi
from embedwatch.errors import EmbedwatchError, InputError
from embedwatch.local.outcome import Outcome, outcome
from embedwatch.local.screen import Screen
from embedwatch.local.stack import LocalStack, Plan, ended
from embedwatch.local.tally import TopicTally
from embedwatch.processes import Child, StopRequest, free_port
from embedwatch.report import dashboard
from embedwatch.settings import PREFIX, env_name, load

#: At this rate a run of the default size lasts long enough for an alert to fire and clear again.
SENDING_SECONDS = 50.0
MIN_RATE_PER_S = 2.0
#: What two slow cores embed without a queue that grows: a demo that is overloaded shows nothing but that.
MAX_RATE_PER_S = 40.0
CHUNK_TEXTS = 16
POLL_TEXTS = 32
WINDOW_SECONDS = 20
MAX_WINDOW_SECONDS = 3600
DRILL_AFTER_SECONDS = 10.0
DRILL_SECONDS = 10.0
DRILL_DELAY_MS = 3000
LATENCY_LIMIT_MS = 2000
#: Shorter than that and the texts are through before the slow phase has begun and passed.
MIN_DRILL_SENDING_SECONDS = 30.0
#: No vector and no dead letter for so long: something is broken.
STUCK_SECONDS = 90.0
#: The window has to forget the slow phase, and the alert stays for some seconds after that.
CLEAR_SECONDS = 60.0
SETTLE_SECONDS = 20.0
ALERT = "HIGH_LATENCY"

#: Settings of the user's own flow that must not reach the demo's parts, which are its own.
_FOREIGN = (
    "CONFIG",
    "JSON",
    "KAFKA_",
    "CACHE_",
    "AGENTS_",
    "ALERTS_",
    "PRODUCE_",
    "WORKER_DRILL_",
    "WORKER_GROUP",
    "WORKER_IDLE_",
    "WORKER_MAX_",
    "WORKER_NAME",
)

_RULES = f"""\
# The demo's rules. Its window is short and its limit above what a small machine needs for a batch, so that the slow
# phase shows within a minute. There is no limit for cache hits: documentation repeats itself little.
thresholds:
  error_rate_pct: 1.0
  daily_cost_usd: 100
  queue_depth: 100000
  unpriced_tokens: 0
rules:
  - name: demo-latency
    metric: latency_p95_ms
    threshold: {LATENCY_LIMIT_MS}
    window: {WINDOW_SECONDS}s
    min_samples: 10
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. Without `inputs`: the docstrings of the standard library."""

    texts: int
    inputs: tuple[Path, ...] = ()
    field: str | None = None
    id_field: str | None = None
    rate_per_s: float | None = None
    drill: bool = True
    worker: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def rate(self) -> float:
        if self.rate_per_s is not None:
            return self.rate_per_s
        return min(max(self.texts / SENDING_SECONDS, MIN_RATE_PER_S), MAX_RATE_PER_S)

    @property
    def drilled(self) -> bool:
        return self.drill and self.texts / self.rate >= MIN_DRILL_SENDING_SECONDS


def clean_environ(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Removes the settings of the user's own flow; those of the model, the prices and the time zone stay."""
    return {
        name: None for name in environ if name.startswith(PREFIX) and name.removeprefix(PREFIX).startswith(_FOREIGN)
    }


def run(order: Order, folder: Path, screen: Screen, stop: StopRequest) -> Outcome:
    """Start everything, run it, stop everything. `folder` takes logs and data.

    Raises `EmbedwatchError`, and `KeyboardInterrupt` when `stop` was asked for.
    """
    for path in order.inputs:
        if not path.exists():
            raise InputError(f"{path} does not exist: --input takes a file or a folder of texts")
    began = time.monotonic()
    rules = folder / "rules.yaml"
    rules.write_text(_RULES, encoding="utf-8")
    removed = clean_environ(os.environ)
    environ: dict[str, str | None] = {
        **removed,
        env_name("agents", "rules"): str(rules),
        env_name("agents", "web_port"): str(free_port()),
        env_name("agents", "data_dir"): str(folder / "agents-data"),
        env_name("kafka", "session_timeout_seconds"): "6",
        env_name("alerts", "console"): "false",
        env_name("alerts", "digest_at"): "off",
        # Where the texts end soon after the slow phase there is nothing left to judge: the alert closes all the same.
        env_name("alerts", "no_data_grace_seconds"): "10",
        env_name("alerts", "no_data_resolve_seconds"): "15",
        **order.worker,
    }
    given = {**{k: v for k, v in os.environ.items() if k not in removed}, **{k: v for k, v in environ.items() if v}}
    settings = load(None, environ=given)
    worker = {env_name("worker", "max_poll_texts"): str(POLL_TEXTS)}
    if order.drilled:
        worker |= {
            env_name("worker", "drill_slow_after_seconds"): str(DRILL_AFTER_SECONDS),
            env_name("worker", "drill_slow_for_seconds"): str(DRILL_SECONDS),
            env_name("worker", "drill_slow_delay_ms"): str(DRILL_DELAY_MS),
        }
    plan = Plan(environ=environ, worker_environ=worker)
    screen.say("starting (the first start after installing takes longest: torch is read from disk)")
    with (
        LocalStack(settings, folder, plan, lambda text: screen.say(f"  {text}"), stop) as stack,
        TopicTally(stack.settings) as tally,
        AgentsApi(stack.agents_url) as api,
    ):
        return _Run(order, stack, tally, api, screen, began).run()


class _Run:
    def __init__(
        self, order: Order, stack: LocalStack, tally: TopicTally, api: AgentsApi, screen: Screen, began: float
    ) -> None:
        self.order = order
        self.stack = stack
        self.tally = tally
        self.api = api
        self.screen = screen
        self.began = began
        self.sending_began = time.monotonic()
        self._seen: dict[str, int] = {}

    def run(self) -> Outcome:
        order, screen = self.order, self.screen
        source = ", ".join(map(str, order.inputs)) or "the docstrings of Python's standard library"
        screen.say(f"sending up to {order.texts:,} texts at {order.rate:g} a second: {source}")
        if order.drilled:
            screen.say(
                f"  after {DRILL_AFTER_SECONDS:.0f} s each batch is slowed down by {DRILL_DELAY_MS / 1000:g} s for "
                f"{DRILL_SECONDS:.0f} s, so that {ALERT} (p95 above {LATENCY_LIMIT_MS} ms) fires and clears"
            )
        elif order.drill:
            screen.say(
                f"  no slow phase: it needs {MIN_DRILL_SENDING_SECONDS:.0f} s of sending (more --texts, less --rate)"
            )
        self.sending_began = time.monotonic()
        sent = self._send()
        sent_seconds = time.monotonic() - self.sending_began
        self._drain(sent)
        self._settle(sent)
        if order.drilled and sent_seconds < DRILL_AFTER_SECONDS:
            screen.say(
                f"the {sent:,} texts were through before the slow phase: with --rate 2 there is time for it", "yellow"
            )
        elif order.drilled:
            self._await_clear()
        self._last_messages()
        summary = self._summary(whole=True)
        if summary is None:
            raise EmbedwatchError("the stream agents do not answer any more; no report")
        screen.close()
        screen.say("")
        screen.console.print(dashboard(summary), markup=False)
        assert self.stack.slack is not None  # noqa: S101 (the demo's plan always has the stand-in)
        return outcome(
            texts_in=sent,
            vectors_out=self.tally.vectors,
            dead_letters=self.tally.dead_letters.total(),
            summary=summary,
            alerts=self.tally.alerts.changes,
            slack_messages=len(self.stack.slack.inbox()),
            duration_s=round(time.monotonic() - self.began, 3),
        )

    def _send(self) -> int:
        """Until the producer is done. Returns how many texts the broker has."""
        order = self.order
        arguments = [
            "--limit",
            str(order.texts),
            "--rate",
            f"{order.rate:g}",
            "--chunk-texts",
            str(CHUNK_TEXTS),
            "--json",
        ]
        # A chunk that waits for its sixteenth text at two texts a second would look like latency.
        arguments += ["--max-wait-ms", "500"]
        if order.field:
            arguments += ["--field", order.field]
        if order.id_field:
            arguments += ["--id-field", order.id_field]
        arguments += [os.fspath(path.absolute()) for path in order.inputs] or ["--stdlib-docs"]
        child = self.stack.child("produce", "produce", *arguments)
        while child.running():
            self._tick("sending")
        result = _result(child)
        if child.process.returncode:
            raise ended(child)
        if result is None:
            raise EmbedwatchError(f"the producer said nothing of its result (log: {child.log})")
        return int(result["texts_acknowledged"])

    def _drain(self, sent: int) -> None:
        best, since = self.tally.arrived, time.monotonic()
        while self.tally.arrived < sent:
            self._tick("finishing", sent)
            if self.tally.arrived > best:
                best, since = self.tally.arrived, time.monotonic()
            elif time.monotonic() - since > STUCK_SECONDS:
                worker = next(child for child in self.stack.children if child.name.startswith("worker"))
                raise EmbedwatchError(
                    f"{sent - best:,} of {sent:,} texts did not come out in {STUCK_SECONDS:.0f} s. The worker's last "
                    f"words:\n{worker.last_words()}"
                )

    def _settle(self, sent: int) -> None:
        """Until the agents have counted every text, and have seen the queue empty."""
        deadline, summary = time.monotonic() + SETTLE_SECONDS, None
        while time.monotonic() < deadline:
            summary = self._tick("counting", sent)
            if summary is not None and summary["today"]["texts"] >= sent and summary["queue"]["depth_texts"] == 0:
                return
        if summary is None or summary["today"]["texts"] >= sent:
            return
        self.screen.say("the agents have not counted every text yet; the report may be short of some", "yellow")

    def _await_clear(self) -> None:
        """Until the alert is over and Slack was told so."""
        deadline = time.monotonic() + CLEAR_SECONDS
        while time.monotonic() < deadline:
            states = [change.state for change in self.tally.alerts.changes if change.type == ALERT]
            if states and states[-1] == "resolved":
                return
            self._tick("waiting for the alert to clear", self.tally.arrived)
        said = "fired and has not cleared yet" if states else "did not fire"
        self.screen.say(f"{ALERT} {said}", "yellow")

    def _last_messages(self) -> None:
        """What alerting decided a moment ago is on its way to Slack."""
        told = 2 * sum(change.state == "resolved" for change in self.tally.alerts.changes)
        slack = self.stack.slack
        deadline = time.monotonic() + 5.0
        while slack is not None and len(slack.inbox()) < told and time.monotonic() < deadline:
            self._tick("waiting for Slack", self.tally.arrived)
        self._print_slack()

    def _tick(self, phase: str, wanted: int | None = None) -> dict[str, Any] | None:
        """One look at everything; a quarter of a second."""
        self.stack.check()
        self.tally.check()
        self._print_slack()
        summary = self._summary()
        self.screen.show(phase, self.tally.arrived, self.order.texts if wanted is None else wanted, summary)
        time.sleep(0.25)
        return summary

    def _summary(self, *, whole: bool = False) -> dict[str, Any] | None:
        """Of the alert's own window, or of one that holds the whole run."""
        window = WINDOW_SECONDS
        if whole:
            age = time.monotonic() - self.sending_began
            window = min(MAX_WINDOW_SECONDS, 10 * math.ceil(age / 10) + 10)
        with contextlib.suppress(EmbedwatchError):
            return self.api.summary(window)
        return None

    def _print_slack(self) -> None:
        if self.stack.slack is None:
            return
        for message in self.stack.slack.inbox():
            edits = self._seen.get(message.ts)
            if edits != len(message.edits):
                self.screen.slack(message, edited=edits is not None)
            self._seen[message.ts] = len(message.edits)


def _result(child: Child) -> dict[str, Any] | None:
    """The producer's last line of JSON."""
    for line in reversed(child.last_words(20).splitlines()):
        with contextlib.suppress(msgspec.DecodeError):
            found = msgspec.json.decode(line)
            if isinstance(found, dict):
                return found
    return None


def forget(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
