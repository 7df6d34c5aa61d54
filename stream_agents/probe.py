"""Ask the log itself which records there are, past Faust and its buffers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from embedwatch import kafka
from embedwatch.errors import EmbedwatchError
from embedwatch.settings import KafkaSettings

TIMEOUT_SECONDS = 5.0
#: A kept client whose partition has another leader by now may hear nothing until kafka-python's own 30 s are over
#: (3.0.12): a new one asks anew who leads.
START_SECONDS = 2.0
#: As many offsets as one answer holds: with transactions every commit leaves a gap, and one answer explains them all.
MOST_OFFSETS = 2000
FETCH_BYTES = 1024 * 1024


class LogProbe:
    """A reader of its own, opened at the first question and kept: with transactions questions are frequent.

    Its methods block for at most a few seconds. Call them off the event loop, one at a time.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self.settings = settings
        self.topic = topic
        self._client: Any = None

    def existing_offsets(self, partition: int, offset: int) -> Sequence[int] | None:
        """Offsets of the committed records from `offset` on, in order and without holes; at most `MOST_OFFSETS`.

        Empty when the log has been read to its end and there is none. None when it was not read so far in time, be it
        the broker or a transaction still open: that means "ask again", never "nothing was lost".
        """
        try:
            return self._ask(kafka.TopicPartition(self.topic, partition), offset)
        except (EmbedwatchError, kafka.KafkaError):
            self.close()  # the next question begins with a new connection
            return None

    def _ask(self, tp: kafka.TopicPartition, offset: int) -> Sequence[int] | None:
        if self._client is None:
            self._client = kafka.consumer(
                self.settings, "embedwatch-gap-probe", group=None, max_partition_fetch_bytes=FETCH_BYTES,
                max_poll_records=MOST_OFFSETS, fetch_max_wait_ms=100,
            )  # fmt: skip
        client = self._client
        client.unsubscribe()  # drops what was fetched for an earlier question
        client.assign([tp])
        start = client.beginning_offsets([tp], timeout_ms=int(START_SECONDS * 1000))[tp]
        client.seek(tp, max(offset, start))
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            found = [record.offset for record in client.poll(200).get(tp, ()) if record.offset >= offset]
            end = client.highwater(tp)
            if found or (end is not None and client.position(tp) >= end):
                return found
        self.close()  # as after an error
        return None

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
