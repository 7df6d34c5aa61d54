"""From a Kafka record to texts, each either fit to embed or with the reason why not. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from embedwatch.dead_letters import REPLAYS
from embedwatch.errors import InvalidEvent
from embedwatch.wire import MAX_CHUNK_TEXTS, MAX_TEXT_ID_CHARS, Headers, TextItem, decode_texts, header
from workers.failures import Failure

#: Texts of one message beyond this are refused: their vectors would not fit into memory and messages of any sane size.
MAX_MESSAGE_TEXTS = 16 * MAX_CHUNK_TEXTS
#: Bound of labels in events (`events.Label`).
MAX_LABEL_CHARS = 256


class Record(Protocol):
    """What is used of a Kafka record; kafka-python's `ConsumerRecord` fits."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None  # milliseconds; -1 or None where there is none
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Message:
    """One record of the texts topic, decoded. `failures` are by index into `items`.

    A message that does not decode at all has one item, its whole value, and that item failed.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    form: str | None  # the format header: None is a single text
    items: Sequence[TextItem]
    failures: dict[int, Failure] = field(default_factory=dict)
    decode_seconds: float = 0.0
    #: How often these texts have come back from the dead letters.
    replays: int = 0

    @property
    def is_chunk(self) -> bool:
        return self.form is not None


@dataclass(frozen=True, slots=True)
class Decoder:
    """`models` are the names a text may ask for. `seconds` is a monotonic clock: decoding counts as lookup."""

    models: Collection[str]
    max_text_bytes: int
    seconds: Callable[[], float]

    def decode(self, record: Record) -> Message:
        started = self.seconds()
        fallback_id = f"{record.topic}-{record.partition}-{record.offset}"
        timestamp = record.timestamp if record.timestamp is not None and record.timestamp >= 0 else None
        form = header(record.headers, "format")
        failures: dict[int, Failure] = {}
        try:
            items = decode_texts(record.key, record.value, record.headers, fallback_id=fallback_id)
            many = len(items) > MAX_MESSAGE_TEXTS
            trouble = f"{len(items)} texts in one message, at most {MAX_MESSAGE_TEXTS}" if many else ""
        except InvalidEvent as error:
            trouble = error.detail
        if trouble:
            items = [_whole(record, fallback_id)]
            failures[0] = Failure("malformed_message", "decode", trouble)
        else:
            for index, item in enumerate(items):
                failure = self._judge(item)
                if failure is not None:
                    failures[index] = failure
        return Message(
            record.topic, record.partition, record.offset, timestamp, record.key, form, items, failures,
            self.seconds() - started, _replays(record.headers),
        )  # fmt: skip

    def _judge(self, item: TextItem) -> Failure | None:
        """Why a text cannot be embedded; None when it can."""
        if item.model and item.model not in self.models:  # an empty header asks for none
            return Failure(
                "unknown_model",
                "decode",
                f"the text asks for model {item.model[:80]!r}, this worker has {'/'.join(sorted(self.models))}",
            )
        if len(item.raw) > self.max_text_bytes:
            return Failure("text_too_large", "decode", f"{len(item.raw)} bytes, at most {self.max_text_bytes}")
        if item.text is None:
            return Failure("invalid_utf8", "decode", "the bytes are not UTF-8 text")
        if not item.text.strip():
            return Failure("empty_text", "decode", "nothing but white space" if item.text else "no text")
        return None


def _replays(headers: Headers) -> int:
    text = header(headers, REPLAYS)
    return int(text) if text is not None and text.isdecimal() and len(text) < 7 else 0


def label(value: str | None) -> str | None:
    """A header as an event's label: clipped, and None when empty."""
    return value[:MAX_LABEL_CHARS] if value else None


def _whole(record: Record, fallback_id: str) -> TextItem:
    text_id = record.key.decode("utf-8", "replace")[:MAX_TEXT_ID_CHARS] if record.key else fallback_id
    headers: Headers = record.headers
    return TextItem(
        text_id, record.value or b"", None, header(headers, "model"), header(headers, "tenant"),
        header(headers, "source"),
    )  # fmt: skip
