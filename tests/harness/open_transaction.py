"""A worker, as far as Kafka sees it, that is inside a transaction: events are written and not committed.

    python -m tests.harness.open_transaction SERVERS TOPIC TRANSACTIONAL_ID COUNT

It prints `open` when the broker has them all, and waits to be killed. Nobody is to take the id again: after the time
limit of the transaction (`LIMIT_SECONDS`, and up to 10 s until the broker looks) the broker aborts it.
"""

from __future__ import annotations

import signal
import sys

from embedwatch.kafka import producer
from embedwatch.settings import KafkaSettings
from tests.harness.agents import events, put

LIMIT_SECONDS = 3
TENANT = "aborted"


def main(servers: str, topic: str, transactional_id: str, count: str) -> None:
    client = producer(
        KafkaSettings(bootstrap_servers=servers), "dies", transactional_id=transactional_id,
        transaction_timeout_ms=LIMIT_SECONDS * 1000,
    )  # fmt: skip
    client.init_transactions()
    client.begin_transaction()
    put(client, topic, events(int(count), start=5000, tenant=TENANT))
    client.flush(30)
    print("open", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
