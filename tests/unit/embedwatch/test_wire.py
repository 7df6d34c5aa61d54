from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.errors import InvalidEvent
from embedwatch.wire import (
    MAX_TEXT_ID_CHARS,
    TEXTS_FORMAT,
    VECTORS_FORMAT,
    Headers,
    chunk_headers,
    decode_texts,
    encode_chunk,
    encode_vector,
    encode_vectors,
    header,
    read_vectors,
    vector_headers,
)

CHUNK: Headers = [("format", TEXTS_FORMAT)]
#: Any Unicode text, and any Python string: the second may hold lone surrogates, which are no UTF-8.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
STRINGS = st.text(st.characters())
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_TEXT_ID_CHARS)
HEADERS = st.lists(
    st.tuples(st.sampled_from(["format", "dtype", "dims", "model", "other"]), st.binary(max_size=20) | st.none()),
    max_size=6,
)


def headers_of(dims: int = 3, dtype: str = "float32", chunk: bool = False) -> list[tuple[str, bytes]]:
    return vector_headers(dtype=dtype, dims=dims, model="m", fingerprint="f", chunk=chunk)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InvalidEvent) as caught:
        call()
    assert caught.value.reason == "malformed"
    return caught.value.detail


@contextmanager
def malformed_or_fine() -> Iterator[None]:
    """No other error, and no other reason."""
    try:
        yield
    except InvalidEvent as error:
        if error.reason != "malformed":
            raise


# --- texts ---


@given(pairs=st.lists(st.tuples(IDS, TEXTS)))
def test_a_chunk_gives_back_its_ids_and_texts(pairs: list[tuple[str, str]]) -> None:
    ids, texts = [i for i, _ in pairs], [t for _, t in pairs]
    items = decode_texts(b"key", encode_chunk(ids, texts), CHUNK, fallback_id="unused")
    assert [(item.id, item.text) for item in items] == pairs
    assert [item.raw.decode() for item in items] == texts


@given(pairs=st.lists(st.tuples(STRINGS, STRINGS), min_size=1))
def test_texts_that_are_no_unicode_are_marked_and_cost_their_neighbours_nothing(pairs: list[tuple[str, str]]) -> None:
    ids, texts = [i for i, _ in pairs], [t for _, t in pairs]
    items = decode_texts(b"key", encode_chunk(ids, texts), CHUNK, fallback_id="unused")
    assert len(items) == len(pairs)
    for item, text in zip(items, texts, strict=True):
        item.id.encode()  # can always be a key
        has_surrogate = any("\ud800" <= char <= "\udfff" for char in text)
        # Two surrogates that happen to be a pair are one character once they were JSON.
        same = text if not has_surrogate else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        assert item.raw == same.encode("utf-8", "surrogatepass")
        assert item.text is None or item.text == same
        assert (item.text is None) == any("\ud800" <= char <= "\udfff" for char in same)


def test_a_lone_surrogate_as_javascript_writes_it_is_one_dead_text() -> None:
    value = b'{"ids": ["a", "b"], "texts": ["good", "bad \\ud83d"]}'
    good, bad = decode_texts(None, value, CHUNK, fallback_id="x")
    assert (good.text, bad.text) == ("good", None)
    assert bad.raw == b"bad \xed\xa0\xbd"


@given(key=st.none() | st.binary(), value=st.none() | st.binary(), headers=HEADERS)
def test_no_message_of_texts_raises_anything_but_invalid_event(
    key: bytes | None, value: bytes | None, headers: Any
) -> None:
    with malformed_or_fine():
        items = decode_texts(key, value, headers, fallback_id="fallback")
        assert all(len(item.id) <= MAX_TEXT_ID_CHARS for item in items)


