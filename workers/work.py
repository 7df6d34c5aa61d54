"""What one cycle knows about its texts: flat arrays, one place a text, filled in by the pipeline. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedwatch.wire import TextItem
from workers.decode import Message
from workers.failures import Failure

#: Outcome of a text. PENDING is only seen while a cycle runs.
PENDING, HIT, DUPLICATE, MISS, ERROR = range(5)


class Work:
    """The texts of one cycle.

    `original[i]` is the text of which i is a copy within the cycle, or i itself. `tokens` are those the model
    processes, `full_tokens` those of the whole text; 0 means that the text never came so far as to be counted.
    Times are seconds of the monotonic clock.
    """

    def __init__(self, messages: Sequence[Message], dims: int, *, started: float, started_at: float) -> None:
        self.messages = messages
        self.started = started
        self.started_at = started_at  # the same moment in Unix seconds
        self.items: list[TextItem] = [item for message in messages for item in message.items]
        sizes = np.array([len(message.items) for message in messages], np.int64)
        self.first_of_message = np.concatenate([[0], np.cumsum(sizes)])
        self.message_of = np.repeat(np.arange(len(messages)), sizes)
        count = len(self.items)
        self.outcome = np.full(count, PENDING, np.int8)
        self.original = np.arange(count)
        self.tokens = np.zeros(count, np.int64)
        self.full_tokens = np.zeros(count, np.int64)
        self.padding = np.zeros(count, np.int64)
        self.vectors: Any = np.zeros((count, dims), np.float32)
        self.batch = np.full(count, -1, np.int64)
        self.batch_started = np.full(count, started)
        #: Seconds of all forward passes that held the text: what its sender waited for.
        self.embed_seconds = np.zeros(count)
        #: Its part of those seconds by tokens: what it cost. Adds up to the time in forward passes.
        self.embed_share_seconds = np.zeros(count)
        self.cache_errors = np.zeros(count, np.int64)
        self.failures: dict[int, Failure] = {}
        #: By (tenant, source): of the event that will count its texts, where it had to be named before.
        self.event_ids: dict[tuple[str | None, str | None], str] = {}
        #: Cache key and normalised form of each text that can be embedded, and what the tokenizer made of those that
        #: the model has to see.
        self.keys: list[bytes] = [b""] * count
        self.texts: list[str] = [""] * count
        self.payloads: dict[int, object] = {}
        #: Entries of the cache for what was embedded, to be written to the server once the vectors are out.
        self.entries: list[tuple[bytes, bytes]] = []
        #: Set, from any thread, when the partitions went to another worker, which does these texts.
        self.cancelled = False
        #: All of it is out; where the delivery is exactly once its offsets are committed, too.
        self.delivered = False
        #: The group's generation in which the messages were read, as the consumer names it; opaque here.
        self.membership: Any = None
        self.batches = 0
        self.decode_seconds = sum(message.decode_seconds for message in messages)
        self.cache_lookup_seconds = 0.0
        self.tokenise_seconds = 0.0
        self.embed_loop_seconds = 0.0
        self.cache_write_seconds = 0.0
        self.publish_seconds = 0.0
        #: From being prepared until the first batch: other cycles came before.
        self.waited_seconds = 0.0
        for number, message in enumerate(messages):
            for index, failure in message.failures.items():
                self.fail(int(self.first_of_message[number]) + index, failure)

    def __len__(self) -> int:
        return len(self.items)

    def offsets(self) -> dict[tuple[str, int], int]:
        """By (topic, partition): the offset from which a successor goes on."""
        return {(message.topic, message.partition): message.offset + 1 for message in self.messages}

    def fail(self, index: int, failure: Failure) -> None:
        self.outcome[index] = ERROR
        self.failures[index] = failure

    def place(self, index: int) -> tuple[Message, int]:
        """The message of a text, and its place in it."""
        number = int(self.message_of[index])
        return self.messages[number], index - int(self.first_of_message[number])

    def settle_duplicates(self) -> None:
        """Copies take vector, tokens and times of their original, or its failure."""
        copies = np.flatnonzero(self.original != np.arange(len(self)))
        if not copies.size:
            return
        source = self.original[copies]
        for array in (self.tokens, self.full_tokens, self.vectors, self.batch_started, self.embed_seconds):
            array[copies] = array[source]
        failed = self.outcome[source] == ERROR
        self.outcome[copies[~failed]] = DUPLICATE
        for index, origin in zip(copies[failed].tolist(), source[failed].tolist(), strict=True):
            self.fail(index, self.failures[origin])

    def embedded(self) -> Any:
        """Which texts got a vector, as a mask."""
        return self.outcome != ERROR

    def latency_seconds(self) -> Any:
        """Processing time attributable to each text.

        The lookup of its cycle, tokenising if the model had to see it (or the text it is a copy of), the forward
        passes that held it and the publishing of its cycle; waiting behind other batches is queue wait.
        """
        by_model = self.outcome[self.original] == MISS
        lookup = self.decode_seconds + self.cache_lookup_seconds
        return lookup + by_model * self.tokenise_seconds + self.embed_seconds + self.publish_seconds

    def queue_wait_seconds(self) -> Any:
        """From the record's timestamp to the start of the text's batch (a hit's: of the cycle).

        NaN without a timestamp; never below 0, though the producer's clock may be ahead of ours.
        """
        stamps = np.array(
            [np.nan if m.timestamp_ms is None else m.timestamp_ms / 1000 for m in self.messages], np.float64
        )
        begun_at = self.started_at + (self.batch_started - self.started)
        return np.maximum(begun_at - stamps[self.message_of], 0.0)
