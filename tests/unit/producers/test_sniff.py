from __future__ import annotations

import pytest

from producers.sniff import mismatch
from producers.text import Format


@pytest.mark.parametrize(
    ("head", "form", "says"),
    [
        (b"hello", "parquet", "is not Parquet: it starts with b'hell' instead of b'PAR1'"),
        (b"PAR1\0\0", "txt", "is Parquet: give --format parquet"),
        (b"PAR1\0\0", "csv", "is Parquet"),
        (b"\x1f\x8b\x08\0", "jsonl", "is gzip data: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "jsonl", "is Zstandard data"),
        (b"PK\x03\x04\0", "csv", "is a ZIP archive (also .xlsx"),
        (b"%PDF-1.7\n", "txt", "is a PDF"),
        ("hi".encode("utf-16"), "txt", "is UTF-16: give --encoding utf-16"),
        (b"\x7fELF\x02\x01\0\0", "txt", "looks like binary (NUL bytes, the first at byte 6)"),
        (b'{"a": "\0"}', "jsonl", "looks like binary (NUL bytes"),
    ],
)
def test_what_a_file_really_is_is_told_from_its_beginning(head: bytes, form: Format, says: str) -> None:
    problem = mismatch(head, form, "utf-8")
    assert problem is not None
    assert says in problem


@pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "parquet"])
def test_an_empty_file_is_of_any_format(form: Format) -> None:
    assert mismatch(b"", form, "utf-8") is None


def test_text_and_parquet_pass_as_what_they_are() -> None:
    assert mismatch("ü\xff".encode(), "txt", "utf-8") is None
    assert mismatch(b"latin-1: \xe9", "txt", "utf-8") is None
    assert mismatch(b"PAR1...", "parquet", "utf-8") is None


def test_nul_bytes_belong_to_utf16() -> None:
    assert mismatch("hi".encode("utf-16"), "txt", "utf-16") is None
