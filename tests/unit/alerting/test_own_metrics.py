"""What alerting answers of itself, from its state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alerting.own_metrics import FAMILIES, Told, View, look
from alerting.states import AlertState, Owed
from embedwatch.stage_metrics import grouped
from tests.harness.verdicts import verdict


def state(name: str, status: Any, partition: int = 0, owed: tuple[Owed, ...] = ()) -> AlertState:
    said = verdict("breached", alert_id=name)
    return AlertState(
        alert_id=name, status=status, verdict=said, changed_at_seconds=0, event_seconds=0, local_seconds=0,
        heard_seconds=0, partition=partition, offset=1, owed=owed,
    )  # fmt: skip


SAID: Any = None  # what a message says: nothing here looks at it
OWED = Owed(number=1, receiver="slack", kind="firing", episode=1, decided_seconds=0.0, facts=SAID)
READY = View(
    frozenset({0}), verdicts=9, commits=4, invalid={"malformed": 2},
    states=[state("a", "firing", owed=(OWED,)), state("b", "firing"), state("c", "firing", partition=1)],
    receivers=[Told("slack", 3, 2, 10.0, 1000.0), Told("console", 5)],
    verdict_seconds_ago=1.0, behind_seconds=0.25, unsaved_seconds=0.1, broker_heard_seconds_ago=0.5,
    progress_seconds_ago=0.1,
)  # fmt: skip
STARTING = View(None, receivers=[Told("console")])


def numbers(seen: View) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels]): sample.number
        for _, samples in grouped(FAMILIES, look(seen).samples)
        for sample in samples
    }


def test_every_family_has_its_number_where_all_is_known() -> None:
    found = numbers(READY)
    assert {key: number for key, number in found.items() if not key.startswith("alerts ") or number} == {
        "ready": 1, "owned_partitions": 1, "verdicts": 9, "invalid_verdicts malformed": 2, "verdict_age_seconds": 1,
        "behind_seconds": 0.25, "alerts firing": 2, "owed_messages slack": 1, "owed_messages console": 0,
        "sent_messages slack": 3, "sent_messages console": 5, "send_failures slack": 2, "send_failures console": 0,
        "receiver_failing_seconds slack": 10, "last_sent_timestamp_seconds slack": 1000, "commits": 4,
        "unsaved_seconds": 0.1, "broker_silent_seconds": 0.5,
    }  # fmt: skip
    assert found["alerts resolved"] == 0
    assert {key.split()[0] for key in found} == {family.name for family in FAMILIES}


def test_before_it_has_taken_over_nothing_is_said_of_alerts() -> None:
    found = {key.split()[0] for key in numbers(STARTING)}
    assert not found & {"alerts", "owed_messages", "owned_partitions", "verdict_age_seconds", "behind_seconds"}
    assert numbers(STARTING)["ready"] == 0


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, []),
        ({"owned": frozenset()}, []),  # it stands by
        ({"owned": None}, ["it has not taken its alerts over yet"]),
        ({"reads_backlog": True}, ["it reads what waited for it first"]),
        ({"receivers": []}, ["nobody is configured who would be told"]),
        ({"unsaved_seconds": 31.0},
         ["what is decided could not be stored for 31 s; until then nothing is sent"]),
        ({"broker_heard_seconds_ago": 31.0}, ["the broker has not answered for 31 s"]),
        ({"broker_heard_seconds_ago": None}, ["the broker has not answered yet"]),
        ({"stopping": True}, ["it is stopping"]),
    ],
)  # fmt: skip
def test_ready_is_when_an_alert_would_come(change: Any, reasons: list[str]) -> None:
    seen = look(replace(READY, **change))
    assert (seen.unready, seen.dead) == (reasons, [])
    assert numbers(replace(READY, **change))["ready"] == (not reasons)


def test_it_lives_while_its_cycles_go_on() -> None:
    assert look(STARTING).dead == []
    assert look(replace(READY, progress_seconds_ago=120.0)).dead == []
    assert look(replace(READY, progress_seconds_ago=121.0)).dead == [
        "its main loop has not moved for 121 s; 120 s are allowed"
    ]
