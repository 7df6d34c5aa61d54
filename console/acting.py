"""Acknowledge and snooze: what a key asks of an alert, and the thread that writes it to Kafka."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable
from typing import Literal, Protocol

from console.model import Alert, View
from embedwatch.errors import EmbedwatchError
from embedwatch.events import AlertAction

#: Of a person who presses keys; more wait for a broker that does not answer.
MOST_WAITING = 8
MAX_SNOOZE_SECONDS = 30 * 86_400.0
_ACTIVE = ("firing", "acknowledged", "snoozed", "no_data")


class Writer(Protocol):
    def write(self, action: AlertAction) -> None:
        """Until Kafka has it. Raises `EmbedwatchError`."""

    def close(self) -> None: ...


def refusal(view: View | None, alert: Alert | None, do: Literal["acknowledge", "snooze"]) -> str | None:
    """Why this cannot be done about this alert, in words; None when it can."""
    if view is not None and view.alerts and alert is None:
        return "The alert that was chosen is not listed any more: choose another"
    if view is None or alert is None:
        return "There is no alert to act on"
    if alert.status == "breached":
        return f"Only the rule's judgement is known, not the alert's state: {view.alert_states_reason}"
    if alert.status not in _ACTIVE:
        return f"It does not fire, it is {alert.status}: {alert.title}"
    if do == "acknowledge" and alert.status == "acknowledged":
        return f"It is acknowledged{f' by {alert.who}' if alert.who else ''} already: {alert.title}"
    if alert.episode is None:
        return "These agents do not tell which time it fires: use `embedwatch alerts ack`"
    return None


def action(
    alert: Alert, do: Literal["acknowledge", "snooze"], by: str, now: float, for_seconds: float | None = None
) -> AlertAction:
    """`alert` must not be refused. A new one each time: it names one wish of one person."""
    until = None if for_seconds is None else now + for_seconds
    return AlertAction(uuid.uuid4().hex, now, alert.alert_id, alert.episode or 0, do, by, "command", until)


class Acts:
    """Writes acts one after another in a thread of its own: a broker that is not there does not stop the view.

    `told` is called in that thread with what came of each.
    """

    def __init__(self, writer: Writer, told: Callable[[str], None]) -> None:
        self._writer, self._told = writer, told
        self._waiting: queue.Queue[tuple[AlertAction, str] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="embedwatch-top-acts", daemon=True)
        self._thread.start()

    def ask(self, asked: AlertAction, title: str) -> bool:
        """False when too many wait already."""
        try:
            self._waiting.put_nowait((asked, title))
        except queue.Full:
            return False
        return True

    def close(self, timeout_seconds: float) -> None:
        """What is asked already is written, as far as that is done in time."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (found := self._waiting.get()) is not None:
            asked, title = found
            word = "acknowledge" if asked.do == "acknowledge" else "snooze"
            try:
                self._writer.write(asked)
                said = f"Asked to {word}: {title}"
            except EmbedwatchError as error:
                said = f"Not asked to {word}: {error}"
            except Exception as error:
                said = f"Not asked to {word}: unexpected {type(error).__name__}: {error}"
            self._told(said)
        self._writer.close()
