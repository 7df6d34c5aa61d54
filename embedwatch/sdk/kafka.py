"""Calls as metric events into Kafka, for the stream agents: exact daily cost, alerts, all processes together.

All of it runs in the monitor's thread. A broker that is away costs memory up to a bound, then events, which are
counted; it never costs the caller anything.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

from embedwatch import codec
from embedwatch.errors import ConfigError
from embedwatch.events import BatchEvent, HeartbeatEvent
from embedwatch.sdk.call import Call
from embedwatch.sdk.coalescing import Coalescer, Identity

if TYPE_CHECKING:
    from embedwatch.settings import KafkaSettings

log = logging.getLogger("embedwatch.sdk")

CONNECT_SECONDS = 2.0
RETRY_SECONDS = (0.5, 15.0)  # between attempts to find a broker: the first, and the longest
#: The producer sends again by itself for as long as this process lives. A record it has given up on may have arrived:
#: to send it once more could count money twice.
DELIVERY_MS = 2**31 - 1
#: Producers of the parent of a fork. A destructor would talk on the parent's sockets, so none of them ever runs.
_left_to_the_parent: list[Any] = []


class KafkaSink:
    """`KafkaSink("broker:9092")` sends what the monitor sees to the topic `<topic_prefix>.metrics`.

    Without an address it takes the settings of the commands (`EMBEDWATCH_KAFKA_...`, the file of `EMBEDWATCH_CONFIG`);
    `settings` takes them as an object. Calls are summed up for a second by model, tenant and source. Of events that
    no broker has taken yet `max_events` are kept; more are dropped and counted in `dropped_events`. Needs the extra
    `kafka`.
    """

    begins = False
    tick_seconds = 0.25

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        topic_prefix: str | None = None,
        settings: KafkaSettings | None = None,
        worker: str | None = None,
        max_events: int = 10_000,
        coalesce_seconds: float = 1.0,
        heartbeat_seconds: float = 10.0,
        name: str = "kafka",
    ) -> None:
        self._settings = _settings(bootstrap_servers, topic_prefix, settings)
        if not isinstance(max_events, int) or max_events < 1:
            raise ConfigError(f"max_events is {max_events!r}; it must be a whole number from 1 on")
        self.name = name
        self.dropped_events = 0
        self._topic = f"{self._settings.topic_prefix}.metrics"
        self._named = worker
        self._model = "unknown"
        self._max_events = max_events
        self._coalesce_seconds = min(max(coalesce_seconds, 0.0), 1.0)
        self._heartbeat_seconds = heartbeat_seconds
        # Here, not in the thread: a process that is forked in the middle of an import has half of it for good.
        from embedwatch import kafka, topics  # noqa: F401

        "localhost".encode("idna")
        self._begin_anew()

    def _begin_anew(self) -> None:
        # A name of its own for each process: the agents keep a state by it.
        self._identity = Identity(self._named or f"{socket.gethostname()}-{os.getpid()}")
        self._calls = Coalescer(self._identity)
        self._waiting: deque[BatchEvent] = deque()
        self._in_flight: dict[str, BatchEvent] = {}
        self._failed: deque[BatchEvent] = deque()  # from the producer's thread
        self._lock = threading.Lock()
        self._producer: Any = None
        self._broken = False
        self._heartbeat: Any = None
        self._next_take = self._next_heartbeat = self._next_attempt = 0.0
        self._pause_seconds = RETRY_SECONDS[0]
        self._told_away = False

    # What the monitor calls.

    def attach(self, *, worker: str | None, model: str | None) -> None:
        """The monitor's own labels."""
        if self._named is None and worker is not None:
            self._named = str(worker)
            self._begin_anew()
        self._model = str(model)[:256] if model else self._model

    def begin(self) -> None:
        """Keeps nothing."""

    def record(self, call: Call) -> None:
        self._calls.add(call)
        self.tick()

    def tick(self) -> None:
        """Events that are due, a heartbeat that is due, a broker that is missing."""
        now = time.monotonic()
        if now >= self._next_take and self._calls:
            self._next_take = now + self._coalesce_seconds
            self._take()
        if self._waiting or self._failed or now >= self._next_heartbeat:
            self._send(now)

    def flush(self, timeout_seconds: float) -> bool:
        """Whether a broker has everything."""
        deadline = time.monotonic() + timeout_seconds
        self._take()
        while True:
            self._send(time.monotonic())
            left = deadline - time.monotonic()
            if self._producer is not None and left > 0:
                with suppress(Exception):
                    self._producer.flush(left)
            if not self._outstanding():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(0.1, max(deadline - time.monotonic(), 0.0)))

    def close(self, timeout_seconds: float) -> None:
        """Say goodbye, and count what no broker has taken."""
        from embedwatch.kafka import close_producer

        producer, self._producer = self._producer, None
        if producer is not None:
            self._send_heartbeat(producer, "stopping")
            with suppress(Exception):
                close_producer(producer, max(timeout_seconds, 0.1))
        lost = self._outstanding()
        if lost:
            self.dropped_events += lost
            log.warning(
                "monitor: %d metric events were not delivered to Kafka at %s before the end, and are lost",
                lost, self._settings.bootstrap_servers,
            )  # fmt: skip
        self._waiting.clear()
        self._failed.clear()
        self._in_flight.clear()

    def after_fork(self) -> None:
        """In the child: another identity and another connection. What waits is the parent's to send."""
        if self._producer is not None:
            _left_to_the_parent.append(self._producer)
            self._producer._closed = True
        self.dropped_events = 0
        self._begin_anew()

    # Sending.

    def _outstanding(self) -> int:
        with self._lock:
            return len(self._waiting) + len(self._failed) + len(self._in_flight)

    def _take(self) -> None:
        for event in self._calls.take(time.time()):
            if self._outstanding() < self._max_events:
                self._waiting.append(event)
                continue
            if not self.dropped_events:
                log.warning(
                    "monitor: %d metric events wait for Kafka at %s, which is all that are kept. Further ones are "
                    "dropped and counted (KafkaSink.dropped_events)", self._max_events, self._settings.bootstrap_servers
                )  # fmt: skip
            self.dropped_events += 1

    def _send(self, now: float) -> None:
        with self._lock:
            while self._failed:  # they were sent first
                self._waiting.appendleft(self._failed.pop())
        if self._broken:
            self._give_up_producer()
        if self._producer is None and not self._connect(now):
            return
        try:
            while self._waiting:
                self._send_event(self._producer, self._waiting[0])
                self._waiting.popleft()
        except Exception as error:  # no metadata yet, or its buffer is full
            self._away(now, f"{type(error).__name__}: {str(error)[:200]}")
            return
        if now >= self._next_heartbeat and (self._heartbeat is None or self._heartbeat.is_done):
            self._next_heartbeat = now + self._heartbeat_seconds
            self._send_heartbeat(self._producer, "running")

    def _send_event(self, producer: Any, event: BatchEvent) -> None:
        with self._lock:
            self._in_flight[event.event_id] = event
        try:
            future = producer.send(self._topic, key=self._identity.worker.encode(), value=codec.encode(event))
        except BaseException:
            with self._lock:
                self._in_flight.pop(event.event_id, None)
            raise
        future.add_callback(self._delivered, event.event_id)
        future.add_errback(self._refused, event.event_id)

    def _delivered(self, event_id: str, metadata: Any) -> None:
        with self._lock:
            self._in_flight.pop(event_id, None)

    def _refused(self, event_id: str, error: BaseException) -> None:
        """In the producer's thread. What the broker refused is sent again by another producer; what timed out, or fell
        with a producer that was closed, may have arrived."""
        with self._lock:
            event = self._in_flight.pop(event_id, None)
            if event is None:
                return
            if type(error).__name__ in ("KafkaTimeoutError", "IllegalStateError"):
                self.dropped_events += 1
            else:
                self._failed.append(event)
        self._broken = True

    def _send_heartbeat(self, producer: Any, state: Literal["running", "stopping"]) -> None:
        event = HeartbeatEvent(
            self._identity.next_event_id(), time.time(), self._identity.worker, self._model, state,
            resident_bytes=_resident_bytes(), tokens_embedded=self._calls.tokens_embedded, role="caller",
        )  # fmt: skip
        with suppress(Exception):
            self._heartbeat = producer.send(self._topic, key=self._identity.worker.encode(), value=codec.encode(event))

    # The connection.

    def _connect(self, now: float) -> bool:
        if now < self._next_attempt:
            return False
        from embedwatch import kafka
        from embedwatch.topics import Topics

        # kafka-python tells every attempt as an error of its own; what came of it we say once. Who has set a level for
        # its logger has decided otherwise.
        if logging.getLogger("kafka").level == logging.NOTSET:
            logging.getLogger("kafka").setLevel(logging.CRITICAL)
        trouble = kafka.nobody_there(self._settings)
        if trouble is None:
            try:
                specs = [spec for spec in Topics(self._settings.topic_prefix).specs() if spec.name == self._topic]
                kafka.create_topics(self._settings, specs)
                self._producer = kafka.producer(
                    self._settings, f"embedwatch-sdk-{os.getpid()}", max_block_ms=1000, delivery_timeout_ms=DELIVERY_MS,
                    linger_ms=20, max_request_size=1024 * 1024,
                )  # fmt: skip
            except Exception as error:
                trouble = str(error)[:300]
        if trouble is not None:
            self._away(now, trouble)
            return False
        if self._told_away:
            log.info("monitor: Kafka at %s answers again", self._settings.bootstrap_servers)
        self._told_away, self._pause_seconds = False, RETRY_SECONDS[0]
        return True

    def _away(self, now: float, trouble: str) -> None:
        self._next_attempt = now + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, RETRY_SECONDS[1])
        if not self._told_away:
            self._told_away = True
            log.warning(
                "monitor: Kafka at %s: %s. Metric events wait, at most %d; it is tried again and again",
                self._settings.bootstrap_servers, trouble, self._max_events,
            )  # fmt: skip

    def _give_up_producer(self) -> None:
        from embedwatch.kafka import close_producer

        producer, self._producer, self._broken = self._producer, None, False
        with suppress(Exception):
            close_producer(producer, 1.0)


def _settings(servers: str | None, prefix: str | None, settings: KafkaSettings | None) -> KafkaSettings:
    from pydantic import ValidationError

    try:
        import embedwatch.kafka  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"KafkaSink needs {error.name}, which is not installed here: pip install 'embedwatch[kafka]'"
        ) from None

    from embedwatch.settings import KafkaSettings, load

    if settings is None:
        settings = load().kafka if servers is None else KafkaSettings()
    update: dict[str, Any] = {"connect_timeout_seconds": CONNECT_SECONDS}
    if servers is not None:
        update["bootstrap_servers"] = servers
    if prefix is not None:
        update["topic_prefix"] = prefix
    try:
        return KafkaSettings(**{**dict(settings), **update})
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"KafkaSink: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _resident_bytes() -> int | None:
    """Memory of this process that is in RAM; None where the system does not tell."""
    if platform.system() != "Linux":
        return None
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
