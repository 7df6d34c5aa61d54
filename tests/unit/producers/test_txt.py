from __future__ import annotations

from collections.abc import Callable

from producers.readers.txt import read_lines, read_whole
from producers.text import Oversized, SourceText, Tally


def test_each_line_is_a_text_with_a_stable_id(read: Callable[..., list[object]]) -> None:
    assert read(read_lines, "eins\n zwei ü \n".encode(), "a.txt") == [
        SourceText("a.txt:1", "eins", None, "a.txt", 1),
        SourceText("a.txt:2", " zwei ü ", None, "a.txt", 2),
    ]


def test_blank_lines_separate_and_are_counted(read: Callable[..., list[object]], tally: Tally) -> None:
    found = read(read_lines, b"a\n\n \t\r\nb\n", "a.txt")
    assert [item.id for item in found] == ["a.txt:1", "a.txt:4"]  # type: ignore[attr-defined]
    assert tally.blank_lines == 2


def test_a_line_that_is_not_utf8_keeps_its_bytes(read: Callable[..., list[object]]) -> None:
    assert read(read_lines, b"good\nb\xff\xfed\n", "a.txt")[1] == SourceText("a.txt:2", None, b"b\xff\xfed", "a.txt", 2)


def test_a_line_above_the_limit_says_where_and_how_large(read: Callable[..., list[object]]) -> None:
    found = read(read_lines, b"ok\n" + b"x" * 1001 + b"\nok\n", "a.txt")
    assert found[1] == Oversized("a.txt, line 2", 1001, 1000)
    assert len(found) == 3


def test_a_line_that_is_neither_utf8_nor_small_is_too_large(read: Callable[..., list[object]]) -> None:
    assert read(read_lines, b"\xff" * 1001, "a.txt") == [Oversized("a.txt, line 1", 1001, 1000)]


def test_the_limit_is_in_bytes_and_not_in_characters(read: Callable[..., list[object]]) -> None:
    assert isinstance(read(read_lines, "ü".encode() * 500)[0], SourceText)
    assert isinstance(read(read_lines, "ü".encode() * 501)[0], Oversized)


def test_a_whole_file_is_one_text_named_after_the_file(read: Callable[..., list[object]]) -> None:
    assert read(read_whole, b"\xef\xbb\xbfone\n\ntwo\n", "a.txt") == [
        SourceText("a.txt", "one\n\ntwo\n", None, "a.txt", 1)
    ]


def test_a_whole_file_that_is_not_utf8_keeps_its_bytes(read: Callable[..., list[object]]) -> None:
    assert read(read_whole, b"a\xff\nb", "a.txt") == [SourceText("a.txt", None, b"a\xff\nb", "a.txt", 1)]


def test_a_whole_file_above_the_limit_is_measured(read: Callable[..., list[object]]) -> None:
    assert read(read_whole, b"x" * 4321, "a.txt") == [Oversized("a.txt", 4321, 1000)]
    assert len(read(read_whole, b"x" * 1000, "a.txt")) == 1


def test_a_whole_file_of_blank_lines_is_no_text(read: Callable[..., list[object]], tally: Tally) -> None:
    assert read(read_whole, b"\n \n ", "a.txt") == []
    assert tally.blank_lines == 3