@given(value=st.binary(max_size=60).map(lambda noise: b'{"ids":["a"],"texts":["' + noise) | st.binary())
def test_a_damaged_chunk_of_texts_raises_invalid_event(value: bytes) -> None:
    with malformed_or_fine():
        decode_texts(None, value, CHUNK, fallback_id="x")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "does not decode"),
        (b"", "does not decode"),
        (b"[]", "does not decode"),
        (b'{"ids": ["a"]}', "texts"),
        (b'{"ids": ["a"], "texts": [1]}', "str"),
        (b'{"ids": ["a", "b"], "texts": ["x"]}', "2 ids for 1 texts"),
        (b'{"ids": ["a"], "texts": ["\xff"]}', "does not decode"),
        (b'{"ids": ["a"], "texts": ["\\ud800", 1]}', "does not decode"),
        (b'{"ids": ["\\ud800"], "texts": ' + b"[" * 100_000, "does not decode"),
        (b'{"ids": ["\\ud800"], "texts": [' + b"9" * 5000 + b"]}", "does not decode"),
    ],
)
def test_a_bad_chunk_of_texts_says_what_is_wrong(value: bytes | None, words: str) -> None:
    assert words in refusal(lambda: decode_texts(None, value, CHUNK, fallback_id="x"))


def test_an_unknown_format_of_texts_is_refused_and_not_read_as_a_text() -> None:
    assert "texts.v9" in refusal(lambda: decode_texts(None, b"x", [("format", b"texts.v9")], fallback_id="x"))


def test_a_chunk_needs_as_many_ids_as_texts() -> None:
    with pytest.raises(ValueError, match="1 ids for 2 texts"):
        encode_chunk(["a"], ["x", "y"])


def test_a_chunk_is_plain_json_for_other_languages() -> None:
    assert json.loads(encode_chunk(["a"], ["ü"])) == {"ids": ["a"], "texts": ["ü"]}


def test_chunk_headers_make_a_chunk_that_is_read_back_with_its_labels() -> None:
    headers = chunk_headers(1, model="m", tenant="t", source="s")
    (item,) = decode_texts(b"a", encode_chunk(["a"], ["x"]), headers, fallback_id="")
    assert (item.model, item.tenant, item.source) == ("m", "t", "s")
    assert header(headers, "count") == "1"


@given(text=TEXTS, key=st.binary(min_size=1))
def test_a_single_text_is_its_bytes_under_its_key(text: str, key: bytes) -> None:
    (item,) = decode_texts(key, text.encode(), None, fallback_id="x")
    assert (item.text, item.raw) == (text, text.encode())
    assert item.id == key.decode("utf-8", "replace")[:MAX_TEXT_ID_CHARS]


@pytest.mark.parametrize("key", [None, b""])
def test_a_single_text_without_a_key_is_named_by_its_place(key: bytes | None) -> None:
    (item,) = decode_texts(key, b"x", [], fallback_id="texts-0-17")
    assert item.id == "texts-0-17"


def test_a_single_text_that_is_not_utf8_keeps_its_bytes() -> None:
    (item,) = decode_texts(b"k", b"caf\xe9", [], fallback_id="x")
    assert (item.raw, item.text) == (b"caf\xe9", None)


def test_a_message_without_value_is_an_empty_text() -> None:
    (item,) = decode_texts(b"k", None, None, fallback_id="x")
    assert (item.raw, item.text) == (b"", "")


def test_an_overlong_id_is_cut() -> None:
    longest = "i" * (MAX_TEXT_ID_CHARS - 1) + "!"
    for name in (longest, longest + "x"):
        (of_chunk,) = decode_texts(None, encode_chunk([name], ["x"]), CHUNK, fallback_id="x")
        (single,) = decode_texts(name.encode(), b"x", None, fallback_id="x")
        assert (of_chunk.id, single.id) == (longest, longest)


def test_of_headers_with_the_same_name_the_last_counts() -> None:
    assert header([("model", b"a"), ("model", b"b"), ("other", b"c")], "model") == "b"
    assert header([("model", b"\xff")], "model") == "\ufffd"
    assert header(None, "model") is None


# --- vectors ---


