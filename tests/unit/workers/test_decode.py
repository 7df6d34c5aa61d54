from __future__ import annotations

from typing import Any

import pytest

from embedwatch import wire
from workers.dead_letters import MAX_VALUE_BYTES, dead_letter
from workers.decode import MAX_MESSAGE_TEXTS, label
from workers.failures import Failure


def classes(message: Any) -> dict[int, str]:
    return {index: failure.error_class for index, failure in message.failures.items()}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"good", {}),
        ("naïve – 日本語".encode(), {}),
        (b"", {0: "empty_text"}),
        (None, {0: "empty_text"}),
        (b" \n\t\xc2\xa0", {0: "empty_text"}),
        (b"\xff\xfe", {0: "invalid_utf8"}),
        (b"x" * 1000, {}),
        (b"x" * 1001, {0: "text_too_large"}),
        (b"\xff" * 1001, {0: "text_too_large"}),
    ],
)
def test_a_single_text_is_judged(rig: Any, value: bytes | None, expected: dict[int, str]) -> None:
    message = rig.decode(rig.record(b"id", value))
    assert classes(message) == expected
    assert [item.id for item in message.items] == ["id"]
    assert not message.is_chunk


@pytest.mark.parametrize(("model", "expected"), [("moody", {}), ("", {}), ("x", {0: "unknown_model"})])
def test_a_text_for_another_model_is_a_dead_letter(rig: Any, model: str, expected: dict[int, str]) -> None:
    message = rig.single("id", "text", model=model)
    assert classes(message) == expected
    if expected:
        assert "this worker has moody" in message.failures[0].reason


def test_each_text_of_a_chunk_is_judged_by_itself(rig: Any) -> None:
    message = rig.chunk([("a", "fine"), ("b", " "), ("c", "\ud800"), ("d", "fine too")])
    assert classes(message) == {1: "empty_text", 2: "invalid_utf8"}
    assert [item.id for item in message.items] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "value",
    [b"", b"{", b"[]", b'{"ids": ["a"], "texts": []}', b'{"ids": [1], "texts": ["x"]}', b"\xff", b"[" * 100_000],
)
def test_a_chunk_that_does_not_decode_is_one_dead_letter_with_all_its_bytes(rig: Any, value: bytes) -> None:
    message = rig.decode(rig.record(b"k", value, [("format", wire.TEXTS_FORMAT), ("tenant", b"acme")]))
    assert classes(message) == {0: "malformed_message"}
    assert [(i.id, i.raw, i.tenant) for i in message.items] == [("k", value, "acme")]
    letter = dead_letter(message, 0, message.failures[0], worker_model="moody", now=1.5)
    assert letter.value == value
    assert wire.header(letter.headers, "format") == "texts.v1"


def test_a_chunk_of_too_many_texts_is_refused_whole(rig: Any) -> None:
    assert len(rig.chunk([(str(i), "x") for i in range(MAX_MESSAGE_TEXTS)]).items) == MAX_MESSAGE_TEXTS
    message = rig.chunk([(str(i), "x") for i in range(MAX_MESSAGE_TEXTS + 1)])
    assert classes(message) == {0: "malformed_message"}
    assert len(message.items) == 1


def test_a_text_without_a_key_is_named_by_where_it_came_from(rig: Any) -> None:
    record = rig.record(None, b"text")
    assert [item.id for item in rig.decode(record).items] == [f"embedwatch.texts-0-{record.offset}"]


@pytest.mark.parametrize(("timestamp", "expected"), [(5, 5), (-1, None), (None, None)])
def test_a_record_without_a_timestamp_has_none(rig: Any, timestamp: int | None, expected: int | None) -> None:
    assert rig.decode(rig.record(b"k", b"text", timestamp=timestamp)).timestamp_ms == expected


def test_labels_fit_into_events() -> None:
    assert (label("x" * 500), label(""), label(None)) == ("x" * 256, None, None)


def test_a_dead_letter_says_where_it_came_from_and_why(rig: Any) -> None:
    message = rig.chunk([("a", "fine"), ("b", "bad")], tenant="acme", source="wiki", model="moody")
    letter = dead_letter(message, 1, Failure("model_error", "embed", "no"), worker_model="moody", now=12.0)
    assert (letter.key, letter.value) == (b"b", b"bad")
    assert {name: value.decode() for name, value in letter.headers} == {
        "error_class": "model_error",
        "stage": "embed",
        "message": "no",
        "source_topic": "embedwatch.texts",
        "source_partition": "0",
        "source_offset": str(message.offset),
        "index": "1",
        "text_id": "b",
        "model": "moody",
        "asked_model": "moody",
        "tenant": "acme",
        "source": "wiki",
        "time": "12.000",
    }


def test_a_dead_letter_never_outgrows_its_topic(rig: Any) -> None:
    for more, clipped_from in ((0, None), (1, str(MAX_VALUE_BYTES + 1))):
        message = rig.decode(rig.record(b"k", b"x" * (MAX_VALUE_BYTES + more)))
        letter = dead_letter(message, 0, message.failures[0], worker_model="moody", now=0.0)
        assert len(letter.value) == MAX_VALUE_BYTES
        assert wire.header(letter.headers, "clipped_from_bytes") == clipped_from
