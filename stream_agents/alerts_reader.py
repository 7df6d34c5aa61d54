"""Reads the topic `alerts` for the API: what alerting says of each alert, in memory that is bounded; and whether there
is any alerting that goes on with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from embedwatch import kafka
from embedwatch.clock import Clock
from embedwatch.errors import EmbedwatchError
from embedwatch.lag.reader import LagReader
from embedwatch.settings import Settings
from stream_agents.compute.alert_book import AlertBook
from stream_agents.following import Follower

log = logging.getLogger("agents")

#: A topic that is not there is looked for again; installations without alerting have none.
LOOK_SECONDS = 10.0
STOP_LOOK_SECONDS = 0.2
#: How often the broker is asked for the processes of alerting.
WATCH_SECONDS = 10.0
WAIT_SECONDS = 3.0


class AlertFollower(Follower):
    """Hands every record to a book, and says how far it got."""

    def __init__(self, settings: Settings, partitions: Sequence[int], book: AlertBook, clock: Clock) -> None:
        super().__init__(settings.kafka, settings.topics.alerts, partitions, lambda *_: None, book.ended)
        self._book = book
        self._clock = clock

    def hand(self, partition: int, record: Any) -> None:
        self._book.take(record.key, record.value, record.headers)

    def stepped(self, client: Any) -> None:
        # A client whose broker is away hands out nothing, as one where nothing happens does: only answers count.
        answered = [client.last_poll_timestamp(tp) for tp in self._tps]
        if all(answered):
            self._book.heard(min(min(answered) / 1000.0, self._clock.now()))

    def troubled(self, reason: str) -> None:
        self._book.troubled(f"topic {self.topic} cannot be read: {reason}")


async def follow_alerts(settings: Settings, book: AlertBook, clock: Clock, should_stop: Callable[[], bool]) -> None:
    """Until `should_stop`. What is in the way is said in the book, and tried again."""
    topic = settings.topics.alerts
    while not should_stop():
        try:
            found = await asyncio.to_thread(kafka.partitions_of, settings.kafka, topic)
        except (EmbedwatchError, kafka.KafkaError, OSError) as error:
            why = str(error) if isinstance(error, EmbedwatchError) else kafka.describe_error(error)
            book.troubled(f"topic {topic} cannot be read: {why}")
            found = []
        else:
            if not found:
                book.troubled(f"there is no topic {topic}: `embedwatch topics create` creates it, alerting fills it")
        if found:
            await AlertFollower(settings, [tp.partition for tp in found], book, clock).run(should_stop)
            return
        for _ in range(int(LOOK_SECONDS / STOP_LOOK_SECONDS)):
            if should_stop():
                return
            await asyncio.sleep(STOP_LOOK_SECONDS)


async def watch_alerting(settings: Settings, book: AlertBook, clock: Clock, should_stop: Callable[[], bool]) -> None:
    """Until `should_stop`, say in the book how many processes are in the group of alerting.

    Its topic does not tell: where nothing changes, nothing is written, and so it is where nobody writes.
    """
    # A broker that does not answer must not hold up the end of the process.
    reader = LagReader(
        kafka.briefly(settings.kafka, WAIT_SECONDS), settings.alerts.group, [settings.topics.verdicts], clock
    )
    try:
        while not should_stop():
            reading = await asyncio.to_thread(reader.read)
            book.alerting(None if reading.trouble is not None else reading.members, clock.now())
            for _ in range(int(WATCH_SECONDS / STOP_LOOK_SECONDS)):
                if should_stop():
                    return
                await asyncio.sleep(STOP_LOOK_SECONDS)
    finally:
        await asyncio.to_thread(reader.close)