@given(
    ids=st.lists(STRINGS, max_size=20), dims=st.integers(1, 40), dtype=st.sampled_from(["float32", "float16"]),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_chunk_of_vectors_gives_back_its_ids_and_rows(ids: list[str], dims: int, dtype: str, seed: int) -> None:
    matrix = np.random.default_rng(seed).standard_normal((len(ids), dims)).astype(dtype)
    found = list(read_vectors(b"k", encode_vectors(ids, matrix), headers_of(dims, dtype, chunk=True)))
    assert [text_id for text_id, _ in found] == [i.encode("utf-8", "backslashreplace").decode() for i in ids]
    for (_, vector), row in zip(found, matrix, strict=True):
        assert vector.dtype == np.dtype(dtype).newbyteorder("<")
        np.testing.assert_array_equal(vector, row)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_single_vector_is_read_in_the_same_way(dtype: str) -> None:
    vector = np.array([1.5, -2.0, 0.25], dtype)
    ((text_id, found),) = read_vectors(b"k", encode_vector(vector), headers_of(3, dtype))
    assert text_id == "k"
    np.testing.assert_array_equal(found, vector)


def test_vectors_are_little_endian_whatever_the_array_was() -> None:
    assert encode_vector(np.array([1.0], ">f4")) == b"\x00\x00\x80\x3f"
    every_second = np.arange(8, dtype=np.float32)[::2]
    assert encode_vector(every_second) == every_second.copy().tobytes()


@settings(max_examples=300)
@given(key=st.none() | st.binary(), value=st.none() | st.binary(max_size=200), headers=HEADERS)
def test_no_message_of_vectors_raises_anything_but_invalid_event(
    key: bytes | None, value: bytes | None, headers: Any
) -> None:
    with malformed_or_fine():
        list(read_vectors(key, value, headers))


@given(value=st.binary(max_size=100), dims=st.integers(1, 8), chunk=st.booleans())
def test_vectors_whose_bytes_do_not_fit_raise_invalid_event(value: bytes, dims: int, chunk: bool) -> None:
    with malformed_or_fine():
        found = list(read_vectors(b"k", value, headers_of(dims, chunk=chunk)))
        assert all(vector.shape == (dims,) for _, vector in found)


@given(cut=st.integers(0, 200))
def test_a_chunk_of_vectors_cut_short_is_refused(cut: int) -> None:
    whole = encode_vectors(["a", "b"], np.ones((2, 16), np.float32))
    part = whole[: min(cut, len(whole) - 1)]
    refusal(lambda: list(read_vectors(b"k", part, headers_of(16, chunk=True))))


@pytest.mark.parametrize("dims", [None, b"", b"0", b"-1", b"3.0", b"x", "٣".encode(), b"9" * 5000, b"99999999"])
def test_impossible_dims_are_refused(dims: bytes | None) -> None:
    headers = [("dtype", b"float32"), ("format", VECTORS_FORMAT), *([] if dims is None else [("dims", dims)])]
    assert "dims" in refusal(lambda: list(read_vectors(b"k", b"\x02\0\0\0[]", headers)))


@pytest.mark.parametrize(
    ("value", "headers", "words"),
    [
        (bytes(12), [("dims", b"3")], "dtype=None"),
        (bytes(12), [("dims", b"3"), ("dtype", b"int8")], "int8"),
        (bytes(11), headers_of(3), "11 bytes for 1 vectors of 3"),
        (b"\0\0", headers_of(3, chunk=True), "shorter than its length field"),
        (b"\xff\xff\xff\xff[]", headers_of(3, chunk=True), "2 are there"),
        (b"\x02\0\0\0{}", headers_of(3, chunk=True), "ids"),
        (b"\x03\0\0\0[1]", headers_of(3, chunk=True), "ids"),
        (bytes(12), [*headers_of(3), ("format", b"vectors.v2")], "vectors.v2"),
    ],
)
def test_bad_vectors_say_what_is_wrong(value: bytes, headers: Headers, words: str) -> None:
    assert words in refusal(lambda: list(read_vectors(b"k", value, headers)))


def test_encoders_refuse_what_cannot_be_read_back() -> None:
    with pytest.raises(ValueError, match="float64"):
        encode_vector(np.ones(3))
    with pytest.raises(ValueError, match="1 ids"):
        encode_vectors(["a"], np.ones((2, 3), np.float32))
