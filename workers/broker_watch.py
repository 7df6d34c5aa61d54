"""Notices that the broker is gone. kafka-python waits for a lost one for ever, and a poll then simply brings nothing.

What tells are acknowledgements: the heartbeats' come every few seconds, whether there are texts or not.
"""

from __future__ import annotations

import logging

from embedwatch.clock import Clock
from embedwatch.errors import ConnectionFailed

log = logging.getLogger(__name__)

#: So many heartbeats without an acknowledgement are said.
QUIET_HEARTBEATS = 3


class BrokerWatch:
    """`seen` may be called from any thread, `check` from one."""

    def __init__(self, *, where: str, heartbeat_seconds: float, retry_seconds: float, clock: Clock) -> None:
        self._where = where
        self._quiet_seconds = QUIET_HEARTBEATS * heartbeat_seconds + 1.0
        self._heartbeat_seconds = heartbeat_seconds
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._seen = clock.monotonic()
        self._heard = False
        self._said = False

    def seen(self) -> None:
        """The broker acknowledged something."""
        self._seen, self._heard = self._clock.monotonic(), True

    @property
    def heard_seconds_ago(self) -> float | None:
        """None before the first time."""
        return self._clock.monotonic() - self._seen if self._heard else None

    @property
    def answers(self) -> bool:
        """False from when its silence is said until it is back."""
        return not self._said

    def check(self) -> None:
        """Say when the broker falls silent and when it is back. Raises `ConnectionFailed` when it stays away."""
        silent = self._clock.monotonic() - self._seen
        # A heartbeat's own rhythm is not the broker's silence.
        if silent > self._retry_seconds + self._heartbeat_seconds:
            raise ConnectionFailed(
                f"Kafka at {self._where}: no answer for {silent:.0f} s; the worker gives up "
                "(worker.broker_retry_seconds sets how long it tries). Nothing unacknowledged was committed"
            )
        if silent > self._quiet_seconds and not self._said:
            self._said = True
            log.warning("Kafka at %s does not answer; tried again for up to %g s", self._where, self._retry_seconds)
        elif silent <= self._quiet_seconds and self._said:
            self._said = False
            log.info("Kafka at %s answers again", self._where)
