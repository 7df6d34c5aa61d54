from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import ConfigError, InputError
from producers import transcode
from producers.transcode import Utf8Stream, codec_name


def utf8(data: bytes, encoding: str) -> io.BufferedReader:
    return io.BufferedReader(Utf8Stream(io.BytesIO(data), encoding, "in.txt"))


@pytest.mark.parametrize(("name", "known_as"), [("UTF8", "utf-8"), ("utf-8-sig", "utf-8"), ("Latin-1", "iso8859-1")])
def test_encodings_are_known_by_one_name(name: str, known_as: str) -> None:
    assert codec_name(name) == known_as


@pytest.mark.parametrize("name", ["utf-99", "hex", "zip", "", "\0"])
def test_what_is_no_text_encoding_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"option --encoding: .* is not a text encoding"):
        codec_name(name)


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.sampled_from(["utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030"]),
    st.integers(1, 7),
)
def test_all_of_a_text_arrives_whatever_the_size_of_the_blocks(text: str, encoding: str, block: int) -> None:
    before, transcode._BLOCK_BYTES = transcode._BLOCK_BYTES, block
    try:
        assert utf8(text.encode(encoding), encoding).read() == text.encode()
    finally:
        transcode._BLOCK_BYTES = before


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1000])
def test_what_does_not_decode_is_named_after_all_before_it_was_read(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcode, "_BLOCK_BYTES", block)
    stream = utf8("eins ü\nzwei\n".encode("shift_jis", "ignore") + b"ab\x80cd\n", "shift_jis")
    assert stream.readline() == b"eins \n"
    assert stream.readline() == b"zwei\n"
    with pytest.raises(InputError, match=r"^in.txt, line 3: not valid shift_jis \(.*\); check --encoding$"):
        stream.readline()


def test_a_file_that_ends_within_a_character_is_an_error() -> None:
    with pytest.raises(InputError, match=r"in.txt, line 2: not valid utf-16"):
        utf8("a\nb".encode("utf-16") + b"x", "utf-16").read()


def test_characters_that_no_utf8_can_hold_are_an_error() -> None:
    with pytest.raises(InputError, match=r"in.txt, line 1: "):
        utf8(b"a+2AA-b", "utf-7").read()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_without_the_mark_that_its_encoding_begins_with_is_an_error(encoding: str) -> None:
    with pytest.raises(InputError, match=rf"in.txt, line 1: not valid {encoding} \(.*BOM\); check --encoding"):
        utf8("text".encode(f"{encoding}-le"), encoding).read()
