"""What sources yield: texts, or texts that are too large to send. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

Format = Literal["txt", "jsonl", "csv", "parquet"]


class SourceText(msgspec.Struct, frozen=True, gc=False):
    """One text as it was found. Exactly one of `text` and `raw` is set.

    `raw` holds the bytes of a text that is not valid UTF-8: it is sent as it is, and the worker makes a dead letter of
    it. `number` is the line (text formats) or row (Parquet) where the text begins, from 1.
    """

    id: str
    text: str | None
    raw: bytes | None
    source: str
    number: int


class Oversized(msgspec.Struct, frozen=True, gc=False):
    """A text above the limit, or a line whose text is not known for that. It is not held in memory, only where it is
    and how large."""

    where: str
    size_bytes: int
    limit_bytes: int
    what: Literal["text", "line"] = "text"


class Bad(msgspec.Struct, frozen=True, gc=False):
    """A record without a usable text or id, and why; only where such records are left out."""

    where: str
    problem: str


Item = SourceText | Oversized | Bad


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read. `encoding` is a Python codec name; anything but UTF-8 is converted strictly.

    `skip_bad`: a record that cannot be used is yielded as `Bad`; else it raises `InputError`.
    """

    max_text_bytes: int
    field: str = "text"
    id_field: str | None = None
    whole_files: bool = False
    delimiter: str | None = None
    encoding: str = "utf-8"
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Input:
    """One file, standard input or the standard library.

    `label` is what messages call it, `name` the stem of its ids, `source` the header of its texts.
    `waits` is true where a read may block for long (pipe, terminal).
    """

    kind: Literal["file", "stdin", "stdlib"]
    path: str
    label: str
    name: str
    source: str
    format: Format
    size_bytes: int | None = None
    waits: bool = False


@dataclass(slots=True)
class Tally:
    """What was met on the way and is no text, and how far reading is."""

    inputs: int = 0
    blank_lines: int = 0
    skipped_modules: int = 0
    empty_inputs: list[str] = field(default_factory=list)
    done_bytes: int = 0
    position: Callable[[], int] | None = None

    def position_bytes(self) -> int:
        """Bytes read of all inputs; 0 where it cannot be known."""
        try:
            return self.done_bytes + (self.position() if self.position else 0)
        except (OSError, ValueError):
            return self.done_bytes  # the file was closed a moment ago
