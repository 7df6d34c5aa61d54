"""Lag in words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from embedwatch.lag.tracker import Lag, Place, total
from embedwatch.lag.words import COLUMNS, as_json, cells, drain, head, line, reasons, span, worst_first

FINE = Lag("OK", None, 10, 30, 20, 2000, 3.0, 5.0, 1.0, 5.0, 100.0)
IDLE = Lag("OK", None, 30, 30, 0, 0, 0.0, 0.0, 0.0, 0.0)
STALLED = Lag("STALLED", "no commit for 75 s with 10 messages waiting", 0, 10, 10, 10, 75.0, 0.0, 1.0)
UNKNOWN = Lag("UNKNOWN", "no answer in time")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"), (0, "0.0 s"), (9.94, "9.9 s"), (75.4, "75 s"), (119.4, "119 s"), (725, "12 m 5 s"),
        (3600 * 3 + 120, "3 h 2 m"), (86_400 * 2 + 3600 * 4, "2 d 4 h"),
    ],
)  # fmt: skip
def test_spans(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


def test_a_queue_that_does_not_get_shorter_is_not_one_of_which_that_is_not_known() -> None:
    assert drain(10, None, 0.0) == "never"
    assert drain(10, None, None) == "unknown"
    assert drain(None, None, 3.0) == "unknown"
    assert drain(10, 5.0, 3.0) == "5.0 s"


def test_the_lines_over_the_table() -> None:
    assert head("g", 2, ["t", "t"], total([FINE, IDLE]), 2.0) == [
        "Group:         g (2 members)",
        "Topics:        t (2 partitions)",
        "Status:        OK",
        "Waiting:       20 messages, 2,000 texts",
        "Oldest waits:  3.0 s",
        "Arriving:      1.0 messages/s",
        "Done:          5.0 messages/s",
        "Time to drain: 5.0 s",
    ]


def test_what_is_not_known_is_said_and_is_never_a_number() -> None:
    text = "\n".join(head("g", None, ["t"], total([FINE, UNKNOWN]), 2.0))
    for words in (
        "g (members unknown)", "UNKNOWN (1 of 2 partitions, 1 OK)", "messages unknown, texts unknown",
        "Oldest waits:  unknown", "Arriving:      unknown", "Time to drain: unknown",
    ):  # fmt: skip
        assert words in text
    assert set(cells(Place("t", 0), UNKNOWN, False)[2:]) == {"unknown"}
    assert "UNKNOWN: messages unknown, texts unknown, oldest unknown" in line(total([UNKNOWN]))


def test_a_look_too_short_to_find_a_stall_says_so() -> None:
    still = replace(FINE, consume_rate_per_s=0.0, drain_seconds=None)
    assert head("g", 1, ["t"], total([still]), 2.0)[-1].startswith("No commit was seen in 2 s; whether it is STALLED")
    assert head("g", 1, ["t"], total([still]), 60.0)[-1] == "Time to drain: never"
    assert head("g", 1, ["t"], total([IDLE]), 2.0)[-1] == "Time to drain: 0.0 s"


def test_the_line_of_who_follows() -> None:
    assert line(total([FINE, STALLED])) == (
        "STALLED: 30 messages, 2,010 texts, oldest 75 s; arriving 2.0 messages/s, done 5.0 messages/s; drains in 10 s"
    )


def test_a_row_has_a_cell_for_each_column() -> None:
    row = cells(Place("t", 3), FINE, False)
    assert row == ("3", "OK", "20", "2,000", "3.0 s", "1.0", "5.0", "5.0 s")
    assert len(row) == len(COLUMNS)
    assert cells(Place("t", 3), FINE, True)[0] == "t:3"


def test_who_shares_a_reason_shares_a_line_and_the_worst_comes_first() -> None:
    lags = {Place("t", n): Lag("STOPPED", "the group has no members") for n in range(12)}
    lags |= {Place("t", 20): FINE, Place("t", 21): UNKNOWN, Place("t", 22): STALLED}
    shown = reasons(lags, 5)
    assert shown == [
        "UNKNOWN 21: no answer in time",
        "STOPPED 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more: the group has no members",
        "STALLED 22: no commit for 75 s with 10 messages waiting",
    ]
    assert reasons(lags, 1) == [shown[0], "and 2 more reasons"]
    assert reasons({Place("a", 0): UNKNOWN, Place("b", 0): FINE}, 5) == ["UNKNOWN a:0: no answer in time"]


def test_of_many_partitions_the_worst_are_shown() -> None:
    lags = {Place("t", n): IDLE for n in range(50)} | {Place("t", 60): STALLED, Place("t", 61): FINE}
    few, more = worst_first(lags, 3)
    assert [place.partition for place, _ in few] == [60, 61, 0]
    assert more == 49
    assert worst_first(lags, 52) == (sorted(lags.items()), 0)


def test_as_json() -> None:
    lags = {Place("t", 1): UNKNOWN, Place("t", 0): FINE}
    found = json.loads(json.dumps(as_json("g", 2, 5.0, lags, total(lags.values()), None)))
    assert [row["partition"] for row in found["partitions"]] == [0, 1]
    assert found["partitions"][1]["lag_messages"] is None
    assert found["total"]["status"] == "UNKNOWN"
    gone = as_json("g", None, 5.0, {}, total([]), "no broker answers there")
    assert gone["total"]["reason"] == "no broker answers there"
