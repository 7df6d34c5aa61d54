from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.commands.dlq import since_time
from embedwatch.dead_letters import (
    RECEIPT,
    REPLAYS,
    Latest,
    Letter,
    Selection,
    Summary,
    letter_of,
    place_of,
    places,
    printable,
    read_receipt,
    receipt,
    refusal,
    replay,
    restored,
)
from embedwatch.errors import ConfigError
from embedwatch.offset_ranges import OffsetRanges
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES, Topics
from embedwatch.wire import TextItem, chunk_headers, encode_chunk, header
from workers.dead_letters import MAX_VALUE_BYTES, dead_letter
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


def whole_and_clipped(texts: list[str], index: int) -> tuple[Letter, bytes]:
    """The letter of a text of a chunk, clipped; and the chunk."""
    ids = [f"id-{number}" for number in range(len(texts))]
    chunk = encode_chunk(ids, texts)
    message = Decoder({"m"}, 1, lambda: 0.0).decode(Record(b"id-0", chunk, chunk_headers(len(ids))))
    letter = dead_letter(message, index, message.failures[index], worker_model="m", now=1.0)
    return letter_of(0, 9, letter.key, letter.value, letter.headers), chunk


def test_a_clipped_text_is_made_whole_from_the_message_it_came_in() -> None:
    text = "ä" * (MAX_VALUE_BYTES // 2) + "the end"
    letter, chunk = whole_and_clipped(["short one", text], 1)
    assert letter.clipped_from_bytes == len(text.encode()) > len(letter.value)
    whole = restored(letter, b"id-0", chunk, chunk_headers(2))
    assert isinstance(whole, Letter)
    assert whole.value == text.encode()
    assert (whole.clipped_from_bytes, whole.text_id, whole.place) == (None, "id-1", letter.place)


@pytest.mark.parametrize(
    ("ids", "texts", "why"),
    [
        (["id-0", "id-1"], ["a", "b" * MAX_VALUE_BYTES + "another end"], "another text"),
        (["id-0", "id-1"], ["a", "c" * (MAX_VALUE_BYTES + 7)], "another text"),
        (["id-0", "id-x"], ["a", "b" * (MAX_VALUE_BYTES + 7)], "another text"),
        (["id-0"], ["a"], "another text"),
        (None, None, "does not decode"),
    ],
)
def test_a_clipped_text_is_not_made_of_another_one(ids: list[str] | None, texts: list[str] | None, why: str) -> None:
    letter, _ = whole_and_clipped(["a", "b" * (MAX_VALUE_BYTES + 7)], 1)
    there = encode_chunk(ids, texts) if ids is not None and texts is not None else b"{"
    said = restored(letter, b"id-0", there, chunk_headers(2))
    assert isinstance(said, str)
    assert why in said


@pytest.mark.parametrize(
    ("topic", "replays", "size", "why"),
    [
        ("texts", 0, 10, None),
        ("texts", 2, 10, None),
        ("texts", 3, 10, "3 times"),
        ("metrics", 0, 10, "came from metrics"),
        ("texts", 0, MAX_VALUE_BYTES, None),
        ("texts", 0, TEXTS_MAX_MESSAGE_BYTES - 100, "larger than a message"),
    ],
)
def test_what_does_not_go_back_is_told_why(topic: str, replays: int, size: int, why: str | None) -> None:
    message = Message(
        topic, 1, 7, None, b"k", None, [TextItem("a", b"x" * size, None, "m", None, None)], replays=replays
    )
    made = dead_letter(message, 0, Failure("model_error", "embed", "why"), worker_model="m", now=1.0)
    letter = letter_of(0, 9, made.key, made.value, made.headers)
    said = refusal(letter, "texts", 3)
    assert (said is None) if why is None else (why in (said or ""))


def test_a_letter_that_does_not_say_where_it_came_from_goes_back_unless_it_is_clipped() -> None:
    letter = letter_of(0, 9, b"a", b"text", [])
    assert refusal(letter, "texts", 3) is None
    assert "not known" in (refusal(letter_of(0, 9, b"a", b"te", [("clipped_from_bytes", b"9")]), "texts", 3) or "")


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 10**15))))
def test_a_receipt_says_what_was_sent(sent: set[tuple[int, int]]) -> None:
    value, headers = receipt(OffsetRanges(sent))
    back = read_receipt(value, headers)
    assert back is not None
    assert set(back) == sent


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[1]", b'{"0": 1}', b'{"0": [[3, 1]]}', b"[" * 100_000])
def test_a_receipt_that_cannot_be_read_says_nothing_was(value: bytes | None) -> None:
    found = read_receipt(value, receipt(OffsetRanges())[1])
    assert found is not None
    assert not len(found)
    assert read_receipt(b"{}", [(RECEIPT, b"dlq-replay.v9")]) is not None


@given(st.text(max_size=20), label)
def test_no_letter_of_a_worker_is_taken_for_a_receipt(form: str, source: str | None) -> None:
    message = Message("texts", 1, 7, None, b"k", form, [TextItem("a", b"{}", None, None, None, source)])
    letter = dead_letter(message, 0, Failure("malformed_message", "decode", "why"), worker_model="m", now=1.0)
    assert read_receipt(letter.value, letter.headers) is None


def test_the_time_of_a_letter_is_its_own_else_that_of_its_record() -> None:
    for headers, timestamp_ms, expected in (
        ([("time", b"12.5")], 99_000, 12.5),
        ([], 99_000, 99.0),
        ([("time", b"nan")], 99_000, 99.0),
        ([("time", b"inf")], None, None),
        ([], -1, None),
    ):
        assert letter_of(0, 1, None, None, headers, timestamp_ms).time_seconds == expected


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 10))
def test_the_latest_are_those_a_sort_would_give_without_their_texts(times: list[int], most: int) -> None:
    latest = Latest(most)
    for number, time in enumerate(times):
        latest.add(letter_of(0, number, b"a", b"a long text", [("time", str(time).encode())]))
    expected = sorted(((time, number) for number, time in enumerate(times)), reverse=True)[:most]
    assert [(letter.time_seconds, letter.offset) for letter in latest.newest_first()] == expected
    assert all(letter.value == b"" for letter in latest.newest_first())


