"""From inputs to one stream of items, in a fixed order, with constant memory."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from embedwatch.errors import InputError
from producers.readers.delimited import read_csv
from producers.readers.jsonl import read_jsonl
from producers.readers.parquet import read_parquet
from producers.readers.txt import read_lines, read_whole
from producers.sniff import HEAD_BYTES, mismatch
from producers.stdlib_docs import read_stdlib_docs
from producers.text import Input, Item, ReadOptions, Tally
from producers.transcode import Utf8Stream

_BUFFER_BYTES = 1 << 18


def read_all(inputs: Iterable[Input], options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """Every item of every input, in order. Raises `InputError` at the first thing that cannot be read as it claims."""
    for spec in inputs:
        tally.inputs += 1
        count = 0
        for item in read_input(spec, options, tally):
            count += 1
            yield item
        if not count:
            tally.empty_inputs.append(spec.label)
        tally.position = None
        tally.done_bytes += spec.size_bytes or 0


def read_input(spec: Input, options: ReadOptions, tally: Tally) -> Iterator[Item]:
    """The items of one input."""
    if spec.kind == "stdlib":
        yield from read_stdlib_docs(Path(spec.path), spec, options, tally)
    elif spec.format == "parquet":
        if spec.size_bytes != 0:
            yield from read_parquet(spec, options, tally)
    else:
        try:
            with io.BufferedReader(raw := _open(spec), _BUFFER_BYTES) as stream:
                tally.position = raw.tell if spec.size_bytes else None
                yield from _read_stream(stream, spec, options, tally)
        except OSError as error:
            raise InputError(f"{spec.label}: cannot be read: {error.strerror or error}") from None


def _open(spec: Input) -> io.FileIO:
    if spec.kind == "stdin":
        # Not sys.stdin.buffer: a thread that still waits in it would hold its lock when the interpreter ends.
        if sys.stdin is None:
            raise InputError("standard input is closed; give a file instead of -")
        return io.FileIO(sys.stdin.fileno(), closefd=False)
    return io.FileIO(spec.path)


def _read_stream(
    stream: io.BufferedReader[io.FileIO], spec: Input, options: ReadOptions, tally: Tally
) -> Iterator[Item]:
    # peek gives what one read brings: it does not wait for a full buffer on a slow pipe.
    problem = mismatch(stream.peek(HEAD_BYTES)[:HEAD_BYTES], spec.format, options.encoding)
    if problem:
        raise InputError(f"{spec.label}: {problem}")
    source: BinaryIO = stream
    if options.encoding != "utf-8":
        source = io.BufferedReader(Utf8Stream(stream, options.encoding, spec.label), _BUFFER_BYTES)
    if spec.format == "jsonl":
        yield from read_jsonl(source, spec, options, tally)
    elif spec.format == "csv":
        yield from read_csv(source, spec, options, tally)
    elif options.whole_files:
        yield from read_whole(source, spec, options, tally)
    else:
        yield from read_lines(source, spec, options, tally)
