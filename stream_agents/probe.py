"""Ask the log itself which records there are, past Faust and its buffers."""

from __future__ import annotations

import time
from collections.abc import Sequence

from embedwatch import kafka
from embedwatch.errors import EmbedwatchError
from embedwatch.settings import KafkaSettings

TIMEOUT_SECONDS = 5.0
#: As many offsets as one answer holds: with transactions every commit leaves a gap, and one answer explains them all.
MOST_OFFSETS = 2000
FETCH_BYTES = 1024 * 1024


def existing_offsets(settings: KafkaSettings, topic: str, partition: int, offset: int) -> Sequence[int] | None:
    """Offsets of the committed records from `offset` on, in order and without holes; at most `MOST_OFFSETS`.

    Empty when the log has been read to its end and there is none. None when it was not read so far in time, be it the
    broker or a transaction still open: that means "ask again", never "nothing was lost". Blocks for at most a few
    seconds; call it off the event loop.
    """
    tp = kafka.TopicPartition(topic, partition)
    try:
        # A client of its own: nothing that was fetched before can come in between.
        client = kafka.consumer(
            settings, "embedwatch-gap-probe", group=None, max_partition_fetch_bytes=FETCH_BYTES, fetch_max_wait_ms=100
        )
    except EmbedwatchError:
        return None
    try:
        client.assign([tp])
        start = client.beginning_offsets([tp])[tp]
        client.seek(tp, max(offset, start))
        found: list[int] = []
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while len(found) < MOST_OFFSETS and time.monotonic() < deadline:
            records = client.poll(200).get(tp, [])
            found += [record.offset for record in records if record.offset >= offset]
            end = client.highwater(tp)
            if end is not None and (found or client.position(tp) >= end) and not records:
                return found  # the end of what is committed now
        return found or None
    except kafka.KafkaError:
        return None
    finally:
        client.close()