@given(st.text(max_size=50))
def test_a_terminal_is_told_nothing_by_what_is_printed(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable("x" + text, 10)) <= 10 * 10
    assert printable("\x1b[2J[bold]\n") == "\\x1b[2J[bold]\\n"
    assert printable("abcdef", 4) == "abc…"


def test_a_letter_with_nothing_in_its_headers_is_not_refused() -> None:
    letter = letter_of(0, 1, None, None, [("time", b"yesterday"), (REPLAYS, b"many")])
    assert (letter.text_id, letter.value, letter.error_class, letter.time_seconds) == ("", b"", "unknown", None)
    assert letter.replays == 0
    assert letter.source is None


@pytest.mark.parametrize("text", [b"-1", b"1_0", b" 1", "１".encode(), b"9" * 19, b"1.0"])
def test_a_number_that_is_no_count_and_no_place_is_not_known(text: bytes) -> None:
    names = ("source_partition", "source_offset", "index", "clipped_from_bytes")
    letter = letter_of(0, 1, None, None, [(name, text) for name in (*names, REPLAYS)])
    assert (letter.source_partition, letter.source_offset, letter.index, letter.clipped_from_bytes) == (None,) * 4
    assert letter.replays == 0, "one below zero would come back more often than its limit"


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
    with pytest.raises(ConfigError, match="0:17"):
        places([text])


def test_the_id_of_a_text_is_no_place() -> None:
    assert [place_of(text) for text in ("doc-1", "0:17", "a:1", "٣:٤", "1:2:3")] == [None, (0, 17), None, None, None]


def test_places_are_partition_and_offset() -> None:
    assert places(["0:17", " 3:4 "]) == {(0, 17), (3, 4)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30m", datetime(2026, 11, 25, 11, 30, tzinfo=UTC)),
        ("1h", datetime(2026, 11, 25, 11, 0, tzinfo=UTC)),
        ("9999999999d", datetime(1, 1, 1, tzinfo=UTC)),
        ("9" * 30 + "s", datetime(1, 1, 1, tzinfo=UTC)),
        ("2d", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        ("2026-11-25T08:00", datetime(2026, 11, 25, 8, 0, tzinfo=UTC)),
        ("2026-11-25T08:00+02:00", datetime(2026, 11, 25, 6, 0, tzinfo=UTC)),
        ("soon", None),
        ("", None),
    ],
)
def test_since_is_a_span_or_a_time(text: str, expected: Any) -> None:
    now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
    if expected is None:
        with pytest.raises(ConfigError, match="30m, 6h or 2d"):
            since_time(text, now)
    else:
        assert since_time(text, now) == expected
