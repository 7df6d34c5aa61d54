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
            yield Oversized(records.where(number), size, MAX_LINE_BYTES, "line")
            continue
        try:
            row = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if not line.strip():
                tally.blank_lines += 1
                continue
            found = _leniently(line)
            if isinstance(found, str):
                yield records.bad(number, found)
                continue
            (row,) = found
        if type(row) is not dict:
            hint = " (a JSON array? one object a line is needed: `jq -c '.[]'`)" if isinstance(row, list) else ""
            yield records.bad(number, f'expected an object such as {{"text": …}}, found {type_name(row)}{hint}')
            continue
        text = row.get(field, _ABSENT)
        text_id = None if id_field is None else row.get(id_field, _ABSENT)
        if text is _ABSENT:
            yield records.missing(number, field, "--field", row)
        elif text_id is _ABSENT and id_field is not None:
            yield records.missing(number, id_field, "--id-field", row)
        elif text_id is None and id_field is not None:
            yield records.bad(number, f"id field {id_field!r} is null; an id is a string or a whole number")
        else:
            yield records.item(number, text, text_id)


def _leniently(line: bytes) -> tuple[Any] | str:
    """What the strict decoder refuses and yet has a text: NaN, lone surrogates, invalid UTF-8 (kept as surrogates).

    Why it is no JSON, else.
    """
    text = line.decode("utf-8", "surrogateescape")
    try:
        return (json.loads(text),)
    except json.JSONDecodeError as error:
        found = text[max(0, error.pos - 10) : error.pos + 30].encode("utf-8", "replace").decode()
        return f"not JSON: {error.msg} at column {error.colno}, near {found!r}; one object a line is expected"
    except (ValueError, RecursionError) as error:
        return f"not usable JSON: {str(error)[:120]}"
