"""A dead letter as its reader sees it, which ones are meant, and how one goes back to work. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from embedwatch.errors import InputError
from embedwatch.wire import Headers, header

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
    form: str | None
    clipped_from_bytes: int | None
    replays: int

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
            "message": self.message, "time_seconds": self.time_seconds, "model": self.model, "tenant": self.tenant,
            "source": self.origin, "read_from": self.source, "bytes": len(self.value),
            "clipped_from_bytes": self.clipped_from_bytes, "replays": self.replays,
        }  # fmt: skip


def letter_of(partition: int, offset: int, key: bytes | None, value: bytes | None, headers: Headers) -> Letter:
    """From a record of the topic. What is missing or unreadable is None: a letter is never refused."""
    return Letter(
        partition=partition,
        offset=offset,
        text_id=header(headers, "text_id") or (key or b"").decode("utf-8", "replace"),
        value=value or b"",
        error_class=header(headers, "error_class") or "unknown",
        stage=header(headers, "stage") or "unknown",
        message=header(headers, "message") or "",
        time_seconds=_number(header(headers, "time"), float),
        model=header(headers, "model"),
        asked_model=header(headers, "asked_model"),
        tenant=header(headers, "tenant"),
        origin=header(headers, "source"),
        source_topic=header(headers, "source_topic"),
        source_partition=_number(header(headers, "source_partition"), int),
        source_offset=_number(header(headers, "source_offset"), int),
        form=header(headers, "format"),
        clipped_from_bytes=_number(header(headers, "clipped_from_bytes"), int),
        replays=_number(header(headers, REPLAYS), int) or 0,
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


def places(texts: Iterable[str]) -> frozenset[tuple[int, int]]:
    """`PARTITION:OFFSET` as pairs. Raises `InputError`."""
    found = set()
    for text in texts:
        match = re.fullmatch(r"(\d{1,9}):(\d{1,18})", text.strip())
        if match is None:
            raise InputError(
                f"{text!r} is not a place of a dead letter; it looks like 0:17 (see `embedwatch dlq list`)"
            )
        found.add((int(match[1]), int(match[2])))
    return frozenset(found)


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


def _number(text: str | None, kind: Any) -> Any:
    try:
        return None if text is None else kind(text)
    except ValueError:
        return None
