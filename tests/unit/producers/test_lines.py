from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.lines import bounded_lines


def lines(data: bytes, limit: int = 100) -> list[tuple[int, bytes, int]]:
    return list(bounded_lines(io.BytesIO(data), limit))


def test_line_ends_of_both_kinds_are_taken_off_and_a_last_line_needs_none() -> None:
    assert lines(b"one\ntwo\r\nthree") == [(1, b"one", 3), (2, b"two", 3), (3, b"three", 5)]


def test_only_line_feeds_end_a_line() -> None:
    text = "a\u2028b\x0cc\x0bd\x85e\rf".encode()
    assert lines(text + b"\n") == [(1, text, len(text))]


def test_a_byte_order_mark_is_dropped_at_the_start_and_only_there() -> None:
    bom = b"\xef\xbb\xbf"
    assert lines(bom + b"a\n" + bom + b"b\n") == [(1, b"a", 1), (2, bom + b"b", 4)]
    assert lines(bom) == []


def test_a_line_above_the_limit_is_measured_but_not_kept() -> None:
    found = lines(b"x" * 5000 + b"\nnext\n", limit=10)
    assert found[0][0] == 1
    assert found[0][2] == 5000
    assert len(found[0][1]) <= 10
    assert found[1] == (2, b"next", 4)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("size", range(6, 16))
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"first\n"])
def test_sizes_are_exact_around_the_limit(size: int, end: bytes, start: bytes) -> None:
    found = lines(start + b"x" * size + end, limit=10)[-1]
    assert found[2] == size
    if size <= 10:
        assert found[1] == b"x" * size


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b""))), st.integers(1, 20))
def test_every_line_comes_once_in_order_with_its_true_size(bodies: list[bytes], limit: int) -> None:
    data = b"".join(body + b"\n" for body in bodies)
    expected = [body.removesuffix(b"\r") for body in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")[:-1]]
    found = lines(data, limit)
    assert [size for _, _, size in found] == [len(body) for body in expected]
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    for (_, body, size), whole in zip(found, expected, strict=True):
        assert body == whole if size <= limit else whole.startswith(body)
