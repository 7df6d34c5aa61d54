"""Ask the log itself which record comes first at or after an offset, past Faust and its buffers."""

from __future__ import annotations

import time

from embedwatch import kafka
from embedwatch.errors import EmbedwatchError
from embedwatch.settings import KafkaSettings

TIMEOUT_SECONDS = 5.0


def first_offset(settings: KafkaSettings, topic: str, partition: int, offset: int) -> int | None:
    """Offset of the first committed record at or after `offset`.

    None when there is none yet, or when the broker did not answer in time: both mean "ask again", never "nothing
    was lost". Blocks for at most a few seconds; call it off the event loop.
    """
    tp = kafka.TopicPartition(topic, partition)
    try:
        # A client of its own: nothing that was fetched before can come in between.
        client = kafka.consumer(settings, "embedwatch-gap-probe", group=None, max_poll_records=1)
    except EmbedwatchError:
        return None
    try:
        client.assign([tp])
        start = client.beginning_offsets([tp])[tp]
        client.seek(tp, max(offset, start))
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            for records in client.poll(200).values():
                for record in records:
                    if record.offset >= offset:
                        return int(record.offset)
        return None
    except kafka.KafkaError:
        return None
    finally:
        client.close()
