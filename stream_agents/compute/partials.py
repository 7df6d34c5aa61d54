"""Partials: what one process tells the others about the source partitions it holds. Records of one internal topic.

A pane is sent whole, with the offset up to which its events are in it, so that a newer one replaces an older one and a
repeated one changes nothing. It is split by scopes where it would be too large for a broker, and taken in only when all
its pieces are there. A checkpoint follows when the panes are acknowledged: it says that they are complete.

Keys begin with the application's id, since two applications may read one metrics topic, and are such that compaction
keeps the newest of each pane.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from embedwatch.errors import InvalidEvent
from embedwatch.events import CacheEvent, HeartbeatEvent, LagEvent, ScalingEvent
from embedwatch.sketch import Sketch
from stream_agents.compute.scopes import Scope, parse_scope, scope_key
from stream_agents.compute.windows import Totals
from stream_agents.compute.worker_panes import Rows, Workers, from_rows, to_rows

PARTIAL_VERSION = 1
#: Brokers take a megabyte by default; key and head come on top.
MAX_PIECE_BYTES = 900_000
#: So many bundles of samples of a partition outlive compaction: some minutes.
SAMPLE_SLOTS = 600
#: Above it a record is not ours.
MAX_RECORD_BYTES = 8 * 1024 * 1024
MAX_OPEN_PANES = 64
#: Of a pane: a thousand scopes fit into one.
MAX_PIECES = 1000
NO_WORKERS = msgspec.Raw(b"[]")

Sample = HeartbeatEvent | LagEvent | CacheEvent | ScalingEvent


class Pane(msgspec.Struct, frozen=True, tag="pane", tag_field="type"):
    """Piece `piece` of `pieces` of the pane that begins at `start` (Unix seconds), with the events below `as_of`."""

    partition: int
    start: int
    as_of: int
    piece: int
    pieces: int
    scopes: dict[str, msgspec.Raw]
    workers: msgspec.Raw = NO_WORKERS  # of the last piece; empty from an agent older than this field
    v: int = PARTIAL_VERSION


class WholePane(NamedTuple):
    """A pane put together, not decoded yet."""

    scopes: Mapping[str, msgspec.Raw]
    workers: msgspec.Raw = NO_WORKERS


class Checkpoint(msgspec.Struct, frozen=True, tag="checkpoint", tag_field="type"):
    """The panes of the partition hold every event below `next_offset`. Also sent now and then to say: I live."""

    partition: int
    next_offset: int
    time_seconds: float
    late_events: int = 0
    overflow_events: int = 0
    last_batch_seconds: float | None = None
    #: Time of the newest event of any kind, so that closing windows waits for those that are behind.
    newest_seconds: float | None = None
    #: Of partition 0, whose holder publishes closed windows: all that end up to here are out.
    published_until: float | None = None
    v: int = PARTIAL_VERSION


class Samples(msgspec.Struct, frozen=True, tag="samples", tag_field="type"):
    """The newest heartbeats, cache and lag samples, and the decisions about workers, that came through a partition."""

    partition: int
    events: list[Sample]
    v: int = PARTIAL_VERSION


class Marker(msgspec.Struct, frozen=True, tag="marker", tag_field="type"):
    """Sent by a process that wants to know when it has read all that was there before."""

    id: str
    v: int = PARTIAL_VERSION


class _Version(msgspec.Struct):
    v: int


Partial = Pane | Checkpoint | Samples | Marker
Record = tuple[bytes, bytes]
"""Key and value."""


def _plain(value: Any) -> Any:
    if isinstance(value, Sketch):
        return value.to_text()
    raise NotImplementedError


def _rich(kind: type, value: Any) -> Any:
    if kind is Sketch and isinstance(value, str):
        return Sketch.from_text(value)
    raise NotImplementedError


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder(Partial)
_totals_decoder = msgspec.json.Decoder(Totals, dec_hook=_rich)
_rows_decoder = msgspec.json.Decoder(Rows)
_version_decoder = msgspec.json.Decoder(_Version)


class NewerPartial(InvalidEvent):
    """Written by a newer version of embedwatch than this one."""

    def __init__(self, version: int) -> None:
        super().__init__("wrong_version", f"a partial of version {version}; this agent knows {PARTIAL_VERSION}")


def _key(app_id: str, *parts: object) -> bytes:
    return "|".join([app_id, *map(str, parts)]).encode()


def is_of(key: bytes | None, app_id: str) -> bool:
    """Whether a record was written by a process of this application."""
    return key is not None and key.startswith(f"{app_id}|".encode())


def pane_records(
    app_id: str, partition: int, start: int, as_of: int, pane: Mapping[Scope, Totals], workers: Workers | None = None,
    max_bytes: int = MAX_PIECE_BYTES,
) -> list[Record]:  # fmt: skip
    """A pane in as many records as its size asks for. Later changes of the pane do not touch them."""
    pieces: list[dict[str, msgspec.Raw]] = [{}]
    size = 0
    for scope, totals in pane.items():
        name, data = scope_key(scope), _encoder.encode(totals)
        length = len(name.encode()) + len(data) + 4
        if size + length > max_bytes and pieces[-1]:
            pieces.append({})
            size = 0
        pieces[-1][name] = msgspec.Raw(data)
        size += length
    rows = msgspec.Raw(_encoder.encode(to_rows(workers))) if workers else NO_WORKERS
    if size and size + len(bytes(rows)) > max_bytes:
        pieces.append({})
    return [
        (
            _key(app_id, partition, "pane", start, number),
            _encoder.encode(
                Pane(
                    partition, start, as_of, number, len(pieces), scopes,
                    rows if number == len(pieces) - 1 else NO_WORKERS,
                )
            ),
        )
        for number, scopes in enumerate(pieces)
    ]  # fmt: skip


def checkpoint_record(app_id: str, checkpoint: Checkpoint) -> Record:
    return _key(app_id, checkpoint.partition, "checkpoint"), _encoder.encode(checkpoint)


def sample_records(
    app_id: str, partition: int, slot: int, events: Iterable[Sample], max_bytes: int = MAX_PIECE_BYTES
) -> list[Record]:
    """Samples in as many records as their size asks for, in the slots from `slot` on."""
    return [
        (_key(app_id, partition, "samples", (slot + number) % SAMPLE_SLOTS), _encoder.encode(Samples(partition, some)))
        for number, some in enumerate(_bundles(events, max_bytes))
    ]


def _bundles(events: Iterable[Sample], max_bytes: int) -> Iterator[list[Sample]]:
    some: list[Sample] = []
    size = 0
    for event in events:
        length = len(_encoder.encode(event)) + 1
        if some and size + length > max_bytes:
            yield some
            some, size = [], 0
        some.append(event)
        size += length
    if some:
        yield some


def marker_record(app_id: str, marker: str) -> Record:
    return _key(app_id, "marker"), _encoder.encode(Marker(marker))


def decode_partial(value: bytes | None) -> Partial:
    """Raises `InvalidEvent`, `NewerPartial` for a version that is not known here."""
    if not value or len(value) > MAX_RECORD_BYTES:
        raise InvalidEvent("empty" if not value else "too_large", "not a partial")
    try:
        if (version := _version_decoder.decode(value).v) > PARTIAL_VERSION:
            raise NewerPartial(version)
        found: Partial = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("invalid", f"not a partial: {error}") from None
    if isinstance(found, Pane) and not 0 <= found.piece < found.pieces <= MAX_PIECES:
        raise InvalidEvent("invalid", f"piece {found.piece} of {found.pieces} of a pane")
    return found


def totals_of(scopes: Mapping[str, msgspec.Raw]) -> dict[Scope, Totals]:
    """The totals of a pane's scopes. Raises `InvalidEvent`."""
    try:
        found = {parse_scope(name): _totals_decoder.decode(data) for name, data in scopes.items()}
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidEvent("invalid", f"not a pane: {error}") from None
    for totals in found.values():
        if totals.batches and not totals.batch_share:  # of an agent that is older than this field
            totals.batch_share = float(totals.batches)
    return found


