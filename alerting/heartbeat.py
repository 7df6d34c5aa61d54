"""A dead man's switch: while the whole way of an alert works, an address is asked at a steady pace.

Whoever watches that address (healthchecks.io, Dead Man's Snitch, a Prometheus Pushgateway) tells when it falls silent,
as nobody here could any more. It falls silent, too, when agents give no verdicts, when what arrives is old, or when
what is decided cannot be stored: each of these is an alert that would not come.
"""

from __future__ import annotations

import logging
import threading

import httpx

from alerting.http_send import HttpSender
from alerting.parcels import SendFailed
from alerting.sending import Pace
from embedwatch.clock import Clock

log = logging.getLogger(__name__)

#: Agents say every verdict again twice a minute; older than this when it is read, and alerting has fallen behind.
VERDICTS_SECONDS = 120.0
CLOSE_SECONDS = 1.0


class Pulse:
    """What is known of the way of an alert. Pure; times are of our monotonic clock."""

    def __init__(self, every_seconds: float, begun: float) -> None:
        self._every_seconds = every_seconds
        self._stored = self._heard = begun
        self._behind_seconds = 0.0

    def stored(self, monotonic: float) -> None:
        """Nothing that was decided waits to be stored."""
        self._stored = monotonic

    def heard(self, monotonic: float, age_seconds: float) -> None:
        """A verdict was read that was written so long ago."""
        self._heard, self._behind_seconds = monotonic, age_seconds

    def stands_by(self, monotonic: float) -> None:
        """Another process has all alerts: it hears the verdicts, not we."""
        self._heard, self._behind_seconds = monotonic, 0.0

    def trouble(self, monotonic: float) -> str | None:
        """Why an alert would not come now; None: it would."""
        if monotonic - self._stored > self._every_seconds:
            return "what is decided cannot be stored"
        if monotonic - self._heard > VERDICTS_SECONDS:
            return f"agents have given no verdict for {monotonic - self._heard:.0f} s"
        if self._behind_seconds > VERDICTS_SECONDS:
            return f"alerting is {self._behind_seconds:.0f} s behind"
        return None


class Heartbeat:
    """Asks `url` each `every_seconds` from a thread of its own. The url may hold a token: it is never shown."""

    def __init__(
        self,
        url: str,
        every_seconds: float,
        clock: Clock,
        *,
        timeout_seconds: float,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.pulse = Pulse(every_seconds, clock.monotonic())
        self._url, self._every_seconds, self._clock = url, every_seconds, clock
        self._sender = HttpSender("who watches the heartbeat", timeout_seconds=timeout_seconds, transport=transport)
        self._pace = Pace()
        self._trouble: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerting-heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """A request that hangs is left behind: the thread ends with the process."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    def beat(self) -> bool:
        """Ask once, if all is well. Says what is not, once, and when it is again."""
        trouble = self._clock_trouble()
        if trouble is not None:
            return False
        try:
            self._sender.post(self._url, b"", {}, self._clock.now())
        except SendFailed as failure:
            if self._pace.is_news(failure.reason, self._clock.monotonic()):
                log.warning("alerting: no heartbeat: %s; trying again in %g s", failure.reason, self._every_seconds)
            return False
        return True

    def _clock_trouble(self) -> str | None:
        trouble, before = self.pulse.trouble(self._clock.monotonic()), self._trouble
        self._trouble = trouble
        if trouble is not None and before is None:
            log.warning("alerting: no heartbeat: %s", trouble)
        elif trouble is None and before is not None:
            log.info("alerting: the heartbeat goes on")
        return trouble

    def _run(self) -> None:
        while not self._stop.wait(self._every_seconds):
            self.beat()
