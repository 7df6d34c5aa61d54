"""The Kafka edge: messages out with a bound on what is not acknowledged yet, and an exact count of what is."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embedwatch.clock import Clock
from embedwatch.errors import DeliveryError
from producers.packing import Message

MAX_IN_FLIGHT_MESSAGES = 64
MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024
#: How long one wait lasts before the caller may look at something else (progress, a wish to stop).
_SLICE_SECONDS = 0.1


@dataclass(slots=True)
class _Sent:
    future: Any
    texts: int
    last: int
    size_bytes: int
    acknowledged: bool = False


class Publisher:
    """Sends messages of one topic through a kafka-python producer.

    `acknowledged_texts` counts texts whose message every required replica has. Partitions acknowledge independently,
    so these need not be the first ones of the input: `settled` is the place up to which all are acknowledged, and
    `settled_texts` how many texts those are. `meanwhile` is called while it waits, about ten times a second; what it
    raises ends the wait.
    """

    def __init__(
        self,
        producer: Any,
        topic: str,
        clock: Clock,
        *,
        delivery_timeout_seconds: float,
        settled: int = 0,
        max_in_flight_messages: int = MAX_IN_FLIGHT_MESSAGES,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._clock = clock
        self._timeout_seconds = delivery_timeout_seconds
        self._max_messages = max_in_flight_messages
        self._max_bytes = max_in_flight_bytes
        self.meanwhile: Callable[[], None] = lambda: None
        self._pending: deque[_Sent] = deque()
        self._pending_bytes = 0
        self._failure: Exception | None = None
        self.sent_texts = 0
        self.sent_messages = 0
        self.acknowledged_texts = 0
        self.acknowledged_messages = 0
        self.acknowledged_bytes = 0
        self.settled = settled
        self.settled_texts = 0
        #: Since when an acknowledgement is waited for, by the monotonic clock: the last one, or the first message after
        #: a pause. None while none is owed.
        self.owed_since: float | None = None
        #: Unix seconds.
        self.last_acknowledged: float | None = None

    @property
    def in_flight_texts(self) -> int:
        return sum(sent.texts for sent in self._pending if not sent.acknowledged)

    def send(self, message: Message) -> None:
        """Hands a message over, after room for it was made.

        Raises `DeliveryError` when this or an earlier one cannot be delivered; the rest is then waited for, so that
        the counts are final.
        """
        size = len(message.value) + len(message.key)
        self._wait_for(lambda: not self._full(size))
        try:
            future = self._producer.send(self._topic, message.value, message.key, message.headers)
        except Exception as error:  # kafka-python raises its own errors, and ValueError and TypeError for a bad record
            self._failure = error
            raise self._given_up() from None
        if self.owed_since is None:
            self.owed_since = self._clock.monotonic()
        self._pending.append(_Sent(future, message.texts, message.last, size))
        self._pending_bytes += size
        self.sent_texts += message.texts
        self.sent_messages += 1

    def flush(self) -> None:
        """Waits until everything is acknowledged. Raises `DeliveryError`."""
        self._wait_for(lambda: not self._pending)

    def collect(self) -> None:
        """Counts what was acknowledged since; never waits and never raises."""
        before = self.acknowledged_messages
        for sent in self._pending:
            if sent.future.is_done and not sent.acknowledged:
                if sent.future.failed():
                    self._failure = self._failure or sent.future.exception
                    continue
                sent.acknowledged = True
                self.acknowledged_texts += sent.texts
                self.acknowledged_messages += 1
                self.acknowledged_bytes += sent.size_bytes
                self._pending_bytes -= sent.size_bytes
        while self._pending and self._pending[0].acknowledged:
            head = self._pending.popleft()
            self.settled = head.last
            self.settled_texts += head.texts
        if self.acknowledged_messages > before:
            self.owed_since = self._clock.monotonic() if self._pending else None
            self.last_acknowledged = self._clock.now()

    def _full(self, size: int) -> bool:
        # A message may be larger than the bound: it then goes when nothing else is under way.
        return bool(self._pending) and (
            len(self._pending) >= self._max_messages or self._pending_bytes + size > self._max_bytes
        )

    def _wait_for(self, done: Callable[[], bool]) -> None:
        deadline = self._clock.monotonic() + self._timeout_seconds + 10.0
        self.check()
        while not done():
            self.meanwhile()
            if self._clock.monotonic() >= deadline:
                # kafka-python fails a message after its delivery timeout; this is for the case that it does not.
                self._failure = TimeoutError(f"no acknowledgement in {self._timeout_seconds + 10.0:.0f} s")
            else:
                self._wait_head()
            self.check()

    def check(self) -> None:
        """Counts like `collect`; raises `DeliveryError` for a message that failed. For times when nothing is sent."""
        self.collect()
        if self._failure is not None:
            raise self._given_up()

    def _wait_head(self) -> None:
        """Until the oldest message without an answer has one, or the slice is over."""
        head = next((sent for sent in self._pending if not sent.future.is_done), None)
        if head is not None:
            with contextlib.suppress(Exception):  # the time is up, or it failed: `collect` tells which
                head.future.get(timeout=_SLICE_SECONDS)

    def _given_up(self) -> DeliveryError:
        """Waits for the answers that are still out, so that the count is final, and says what happened."""
        from embedwatch.kafka import describe_error

        deadline = self._clock.monotonic() + self._timeout_seconds + 5.0
        while any(not sent.future.is_done for sent in self._pending) and self._clock.monotonic() < deadline:
            self.meanwhile()
            self._wait_head()
        self.collect()
        reason = self._failure
        text = str(reason) if isinstance(reason, TimeoutError) else describe_error(reason or Exception("unknown"))
        hint = ""
        if type(reason).__name__ == "MessageSizeTooLargeError":
            hint = ": raise its max.message.bytes, or lower --chunk-bytes and --max-text-bytes"
        return DeliveryError(f"topic {self._topic}: {text}{hint}", delivered=self.acknowledged_texts)