def workers_of(rows: msgspec.Raw) -> Workers:
    """What the workers of a pane did. Raises `InvalidEvent`."""
    try:
        return from_rows(_rows_decoder.decode(rows))
    except msgspec.DecodeError as error:
        raise InvalidEvent("invalid", f"not the workers of a pane: {error}") from None


@dataclass(slots=True)
class Pieces:
    """Puts the pieces of panes together. Bounded: the pane begun longest ago is given up for one too many."""

    _open: dict[tuple[int, int], tuple[tuple[int, int], dict[int, Pane]]] = field(default_factory=dict)

    def add(self, pane: Pane) -> WholePane | None:
        """The whole pane with its last piece; None while pieces are missing.

        Pieces of a later offset end what was begun before: its writer died between two pieces, and whoever took over
        sends the pane again.
        """
        if pane.pieces == 1:
            return WholePane(pane.scopes, pane.workers)
        place, identity = (pane.partition, pane.start), (pane.as_of, pane.pieces)
        known, found = self._open.get(place, (identity, {}))
        if identity < known:
            return None
        if identity > known:
            found = {}
        found[pane.piece] = pane
        self._open.pop(place, None)
        if len(found) == pane.pieces:  # each is below that number, else it was refused
            scopes = {name: data for number in range(pane.pieces) for name, data in found[number].scopes.items()}
            return WholePane(scopes, found[pane.pieces - 1].workers)
        self._open[place] = (identity, found)
        if len(self._open) > MAX_OPEN_PANES:
            del self._open[next(iter(self._open))]
        return None
