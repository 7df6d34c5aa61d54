"""CSV (and TSV): a header line, then one record a text; quoted cells may span lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import BinaryIO

from embedwatch.errors import InputError
from producers.fields import Records, some_of
from producers.lines import BOM
from producers.text import Input, Item, ReadOptions, Tally

#: The largest cell (characters) and line (bytes) that are read into memory: a quote that is never closed would
#: otherwise take the rest of the file for one cell.
MAX_CELL_CHARS = 16 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024 * 1024
_OTHER_DELIMITERS = ";\t|"


def read_csv(stream: BinaryIO, spec: Input, options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """The number of a text is the line where its record begins. An empty cell is sent; an empty line is skipped."""
    records = Records(spec, options)
    delimiter = options.delimiter or ("\t" if spec.path.lower().endswith(".tsv") else ",")
    rows = csv.reader(_decoded(stream, records), delimiter=delimiter, strict=True)
    header = _next(rows, 1, records)
    while header == []:
        tally.blank_lines += 1
        header = _next(rows, rows.line_num + 1, records)
    if header is None:
        return
    at = _column(header, options.field, "--field", delimiter, spec)
    id_at = None if options.id_field is None else _column(header, options.id_field, "--id-field", delimiter, spec)
    width = len(header)
    number = rows.line_num + 1
    while (row := _next(rows, number, records)) is not None:
        if len(row) == width:
            yield records.item(number, row[at], None if id_at is None else row[id_at])
        elif not row:
            tally.blank_lines += 1
        else:
            yield records.bad(
                number,
                f"{len(row)} cells where the header has {width}; a cell that holds {delimiter!r} or a quote must be "
                'in quotes, with "" for a quote',
            )
        number = rows.line_num + 1


def _next(rows: Iterator[list[str]], number: int, records: Records) -> list[str] | None:
    # The limit is global to the module: another reader of the process may have its own.
    before = csv.field_size_limit(MAX_CELL_CHARS)
    try:
        return next(rows, None)
    except csv.Error as error:
        hint = {
            "unexpected end of data": "the file ends inside a quoted cell that begins in this record",
        }.get(str(error), str(error))
        if "field larger than" in hint:
            hint = f"a cell of more than {MAX_CELL_CHARS} characters; is a quote not closed?"
        raise records.error(number, f"not CSV: {hint}") from None
    finally:
        csv.field_size_limit(before)


def _decoded(stream: BinaryIO, records: Records) -> Iterator[str]:
    """Lines with their ends. Bytes that are not UTF-8 become surrogates, so that the cell they are in can be told."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 2):  # a line of exactly so many, and \r\n
        number += 1
        if len(line) > MAX_LINE_BYTES and len(line.removesuffix(b"\n").removesuffix(b"\r")) > MAX_LINE_BYTES:
            raise records.error(number, f"a line of more than {MAX_LINE_BYTES} bytes; is this CSV?")
        if number == 1:
            line = line.removeprefix(BOM)
        yield line.decode("utf-8", "surrogateescape")


def _column(header: list[str], name: str, option: str, delimiter: str, spec: Input) -> int:
    found = header.count(name)
    if found == 1:
        return header.index(name)
    if found > 1:
        raise InputError(f"{spec.label}: {found} columns are named {name!r}; rename all but one")
    columns = some_of(column.encode("utf-8", "replace").decode() for column in header)
    hint = ""
    for other in _OTHER_DELIMITERS:
        if other != delimiter and len(header) == 1 and other in header[0]:
            hint = f" Cells seem to be separated by {other!r}: give --delimiter {other!r}."
    raise InputError(f"{spec.label}: no column {name!r}; the columns are: {columns}. Name one with {option}.{hint}")
