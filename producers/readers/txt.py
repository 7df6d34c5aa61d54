"""Plain text: one text a line, or the whole file as one text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from producers.fields import Records
from producers.lines import BOM, bounded_lines
from producers.text import Input, Item, Oversized, ReadOptions, SourceText, Tally

_STEP_BYTES = 1 << 20


def read_lines(stream: BinaryIO, spec: Input, options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """Each line is a text, kept as it stands. Blank lines separate and are counted, not sent."""
    records = Records(spec, options)
    name, source, limit = spec.name, spec.source, options.max_text_bytes
    for number, line, size in bounded_lines(stream, limit):
        if size > limit:
            yield Oversized(records.where(number), size, limit)
        elif not line.strip():
            tally.blank_lines += 1
        else:
            try:
                yield SourceText(f"{name}:{number}", line.decode(), None, source, number)
            except UnicodeDecodeError:
                yield records.raw_item(number, line)


def read_whole(stream: BinaryIO, spec: Input, options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """The file is one text; its id is the file's name. An empty one yields nothing."""
    data = stream.read(options.max_text_bytes + len(BOM) + 1).removeprefix(BOM)
    size = len(data)
    if size > options.max_text_bytes:
        while more := stream.read(_STEP_BYTES):
            size += len(more)
        yield Oversized(spec.label, size, options.max_text_bytes)
    elif data.strip():
        yield Records(spec, options).bytes_item(1, data, spec.name)
    elif data:
        tally.blank_lines += data.count(b"\n") + (not data.endswith(b"\n"))
