from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.wire import MAX_CHUNK_BYTES, MAX_CHUNK_TEXTS, decode_texts, encode_chunk
from producers.packing import Chunk, Labels, Limits, Packer, to_message
from producers.text import SourceText

characters = st.characters(exclude_categories=["Cs"])
items = st.builds(
    lambda source, text, raw: (source, text, None) if text is not None else (source, None, raw),
    st.sampled_from(["a", "b"]),
    st.one_of(st.text(characters, max_size=40), st.just('"\\\n\x00' * 30), st.none()),
    st.binary(max_size=20),
)


def texts(parts: list[tuple[str, str | None, bytes | None]]) -> list[SourceText]:
    return [SourceText(f"{source}:{n}", text, raw, source, n) for n, (source, text, raw) in enumerate(parts, 1)]


def pack(found: list[SourceText], limits: Limits, gaps: list[float] | None = None) -> list[Chunk]:
    packer, chunks, now = Packer(limits), [], 0.0
    for place, item in enumerate(found, 1):
        now += gaps[place % len(gaps)] if gaps else 0.0
        chunks += packer.due(now)
        chunks += packer.add(item, place, now)
    return chunks + packer.flush()


def test_a_chunk_of_as_many_texts_as_there_may_be_is_one_message_and_one_more_begins_another() -> None:
    found = texts([("a", "x", None)] * (MAX_CHUNK_TEXTS + 1))
    assert [chunk.value_bytes <= MAX_CHUNK_BYTES for chunk in pack(found[:MAX_CHUNK_TEXTS], Limits())] == [True]
    sizes = [to_message(chunk, Labels("m", None)).texts for chunk in pack(found, Limits())]
    assert sizes == [MAX_CHUNK_TEXTS, 1]


@given(
    st.lists(items, max_size=60),
    st.integers(1, 9),
    st.integers(30, 400),
    st.lists(st.floats(0, 0.3), min_size=1, max_size=5),
)
def test_the_messages_hold_exactly_the_texts_in_their_order_within_the_limits(
    parts: list[tuple[str, str | None, bytes | None]], most: int, size: int, gaps: list[float]
) -> None:
    found = texts(parts)
    chunks = pack(found, Limits(most, size, 0.2), gaps)
    labels = Labels("m", None)
    sent = []
    for chunk in chunks:
        message = to_message(chunk, labels)
        decoded = decode_texts(message.key, message.value, message.headers, fallback_id="?")
        assert len(decoded) == message.texts <= most
        if message.texts > 1:
            assert len(message.value) == chunk.value_bytes <= size
        assert {(item.model, item.tenant, item.source) for item in decoded} == {("m", None, chunk.source)}
        assert message.key == decoded[0].id.encode()
        sent += [(item.id, item.text if item.text is not None else item.raw) for item in decoded]
        assert message.last == len(sent)
    # A single message of bytes that happen to be UTF-8 reads as text: the bytes are the same.
    assert [(i, t.encode() if isinstance(t, str) else t) for i, t in sent] == [
        (item.id, item.text.encode() if item.text is not None else item.raw) for item in found
    ]


@given(st.lists(items, max_size=40), st.integers(1, 9), st.integers(30, 400))
def test_no_chunk_could_have_taken_the_next_text_as_well(
    parts: list[tuple[str, str | None, bytes | None]], most: int, size: int
) -> None:
    chunks = pack(texts(parts), Limits(most, size, 1e9))
    for one, two in pairwise(chunks):
        if one.source == two.source and one.raw is None and two.raw is None and len(one) < most:
            joined = encode_chunk([*one.ids, two.ids[0]], [*one.texts, two.texts[0]])
            assert len(joined) > size


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=30))
def test_no_text_waits_longer_than_the_limit_when_due_is_asked_in_time(gaps: list[float]) -> None:
    packer, now, since = Packer(Limits(1000, 100_000, 0.2)), 0.0, {}
    for place, gap in enumerate(gaps, 1):
        end = now + gap
        while (left := packer.due_in(now)) is not None and now + left <= end:
            now += max(left, 0.0)
            for chunk in packer.due(now):
                for key in chunk.ids:
                    assert now - since.pop(key) <= 0.2 + 1e-9
            if packer.due_in(now) == left:  # the clock's step was lost to rounding
                break
        now = end
        since[str(place)] = now
        for chunk in packer.add(SourceText(str(place), "x", None, "s", place), place, now):
            for key in chunk.ids:
                assert now - since.pop(key) <= 0.2 + 1e-9


def test_a_text_too_large_for_a_chunk_goes_alone_after_what_came_before_it() -> None:
    found = texts([("a", "small", None), ("a", "x" * 500, None), ("a", "small", None)])
    messages = [to_message(chunk, Labels()) for chunk in pack(found, Limits(256, 100, 1.0))]
    assert [(m.key, m.value, m.texts) for m in messages] == [
        (b"a:1", b"small", 1),
        (b"a:2", b"x" * 500, 1),
        (b"a:3", b"small", 1),
    ]
    assert all("format" not in dict(m.headers) for m in messages)


def test_a_chunk_of_as_many_bytes_as_there_may_be_is_one_message_and_one_more_begins_another() -> None:
    frame = len(encode_chunk(["a:1", "a:2"], ["", "second"]))
    first = "x" * (MAX_CHUNK_BYTES - frame)
    (message,) = (to_message(c, Labels()) for c in pack(texts([("a", first, None), ("a", "second", None)]), Limits()))
    assert (message.texts, len(message.value)) == (2, MAX_CHUNK_BYTES)
    found = pack(texts([("a", first + "x", None), ("a", "second", None)]), Limits())
    assert [to_message(chunk, Labels()).texts for chunk in found] == [1, 1]


def test_bytes_that_are_not_utf8_go_alone_as_they_are() -> None:
    found = texts([("a", "one", None), ("a", "two", None), ("a", None, b"\xff\xfe"), ("a", "three", None)])
    first, second, third = (to_message(chunk, Labels()) for chunk in pack(found, Limits()))
    assert first.texts == 2
    assert dict(first.headers)["format"] == b"texts.v1"
    assert dict(first.headers)["count"] == b"2"  # a reader of lag counts the texts that wait without decoding them
    assert (second.key, second.value) == (b"a:3", b"\xff\xfe")
    assert third.texts == 1


def test_an_empty_text_is_a_value_and_not_a_deletion() -> None:
    (message,) = (to_message(chunk, Labels()) for chunk in pack(texts([("a", "", None)]), Limits()))
    assert message.value == b""
    assert message.value is not None


def test_the_headers_say_where_a_text_is_from_and_who_pays() -> None:
    (chunk,) = pack(texts([("wiki", "x", None)]), Limits())
    assert to_message(chunk, Labels("bge", "acme")).headers == [
        ("source", b"wiki"),
        ("model", b"bge"),
        ("tenant", b"acme"),
    ]


@pytest.mark.parametrize(("age", "goes"), [(0.19, False), (0.2, True), (5.0, True)])
def test_a_chunk_is_due_after_its_first_text_has_waited(age: float, goes: bool) -> None:
    packer = Packer(Limits(10, 1000, 0.2))
    assert packer.due_in(0.0) is None
    assert packer.due(0.0) == []
    packer.add(SourceText("k", "x", None, "s", 1), 1, 0.0)
    assert bool(packer.due(age)) is goes
