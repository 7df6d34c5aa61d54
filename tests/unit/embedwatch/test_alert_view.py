"""What alerting writes is what others read, and what they do not know does not stop them."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting import store
from alerting.digest_books import KEY, Books
from alerting.digest_books import encode as encode_books
from alerting.states import ACTIVE, AlertState, Status, Transition, encode
from embedwatch import alert_view
from embedwatch.alert_view import Judged, decode, summary, term_of, title
from embedwatch.alert_words import TITLES
from embedwatch.errors import InvalidEvent
from embedwatch.events import AlertType
from tests.harness.agents_log import NOW
from tests.harness.agents_web import alert_states
from tests.harness.verdicts import verdict


@pytest.mark.parametrize("state", alert_states(), ids=lambda state: state.alert_id)
def test_a_state_of_alerting_is_read_whole(state: AlertState) -> None:
    view = decode(encode(state))
    assert view is not None
    for name in (
        "alert_id", "status", "reason", "episode", "changed_at_seconds", "breached_since_seconds", "fired_at_seconds",
        "resolved_at_seconds", "worst_value", "active",
    ):  # fmt: skip
        assert getattr(view, name) == getattr(state, name), name
    for ours, theirs in ((view.verdict, state.verdict), (view.breach, state.breach)):
        assert (ours is None) == (theirs is None)
        for name in Judged.__struct_fields__ if ours is not None else ():
            assert getattr(ours, name) == getattr(theirs, name), name
    changes = [(c.at_seconds, c.status, c.reason, c.act and c.act.by) for c in view.history]
    assert changes == [(c.at_seconds, c.status, c.reason, c.act and c.act.by) for c in state.history]
    assert (view.act and (view.act.do, view.act.note)) == (state.act and (state.act.do, state.act.note))
    assert (view.quiet and view.quiet.until_seconds) == (state.quiet and state.quiet.until_seconds)


@given(status=st.sampled_from(get_args(Status)), changes=st.integers(0, 40), value=st.floats(allow_nan=False))
def test_any_state_is_read(status: Status, changes: int, value: float) -> None:
    history = tuple(Transition(float(n), status, "fired") for n in range(changes))
    state = AlertState(
        "a", status, verdict(value=value if abs(value) < 1e300 else 0.0), NOW, NOW, NOW, NOW, 0, 0, history=history
    )
    view = decode(encode(state))
    assert view is not None
    assert [change.at_seconds for change in view.history] == [float(n) for n in range(changes)][-20:]
    assert view.active == (status in ACTIVE)
    assert view.summary


def test_what_a_newer_version_adds_is_passed_over() -> None:
    record: dict[str, Any] = json.loads(encode(alert_states()[0]))
    record |= {"v": 99, "mood": "blue", "status": "escalating"}
    record["verdict"] |= {"alert_type": "NEW_KIND", "unheard": [1]}
    record["history"].append({"at_seconds": NOW, "status": "escalating", "reason": "who_knows", "more": {}})
    view = decode(json.dumps(record).encode())
    assert view is not None
    assert (view.status, view.title, view.history[-1].reason) == ("escalating", "new kind", "who_knows")
    assert not view.active


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b'{"type":"alert"}', b"[" * 5000])
def test_what_is_no_alert_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode(data)


def test_books_of_the_digest_are_no_alerts() -> None:
    assert decode(encode_books(Books(partition=0, period=1, since_seconds=NOW))) is None
    assert KEY


def test_names_agree_with_alerting() -> None:
    assert (alert_view.ACTIVE, alert_view.TERM) == (ACTIVE, store.TERM)
    assert set(TITLES) == set(get_args(AlertType))
    for headers in ([("term", b"12")], [("term", b"x")], [], None, [("term", b"9" * 30)], [("other", b"1")]):
        assert term_of(headers) == store.term_of(headers)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "P95 latency is 1,240 ms, limit 800 ms, over the last 10 s."),
        ({"value": None}, "P95 latency is not known, limit 800 ms, over the last 10 s."),
        ({"value": float("inf")}, "P95 latency is not known, limit 800 ms, over the last 10 s."),
        (
            {"metric": "daily_cost_usd", "unit": "USD", "value": 0.01234, "threshold": 100.0, "window_seconds": 0.0,
             "day": "2027-01-15"},
            "Spend of 2027-01-15 is $0.01234, limit $100.00.",
        ),
        ({"metric": "new_thing_ms", "comparison": "<"}, "New thing is 1,240 ms, minimum 800 ms, over the last 10 s."),
    ],
)  # fmt: skip
def test_the_summary_says_value_and_limit(more: dict[str, Any], words: str) -> None:
    fields = {name: getattr(verdict(), name) for name in Judged.__struct_fields__}
    assert summary(Judged(**{**fields, **more})) == words


def test_a_title_of_every_type() -> None:
    assert title("HIGH_LATENCY") == "high latency"
    assert title("SOMETHING_NEW") == "something new"
