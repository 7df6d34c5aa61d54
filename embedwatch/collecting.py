"""Which vectors of the topic go into which file, and which of several vectors of one text stays. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embedwatch.errors import InputError
from embedwatch.wire import Headers, Vector, header, read_vectors

Keep = Literal["last", "first", "all"]
Mask = npt.NDArray[np.bool_]
#: Files of one run, with --split: all are open at once.
MAX_KINDS = 64
#: How many more rows come at least before it is looked again whether there are enough different texts.
_LOOK_AGAIN_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """What all vectors of one file have in common."""

    dims: int
    dtype: str
    model: str
    fingerprint: str

    def __str__(self) -> str:
        return f"{self.model} in {self.dims} dimensions of {self.dtype} ({self.fingerprint})"


@dataclass(frozen=True, slots=True)
class Block:
    """The vectors of one message: `matrix` has a row for each id. `time_ms` is the message's, None without one."""

    kind: Kind
    ids: Sequence[str]
    matrix: Vector
    partition: int
    offset: int
    time_ms: int | None


def block_of(
    key: bytes | None, value: bytes | None, headers: Headers, *, partition: int, offset: int, timestamp_ms: int | None
) -> Block | None:
    """One message of the topic, single or chunk; None when it holds none. Raises `InvalidEvent` (malformed)."""
    pairs = list(read_vectors(key, value, headers))
    if not pairs:
        return None
    matrix = np.stack([vector for _, vector in pairs])
    kind = Kind(
        matrix.shape[1], matrix.dtype.name, header(headers, "model") or "", header(headers, "fingerprint") or ""
    )
    time_ms = timestamp_ms if timestamp_ms is not None and timestamp_ms >= 0 else None
    return Block(kind, [text_id for text_id, _ in pairs], matrix, partition, offset, time_ms)


class Kinds:
    """The kinds of vectors seen, numbered in that order. Only one, unless they go to a file each (`split`)."""

    def __init__(self, split: bool) -> None:
        self._split = split
        self.seen: dict[Kind, int] = {}

    def number(self, kind: Kind) -> int:
        """Raises `InputError` for vectors that do not belong together."""
        if kind in self.seen:
            return self.seen[kind]
        if self.seen and not self._split:
            first = next(iter(self.seen))
            raise InputError(
                f"the topic holds vectors that do not belong together: {first}, and {kind}. {_way(kind, first)}"
            )
        if len(self.seen) == MAX_KINDS:
            raise InputError(
                f"the topic holds more than {MAX_KINDS} kinds of vectors; choose with --model or --fingerprint"
            )
        self.seen[kind] = len(self.seen)
        return self.seen[kind]


class Copies:
    """Which rows stay when a text has several vectors. Holds some 40 bytes a row, and as much again while it decides.

    The last vector of a text is that of the message with the latest time; at the same time the one of the higher
    partition, then of the higher offset, then the later one in the message. So the outcome does not depend on the order
    in which partitions were read.
    """

    _ROW = np.dtype(
        [("a", "<u8"), ("b", "<u8"), ("time", "<i8"), ("offset", "<i8"), ("partition", "<i4"), ("kind", "<i2")]
    )

    def __init__(self) -> None:
        self._rows: npt.NDArray[Any] = np.empty(4096, self._ROW)
        self.count = 0

    def add(self, kind: int, block: Block) -> None:
        end = self.count + len(block.ids)
        if end > len(self._rows):
            self._rows = np.resize(self._rows, max(end, 2 * len(self._rows)))
        rows = self._rows[self.count : end]
        # A text's vectors of two kinds are no copies of each other: the kind is part of what is compared.
        salt = kind.to_bytes(2, "little")
        digests = b"".join(
            blake2b(text_id.encode("utf-8", "surrogatepass"), digest_size=16, salt=salt).digest()
            for text_id in block.ids
        )
        halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
        rows["a"], rows["b"] = halves[:, 0], halves[:, 1]
        rows["time"] = -1 if block.time_ms is None else block.time_ms
        rows["offset"], rows["partition"], rows["kind"] = block.offset, block.partition, kind
        self.count = end

    def distinct(self) -> int:
        """How many different texts there are."""
        return int(self._first_seen().sum())

    def rows_with(self, texts: int) -> int:
        """With how many of the first rows there are so many different texts; all when there are not that many."""
        places = np.flatnonzero(self._first_seen())
        return int(places[texts - 1]) + 1 if len(places) >= texts else self.count

    def kept(self, keep: Literal["last", "first"], rows: int | None = None) -> Mask:
        """For each of the first `rows` (default: of all), whether it stays."""
        part = self._rows[: self.count if rows is None else rows]
        order = np.lexsort((part["offset"], part["partition"], part["time"], part["b"], part["a"]))
        starts = self._starts(part, order)
        chosen = order[starts] if keep == "first" else order[np.append(starts[1:], True)[: len(order)]]
        mask = np.zeros(len(part), bool)
        mask[chosen] = True
        return mask

    def kinds(self, rows: int | None = None) -> npt.NDArray[np.int16]:
        """The kind of each of the first `rows`."""
        kinds: npt.NDArray[np.int16] = self._rows["kind"][: self.count if rows is None else rows]
        return kinds

    def _first_seen(self) -> Mask:
        part = self._rows[: self.count]
        order = np.lexsort((part["b"], part["a"]))  # stable: rows of one text stay in the order they came
        mask = np.zeros(len(part), bool)
        mask[order[self._starts(part, order)]] = True
        return mask

    @staticmethod
    def _starts(part: npt.NDArray[Any], order: npt.NDArray[np.intp]) -> Mask:
        """In the sorted order, where another text begins."""
        starts = np.ones(len(order), bool)
        a, b = part["a"][order], part["b"][order]
        starts[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
        return starts


class Limit:
    """Says when there are `texts` different ones, without counting them at every row."""

    def __init__(self, texts: int | None, copies: Copies | None) -> None:
        self._texts, self._copies = texts, copies
        self._look_at = texts or 0

    def reached(self, rows: int) -> bool:
        if self._texts is None or rows < self._look_at:
            return False
        if self._copies is None:
            return True
        missing = self._texts - self._copies.distinct()
        self._look_at = rows + max(missing, _LOOK_AGAIN_ROWS)
        return missing <= 0


def file_stem(kind: Kind, taken: Sequence[str]) -> str:
    """Name of a kind's file without ending: its fingerprint as far as file systems take it, unlike those `taken`."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", kind.fingerprint or kind.model)[:100].strip("._") or "vectors"
    name, number = stem, 2
    while name.lower() in {other.lower() for other in taken}:
        name, number = f"{stem}-{number}", number + 1
    return name


def _way(kind: Kind, first: Kind) -> str:
    if kind.fingerprint and first.fingerprint and kind.fingerprint != first.fingerprint:
        return f"Choose with --fingerprint {first.fingerprint} or --fingerprint {kind.fingerprint}, or give --split"
    return "Choose with --model or --fingerprint, or give --split: a file for each kind"
