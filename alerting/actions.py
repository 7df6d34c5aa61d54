"""What people ask of alerts: from the topic `alert-actions` to the engine.

Every alerting process reads all acts and applies those on alerts it owns. Whoever takes alerts over reads them from the
beginning of the topic: one that was stored already, or that came too late, changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from alerting.engine import Engine
from alerting.tail import Tail
from alerting.wording import clean
from embedwatch.codec import decode_action
from embedwatch.errors import InvalidEvent
from embedwatch.events import AlertAction
from embedwatch.settings import Settings

log = logging.getLogger(__name__)

CLIENT_ID = "embedwatch-alerts-actions"


class Actions:
    """One thread."""

    def __init__(self, settings: Settings) -> None:
        self._tail = Tail(settings.kafka, settings.topics.alert_actions, CLIENT_ID)
        self._invalid = 0

    def rewind(self) -> None:
        """Raises `ConnectionFailed`."""
        self._tail.rewind()

    def caught_up(self) -> bool:
        return self._tail.caught_up()

    def apply(self, engine: Engine, now: float, monotonic: float) -> None:
        """What has arrived; takes effect for people when the engine's states are stored."""
        for action in self._decoded(self._tail.read()):
            reason = engine.act(action, now, monotonic)
            if reason in ("acknowledged", "snoozed"):
                who, how = clean(action.by, 100), action.via
                about = {"alert_id": action.alert_id, "reason": reason}
                log.info("alert %s: %s by %s (%s)", clean(action.alert_id, 200), reason, who, how, extra=about)
            else:
                log.debug("alert %s: an act changed nothing: %s", clean(action.alert_id, 200), reason)

    def _decoded(self, records: Iterable[Any]) -> Iterable[AlertAction]:
        for record in records:
            try:
                yield decode_action(record.value)
            except InvalidEvent as error:
                self._invalid += 1
                if self._invalid & (self._invalid - 1) == 0:  # the 1st, 2nd, 4th, ...
                    place = f"{record.topic}-{record.partition}-{record.offset}"
                    line = "alerting: no act at %s: %s (left out; %d so far)"
                    log.error(line, place, clean(str(error), 300), self._invalid)  # noqa: TRY400

    def close(self) -> None:
        self._tail.close()
