"""The chart under a message that an alert fires: asked of the agents, drawn, put into the thread.

In a thread of its own, after the message has arrived: whatever fails here holds up no message, and is said once.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from pydantic import SecretStr

from alerting import chart
from alerting.message import subject
from alerting.parcels import SendFailed
from alerting.slack_api import SlackApi
from alerting.states import Ref
from embedwatch.agents_api import AgentsApi
from embedwatch.errors import EmbedwatchError
from embedwatch.events import Verdict
from embedwatch.scopes import Scope, scope_key

log = logging.getLogger(__name__)

#: An hour of the shortest windows there can be, 10 s.
MAX_WINDOWS = 360
#: More wait for nobody: the first of a storm have one.
MAX_WAITING = 5
#: A picture is a message in its channel, which takes about one a second: alerts come first.
PAUSE_SECONDS = 2.0
CLOSE_SECONDS = 2.0


class Charts:
    """`offer` from any thread; `start` and `stop` once. `windows` asks the agents for a scope's last hour."""

    def __init__(self, api: SlackApi, windows: Callable[[str], list[dict[str, Any]]], zone: tzinfo) -> None:
        self._api, self._windows, self._zone = api, windows, zone
        self._waiting: queue.Queue[tuple[Verdict, Ref] | None] = queue.Queue(MAX_WAITING)
        self._stopping = threading.Event()
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="alerting-charts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(CLOSE_SECONDS)

    def offer(self, verdict: Verdict, ref: Ref) -> None:
        """Under this message, if there is a chart of it and time to draw it."""
        if verdict.metric not in chart.METRICS or "worker" in verdict.scope:
            return
        try:
            self._waiting.put_nowait((verdict, ref))
        except queue.Full:
            log.debug("slack: no chart: others wait")

    def _run(self) -> None:
        while not self._stopping.is_set() and (item := self._waiting.get()) is not None:
            try:
                if self._add(*item):
                    self._stopping.wait(PAUSE_SECONDS)
            except (EmbedwatchError, SendFailed) as error:
                self._say(str(error))
            except Exception as error:
                self._say(f"unexpected {type(error).__name__}: this is a bug of embedwatch")

    def _add(self, verdict: Verdict, ref: Ref) -> bool:
        title = f"{subject(verdict)}, last hour"
        picture = chart.draw(
            chart.Chart(
                title=title[:1].upper() + title[1:],
                points=chart.points(verdict.metric, self._windows(scope_key(_scope(verdict)))),
                threshold=verdict.threshold,
                above=verdict.comparison == ">",
                unit=verdict.unit,
            ),
            self._zone,
        )
        if picture is None:
            return False
        what = f"{subject(verdict)} in the last hour, with its limit"
        self._api.call(
            self._api.client.files_upload_v2,
            filename="chart.png",
            content=picture,
            title=what,
            alt_txt=what,
            channel=ref.channel,
            thread_ts=ref.ts,
        )
        return True

    def _say(self, why: str) -> None:
        if why not in self._said:
            self._said.add(why)
            log.warning("slack: alerts go out without a chart: %s", why)


def _scope(verdict: Verdict) -> Scope:
    return tuple((name, verdict.scope[name]) for name in ("model", "tenant") if name in verdict.scope)


def last_hour(
    url: str, timeout_seconds: float, token: SecretStr | None = None
) -> Callable[[str], list[dict[str, Any]]]:
    """Asks the agents there. Raises `EmbedwatchError`."""

    def ask(scope: str) -> list[dict[str, Any]]:
        with AgentsApi(url, token=token, timeout_seconds=timeout_seconds) as agents:
            return agents.windows(scope, MAX_WINDOWS)

    return ask
