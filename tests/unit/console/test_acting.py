"""Acknowledge and snooze: what is asked, what is refused, and what is said when Kafka is not there."""

from __future__ import annotations

import queue
import threading

import msgspec
import pytest

from console.acting import MOST_WAITING, Acts, action, refusal
from console.model import Alert, View
from embedwatch.codec import encode
from embedwatch.errors import ConnectionFailed
from embedwatch.events import AlertAction

FIRING = Alert("latency_p95_ms", "high latency", "", "firing", "critical", 2.0, 1.0, "ms", 5.0, "", 3)


class Writer:
    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.written, self.closed = error, [], False
        self.go = threading.Event()
        self.go.set()

    written: list[AlertAction]

    def write(self, action: AlertAction) -> None:
        assert self.go.wait(20)
        if self.error is not None:
            raise self.error
        self.written.append(action)

    def close(self) -> None:
        self.closed = True


def test_what_is_asked_names_the_alert_and_the_episode_that_was_seen() -> None:
    asked = action(FIRING, "snooze", "Ada", 100.0, 60.0)
    assert (asked.alert_id, asked.episode, asked.do, asked.by, asked.via) == (
        "latency_p95_ms", 3, "snooze", "Ada", "command",
    )  # fmt: skip
    assert (asked.time_seconds, asked.until_seconds) == (100.0, 160.0)
    assert action(FIRING, "acknowledge", "Ada", 100.0).until_seconds is None
    assert action(FIRING, "snooze", "Ada", 100.0, 60.0).action_id != asked.action_id
    encode(asked)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"status": "breached", "episode": None},
            "Only the rule's judgement is known, not the alert's state: read anew",
        ),
        ({"status": "resolved"}, "It does not fire, it is resolved: high latency"),
        ({"status": "pending"}, "It does not fire, it is pending: high latency"),
        ({"episode": None}, "These agents do not tell which time it fires: use `embedwatch alerts ack`"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_with_the_reason(busy_view: View, fields: dict[str, object], why: str) -> None:
    view = msgspec.structs.replace(busy_view, alert_states_known=False, alert_states_reason="read anew")
    assert refusal(view, msgspec.structs.replace(FIRING, **fields), "acknowledge") == why


def test_what_fires_can_be_acknowledged_and_nothing_cannot(busy_view: View) -> None:
    for status in ("firing", "acknowledged", "snoozed", "no_data"):
        alert = msgspec.structs.replace(FIRING, status=status)
        assert refusal(busy_view, alert, "snooze") is None
        assert (refusal(busy_view, alert, "acknowledge") is None) == (status != "acknowledged")
    empty = msgspec.structs.replace(busy_view, alerts=[])
    assert refusal(empty, None, "snooze") == refusal(None, None, "snooze") == "There is no alert to act on"
    assert refusal(busy_view, None, "snooze") == "The alert that was chosen is not listed any more: choose another"


def told(writer: Writer) -> tuple[Acts, queue.Queue[str]]:
    said: queue.Queue[str] = queue.Queue()
    return Acts(writer, said.put), said


def test_what_came_of_it_is_said() -> None:
    writer = Writer()
    acts, said = told(writer)
    asked = action(FIRING, "acknowledge", "Ada", 1.0)
    assert acts.ask(asked, "high latency")
    assert said.get(timeout=20) == "Asked to acknowledge: high latency"
    acts.close(20)
    assert (writer.written, writer.closed) == ([asked], True)


def test_without_a_broker_the_reason_is_said_and_the_next_one_is_tried() -> None:
    writer = Writer(ConnectionFailed("Kafka at b:1: not there"))
    acts, said = told(writer)
    for error, expected in (
        (writer.error, "Not asked to snooze: Kafka at b:1: not there"),
        (KeyError("x"), "Not asked to snooze: unexpected KeyError: 'x'"),
    ):
        writer.error = error
        assert acts.ask(action(FIRING, "snooze", "Ada", 1.0, 60.0), "high latency")
        assert said.get(timeout=20) == expected
    acts.close(20)


def test_only_so_many_wait_for_a_broker() -> None:
    writer = Writer()
    writer.go.clear()
    acts, said = told(writer)
    asked = action(FIRING, "acknowledge", "Ada", 1.0)
    # One may be with the writer already.
    assert sum(acts.ask(asked, "high latency") for _ in range(MOST_WAITING + 5)) in (MOST_WAITING, MOST_WAITING + 1)
    writer.go.set()
    for _ in range(MOST_WAITING):
        said.get(timeout=20)
    acts.close(20)
