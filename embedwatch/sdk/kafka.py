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
from embedwatch.sdk.refusals import Reason, Refusal, no_topic, refusal_of

if TYPE_CHECKING:
    from embedwatch.settings import KafkaSettings

log = logging.getLogger("embedwatch.sdk")

CONNECT_SECONDS = 2.0
RETRY_SECONDS = (0.5, 15.0)  # between attempts to find a broker: the first, and the longest
REFUSED_LONGEST_SECONDS = 60.0  # the longest where a broker is there and refuses: somebody has to mend it first
#: A broker that takes nothing for so long is looked at: the producer itself tries for ever and says nothing.
SILENT_SECONDS = 30.0
#: The producer sends again by itself for as long as this process lives. A record it has given up on may have arrived:
#: to send it once more could count money twice.
DELIVERY_MS = 2**31 - 1
#: Trouble that somebody can end: events wait for it.
ENDS: frozenset[Reason] = frozenset({"away", "not_allowed", "no_topic"})
PROBED: frozenset[Reason | None] = frozenset({"not_allowed", "no_topic", "refused"})
WAITS_FOR: frozenset[Reason] = ENDS | {"refused"}
#: Of an event that is refused for none of these, nor for good.
MOST_TRIES = 5
#: Producers of the parent of a fork. A destructor would talk on the parent's sockets, so none of them ever runs.
_left_to_the_parent: list[Any] = []


