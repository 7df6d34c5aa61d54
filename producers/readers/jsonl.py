"""JSON Lines: one object a line, the text in one of its fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

from producers.fields import Records, type_name
from producers.lines import bounded_lines
from producers.text import Input, Item, Oversized, ReadOptions, Tally

#: The longest line that is read into memory. Other fields and escapes may make a line longer than its text.
MAX_LINE_BYTES = 64 * 1024 * 1024

_ABSENT = object()
_decode = msgspec.json.Decoder().decode


def read_jsonl(stream: BinaryIO, spec: Input, options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """Blank lines are skipped and counted; an empty text is sent, so that counts add up."""
    records = Records(spec, options)
    field, id_field = options.field, options.id_field
    for number, line, size in bounded_lines(stream, MAX_LINE_BYTES):
        if size > MAX_LINE_BYTES:
            yield Oversized(records.where(number), size, MAX_LINE_BYTES)
            continue
        try:
            row = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if not line.strip():
                tally.blank_lines += 1
                continue
            row = _leniently(line, number, records)
        if type(row) is not dict:
            hint = " (a JSON array? one object a line is needed: `jq -c '.[]'`)" if isinstance(row, list) else ""
            raise records.error(number, f'expected an object such as {{"text": …}}, found {type_name(row)}{hint}')
        text = row.get(field, _ABSENT)
        if text is _ABSENT:
            raise records.missing(number, field, "--field", row)
        if id_field is None:
            yield records.item(number, text)
        else:
            text_id = row.get(id_field, _ABSENT)
            if text_id is _ABSENT:
                raise records.missing(number, id_field, "--id-field", row)
            if text_id is None:
                raise records.error(number, f"id field {id_field!r} is null; an id is a string or a whole number")
            yield records.item(number, text, text_id)


def _leniently(line: bytes, number: int, records: Records) -> Any:
    """What the strict decoder refuses and yet has a text: NaN, lone surrogates, invalid UTF-8 (kept as surrogates)."""
    text = line.decode("utf-8", "surrogateescape")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        found = text[max(0, error.pos - 10) : error.pos + 30].encode("utf-8", "replace").decode()
        raise records.error(
            number, f"not JSON: {error.msg} at column {error.colno}, near {found!r}; one object a line is expected"
        ) from None
    except (ValueError, RecursionError) as error:
        raise records.error(number, f"not usable JSON: {str(error)[:120]}") from None
