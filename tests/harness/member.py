"""A member of a consumer group as a process of its own, to be killed.

Run it as `python -m tests.harness.member SERVERS TOPIC GROUP`. It prints
`assigned N` when its number of partitions changes and `record PARTITION OFFSET` for each record after its
offset was committed.
"""

from __future__ import annotations

import sys

from embedwatch.kafka import consumer
from embedwatch.settings import KafkaSettings


def main(servers: str, topic: str, group: str) -> None:
    client = consumer(KafkaSettings(bootstrap_servers=servers, session_timeout_seconds=6.0), "test-member", group=group)
    client.subscribe([topic])
    held = -1
    while True:
        batch = client.poll(200)
        if len(client.assignment()) != held:
            held = len(client.assignment())
            print("assigned", held, flush=True)
        if batch:
            client.commit()
            for records in batch.values():
                for record in records:
                    print("record", record.partition, record.offset, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
