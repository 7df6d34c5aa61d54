"""The file of a saved state: what it holds, how it is written, and what may be brought back where. Pure.

One JSON object a line: a head, the records, a foot with their number and a digest, so that a file that was cut off is
found. Of each key the last record is kept, as a compacted topic would keep it; of what comes once a key, all, so that a
week of windows is in the file and never in memory.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from embedwatch.errors import InputError
from stream_agents.compute.history import is_state, parsed_key, partition_of

FORMAT = "embedwatch-state"
VERSION = 1
#: Longer than any record that Kafka takes: such a line is no line of ours.
MAX_LINE_CHARS = 32 * 1024 * 1024
LogIs = Literal["same", "new", "unknown"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A record of the metrics topic that the state has counted: its place, and a digest to know it by."""

    offset: int
    digest: str


@dataclass(frozen=True, slots=True)
class Head:
    """Whose state it is. `marks` has each partition of the metrics topic, None where no record of it could be had;
    `next_offsets` is how far each was counted."""

    app_id: str
    made_seconds: float
    partitions: int
    next_offsets: Mapping[int, int]
    marks: Mapping[int, Mark | None]


@dataclass(frozen=True, slots=True)
class Kept:
    """A record. `topic` is the role of the topic (`state`, `alerts`, ...), not its name."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Gone:
    """A record without a value: it takes away what its key had."""

    topic: str
    partition: int
    key: bytes | None


@dataclass(slots=True)
class Latest:
    """The last record of each key, of those whose keys come again."""

    _kept: dict[tuple[str, int, bytes | None], Kept] = field(default_factory=dict)

    def add(self, record: Kept) -> None:
        self.remove(Gone(record.topic, record.partition, record.key))  # its place is that of the last one
        self._kept[record.topic, record.partition, record.key] = record

    def remove(self, gone: Gone) -> None:
        self._kept.pop((gone.topic, gone.partition, gone.key), None)

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Kept]:
        return iter(self._kept.values())


def comes_once(topic: str, key: bytes | None) -> bool:
    """Whether no later record takes the place of one with this key; where one does all the same, it is the same."""
    if key is None or topic in ("windows", "corrections"):
        return True
    return topic == "days" and key.split(b"|", 2)[1:2] in ([b"window"], [b"scaling"])


def thinned(found: Iterable[Kept | Gone], latest: Latest) -> Iterator[Kept]:
    """What is to be kept of a topic: what comes once as it comes; the rest is held in `latest` until all was seen."""
    for record in found:
        if isinstance(record, Gone):
            latest.remove(record)
        elif comes_once(record.topic, record.key):
            yield record
        else:
            latest.add(record)
    yield from latest


def digest(key: bytes | None, value: bytes | None) -> str:
    """To know a record by."""
    return hashlib.sha256((key or b"") + b"\0" + (value or b"")).hexdigest()


def next_offset_of(record: Kept) -> int | None:
    """How far a record of the state has counted; None for any other record. Raises `InputError` where it does not
    say."""
    if record.topic != "state" or not is_state(parsed_key(record.key)):
        return None
    try:
        return int(json.loads(record.value)["next_offset"])
    except (ValueError, TypeError, KeyError):
        raise InputError(f"the state of partition {record.partition} is none that this version knows") from None


def rebased(record: Kept, firsts: Mapping[int, int]) -> Kept:
    """The record for a log that begins anew: what was counted stays counted, and the new log is read from its start."""
    if next_offset_of(record) is None:
        return record
    state = json.loads(record.value)
    state["next_offset"] = firsts[partition_of(parsed_key(record.key))]
    days = state.get("days")
    state["carried_days"] = sorted(days) if isinstance(days, dict) else []
    return Kept(
        record.topic, record.partition, record.key, json.dumps(state).encode(), record.timestamp_ms, record.headers
    )


def which_log(head: Head, ends: Mapping[int, int], found: Mapping[int, str | None]) -> LogIs:
    """Whether the metrics topic is the one that the state has counted. `found`: digests of what is at the marks now.

    A log that ends before what was counted is another one. A record that is no longer kept says nothing.
    """
    said: set[LogIs] = set()
    for partition, counted in head.next_offsets.items():
        mark, end = head.marks.get(partition), ends.get(partition, 0)
        if not counted:
            continue  # nothing was counted: it is the same either way
        if end < counted:
            said.add("new")
        elif mark is None or found.get(partition) is None:
            said.add("unknown")
        else:
            said.add("same" if found[partition] == mark.digest else "new")
    said.discard("unknown") if len(said) == 2 else None  # one that is known speaks for those that are not
    if not said:
        return "same"
    return said.pop() if len(said) == 1 else "unknown"


def lines(head: Head, records: Iterable[Kept]) -> Iterator[str]:
    """The file, line by line, without line ends."""
    yield _line({
        "format": FORMAT, "v": VERSION, "app_id": head.app_id, "made_seconds": head.made_seconds,
        "partitions": head.partitions,
        "next_offsets": {str(p): offset for p, offset in head.next_offsets.items()},
        "marks": {str(p): None if m is None else [m.offset, m.digest] for p, m in head.marks.items()},
    })  # fmt: skip
    count, whole = 0, hashlib.sha256()
    for record in records:
        line = _line({
            "t": record.topic, "p": record.partition, "k": None if record.key is None else _text(record.key),
            "v": _text(record.value), "ts": record.timestamp_ms,
            "h": [[name, _text(value)] for name, value in record.headers],
        })  # fmt: skip
        whole.update(line.encode())
        count += 1
        yield line
    yield _line({"records": count, "sha256": whole.hexdigest()})


def bounded_lines(file: io.TextIOBase) -> Iterator[str]:
    """Lines of a file, of which one that is too long is not read to its end: a small one may unfold to a large one."""
    while line := file.readline(MAX_LINE_CHARS + 2):
        yield line


def parse(source: Iterable[str]) -> tuple[Head, Iterator[Kept]]:
    """The head, and the records as they are read. Raises `InputError` with what is wrong with the file; whether it is
    whole shows when the last record was read."""
    found = _parsed(source)
    head = next(found)
    assert isinstance(head, Head)  # noqa: S101 (for the type checker: it comes first)
    return head, (record for record in found if isinstance(record, Kept))


def _parsed(source: Iterable[str]) -> Iterator[Head | Kept]:
    head: Head | None = None
    count = 0
    foot: Mapping[str, Any] | None = None
    whole = hashlib.sha256()
    for number, raw in enumerate(source, 1):
        line = raw.rstrip("\n")
        if len(line) > MAX_LINE_CHARS:
            raise InputError(f"line {number} is longer than any record that Kafka takes")
        try:
            row = json.loads(line)
            if foot is not None:
                raise InputError(f"line {number} comes after the end of the file")
            if head is None:
                found: Head | Kept = (head := _head(row))
            elif "records" in row:
                foot = row
                continue
            else:
                found = _kept(row)
                whole.update(line.encode())
                count += 1
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise InputError(f"line {number} is not one of a saved state") from None
        yield found
    if head is None:
        raise InputError("the file is empty")
    if foot is None or (foot["records"], foot.get("sha256")) != (count, whole.hexdigest()):
        raise InputError("the file is not whole: it was cut off or changed")


def _head(row: Any) -> Head:
    if row.get("format") != FORMAT:
        raise InputError("the file is not a saved state of embedwatch")
    if row.get("v") != VERSION:
        raise InputError(f"the file is of format {row.get('v')!r}; this version knows {VERSION}")
    return Head(
        str(row["app_id"]), float(row["made_seconds"]), int(row["partitions"]),
        {int(p): int(offset) for p, offset in row["next_offsets"].items()},
        {int(p): None if m is None else Mark(int(m[0]), str(m[1])) for p, m in row["marks"].items()},
    )  # fmt: skip


def _kept(row: Any) -> Kept:
    key = None if row["k"] is None else _bytes(row["k"])
    headers = tuple((str(name), _bytes(value)) for name, value in row["h"])
    return Kept(str(row["t"]), int(row["p"]), key, _bytes(row["v"]), int(row["ts"]), headers)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, separators=(",", ":"))


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
