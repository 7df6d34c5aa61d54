"""Lines of a byte stream, with bounded memory: a file without line ends must not be read into memory whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

BOM = b"\xef\xbb\xbf"
_STEP_BYTES = 1 << 20


def bounded_lines(stream: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes, int]]:
    r"""(line number from 1, line without its end, size in bytes) for each line.

    Lines end with \n or \r\n only: U+2028, form feeds and the like are part of a text. A line longer than
    `max_bytes` comes with its full size and only its beginning. A UTF-8 byte order mark at the start is dropped.
    """
    readline = stream.readline
    want = max_bytes + 2  # a line of exactly max_bytes, and \r\n
    number = 0
    first = len(BOM)
    while data := readline(want + first):
        number += 1
        if first:
            first = 0
            data = data.removeprefix(BOM)
            if not data:
                return  # nothing but the mark
        if data.endswith(b"\n"):
            body = data[:-2] if data.endswith(b"\r\n") else data[:-1]
            yield number, body, len(body)
        elif len(data) < want:
            yield number, data, len(data)  # the last line, without an end
        else:
            yield number, data[:max_bytes], _measure(stream, data)


def _measure(stream: BinaryIO, begin: bytes) -> int:
    """Size of the line that starts with `begin`, without its end; reads up to its end."""
    size, last = len(begin), begin[-1:]
    while more := stream.readline(_STEP_BYTES):
        size += len(more)
        if more.endswith(b"\n"):
            carriage = more.endswith(b"\r\n") if len(more) > 1 else last == b"\r"
            return size - (2 if carriage else 1)
        last = more[-1:]
    return size
