"""Reads a whole topic from its start and goes on with what comes, past Faust: no group, every process reads it all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from embedwatch import kafka
from embedwatch.kafka_auth import read_token, tls_context
from embedwatch.settings import KafkaSettings

log = logging.getLogger("agents")

POLL_MS = 200
#: Between two batches the event loop is free for others: a pane of many scopes takes milliseconds.
MAX_RECORDS = 50
RETRY_SECONDS = 1.0
STOP_SECONDS = 1.5
FETCH_BYTES = 8 * 1024 * 1024

Take = Callable[[int, bytes | None, bytes | None], object]
"""Given partition, key and value of each record, in the order of the partition."""


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """The token for each new connection, as the file has it then."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        return await asyncio.to_thread(read_token, self._path)


def reader_options(settings: KafkaSettings) -> dict[str, Any]:
    """aiokafka's names for the Kafka settings. Holds the password: never log it."""
    options: dict[str, Any] = {
        "bootstrap_servers": [part.strip() for part in settings.bootstrap_servers.split(",")],
        "security_protocol": settings.security_protocol,
    }
    context = tls_context(settings)
    if context is not None:
        options["ssl_context"] = context
    if settings.sasl_mechanism is not None:
        options["sasl_mechanism"] = settings.sasl_mechanism
    if settings.sasl_mechanism == "OAUTHBEARER" and settings.sasl_token_file is not None:
        options["sasl_oauth_token_provider"] = TokenFile(settings.sasl_token_file)
    elif settings.sasl_mechanism is not None:
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else None
    return options


class Follower:
    """Hands every record of a topic to `take`, and calls `at_end` when it has reached the end for the first time.

    A broker that is away is tried again, and reading goes on where it was.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        partitions: Sequence[int],
        take: Take,
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        self.settings = settings
        self.topic = topic
        self._take = take
        self._at_end = at_end
        self._ended = False
        self._tps = [TopicPartition(topic, p) for p in partitions]
        self._next: dict[Any, int] = {}

    async def run(self, should_stop: Callable[[], bool]) -> None:
        troubled = False
        while not should_stop():
            client = AIOKafkaConsumer(
                **reader_options(self.settings),
                client_id="embedwatch-agents-follower",
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=POLL_MS,
                max_partition_fetch_bytes=FETCH_BYTES,
            )
            try:
                await client.start()
                client.assign(self._tps)
                for tp, offset in self._next.items():
                    client.seek(tp, offset)
                while not should_stop():
                    await self._step(client)
                    self.stepped(client)
                    troubled = False
            except (KafkaError, OSError, TimeoutError) as error:
                if not troubled:
                    log.warning("topic %s cannot be read, trying again: %s", self.topic, kafka.describe_error(error))
                troubled = True
                self.troubled(kafka.describe_error(error))
            finally:
                await _closed(client)
            if not should_stop():
                await asyncio.sleep(RETRY_SECONDS)

    def hand(self, partition: int, record: Any) -> None:
        """Give a record to whoever wants it."""
        self._take(partition, record.key, record.value)

    def stepped(self, client: Any) -> None:
        """Called after each question to the broker, answered or not."""

    def troubled(self, reason: str) -> None:
        """Called each time the topic could not be read."""

    async def _step(self, client: Any) -> None:
        for tp, records in (await client.getmany(timeout_ms=POLL_MS, max_records=MAX_RECORDS)).items():
            for record in records:
                self.hand(tp.partition, record)
                self._next[tp] = record.offset + 1
        await asyncio.sleep(0)  # whoever waits for this loop comes between two batches
        if not self._ended and all([await self._read_to_end(client, tp) for tp in self._tps]):
            self._ended = True
            self._at_end()

    @staticmethod
    async def _read_to_end(client: Any, tp: Any) -> bool:
        # The end comes with each answer, and is right on every broker; asked for, it is not.
        mark = client.highwater(tp)
        return mark is not None and await asyncio.wait_for(client.position(tp), 5.0) >= mark


async def _closed(client: Any) -> None:
    try:
        await asyncio.wait_for(client.stop(), STOP_SECONDS)
    except (KafkaError, OSError, TimeoutError):
        log.debug("a reader could not be closed in time")
