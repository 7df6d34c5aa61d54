from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import InputError
from producers.readers import jsonl
from producers.readers.jsonl import read_jsonl
from producers.text import Bad, Oversized, SourceText, Tally

Read = Callable[..., list[object]]


def test_the_text_is_in_the_field_that_is_named(read: Read) -> None:
    assert read(read_jsonl, b'{"body": "a", "n": 1}\n{"body": "b"}', "x.jsonl", field="body") == [
        SourceText("x.jsonl:1", "a", None, "x.jsonl", 1),
        SourceText("x.jsonl:2", "b", None, "x.jsonl", 2),
    ]


def test_ids_may_be_strings_or_whole_numbers(read: Read) -> None:
    found = read(read_jsonl, b'{"text": "a", "id": "k-1"}\n{"text": "b", "id": 7}', id_field="id")
    assert [item.id for item in found] == ["k-1", "7"]  # type: ignore[attr-defined]


def test_blank_lines_are_skipped_and_empty_texts_are_not(read: Read, tally: Tally) -> None:
    found = read(read_jsonl, b'\n{"text": ""}\n  \n{"text": "b"}\n')
    assert [(item.text, item.number) for item in found] == [("", 2), ("b", 4)]  # type: ignore[attr-defined]
    assert tally.blank_lines == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": "a"', "not JSON: Expecting ',' delimiter at column 13"),
        (b"plain words", "not JSON: Expecting value at column 1, near 'plain words'"),
        (b'["a"]', "found an array (a JSON array? one object a line is needed"),
        (b'"a"', "found a string"),
        (b"17", "found a number"),
        (b"null", "found null"),
        (b'{"body": "a", "url": "b"}', "no field 'text'; the fields there are: body, url. Name the right one"),
        (b"{}", "no field 'text'; the object is empty"),
        (b'{"text": null}', "field 'text' is not text but null"),
        (b'{"text": 3.5}', "field 'text' is not text but a number"),
        (b'{"text": true}', "field 'text' is not text but true or false"),
        (b'{"text": ["a"]}', "field 'text' is not text but an array"),
        (b'{"text": {"a": 1}}', "field 'text' is not text but an object"),
        (b"[" * 100_000, "line 2: not usable JSON"),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"x}", "line 2: not"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_with_what_was_found(read: Read, line: bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(read_jsonl, b'{"text": "good"}\n' + line + b"\n", "x.jsonl")
    message = str(caught.value)
    assert message.startswith("x.jsonl, line 2: ")
    assert says in message
    assert "--on-bad skip" in message
    assert "\n" not in message
    assert len(message) < 400

    good, bad, after = read(read_jsonl, b'{"text": "good"}\n' + line + b'\n{"text": "after"}', "x.jsonl", skip_bad=True)
    assert isinstance(bad, Bad)
    assert bad.where == "x.jsonl, line 2"
    assert f"{bad.where}: {bad.problem}" in message
    assert [item.text for item in (good, after)] == ["good", "after"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("text_id", [b"null", b'""', b"true", b"[1]", b'"' + b"x" * 600 + b'"', b'"\\ud800"'])
def test_a_record_whose_id_cannot_be_used_may_be_left_out(read: Read, text_id: bytes) -> None:
    data = b'{"text": "a", "id": ' + text_id + b'}\n{"text": "b", "id": "b"}'
    with pytest.raises(InputError, match="--on-bad skip"):
        read(read_jsonl, data, id_field="id")
    bad, good = read(read_jsonl, data, id_field="id", skip_bad=True)
    assert isinstance(bad, Bad)
    assert good == SourceText("b", "b", None, "in.txt", 2)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": "a"}', "no field 'id'; the fields there are: text. Name the right one with --id-field"),
        (b'{"text": "a", "id": null}', "id field 'id' is null"),
        (b'{"text": "a", "id": ""}', "id field 'id' is empty"),
        (b'{"text": "a", "id": 1.5}', "id field 'id' is a number; an id is a string or a whole number"),
        (b'{"text": "a", "id": true}', "id field 'id' is true or false"),
        (b'{"text": "a", "id": "' + b"k" * 513 + b'"}', "has 513 characters; at most 512 are kept"),
        (b'{"text": "a", "id": "k\xff"}', "id field 'id' is not valid UTF-8"),
    ],
)
def test_an_id_that_cannot_be_one_is_named(read: Read, line: bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(read_jsonl, line, "x.jsonl", id_field="id")
    assert str(caught.value).startswith("x.jsonl, line 1: ")
    assert says in str(caught.value)


def test_invalid_utf8_in_the_text_keeps_exactly_its_bytes(read: Read) -> None:
    found = read(read_jsonl, b'{"id": "k", "text": "caf\xe9 \\u00fc \xc3\xbc"}', id_field="id")
    assert found == [SourceText("k", None, b"caf\xe9 \xc3\xbc \xc3\xbc", "in.txt", 1)]


def test_invalid_utf8_elsewhere_in_the_line_leaves_the_text_alone(read: Read) -> None:
    assert read(read_jsonl, b'{"note": "\xff", "text": "fine"}')[0].text == "fine"  # type: ignore[attr-defined]


def test_a_lone_surrogate_is_sent_as_bytes_that_are_no_utf8(read: Read) -> None:
    (found,) = read(read_jsonl, rb'{"text": "cut \ud83d"}')
    assert found.text is None  # type: ignore[attr-defined]
    with pytest.raises(UnicodeDecodeError):
        found.raw.decode()  # type: ignore[attr-defined]
    assert found.raw.startswith(b"cut ")  # type: ignore[attr-defined]


def test_what_python_writes_for_not_a_number_does_not_cost_the_text(read: Read) -> None:
    assert read(read_jsonl, b'{"text": "a", "score": NaN}')[0].text == "a"  # type: ignore[attr-defined]


def test_a_text_above_the_limit_is_measured_in_bytes(read: Read) -> None:
    line = json.dumps({"text": "ü" * 501}).encode()
    assert read(read_jsonl, line, "x.jsonl") == [Oversized("x.jsonl, line 1", 1002, 1000)]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_at_the_limit_is_read_and_one_byte_more_is_told_as_a_line(
    read: Read, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 200)  # 64 MiB would take that much memory, several times

    def line(size: int) -> bytes:
        return b'{"text": "small", "note": "' + b"n" * (size - 29) + b'"}' + end

    assert [item.text for item in read(read_jsonl, line(200), "x.jsonl")] == ["small"]  # type: ignore[attr-defined]
    assert read(read_jsonl, line(201), "x.jsonl") == [Oversized("x.jsonl, line 1", 201, 200, "line")]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)), st.booleans())
def test_what_json_writes_is_read_back(texts: list[str], ascii_only: bool) -> None:
    import io

    from producers.text import Input, ReadOptions

    data = "".join(json.dumps({"text": text}, ensure_ascii=ascii_only) + "\n" for text in texts).encode()
    spec = Input("file", "f", "f", "f", "f", "jsonl")
    found = read_jsonl(io.BytesIO(data), spec, ReadOptions(10_000), Tally())
    assert [item.text for item in found] == texts  # type: ignore[union-attr]
