"""Alert states in the compacted `alerts` topic: read whole at the start, written before anything is sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from alerting import digest_books
from alerting.digest_books import Books
from alerting.states import AlertState, decode, encode
from alerting.terms import Patience
from alerting.wording import clean
from embedwatch.errors import ConnectionFailed, InvalidEvent
from embedwatch.kafka import (
    admin_client,
    consumer,
    create_topics,
    describe_error,
    drop_producer,
    partitions_of,
    producer,
    true_end_offsets,
)
from embedwatch.settings import Settings

log = logging.getLogger(__name__)

LOAD_TIMEOUT_SECONDS = 120.0
SAVE_TIMEOUT_SECONDS = 20.0
_NONE: Mapping[str, Books | None] = {}
#: Header of a record: in whose time of holding the alerts it was written. A record of an earlier one that comes late
#: (its process stood still with it in hand) is left out; one without it, of an older version, counts as it comes.
TERM = "term"


def term_of(headers: Sequence[tuple[str, bytes]] | None) -> int | None:
    """None where there is none that can be read."""
    found = next((value for name, value in headers or () if name == TERM), b"")
    return int(found) if found.isdigit() and len(found) < 19 else None


def require_topics(settings: Settings) -> None:
    """Raises `ConnectionFailed` naming the topics that are missing and the command that creates them."""
    topics = settings.topics
    admin = admin_client(settings.kafka)
    try:
        present = set(admin.list_topics())
    except kafka_errors.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers}: topics could not be listed: {describe_error(error)}"
        ) from None
    finally:
        admin.close()
    missing = [name for name in (topics.verdicts, topics.alerts, topics.dead_letters) if name not in present]
    if missing:
        plural = "topics" if len(missing) > 1 else "topic"
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers}: {plural} {', '.join(missing)} missing; create what the flow "
            f"needs with `embedwatch topics create -b {settings.kafka.bootstrap_servers}"
            + (f" --topic-prefix {topics.prefix}`" if topics.prefix != "embedwatch" else "`")
        )


def make_topics(settings: Settings) -> None:
    """The topics that came with a later version, where they are missing. Raises `ConnectionFailed`."""
    topics = settings.topics
    wanted = (topics.alert_actions, topics.silences)
    create_topics(settings.kafka, [spec for spec in topics.specs() if spec.name in wanted])


@dataclass(frozen=True, slots=True)
class Stored:
    """By alert; and the books of the digest, by their key."""

    states: dict[str, AlertState]
    books: dict[str, Books]
    terms: dict[str, int] = field(default_factory=dict)  # in which each was written last; those forgotten, too

    def next_term(self, now: float) -> int:
        """Larger than any there is, and, where nothing was written in the one before, later."""
        return max(max(self.terms.values(), default=0) + 1, int(now * 1000))


def load(settings: Settings) -> dict[str, AlertState]:
    """The newest state of every alert. Raises `ConnectionFailed` as `load_all` does."""
    return load_all(settings).states


def load_all(settings: Settings) -> Stored:
    """The newest of every record.

    A record that does not decode is reported and left out. Raises `ConnectionFailed` when the topic cannot be read to
    its end: half of the alerts is not a state to go on with.
    """
    kafka, topic = settings.kafka, settings.topics.alerts
    partitions = partitions_of(kafka, topic)
    ends = true_end_offsets(kafka, partitions)
    if len(ends) < len(partitions) or not partitions:
        raise ConnectionFailed(f"Kafka at {kafka.bootstrap_servers}: the end of {topic} is not known; try again")
    found = Stored({}, {})
    client = consumer(kafka, "embedwatch-alerts-load", group=None, isolation_level="read_uncommitted")
    try:
        client.assign(partitions)
        client.seek_to_beginning(*partitions)
        deadline = time.monotonic() + LOAD_TIMEOUT_SECONDS
        while any(client.position(tp) < end for tp, end in ends.items() if end):
            if time.monotonic() > deadline:
                raise ConnectionFailed(
                    f"Kafka at {kafka.bootstrap_servers}: {topic} was not read within {LOAD_TIMEOUT_SECONDS:.0f} s"
                )
            for records in client.poll(500).values():
                for record in records:
                    _take(found, record, f"{topic}-{record.partition}-{record.offset}")
    except kafka_errors.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {kafka.bootstrap_servers}: {topic} could not be read: {describe_error(error)}"
        ) from None
    finally:
        client.close()
    return found


def _take(found: Stored, record: Any, place: str) -> None:
    alert_id, value = (record.key or b"").decode("utf-8", "replace"), record.value
    term = term_of(record.headers)
    if term is not None:
        if term < found.terms.get(alert_id, 0):
            return  # of a process that stood still: it was on its way when another had taken the alert over
        found.terms[alert_id] = term
    if value is None:
        found.states.pop(alert_id, None)
        found.books.pop(alert_id, None)
        return
    try:
        if digest_books.is_key(alert_id):
            found.books[alert_id] = digest_books.decode(value)
        else:
            found.states[alert_id] = decode(value)
    except InvalidEvent as error:
        log.error(  # noqa: TRY400
            "alert %s at %s is left out: %s", clean(alert_id, 100), place, clean(str(error), 300),
            extra={"alert_id": alert_id, "reason": error.reason},
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A verdict that does not decode: its bytes, and where it came from."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def dead_letter(record: Any, error: InvalidEvent, now: float) -> DeadLetter:
    """Headers as workers write them."""
    fields = {
        "error_class": "malformed_message",
        "stage": "alerting",
        "message": str(error)[:500],
        "source_topic": record.topic,
        "source_partition": str(record.partition),
        "source_offset": str(record.offset),
        "time": f"{now:.3f}",
    }
    headers = [(name, text.encode("utf-8", "surrogatepass")) for name, text in fields.items()]
    place = f"{record.topic}-{record.partition}-{record.offset}"
    return DeadLetter(record.key or place.encode(), record.value or b"", headers)


class Store:
    """Writes states and dead letters. One thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._patience = Patience(settings.kafka.session_timeout_seconds)
        self._producer: KafkaProducer | None = None
        self._headers: list[tuple[str, bytes]] = []

    def begin_term(self, term: int) -> None:
        """The alerts are ours from here on: what is written says so."""
        self._headers = [(TERM, str(term).encode())]

    def save(
        self,
        states: Mapping[str, AlertState | None],
        letters: Sequence[DeadLetter] = (),
        books: Mapping[str, Books | None] = _NONE,
    ) -> None:
        """Until all are acknowledged, `books` before anything else is written; None forgets an alert or a book.

        Raises `ConnectionFailed`: then none counts as stored.
        """
        topics = self._settings.topics
        try:
            client = self._client()
            for key, each in books.items():
                value = None if each is None else digest_books.encode(each)
                sent = client.send(topics.alerts, key=key.encode(), value=value, headers=self._headers)
                sent.get(SAVE_TIMEOUT_SECONDS)
            futures = [
                client.send(
                    topics.alerts,
                    key=key.encode(),
                    value=None if state is None else encode(state),
                    headers=self._headers,
                )
                for key, state in states.items()
            ]
            futures += [
                client.send(topics.dead_letters, key=letter.key, value=letter.value, headers=letter.headers)
                for letter in letters
            ]
            for future in futures:
                future.get(SAVE_TIMEOUT_SECONDS)
        except (kafka_errors.KafkaError, OSError) as error:
            self.close()  # an idempotent producer that gave a record up may be of no use any more
            raise ConnectionFailed(
                f"Kafka at {self._settings.kafka.bootstrap_servers}: alerts could not be stored: "
                f"{describe_error(error)}"
            ) from None

    def close(self) -> None:
        if self._producer is not None:
            client, self._producer = self._producer, None
            drop_producer(client, 1)

    def _client(self) -> KafkaProducer:
        if self._producer is None:
            # No linger: a message to Slack waits for this write. What a broker or a network holds up is given up before
            # the group can have given our alerts to another: it would come after, and replace, what that one stores.
            patience = self._patience
            delivery_seconds = min(10.0, patience.over_after_seconds)
            self._producer = producer(
                self._settings.kafka,
                "embedwatch-alerts",
                linger_ms=0,
                max_block_ms=int(min(5.0, patience.ask_after_seconds) * 1000),
                request_timeout_ms=int(delivery_seconds * 800),
                delivery_timeout_ms=int(delivery_seconds * 1000),
            )
        return self._producer
