"""Faust over Kafka, reading committed records only.

Faust reads uncommitted records unless it runs its own exactly_once mode, which cannot be used here. With workers that
publish inside transactions it would then count work that was aborted. No setting changes that, hence this subclass.
"""

from __future__ import annotations

from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport


class ReadCommittedThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        client = super()._create_worker_consumer(transport)
        # Set between construction and start: the fetcher that uses it is made at start. A test on Apache Kafka
        # shows that it works; an aiokafka that renames it must fail here, not count aborted records.
        if getattr(client, "_isolation_level", None) not in ("read_uncommitted", "read_committed"):
            raise RuntimeError("this aiokafka has no _isolation_level: agents cannot be kept from aborted records")
        client._isolation_level = "read_committed"
        return client


class ReadCommittedConsumer(Consumer):
    def _new_consumer_thread(self) -> ReadCommittedThread:
        return ReadCommittedThread(self, loop=self.loop, beacon=self.beacon)


class ReadCommittedTransport(Transport):
    Consumer = ReadCommittedConsumer