class KafkaSink:
    """`KafkaSink("broker:9092")` sends what the monitor sees to the topic `<topic_prefix>.metrics`.

    What is not given is as the commands have it: `EMBEDWATCH_KAFKA_...` (TLS, user, partitions of a topic that is
    created), then the file of `EMBEDWATCH_CONFIG`, then the defaults. `settings` takes all of it as an object in their
    place; an address and a prefix come before that. Calls are summed up for a second by model, tenant and source. Of
    events that no broker has taken yet `max_events` are kept, also while the broker refuses them for want of a right or
    a topic; more are dropped. `worker` is the name of this process; children that it forks have their process id behind
    it. `dropped_events` counts those, `dropped` by reason. Needs the extra `kafka`.
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
        self.dropped: dict[Reason, int] = {}
        self._topic = f"{self._settings.topic_prefix}.metrics"
        self._named = worker
        self._forked = False
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
        named = f"{self._named[:200]}-{os.getpid()}" if self._named and self._forked else self._named
        self._identity = Identity(named or f"{socket.gethostname()}-{os.getpid()}")
        self._calls = Coalescer(self._identity)
        self._waiting: deque[BatchEvent] = deque()
        self._in_flight: dict[str, BatchEvent] = {}
        self._failed: deque[BatchEvent] = deque()  # from the producer's thread
        self._lock = threading.RLock()
        self._producer: Any = None
        self._producer_number = 0  # what is told of an earlier one, at its end, says nothing of this one
        self._refusal: Refusal | None = None  # from the producer's thread; until `_send` has seen it
        self._arrived = False  # likewise
        self._last_arrived = time.monotonic()
        self._heartbeat: Any = None
        self._next_take = self._next_heartbeat = self._next_attempt = 0.0
        self._pause_seconds = RETRY_SECONDS[0]
        self._tries: dict[str, int] = {}  # of events that were refused for what nobody knows
        self._trouble: Reason | None = None  # what events wait for
        self._told: set[Reason] = set()

    @property
    def dropped_events(self) -> int:
        """Events that are lost, whatever for; `dropped` has them by reason."""
        return sum(self.dropped.values())

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
        news = self._refusal is not None or (self._arrived and self._trouble is not None)
        if news or self._waiting or self._failed or now >= self._next_heartbeat:
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

        before = self.dropped_events
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):
                self._send_heartbeat(producer, "stopping")
            with suppress(Exception):
                close_producer(producer, max(timeout_seconds, 0.1))
        self._drop(self._trouble or "away", self._outstanding())
        lost = self.dropped_events - before
        if lost:
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
        self.dropped = {}
        self._forked = True  # the name that was given is the parent's
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
            self._drop(self._trouble or "queue_full", 1)

    def _drop(self, reason: Reason, events: int) -> None:
        with self._lock:
            if events:
                self.dropped[reason] = self.dropped.get(reason, 0) + events

    def _send(self, now: float) -> None:
        with self._lock:
            while self._failed:  # they were sent first
                self._waiting.appendleft(self._failed.pop())
            refusal, self._refusal = self._refusal, None
            arrived, self._arrived = self._arrived, False
            silent = bool(self._in_flight) and now - self._last_arrived > SILENT_SECONDS
        if refusal is not None:
            # After a record that failed the order of the others is this producer's trouble: another one begins anew.
            self._give_up_producer()
            self._troubled(refusal.reason, refusal.words, REFUSED_LONGEST_SECONDS)
        elif arrived:
            self._well_again()
        elif silent:
            self._look_why()
        if now < self._next_attempt or (self._producer is None and not self._connect()):
            return
        try:
            # Where it refused, a heartbeat goes first: not thousands of events, each time.
            while self._waiting and self._refusal is None and self._trouble not in PROBED:
                self._send_event(self._producer, self._waiting[0])
                self._waiting.popleft()
            if now >= self._next_heartbeat and (self._heartbeat is None or self._heartbeat.is_done):
                self._send_heartbeat(self._producer, "running")
                self._next_heartbeat = now + self._heartbeat_seconds
        except Exception as error:  # no metadata yet, or its buffer is full; or an event that no broker will ever take
            refusal = refusal_of(error, self._topic)
            if refusal.reason not in ("too_large", "invalid"):
                self._troubled("away", f"{type(error).__name__}: {str(error)[:200]}", RETRY_SECONDS[1])
                return
            if self._waiting and self._trouble not in PROBED:
                self._waiting.popleft()
                self._drop(refusal.reason, 1)
            self._troubled(refusal.reason, refusal.words, RETRY_SECONDS[0])

    def _send_event(self, producer: Any, event: BatchEvent) -> None:
        with self._lock:
            if not self._in_flight:
                self._last_arrived = time.monotonic()  # nothing was owed until now
            self._in_flight[event.event_id] = event
        try:
            future = producer.send(self._topic, key=self._identity.worker.encode(), value=codec.encode(event))
        except BaseException:
            with self._lock:
                self._in_flight.pop(event.event_id, None)
            raise
        future.add_callback(self._delivered, self._producer_number, event.event_id)
        future.add_errback(self._refused, self._producer_number, event.event_id)

    # In the producer's thread, or in ours where it knows at once.

    def _delivered(self, number: int, event_id: str | None, metadata: Any) -> None:
        with self._lock:
            if event_id is not None:
                self._in_flight.pop(event_id, None)
                self._tries.pop(event_id, None)
            if number == self._producer_number:
                self._arrived, self._last_arrived = True, time.monotonic()

    def _refused(self, number: int, event_id: str | None, error: BaseException) -> None:
        refusal = refusal_of(error, self._topic)
        with self._lock:
            event = None if event_id is None else self._in_flight.pop(event_id, None)
            if number == self._producer_number:
                self._refusal = refusal
            if event is None or event_id is None:
                return
            if refusal.reason == "refused":  # nobody knows for what: not for ever
                self._tries[event_id] = self._tries.get(event_id, 0) + 1
            if refusal.keep and self._tries.get(event_id, 0) < MOST_TRIES:
                self._failed.append(event)
            else:
                self._tries.pop(event_id, None)
                self._drop(refusal.reason, 1)

    def _send_heartbeat(self, producer: Any, state: Literal["running", "stopping"]) -> None:
        event = HeartbeatEvent(
            self._identity.next_event_id(), time.time(), self._identity.worker, self._model, state,
            resident_bytes=_resident_bytes(), tokens_embedded=self._calls.tokens_embedded, role="caller",
        )  # fmt: skip
        self._heartbeat = producer.send(self._topic, key=self._identity.worker.encode(), value=codec.encode(event))
        self._heartbeat.add_callback(self._delivered, self._producer_number, None)
        self._heartbeat.add_errback(self._refused, self._producer_number, None)

    # The connection.

    def _connect(self) -> bool:
        from embedwatch import kafka
        from embedwatch.topics import Topics

        # kafka-python tells every attempt as an error of its own; what came of it we say once. Who has set a level for
        # its logger has decided otherwise.
        if logging.getLogger("kafka").level == logging.NOTSET:
            logging.getLogger("kafka").setLevel(logging.CRITICAL)
        reason: Reason = "away"
        trouble, longest_seconds = kafka.nobody_there(self._settings), RETRY_SECONDS[1]
        if trouble is None:
            try:
                specs = [spec for spec in Topics(self._settings.topic_prefix).specs() if spec.name == self._topic]
                kafka.create_topics(self._settings, specs)
                self._producer = kafka.producer(
                    self._settings, f"embedwatch-sdk-{os.getpid()}", max_block_ms=1000, delivery_timeout_ms=DELIVERY_MS,
                    linger_ms=20, max_request_size=1024 * 1024,
                    allow_auto_create_topics=False,  # it would have the broker's partitions, not ours
                )  # fmt: skip
                self._heartbeat, self._next_heartbeat = None, 0.0
                return True  # whether it is well again shows when it takes something
            except Exception as error:
                trouble = str(error)[:300]
                if refusal_of(error.__context__ or error, self._topic).reason == "not_allowed":
                    trouble, reason, longest_seconds = no_topic(self._topic), "no_topic", REFUSED_LONGEST_SECONDS
        self._troubled(reason, trouble, longest_seconds)
        return False

    def _troubled(self, reason: Reason, words: str, longest_seconds: float) -> None:
        """Waits longer each time, and says each kind of trouble once: one that has an end until then."""
        if reason in WAITS_FOR:
            self._trouble = reason
        self._next_attempt = time.monotonic() + min(self._pause_seconds, longest_seconds)
        self._pause_seconds = min(self._pause_seconds * 2, longest_seconds)
        if reason in self._told:
            return
        self._told.add(reason)
        log.warning(
            "monitor: Kafka at %s: %s. %s (KafkaSink.dropped)", self._settings.bootstrap_servers, words,
            f"Metric events wait, at most {self._max_events}; it is tried again and again. Further ones are counted"
            if reason in WAITS_FOR else "Such events are dropped and counted",
        )  # fmt: skip

    def _well_again(self) -> None:
        """Said as loudly as the trouble: who saw the one must see the other."""
        if self._told & ENDS:
            log.warning("monitor: Kafka at %s takes metric events again", self._settings.bootstrap_servers)
        self._trouble, self._pause_seconds, self._next_attempt = None, RETRY_SECONDS[0], 0.0
        self._told -= ENDS

    def _look_why(self) -> None:
        """The producer keeps what it has: sent again by another it could count twice."""
        from embedwatch import kafka

        self._last_arrived = time.monotonic()
        why = kafka.nobody_there(self._settings)
        words = f"no event was taken for {SILENT_SECONDS:g} s: {why or f'is topic {self._topic} still there?'}"
        self._troubled("away", words, RETRY_SECONDS[1])

    def _give_up_producer(self) -> None:
        from embedwatch.kafka import close_producer

        producer, self._producer = self._producer, None
        with self._lock:
            self._producer_number += 1
        if producer is not None:
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
        settings = load().kafka
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
