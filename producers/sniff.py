"""What a file really is, told from its first bytes. Pure."""

from __future__ import annotations

from producers.text import Format

HEAD_BYTES = 8192
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MAGIC = (
    (b"\x1f\x8b", "gzip data: unpack it first, or `zcat FILE | embedwatch produce - --format …`"),
    (b"\x28\xb5\x2f\xfd", "Zstandard data: unpack it first, or `zstdcat FILE | embedwatch produce - --format …`"),
    (b"PK\x03\x04", "a ZIP archive (also .xlsx, .docx): export the texts as CSV or JSONL"),
    (b"%PDF-", "a PDF: extract its text first"),
    (b"SQLite format 3\x00", "an SQLite database: export the texts as CSV or JSONL"),
)


def mismatch(head: bytes, form: Format, encoding: str) -> str | None:
    """Why a file that starts with `head` (up to `HEAD_BYTES`) is not of this format, or None.

    An empty head is fine: an empty file has no texts, which is another matter.
    """
    if not head:
        return None
    if form == "parquet":
        if head.startswith(b"PAR1"):
            return None
        return f"is not Parquet: it starts with {head[:4]!r} instead of b'PAR1'; give its format with --format"
    if head.startswith(b"PAR1"):
        return "is Parquet: give --format parquet"
    for magic, meaning in _MAGIC:
        if head.startswith(magic):
            return f"is {meaning}"
    if encoding != "utf-8":
        return None  # UTF-16 and UTF-32 are full of NUL bytes; a wrong encoding fails when it is decoded
    if head.startswith(_UTF16_MARKS):
        return "is UTF-16: give --encoding utf-16"
    nul = head.find(b"\0")
    if nul >= 0:
        return f"looks like binary (NUL bytes, the first at byte {nul}); text files are expected in UTF-8"
    return None
