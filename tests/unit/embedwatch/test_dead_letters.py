from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.commands.dlq import since_time
from embedwatch.dead_letters import REPLAYS, Letter, Selection, Summary, letter_of, places, replay
from embedwatch.errors import InputError
from embedwatch.topics import Topics
from embedwatch.wire import TextItem, header
from workers.dead_letters import dead_letter
from workers.decode import Decoder, Message
from workers.failures import Failure

label = st.one_of(st.none(), st.text(min_size=1, max_size=20).filter(str.strip))


class Record:
    topic, partition, offset, timestamp = Topics().texts, 3, 5, 1000

    def __init__(self, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self.key, self.value, self.headers = key, value, headers


def made(item: TextItem, *, form: str | None = None, failure: str = "model_error", replays: int = 0) -> Letter:
    message = Message("texts", 1, 7, None, b"k", form, [item], replays=replays)
    letter = dead_letter(message, 0, Failure(failure, "embed", "why"), worker_model="m", now=12.5)  # type: ignore[arg-type]
    return letter_of(0, 9, letter.key, letter.value, letter.headers)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), st.binary(max_size=50), label, label,
    label, st.integers(0, 5),
)  # fmt: skip
def test_a_replayed_letter_is_the_text_that_failed(
    text_id: str, raw: bytes, model: str | None, tenant: str | None, source: str | None, replays: int
) -> None:
    letter = made(TextItem(text_id, raw, None, model, tenant, source), replays=replays)
    key, headers = replay(letter)
    back = Decoder({"m"}, 1000, lambda: 0.0).decode(Record(key, letter.value, headers))
    (item,) = back.items
    assert (item.id, item.raw, item.model, item.tenant, item.source) == (text_id, raw, model, tenant, source)
    assert back.replays == replays + 1
    assert header(headers, "replayed_from") == "0:9"


def test_a_text_that_asked_for_no_model_is_not_tied_to_the_one_of_the_worker() -> None:
    letter = made(TextItem("a", b"text", "text", None, None, None))
    assert (letter.model, letter.asked_model) == ("m", None)
    assert header(replay(letter)[1], "model") is None


def test_a_whole_chunk_that_did_not_decode_goes_back_as_a_chunk() -> None:
    letter = made(TextItem("a", b"{", None, None, None, None), form="texts.v1", failure="malformed_message")
    assert header(replay(letter)[1], "format") == "texts.v1"


def test_a_letter_with_nothing_in_its_headers_is_not_refused() -> None:
    letter = letter_of(0, 1, None, None, [("time", b"yesterday"), (REPLAYS, b"many")])
    assert (letter.text_id, letter.value, letter.error_class, letter.time_seconds) == ("", b"", "unknown", None)
    assert letter.replays == 0
    assert letter.source is None


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(error_class="model_error", tenant="acme", model="m"), True),
        (Selection(error_class="timeout"), False),
        (Selection(tenant="globex"), False),
        (Selection(source="x"), False),
        (Selection(text_id="a"), True),
        (Selection(since_seconds=12.5), True),
        (Selection(since_seconds=13.0), False),
        (Selection(places=frozenset({(0, 9)})), True),
        (Selection(places=frozenset({(9, 0)})), False),
    ],
)
def test_a_selection_takes_what_fits_everything_given(selection: Selection, taken: bool) -> None:
    assert selection.takes(made(TextItem("a", b"text", "text", None, "acme", None))) is taken


def test_a_summary_counts_everything_in_bounded_memory() -> None:
    summary = Summary()
    for number in range(1000):
        summary.add(made(TextItem("a", b"", "", None, f"tenant-{number}", None)))
    assert summary.letters == 1000
    assert sum(summary.by["tenant"].values()) == 1000
    assert len(summary.by["tenant"]) <= Summary.MOST + 1
    assert summary.by["class"] == {"model_error": 1000}
    assert (summary.first_seconds, summary.last_seconds) == (12.5, 12.5)


@pytest.mark.parametrize("text", ["", "17", "a:b", "0:17:3", "-1:2"])
def test_what_is_no_place_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InputError, match="0:17"):
        places([text])


def test_places_are_partition_and_offset() -> None:
    assert places(["0:17", " 3:4 "]) == {(0, 17), (3, 4)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30m", datetime(2026, 11, 25, 11, 30, tzinfo=UTC)),
        ("2d", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        ("2026-11-25T08:00", datetime(2026, 11, 25, 8, 0, tzinfo=UTC)),
        ("2026-11-25T08:00+02:00", datetime(2026, 11, 25, 6, 0, tzinfo=UTC)),
        ("soon", None),
    ],
)
def test_since_is_a_span_or_a_time(text: str, expected: Any) -> None:
    now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    if expected is None:
        with pytest.raises(InputError, match="30m, 6h or 2d"):
            since_time(text, now)
    else:
        assert since_time(text, now) == expected
