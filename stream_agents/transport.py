"""Faust over Kafka, reading committed records only, and handing on many at once.

Faust reads uncommitted records unless it runs its own exactly_once mode, which cannot be used here. With workers that
publish inside transactions it would then count work that was aborted. No setting changes that, hence this subclass.

A record costs Faust some 40 us on its way: a message, an event, a place in a queue, sensors, an acknowledgement. The
records of the source topic therefore go together, as many as came of a partition and at most `CHUNK_RECORDS`: to Faust
they are one message, whose offset is that of the last one.

For each message Faust waits for the first of four: the message is handed on, the flow is suspended, the service stops,
it crashes. It makes a task of each, though handing on hardly ever waits; ours does not.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Coroutine, Generator
from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from mode.services import Service, WaitResults

#: How long a request for records may wait at the broker: it adds to the time from an event to its verdict.
FETCH_MAX_WAIT_MS = 50
#: So many records are one message: counting them holds the event loop for some milliseconds.
CHUNK_RECORDS = 64
#: Messages of a source partition that wait to be counted, Faust's `stream_buffer_maxsize`.
BUFFERED_CHUNKS = 128

Record = tuple[int, bytes | None]
"""Offset and value."""


class WaitsLittle(Service):
    """A service that makes no tasks for what need not be waited for."""

    async def wait_first(self, *coros: Any, timeout: Any = None) -> Any:
        """As in Faust; but of two coroutines, a first one that ends without waiting is done at once, and the second is
        not begun. Faust, too, begins with the first and takes it when both have ended."""
        if len(coros) != 2 or not all(map(inspect.iscoroutine, coros)):
            return await super().wait_first(*coros, timeout=timeout)
        first, second = coros
        try:
            waits_for = first.send(None)
        except StopIteration as end:
            second.close()
            return WaitResults([first], [end.value], stopped=False)
        except BaseException:
            second.close()
            raise
        return await super().wait_first(_rest(first, waits_for), second, timeout=timeout)


async def _rest(begun: Coroutine[Any, Any, Any], waits_for: Any) -> Any:
    """What is left of a coroutine that has run up to its first wait."""
    return await _resumed(begun, waits_for)


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    try:
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                raise
            except BaseException as error:
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(sent)
    except StopIteration as end:
        return end.value
    finally:
        begun.close()


class ReadCommittedThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        client = super()._create_worker_consumer(transport)
        # Set between construction and start: the fetcher that uses it is made at start. A test on Apache Kafka
        # shows that it works; an aiokafka that renames it must fail here, not count aborted records.
        if getattr(client, "_isolation_level", None) not in ("read_uncommitted", "read_committed"):
            raise RuntimeError("this aiokafka has no _isolation_level: agents cannot be kept from aborted records")
        client._isolation_level = "read_committed"
        # Faust's 1.5 s: a partition whose records were just taken is asked for again only when the request for the
        # others has ended, and the embedded broker holds back what it has until then.
        client._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return client

    async def _fetch_records(
        self, consumer: Any, active_partitions: set[TP], timeout: float | None = None, max_records: int | None = None
    ) -> Any:
        """As in Faust; but what nobody wants any more stays where it was.

        Faust pauses by taking partitions out of this very set, also while a request waits for records. To aiokafka an
        empty set means all of them, so the request takes what comes next, from the changelog, too. Faust drops it: a
        recovery then waits for ever for the records it has just begun to read.
        """
        found = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        # No wait between taking and putting back: whoever seeks does so in this thread, before or after.
        wanted = {tp for tp in found if self.consumer.flow_active and self._is_active(tp, active_partitions)}
        for tp in found.keys() - wanted:
            if tp in consumer.assignment():
                consumer.seek(tp, found[tp][0].offset)
        return {tp: found[tp] for tp in wanted}

    def _is_active(self, tp: TP, active_partitions: set[TP]) -> bool:
        return tp in active_partitions or tp in self.consumer._buffered_partitions


class Chunks(faust.Schema[Any, Any]):
    """The value of an event is what the consumer put together: the `Record`s of one partition, in order."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> None:
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> list[Record]:
        records: list[Record] = message.value
        return records


class ReadCommittedConsumer(WaitsLittle, Consumer):
    """Messages of the transport's `source` are chunks of records.

    Whoever counts them acknowledges a chunk when all of it is counted, in the order of the partition. So everything up
    to the last offset acknowledged may be committed: Faust, which looks for acknowledgements that are missing between
    two offsets, would wait for the records within a chunk for ever.
    """

    def _new_consumer_thread(self) -> ReadCommittedThread:
        return ReadCommittedThread(self, loop=self.loop, beacon=self.beacon)

    def _is_source(self, tp: TP) -> bool:
        transport: Any = self.transport
        return bool(tp.topic == transport.source)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        found = await super()._getmany(active_partitions, timeout)
        return {
            tp: [records[at : at + CHUNK_RECORDS] for at in range(0, len(records), CHUNK_RECORDS)]
            if self._is_source(tp)
            else records
            for tp, records in (found or {}).items()
        }

    def _to_message(self, tp: TP, record: Any) -> Any:
        if not self._is_source(tp):
            return super()._to_message(tp, record)
        message: Any = super()._to_message(tp, record[-1])
        message.value = [(each.offset, each.value) for each in record]
        return message

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        if not self._is_source(tp):
            await super()._add_gap(tp, offset_from, offset_to)

    def _new_offset(self, tp: TP) -> int | None:
        if not self._is_source(tp):
            return super()._new_offset(tp)
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return last + 1


class ReadCommittedTransport(Transport):
    Consumer = ReadCommittedConsumer
    #: Topic whose records are handed on in chunks; its channel is to have `Chunks` as its schema.
    source: str | None = None
