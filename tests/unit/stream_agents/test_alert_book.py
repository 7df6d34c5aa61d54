"""The states of alerts as the API has them: newest record, earlier terms, doubt, bounds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from alerting.states import AlertState, encode
from embedwatch.errors import ConnectionFailed
from embedwatch.lag.reader import Reading
from embedwatch.settings import Settings
from stream_agents import alerts_reader
from stream_agents.alerts_reader import AlertFollower, follow_alerts, watch_alerting
from stream_agents.compute import alert_book
from stream_agents.compute.alert_book import ABSENT_SECONDS, STALE_SECONDS, AlertBook
from tests.harness.agents_log import NOW, SetClock
from tests.harness.agents_web import alert_states


def take(book: AlertBook, state: AlertState, term: int | None = None) -> None:
    headers = None if term is None else [("term", str(term).encode())]
    book.take(state.alert_id.encode(), encode(state), headers)


def full() -> AlertBook:
    book = AlertBook()
    for state in alert_states():
        take(book, state)
    book.ended()
    book.heard(NOW)
    return book


def test_those_that_fire_come_first_and_changes_newest_first() -> None:
    rows = full().rows(NOW)
    assert (rows["states_known"], rows["states_reason"]) == (True, None)
    assert [(row["type"], row["status"]) for row in rows["states"]] == [
        ("HIGH_LATENCY", "acknowledged"), ("HIGH_LAG", "firing"), ("HIGH_ERROR_RATE", "resolved"),
    ]  # fmt: skip
    first = rows["states"][0]
    assert (first["since_seconds"], first["act"]["by"], first["title"]) == (NOW - 150, "Ada", "high latency")
    assert first["summary"] == "P95 latency is 1,240 ms, limit 800 ms, over the last 10 s."
    assert [row["at_seconds"] - NOW for row in rows["transitions"]] == [-20, -30, -60, -90, -120]
    assert [row["act"] and row["act"]["note"] for row in rows["transitions"]] == [None, None, "a deploy", None, None]


def test_states_that_alerting_no_longer_goes_on_with_are_as_of_the_moment_it_was_seen_last() -> None:
    book = full()
    assert book.rows(NOW)["alerting_heard_seconds"] is None
    book.alerting(2, NOW)
    book.heard(NOW + 90)
    # Asked and not answered is no absence; nor is a restart.
    for members, seconds in ((None, 10), (0, 20), (0, 30)):
        book.alerting(members, NOW + seconds)
        assert book.rows(NOW + seconds)["states_known"]
    rows = book.rows(NOW + ABSENT_SECONDS + 1)
    assert not rows["states_known"]
    assert rows["states_reason"] == (
        "alerting is not heard since 2027-01-15 08:00:00 UTC: no process of it runs, the states are as it left them"
    )
    assert (rows["states_as_of_seconds"], rows["alerting_heard_seconds"]) == (NOW, NOW)
    assert len(rows["states"]) == 3
    book.alerting(1, NOW + 90)
    rows = book.rows(NOW + 90)
    assert (rows["states_known"], rows["states_as_of_seconds"]) == (True, NOW + 90)


def test_alerting_that_was_never_seen_has_no_time_since_which_it_is_not() -> None:
    book = AlertBook()
    book.ended()
    for seconds in (0, ABSENT_SECONDS + 1):
        book.alerting(0, NOW + seconds)
        book.heard(NOW + seconds)
    rows = book.rows(NOW + ABSENT_SECONDS + 1)
    assert rows["states_reason"] == "alerting is not heard: no process of it runs, it has left no state"
    assert (rows["states_as_of_seconds"], rows["alerting_heard_seconds"]) == (None, None)


@pytest.mark.parametrize(("trouble", "told"), [(None, 2), ("no broker answers there", None)])
def test_the_broker_is_asked_for_the_processes_of_alerting(
    monkeypatch: pytest.MonkeyPatch, trouble: str | None, told: int | None
) -> None:
    asked: list[tuple[str, list[str]]] = []
    heard: list[int | None] = []

    class Reader:
        def __init__(self, kafka: object, group: str, topics: list[str], clock: object) -> None:
            asked.append((group, topics))

        def read(self) -> Reading:
            return Reading(NOW, {}, 2, trouble=trouble)

        def close(self) -> None:
            asked.append(("closed", []))

    class Book(AlertBook):
        def alerting(self, members: int | None, now: float) -> None:
            heard.append(members)

    monkeypatch.setattr(alerts_reader, "LagReader", Reader)
    asyncio.run(watch_alerting(Settings(), Book(), SetClock(), lambda: bool(heard)))
    assert heard == [told]
    assert asked == [("embedwatch-alerts", ["embedwatch.verdicts"]), ("closed", [])]


def test_the_newest_record_counts_and_one_of_an_earlier_term_does_not() -> None:
    book, state = full(), alert_states()[2]
    take(book, replace(state, status="resolved"), term=5)
    take(book, replace(state, status="firing"), term=4)
    found = {row["alert_id"]: row["status"] for row in book.rows(NOW)["states"]}
    assert found["lag_seconds"] == "resolved"
    book.take(b"lag_seconds", None, [("term", b"6")])
    assert "lag_seconds" not in {row["alert_id"] for row in book.rows(NOW)["states"]}
    take(book, state, term=5)
    assert "lag_seconds" not in {row["alert_id"] for row in book.rows(NOW)["states"]}


def test_what_is_not_known_is_said_and_is_no_empty_list() -> None:
    book = AlertBook()
    assert book.rows(NOW) == {
        "states_known": False, "states_reason": "the topic of alerts has not been read to its end yet", "states": [],
        "states_as_of_seconds": None, "alerting_heard_seconds": None, "transitions": [],
    }  # fmt: skip
    book.troubled("topic x cannot be read: no")
    assert book.doubt(NOW) == "topic x cannot be read: no"
    book.heard(NOW)
    assert book.doubt(NOW) is not None, "heard is not read to the end"
    book.ended()
    assert book.doubt(NOW + STALE_SECONDS) is None
    assert "not answered for 31 s" in (book.doubt(NOW + STALE_SECONDS + 1) or "")
    book.heard(NOW)
    book.take(b"broken", b"{}")
    assert "1 alerts cannot be read" in (book.doubt(NOW) or "")
    book.take(b"broken", None)
    assert book.doubt(NOW) is None


def test_memory_is_bounded_and_what_is_over_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_book, "MAX_ALERTS", 3)
    book = full()
    firing, over, _ = alert_states()
    for number in range(5):
        take(book, replace(over, alert_id=f"over-{number}"))
    assert {row["status"] for row in book.rows(NOW)["states"]} >= {"acknowledged", "firing"}
    assert book.doubt(NOW) is None
    for number in range(3):
        take(book, replace(firing, alert_id=f"fires-{number}"))
    assert len(book.rows(NOW)["states"]) == 3
    assert "more than 3 alerts are active: 2 of them" in (book.doubt(NOW) or "")


class Client:
    def __init__(self, answered_ms: float | None) -> None:
        self.answered_ms = answered_ms

    def last_poll_timestamp(self, _: Any) -> float | None:
        return self.answered_ms


def test_a_client_that_hears_nothing_from_the_broker_does_not_make_old_news_new() -> None:
    book, clock = full(), SetClock()
    follower = AlertFollower(Settings(), [0], book, clock)
    clock.moved_seconds = 100
    follower.stepped(Client(NOW * 1000))
    assert "not answered for 100 s" in (book.doubt(clock.now()) or "")
    follower.stepped(Client((NOW + 99) * 1000))
    assert book.doubt(clock.now()) is None
    follower.troubled("refused")
    follower.stepped(Client(None))
    assert book.doubt(clock.now()) == "topic embedwatch.alerts cannot be read: refused"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "there is no topic embedwatch.alerts: `embedwatch topics create` creates it"),
        (ConnectionFailed("nobody there"), "topic embedwatch.alerts cannot be read: nobody there"),
    ],
)
def test_a_topic_that_is_not_there_or_cannot_be_asked_for_is_told(
    monkeypatch: pytest.MonkeyPatch, found: Any, words: str
) -> None:
    book = AlertBook()

    def partitions_of(*_: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(alerts_reader.kafka, "partitions_of", partitions_of)
    # It stops at the first look after it has said what is wrong.
    asyncio.run(follow_alerts(Settings(), book, SetClock(), lambda: book.doubt(NOW) == book._trouble is not None))
    assert words in (book.doubt(NOW) or "")
