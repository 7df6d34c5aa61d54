from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import InputError
from producers.readers import delimited
from producers.readers.delimited import read_csv
from producers.text import Bad, Input, Item, Oversized, ReadOptions, SourceText, Tally

Read = Callable[..., list[object]]


def test_the_column_is_found_by_its_name(read: Read) -> None:
    assert read(read_csv, b"id,text\n1,one\r\n2,two\n", "x.csv") == [
        SourceText("x.csv:2", "one", None, "x.csv", 2),
        SourceText("x.csv:3", "two", None, "x.csv", 3),
    ]


def test_a_record_over_several_lines_is_known_by_its_first(read: Read) -> None:
    found = read(read_csv, b'id,text\na,"one\n""two"", three"\nb,four\n', "x.csv", id_field="id")
    assert [(i.id, i.text, i.number) for i in found] == [  # type: ignore[attr-defined]
        ("a", 'one\n"two", three', 2),
        ("b", "four", 4),
    ]


def test_tab_separated_files_and_other_delimiters(read: Read) -> None:
    assert read(read_csv, b"a\ttext\n1\tx, y\n", "x.tsv")[0].text == "x, y"  # type: ignore[attr-defined]
    assert read(read_csv, b"a;text\n1;x\n", "x.csv", delimiter=";")[0].text == "x"  # type: ignore[attr-defined]


def test_empty_cells_are_sent_and_empty_lines_are_not(read: Read, tally: Tally) -> None:
    found = read(read_csv, b"\xef\xbb\xbf\nid,text\n1,\n\n2,b\n")
    assert [item.text for item in found] == ["", "b"]  # type: ignore[attr-defined]
    assert tally.blank_lines == 2


def test_a_file_with_a_header_only_has_no_texts(read: Read) -> None:
    assert read(read_csv, b"id,text\n") == []
    assert read(read_csv, b"") == []


def test_a_cell_that_is_not_utf8_keeps_exactly_its_bytes(read: Read) -> None:
    found = read(read_csv, b'id,text\n\xfc,"caf\xe9, \xc3\xbc"\n2,ok\n')
    assert [(i.text, i.raw) for i in found] == [  # type: ignore[attr-defined]
        (None, b"caf\xe9, \xc3\xbc"),
        ("ok", None),
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"id,body\n1,x\n", "x.csv: no column 'text'; the columns are: id, body. Name one with --field"),
        (b"id;text\n1;x\n", "Cells seem to be separated by ';': give --delimiter ';'"),
        (b"text,text\n1,x\n", "x.csv: 2 columns are named 'text'; rename all but one"),
        (b"id,text\n1,x, y\n", "x.csv, line 2: 3 cells where the header has 2"),
        (b"id,text\n1,x\n2\n", "x.csv, line 3: 1 cells where the header has 2"),
        (b'id,text\n1,x\n2,"y\n3,z\n', "x.csv, line 3: not CSV: the file ends inside a quoted cell"),
        (b'id,text\n1,"x"y\n', "x.csv, line 2: not CSV: "),
        (b"id,text\r1,x\r2,y\r", "x.csv, line 1: not CSV: "),
    ],
)
def test_a_wrong_file_is_named_with_what_was_found(read: Read, data: bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read(read_csv, data, "x.csv")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_quote_that_is_never_closed_does_not_take_the_memory(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_CELL_CHARS", 5000)
    with pytest.raises(
        InputError, match=r"x.csv, line 2: .* a cell of more than 5000 characters; is a quote not closed"
    ):
        read(read_csv, b'text\n"begins\n' + b"more\n" * 2000, "x.csv")


def test_a_file_without_line_ends_does_not_take_the_memory(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_LINE_BYTES", 5000)
    with pytest.raises(InputError, match=r"x.csv, line 2: a line of more than 5000 bytes"):
        read(read_csv, b"text\n" + b"x" * 6000, "x.csv")


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_line_at_the_limit_is_read_and_one_byte_more_is_refused(
    read: Read, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    monkeypatch.setattr(delimited, "MAX_LINE_BYTES", 500)  # 64 MiB would take that much memory, several times
    (found,) = read(read_csv, b"text\n" + b"x" * 500 + end, "x.csv")
    assert found.text == "x" * 500  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"x.csv, line 2: a line of more than 500 bytes"):
        read(read_csv, b"text\n" + b"x" * 501 + end, "x.csv")


def test_a_cell_at_the_limit_is_read_and_one_character_more_is_refused(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "MAX_CELL_CHARS", 500)
    (found,) = read(read_csv, b'text\n"' + b"x\n" * 250 + b'"\n', "x.csv")
    assert found.text == "x\n" * 250  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"a cell of more than 500 characters; is a quote not closed"):
        read(read_csv, b'text\n"' + b"x\n" * 250 + b'x"\n', "x.csv")


def test_the_limit_of_cells_is_left_as_it_was(read: Read) -> None:
    before = csv.field_size_limit()
    read(read_csv, b"text\n" + b"x" * 200_000 + b"\n", max_text_bytes=1_000_000)
    assert csv.field_size_limit() == before


def test_a_cell_above_the_limit_says_where_and_how_large(read: Read) -> None:
    assert read(read_csv, b"text\n" + b"x" * 1001 + b"\n", "x.csv") == [Oversized("x.csv, line 2", 1001, 1000)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)))
def test_what_csv_writes_is_read_back(texts: list[str]) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["n", "text"])
    writer.writerows([[n, text] for n, text in enumerate(texts)])
    spec = Input("file", "f.csv", "f", "f", "f", "csv")
    found = read_csv(io.BytesIO(out.getvalue().encode()), spec, ReadOptions(10_000), Tally())
    assert [item.text for item in found] == texts  # type: ignore[union-attr]


def test_a_row_with_another_number_of_cells_may_be_left_out(read: Callable[..., list[Item]]) -> None:
    found = read(read_csv, b"text,n\na,1\nb\nc,3\n", "x.csv", skip_bad=True)
    assert [type(item) for item in found] == [SourceText, Bad, SourceText]
