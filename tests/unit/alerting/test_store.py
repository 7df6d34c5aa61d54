"""What counts of the records of alerts: the newest, but for those that come late."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from alerting.policy import Policy
from alerting.states import AlertState, encode
from alerting.store import Stored, _take, term_of
from tests.harness.alert_world import FakeReceiver, World


def state(value: float) -> AlertState:
    world = World(Policy(("slack",)), [FakeReceiver()])
    world.hear("breached", "a", value=value)
    (found,) = world.engine.states.values()
    return found


def record(term: int | None, value: float | None, key: str = "a") -> Any:
    headers = [] if term is None else [("term", str(term).encode())]
    return SimpleNamespace(key=key.encode(), value=None if value is None else encode(state(value)), headers=headers)


@pytest.mark.parametrize(
    ("records", "counts"),
    [
        ([(5, 1.0), (5, 2.0)], 2.0),
        ([(5, 1.0), (6, 2.0), (5, 3.0)], 2.0),  # on its way when another took over
        ([(5, 1.0), (6, None), (5, 3.0)], None),  # forgotten stays forgotten
        ([(6, 1.0), (None, 2.0)], 2.0),  # of an older version
        ([(None, 1.0), (6, 2.0), (5, 3.0), (6, 4.0)], 4.0),
        ([(5, 1.0), (5, 3.0), (7, 2.0)], 2.0),
    ],
)
def test_a_late_record_of_who_held_the_alert_before_is_left_out(records: list[Any], counts: float | None) -> None:
    found = Stored({}, {})
    for each in records:
        _take(found, record(*each), "here")
    assert (found.states["a"].verdict.value if counts is not None else found.states.get("a")) == counts


def test_terms_are_of_each_alert_and_the_next_is_larger_and_later() -> None:
    found = Stored({}, {})
    for each in (record(9, 1.0, "a"), record(5, 2.0, "b")):
        _take(found, each, "here")
    assert set(found.states) == {"a", "b"}
    assert found.next_term(0.0) == 10
    assert found.next_term(1000.0) == 1_000_000
    assert Stored({}, {}).next_term(1.5) == 1500


@pytest.mark.parametrize(
    "headers", [None, [], [("term", b"")], [("term", b"-3")], [("term", b"9" * 30)], [("x", b"3")]]
)
def test_a_term_that_cannot_be_read_is_none(headers: Any) -> None:
    assert term_of(headers) is None
