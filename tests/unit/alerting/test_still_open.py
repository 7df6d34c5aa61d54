"""Alertmanager forgets: what fires is said to it again, and never after its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from alerting.alertmanager import RESEND_SECONDS, AlertmanagerReceiver
from alerting.receivers import ConsoleReceiver
from alerting.states import AlertState, Told
from alerting.still_open import Forgetful, StillOpen, still_open
from tests.harness.http_receiver import HttpReceiver
from tests.harness.verdicts import verdict
from tests.harness.waiting import eventually
from tests.unit.alerting.test_machines import NOW, told


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with HttpReceiver() as found:
        yield found


def alertmanager(server: HttpReceiver) -> AlertmanagerReceiver:
    return AlertmanagerReceiver(server.url, repeat_interval_seconds=60.0, timeout_seconds=5, now=lambda: NOW)


def ids(document: list[dict[str, Any]]) -> list[str]:
    return [each["labels"]["alert_id"] for each in document]


def state(name: str, **fields: Any) -> AlertState:
    values: dict[str, Any] = {
        "alert_id": name, "status": "firing", "verdict": verdict(alert_id=name), "changed_at_seconds": 1005.0,
        "event_seconds": 1.0, "local_seconds": 1.0, "heard_seconds": 1.0, "partition": 0, "offset": 1,
        "episode": 3, "fired_at_seconds": 1005.0, "breached_since_seconds": 1000.0,
        "told": {"alertmanager": Told(3, True)},
    }  # fmt: skip
    return AlertState(**{**values, **fields})


def test_what_fires_is_said_again_each_minute(server: HttpReceiver) -> None:
    receiver = alertmanager(server)
    assert receiver.due(100.0)
    parcels = still_open({name: state(name) for name in ("a", "b")}, "alertmanager")
    receiver.keep_open(parcels, 100.0)
    assert eventually(lambda: bool(server.seen))
    assert ids(server.documents[0]) == ["a", "b"]
    assert not receiver.due(100.0 + RESEND_SECONDS - 1)
    assert eventually(lambda: receiver.due(100.0 + RESEND_SECONDS))


def test_what_is_over_is_not_said_to_fire_by_an_older_look(server: HttpReceiver) -> None:
    receiver = alertmanager(server)
    receiver.keep_open([], 0.0)
    receiver.send(told("resolved"))
    # The look was taken before the end was sent, and its thread comes later.
    receiver._resend([told(), *still_open({"b": state("b")}, "alertmanager")])
    assert ids(server.documents[1]) == ["b"]
    receiver._resend([told()])
    assert len(server.seen) == 2


def test_one_that_fails_is_said_and_made_up_for_by_the_next(
    server: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = [(503, {})]
    alertmanager(server)._resend([told()])
    assert "what still fires could not be said again: Alertmanager fails (status 503)" in caplog.text


def test_whoever_was_told_of_a_problem_is_told_again_and_nobody_else() -> None:
    states = [
        state("fires"),
        state("acknowledged", status="acknowledged"),
        state("silent", status="no_data"),
        state("over", status="resolved"),
        state("another receiver's", told={"slack": Told(3, True)}),
        state("not told of this one", told={"alertmanager": Told(2, True)}),
        state("told of its end", told={"alertmanager": Told(3, False)}),
    ]
    found = still_open({each.alert_id: each for each in states}, "alertmanager")
    assert [(parcel.message.alert_id, parcel.message.kind) for parcel in found] == [
        ("fires", "repeat"),
        ("acknowledged", "repeat"),
        ("silent", "no_data"),
    ]
    # It is the firing that was announced, not another one.
    assert found[0].key == "fires|3|1005"


def test_only_who_forgets_is_told_again(server: HttpReceiver) -> None:
    assert isinstance(alertmanager(server), Forgetful)
    assert not isinstance(ConsoleReceiver(), Forgetful)
    assert StillOpen([ConsoleReceiver(), alertmanager(server)])._forgetful
