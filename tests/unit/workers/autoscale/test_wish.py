from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.autoscale.wish import MAX_WORDS, MAX_WORKERS, Hold, Wish, read

NOW = 1_700_000_000.0
WORDS = st.text("ab \n\x00é\u2028😀", max_size=20)
JSON = (
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS
    | st.lists(st.integers(), max_size=2) | st.dictionaries(WORDS, st.integers(), max_size=2)
)  # fmt: skip


def heard(**fields: Any) -> Wish | Hold:
    answer = {"time_seconds": NOW, "group": "g", "topic": "t", "desired_workers": 3, "desired_workers_reason": "busy"}
    return read({**answer, **fields}, now=NOW, old_seconds=30.0, group="g", topic="t")


def test_a_number_is_what_is_asked_for_and_comes_with_its_reason() -> None:
    assert heard(cause="backlog", limited_by="budget", wanted_workers=9) == Wish(3, "busy", "backlog", "budget", 9)
    assert heard() == Wish(3, "busy")
    assert heard(desired_workers=0) == Wish(0, "busy")
    assert heard(desired_workers=2.0) == Wish(2, "busy")
    # A part of a worker is one.
    assert heard(desired_workers=2.1) == Wish(3, "busy")


def test_no_number_is_never_zero() -> None:
    assert heard(desired_workers=None, desired_workers_reason="no samples yet") == Hold(
        "undecided", "the agents do not say how many: no samples yet"
    )


@pytest.mark.parametrize("cause", ["unknown", "stalled", "failing"])
def test_where_nothing_may_be_decided_the_number_is_not_looked_at(cause: str) -> None:
    assert heard(cause=cause) == Hold("undecided", "the agents do not say how many: busy")


@pytest.mark.parametrize("value", [-1, True, "3", [3], float("nan"), float("inf"), 10**400, MAX_WORKERS + 1])
def test_what_is_no_number_of_workers_is_none(value: Any) -> None:
    found = heard(desired_workers=value)
    assert isinstance(found, Hold)
    assert found.kind == "nonsense"


@pytest.mark.parametrize(
    ("time_seconds", "kind", "words"),
    [
        (NOW - 31, "old", "31 s old"),
        (NOW + 31, "old", "31 s ahead of this machine's clock"),
        (None, "undated", "when it was made"),
        ("today", "undated", "when it was made"),
    ],
)
def test_an_old_answer_says_nothing_about_now(time_seconds: Any, kind: str, words: str) -> None:
    found = heard(time_seconds=time_seconds)
    assert isinstance(found, Hold)
    assert found.kind == kind
    assert words in found.reason


def test_an_answer_of_almost_now_will_do() -> None:
    assert isinstance(heard(time_seconds=NOW - 29), Wish)
    assert isinstance(heard(time_seconds=NOW + 29), Wish)


@pytest.mark.parametrize(("name", "ours"), [("group", "g"), ("topic", "t")])
def test_agents_of_another_pipeline_say_nothing_about_ours(name: str, ours: str) -> None:
    found = heard(**{name: "other"})
    assert found == Hold("foreign", f"the agents look at the {name} other, and these workers are of {ours}")
    # Agents that do not know it are taken at their word.
    assert isinstance(heard(**{name: None}), Wish)


def test_the_words_of_another_process_come_in_one_line_of_limited_length() -> None:
    found = heard(desired_workers_reason="a\nb\x1b[31m" + "c" * 1000)
    assert isinstance(found, Wish)
    assert found.reason.startswith("a b [31mccc")
    assert len(found.reason) == MAX_WORDS + 3


@given(
    st.dictionaries(
        st.sampled_from(["time_seconds", "group", "topic", "desired_workers", "desired_workers_reason", "cause"]), JSON
    )
)
def test_whatever_comes_is_a_number_in_range_or_nothing(fields: dict[str, Any]) -> None:
    found = heard(**json.loads(json.dumps(fields)))
    if isinstance(found, Wish):
        assert type(found.desired) is int
        assert 0 <= found.desired <= MAX_WORKERS
        assert fields.get("desired_workers", 3) is not None
    else:
        assert found.reason
