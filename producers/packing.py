"""Packs texts into chunks: never above the limits, order kept, nothing waits too long. Pure: `now` is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from embedwatch.wire import MAX_CHUNK_BYTES, MAX_CHUNK_TEXTS, chunk_headers, encode_chunk
from producers.text import SourceText

#: `{"ids":[],"texts":[]}`
_FRAME_BYTES = len(encode_chunk([], []))
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one chunk: texts, bytes of its encoded value, and seconds from its first text until it is due."""

    texts: int = MAX_CHUNK_TEXTS
    value_bytes: int = MAX_CHUNK_BYTES
    wait_seconds: float = 0.2


@dataclass(frozen=True, slots=True)
class Labels:
    """Headers that are the same for all texts of a run."""

    model: str | None = None
    tenant: str | None = None


@dataclass(slots=True)
class Chunk:
    """Texts of one source that go as one message. `last` is the place of the last one in the whole sequence.

    `raw` is set for one text that is not UTF-8: such a text always goes alone.
    """

    source: str
    first_at: float
    last: int = 0
    ids: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    raw: bytes | None = None
    value_bytes: int = _FRAME_BYTES

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Message:
    """What goes to the topic. `texts` is how many it carries, `last` as in `Chunk`."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    texts: int
    last: int


class Packer:
    """One open chunk at a time. A text of another source closes it, so that the order of the input is kept."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Chunk | None = None

    def add(self, item: SourceText, place: int, now: float) -> list[Chunk]:
        """Takes a text; gives the chunks that are now complete, in order. `place` grows from text to text."""
        limits, chunk = self._limits, self._open
        if item.text is None:
            alone = Chunk(item.source, now, place, [item.id], [], item.raw or b"", len(item.raw or b""))
            return [*self.flush(), alone]
        # A comma before all but the first is counted for the first too, and taken off below.
        cost = len(_encode(item.id)) + len(_encode(item.text)) + 2
        if _FRAME_BYTES + cost - 2 > limits.value_bytes:
            return [
                *self.flush(),
                Chunk(item.source, now, place, [item.id], [item.text], None, len(item.text.encode())),
            ]
        done: list[Chunk] = []
        if chunk is not None and (
            chunk.value_bytes + cost > limits.value_bytes
            or chunk.source != item.source
            or now - chunk.first_at >= limits.wait_seconds
        ):
            done = self.flush()
            chunk = None
        if chunk is None:
            chunk = self._open = Chunk(item.source, now)
            cost -= 2
        chunk.ids.append(item.id)
        chunk.texts.append(item.text)
        chunk.value_bytes += cost
        chunk.last = place
        if len(chunk.ids) >= limits.texts:
            done += self.flush()
        return done

    def due_in(self, now: float) -> float | None:
        """Seconds until the open chunk must go, 0 or less when it is due; None without one."""
        return None if self._open is None else self._open.first_at + self._limits.wait_seconds - now

    def due(self, now: float) -> list[Chunk]:
        """The open chunk if it has waited long enough."""
        left = self.due_in(now)
        return self.flush() if left is not None and left <= 0 else []

    def flush(self) -> list[Chunk]:
        """The open chunk, whatever its age."""
        if self._open is None:
            return []
        chunk, self._open = self._open, None
        return [chunk]


def to_message(chunk: Chunk, labels: Labels) -> Message:
    """A chunk of one becomes a single text, the simple case that any client reads."""
    names = {"source": chunk.source, "model": labels.model, "tenant": labels.tenant}
    headers = [(name, value.encode()) for name, value in names.items() if value]
    key = chunk.ids[0].encode()
    if chunk.raw is not None:
        value = chunk.raw
    elif len(chunk.ids) == 1:
        value = chunk.texts[0].encode()
    else:
        value = encode_chunk(chunk.ids, chunk.texts)
        headers = chunk_headers(len(chunk.ids), **{name: value or None for name, value in names.items()})
    return Message(key, value, headers, len(chunk.ids), chunk.last)
