"""A dead letter as its reader sees it, which ones are meant, and how one goes back to work. Pure.

The topic has three kinds of records: texts that could not be embedded (workers), events and verdicts that did not
decode (agents and alerting; these never go back), and receipts: what a replay has sent. A receipt lies in the topic of
the letters because it has to live as long as they do, and no longer; a consumer group's offsets do neither.
"""

from __future__ import annotations

import heapq
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from embedwatch.errors import ConfigError, InvalidEvent
from embedwatch.offset_ranges import OffsetRanges
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES
from embedwatch.wire import Headers, decode_texts, header

#: Header and key of a receipt. No letter has that header.
RECEIPT, RECEIPT_FORMAT, RECEIPT_KEY = "receipt", b"dlq-replay.v1", b"embedwatch-dlq-replay"
#: What a message needs beside key, value and headers.
FRAME_BYTES = 1024
#: On a text that was replayed: which letter it came from, and how often it has been replayed.
REPLAYED_FROM, REPLAYS = "replayed_from", "replays"


@dataclass(frozen=True, slots=True)
class Letter:
    """`value` are the bytes of the text, or of a whole chunk where `form` is set. `source` is where the text stood."""

    partition: int
    offset: int
    text_id: str
    value: bytes
    error_class: str
    stage: str
    message: str
    time_seconds: float | None
    model: str | None
    asked_model: str | None
    tenant: str | None
    origin: str | None
    source_topic: str | None
    source_partition: int | None
    source_offset: int | None
    index: int | None
    form: str | None
    clipped_from_bytes: int | None
    replays: int
    event_id: str | None = None  # of the batch event that counts it; None from a worker that is older than this field

    @property
    def place(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def source(self) -> str | None:
        """Topic, partition and offset it was read from."""
        if self.source_topic is None:
            return None
        return f"{self.source_topic}-{self.source_partition}:{self.source_offset}"

    def as_json(self) -> dict[str, Any]:
        """For programs: everything but the text itself."""
        return {
            "place": self.place, "text_id": self.text_id, "error_class": self.error_class, "stage": self.stage,
            "message": self.message, "time_seconds": self.time_seconds, "model": self.model,
            "asked_model": self.asked_model, "tenant": self.tenant, "source": self.origin, "read_from": self.source,
            "index": self.index, "format": self.form, "bytes": len(self.value),
            "clipped_from_bytes": self.clipped_from_bytes, "replays": self.replays, "event_id": self.event_id,
        }  # fmt: skip


def letter_of(
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    timestamp_ms: int | None = None,
) -> Letter:
    """From a record of the topic. What is missing or unreadable is None: a letter is never refused.

    `timestamp_ms` is the record's own time, for letters that do not say theirs.
    """
    time_seconds = _seconds(header(headers, "time"))
    if time_seconds is None or not math.isfinite(time_seconds):
        time_seconds = None if timestamp_ms is None or timestamp_ms < 0 else timestamp_ms / 1000
    return Letter(
        partition=partition,
        offset=offset,
        text_id=header(headers, "text_id") or (key or b"").decode("utf-8", "replace"),
        value=value or b"",
        error_class=header(headers, "error_class") or "unknown",
        stage=header(headers, "stage") or "unknown",
        message=header(headers, "message") or "",
        time_seconds=time_seconds,
        model=header(headers, "model"),
        asked_model=header(headers, "asked_model"),
        tenant=header(headers, "tenant"),
        origin=header(headers, "source"),
        source_topic=header(headers, "source_topic"),
        source_partition=_number(header(headers, "source_partition")),
        source_offset=_number(header(headers, "source_offset")),
        index=_number(header(headers, "index")),
        form=header(headers, "format"),
        clipped_from_bytes=_number(header(headers, "clipped_from_bytes")),
        replays=_number(header(headers, REPLAYS)) or 0,
        event_id=header(headers, "event_id"),
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant: those for which everything given is so."""

    error_class: str | None = None
    tenant: str | None = None
    source: str | None = None
    model: str | None = None
    text_id: str | None = None
    since_seconds: float | None = None
    places: frozenset[tuple[int, int]] = frozenset()

    def takes(self, letter: Letter) -> bool:
        wanted = (
            (self.error_class, letter.error_class), (self.tenant, letter.tenant), (self.source, letter.origin),
            (self.model, letter.model), (self.text_id, letter.text_id),
        )  # fmt: skip
        if any(asked is not None and asked != found for asked, found in wanted):
            return False
        if self.places and (letter.partition, letter.offset) not in self.places:
            return False
        return self.since_seconds is None or (letter.time_seconds or 0.0) >= self.since_seconds


@dataclass(slots=True)
class Summary:
    """Counts over any number of letters, in constant memory: values beyond `MOST` of a kind count as `(others)`."""

    MOST = 200

    letters: int = 0
    first_seconds: float | None = None
    last_seconds: float | None = None
    by: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, letter: Letter) -> None:
        self.letters += 1
        if letter.time_seconds is not None:
            self.first_seconds = min(self.first_seconds or letter.time_seconds, letter.time_seconds)
            self.last_seconds = max(self.last_seconds or letter.time_seconds, letter.time_seconds)
        kinds = {
            "class": letter.error_class, "stage": letter.stage, "model": letter.model, "tenant": letter.tenant,
            "source": letter.origin,
        }  # fmt: skip
        for kind, value in kinds.items():
            counts = self.by.setdefault(kind, Counter())
            name = "(none)" if value is None else value
            counts[name if name in counts or len(counts) < self.MOST else "(others)"] += 1


class Latest:
    """The latest of any number of letters, without their texts: `most` of them are held, no more."""

    def __init__(self, most: int) -> None:
        self._most, self._number = max(0, most), 0
        self._heap: list[tuple[float, int, Letter]] = []

    def add(self, letter: Letter) -> None:
        self._number += 1  # letters of one time stay in their order
        entry = (letter.time_seconds or 0.0, self._number, replace(letter, value=b""))
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def newest_first(self) -> list[Letter]:
        return [letter for _, _, letter in sorted(self._heap, reverse=True)]


def place_of(text: str) -> tuple[int, int] | None:
    """`PARTITION:OFFSET` as a pair; None when it is something else."""
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,18})", text.strip())
    return (int(match[1]), int(match[2])) if match else None


def places(texts: Iterable[str]) -> frozenset[tuple[int, int]]:
    """`PARTITION:OFFSET` as pairs. Raises `ConfigError`."""
    found = set()
    for text in texts:
        place = place_of(text)
        if place is None:
            raise ConfigError(
                f"{text!r} is not a place of a dead letter; it looks like 0:17 (see `embedwatch dlq list`)"
            )
        found.add(place)
    return frozenset(found)


def refusal(letter: Letter, texts_topic: str, max_replays: int) -> str | None:
    """Why a letter does not go back to the topic of texts; None when it may. A clipped one has to be `restored`."""
    if letter.source_topic is not None and letter.source_topic != texts_topic:
        return f"no text of {texts_topic}: it came from {letter.source_topic}"
    if letter.replays >= max_replays:
        return f"it came back {letter.replays} times already (--max-replays {max_replays})"
    if letter.clipped_from_bytes is not None and None in (letter.source_partition, letter.source_offset):
        return "its text is clipped, and where it came from is not known"
    key, headers = replay(letter)
    size = (letter.clipped_from_bytes or len(letter.value)) + len(key) + sum(len(n) + len(v) + 8 for n, v in headers)
    if size + FRAME_BYTES > TEXTS_MAX_MESSAGE_BYTES:
        return f"with its headers it is larger than a message may be ({TEXTS_MAX_MESSAGE_BYTES:,} bytes)"
    return None


def restored(letter: Letter, key: bytes | None, value: bytes | None, headers: Headers) -> Letter | str:
    """The clipped letter with its whole text, taken from the record it came from; or why that cannot be."""
    whole = value or b""
    if letter.form is None:
        fallback_id = f"{letter.source_topic}-{letter.source_partition}-{letter.source_offset}"
        try:
            items = decode_texts(key, value, headers, fallback_id=fallback_id)
        except InvalidEvent as error:
            return f"its text is clipped, and its source does not decode: {error.detail}"
        index = letter.index or 0
        if index >= len(items) or items[index].id != letter.text_id:
            return "its text is clipped, and there is another text at its source now"
        whole = items[index].raw
    if len(whole) != letter.clipped_from_bytes or not whole.startswith(letter.value):
        return "its text is clipped, and there is another text at its source now"
    return replace(letter, value=whole, clipped_from_bytes=None)


def replay(letter: Letter) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Key and headers with which its value goes back to the texts topic."""
    fields = {
        "format": letter.form,
        "model": letter.asked_model,
        "tenant": letter.tenant,
        "source": letter.origin,
        REPLAYED_FROM: letter.place,
        REPLAYS: str(letter.replays + 1),
    }
    headers = [(name, value.encode("utf-8", "surrogatepass")) for name, value in fields.items() if value is not None]
    return letter.text_id.encode("utf-8", "surrogatepass"), headers


def receipt(sent: OffsetRanges) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of the record that says which letters were sent back and acknowledged."""
    return json.dumps(sent.as_json(), separators=(",", ":")).encode(), [(RECEIPT, RECEIPT_FORMAT)]


def read_receipt(value: bytes | None, headers: Headers) -> OffsetRanges | None:
    """What a replay has sent; None when the record is a letter. One that cannot be read says nothing was."""
    found = header(headers, RECEIPT)
    if found is None:
        return None
    try:
        data = json.loads(value or b"") if found.encode() == RECEIPT_FORMAT else {}
        return OffsetRanges.from_json(data)
    except (ValueError, RecursionError):
        return OffsetRanges()


def printable(text: str, most: int | None = None) -> str:
    """On one line, with nothing that a terminal would obey; clipped to `most` characters."""
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _number(text: str | None) -> int | None:
    """A count or a place. A negative one is neither: it would be taken from the end, or never reach its limit."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) <= 18 else None


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
