"""A text that could not be embedded, as a message on the dead-letters topic: its bytes and all that is known. Pure.

Nothing is thrown away: the value is the text as it came, and the headers lead back to where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass

from embedwatch.dead_letters import REPLAYS
from embedwatch.topics import TEXTS_MAX_MESSAGE_BYTES
from embedwatch.wire import TextItem
from workers.decode import MAX_LABEL_CHARS, Message
from workers.failures import Failure

#: Room for headers and framing below the topic's limit. A message may have come in at the limit itself.
MAX_VALUE_BYTES = TEXTS_MAX_MESSAGE_BYTES - 64 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Key, value and headers of one message."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def dead_letter(
    message: Message, index: int, failure: Failure, *, worker_model: str, now: float, event_id: str | None = None
) -> DeadLetter:
    """The dead letter of text `index` of a message.

    `model` is what the text asked for, else the worker's; `asked_model` only the former. `event_id` is that of the
    batch event that counts it. `format` is there when the
    value is a whole chunk that did not decode; `clipped_from_bytes` when the value had to be cut to fit (the source
    offset still has all of it).
    """
    item: TextItem = message.items[index]
    value = item.raw
    fields = {
        "error_class": failure.error_class,
        "stage": failure.stage,
        "message": failure.reason,
        "source_topic": message.topic,
        "source_partition": str(message.partition),
        "source_offset": str(message.offset),
        "index": str(index),
        "text_id": item.id,
        "model": (item.model or worker_model)[:MAX_LABEL_CHARS],
        "time": f"{now:.3f}",
    }
    if event_id:
        fields["event_id"] = event_id
    if item.model:
        fields["asked_model"] = item.model[:MAX_LABEL_CHARS]
    if message.replays:
        fields[REPLAYS] = str(message.replays)
    if item.tenant:
        fields["tenant"] = item.tenant[:MAX_LABEL_CHARS]
    if item.source:
        fields["source"] = item.source[:MAX_LABEL_CHARS]
    if failure.error_class == "malformed_message" and message.form is not None:
        fields["format"] = message.form[:MAX_LABEL_CHARS]
    if len(value) > MAX_VALUE_BYTES:
        fields["clipped_from_bytes"] = str(len(value))
        value = value[:MAX_VALUE_BYTES]
    headers = [(name, text.encode("utf-8", "surrogatepass")) for name, text in fields.items()]
    return DeadLetter(item.id.encode("utf-8", "surrogatepass"), value, headers)
