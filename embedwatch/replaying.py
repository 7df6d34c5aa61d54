"""Dead letters back to the topic of texts: first what would go, then the sending. The Kafka edge of `dlq replay`.

A letter counts as sent when the broker has acknowledged it; then a receipt is written, batch by batch. So a replay that
was cut off goes on where it ended, whatever was selected, and at most one batch can go twice.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from embedwatch import kafka
from embedwatch.dead_letters import (
    RECEIPT_KEY,
    Letter,
    Selection,
    letter_of,
    read_receipt,
    receipt,
    refusal,
    replay,
    restored,
)
from embedwatch.errors import ConfigError, ConnectionFailed, DeliveryError
from embedwatch.kafka import KafkaError, describe_error
from embedwatch.offset_ranges import OffsetRanges
from embedwatch.processes import StopRequest
from embedwatch.reading import TopicReader, read_one
from embedwatch.settings import Settings

#: What is under way at once, and what can go twice after a crash.
MAX_BATCH_LETTERS = 500
MAX_BATCH_BYTES = 32 * 1024 * 1024
SEND_SECONDS = 75.0  # the producer's own limit is 60


@dataclass(slots=True)
class Plan:
    """What a selection means now. In each kind only letters that no earlier replay has sent (unless `again`)."""

    sendable: dict[str, OffsetRanges] = field(default_factory=dict)  # by error class
    refused: dict[str, OffsetRanges] = field(default_factory=dict)  # by reason
    clipped: OffsetRanges = field(default_factory=OffsetRanges)  # some of the sendable ones
    already_sent: int = 0
    found: set[tuple[int, int]] = field(default_factory=set)  # of the places that were asked for

    @property
    def letters(self) -> int:
        return sum(len(places) for places in self.sendable.values())

    def meant(self) -> OffsetRanges:
        every = OffsetRanges()
        for places in self.sendable.values():
            every.update(places)
        return every


@dataclass(slots=True)
class Sent:
    """How far a replay came. `refused` are the clipped letters that could not be made whole, by reason."""

    letters: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    example: str | None = None


#: Called with how much is done, in percent; None: not known, or all.
Told = Callable[[float | None], object]


def _nobody(done_pct: float | None) -> None: ...


def make_plan(
    settings: Settings, chosen: Selection, *, max_replays: int, again: bool = False, told: Told = _nobody
) -> Plan:
    """Reads all dead letters. Raises what `TopicReader` raises."""
    plan, sent = Plan(), OffsetRanges()
    for found in records(settings, told=told):
        if isinstance(found, OffsetRanges):
            sent.update(found)
            continue
        if not chosen.takes(found):
            continue
        if chosen.places:
            plan.found.add((found.partition, found.offset))
        why = refusal(found, settings.topics.texts, max_replays)
        kinds, kind = (plan.sendable, found.error_class) if why is None else (plan.refused, why)
        kinds.setdefault(kind, OffsetRanges()).add(found.partition, found.offset)
        if why is None and found.clipped_from_bytes is not None:
            plan.clipped.add(found.partition, found.offset)
    if not again:
        before = plan.letters
        for kinds in (plan.sendable, plan.refused):
            for kind, places in list(kinds.items()):
                kinds[kind] = places.without(sent)
                if not len(kinds[kind]):
                    del kinds[kind]
        plan.clipped = plan.clipped.without(sent)
        plan.already_sent = before - plan.letters
    return plan


def send(settings: Settings, plan: Plan, stop: StopRequest, told: Told = _nobody) -> Sent:
    """Sends what is in the plan, until done or asked to stop; what is under way then is still waited for.

    Raises `DeliveryError` when the broker does not take a letter or a receipt, `ConfigError` without a topic of texts.
    """
    if not kafka.partitions_of(settings.kafka, settings.topics.texts):
        raise ConfigError(
            f"Kafka at {settings.kafka.bootstrap_servers} has no topic {settings.topics.texts}: "
            "create it with `embedwatch topics create`"
        )
    meant, outcome = plan.meant(), Sent()
    starts = {partition: first for partition, first, _ in reversed(list(meant.ranges()))}
    client = kafka.producer(settings.kafka, "embedwatch-dlq-replay", allow_auto_create_topics=False)
    sender = _Sender(settings, client, outcome)
    left = len(meant)
    try:
        with TopicReader(settings.kafka, settings.topics.dead_letters, starts=starts) as reader:
            for batch in reader.batches():
                for record in batch:
                    if stop.signum is not None or not left:
                        break
                    if (record.partition, record.offset) in meant:
                        left -= 1
                        sender.add(_letter(record))
                        told(100.0 * (len(meant) - left) / len(meant))
                if stop.signum is not None or not left:
                    break
    finally:
        _finish(sender, client)
    return outcome


def _finish(sender: _Sender, client: Any) -> None:
    """Also after trouble: what is under way arrives all the same, and without a receipt it would go twice."""
    try:
        sender.settle()
    finally:
        with contextlib.suppress(KafkaError):  # what it could not send is counted as not sent already
            kafka.close_producer(client, 5.0)


def records(
    settings: Settings, starts: dict[int, int] | None = None, told: Told = _nobody
) -> Iterator[Letter | OffsetRanges]:
    """Every letter of the topic, and for every receipt the places that it names."""
    with TopicReader(settings.kafka, settings.topics.dead_letters, starts=starts) as reader:
        for batch in reader.batches(told):
            for record in batch:
                sent = read_receipt(record.value, record.headers)
                yield _letter(record) if sent is None else sent


def _letter(record: Any) -> Letter:
    return letter_of(record.partition, record.offset, record.key, record.value, record.headers, record.timestamp)


class _Sender:
    def __init__(self, settings: Settings, client: Any, outcome: Sent) -> None:
        self._settings, self._client, self._outcome = settings, client, outcome
        self._waiting: list[tuple[Letter, Any]] = []
        self._bytes = 0

    def add(self, letter: Letter) -> None:
        whole = self._whole(letter) if letter.clipped_from_bytes is not None else letter
        if isinstance(whole, str):
            self._outcome.refused[whole] += 1
            self._outcome.example = self._outcome.example or letter.place
            return
        key, headers = replay(whole)
        try:
            future = self._client.send(self._settings.topics.texts, key=key, value=whole.value, headers=headers)
        except Exception as error:  # kafka-python raises its own errors, and ValueError and TypeError for a bad record
            self.settle()
            raise self._failed(letter.place, error) from None
        self._waiting.append((letter, future))
        self._bytes += len(whole.value)
        if len(self._waiting) >= MAX_BATCH_LETTERS or self._bytes >= MAX_BATCH_BYTES:
            self.settle()

    def settle(self) -> None:
        """Waits for everything that is under way and writes the receipt for what arrived."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        arrived, failed = OffsetRanges(), None
        for letter, future in waiting:
            try:
                future.get(timeout=SEND_SECONDS)
                arrived.add(letter.partition, letter.offset)
            except KafkaError as error:
                failed = failed or (letter.place, error)
        if count := len(arrived):
            self._outcome.letters += count
            value, headers = receipt(arrived)
            topic = self._settings.topics.dead_letters
            try:
                self._client.send(topic, key=RECEIPT_KEY, value=value, headers=headers).get(timeout=SEND_SECONDS)
            except KafkaError as error:
                raise DeliveryError(
                    f"topic {topic}: {describe_error(error)}. {self._outcome.letters} letters were sent and "
                    f"acknowledged, but for the last {count} of them no receipt: the next replay sends these again",
                    delivered=self._outcome.letters,
                ) from None
        if failed is not None:
            raise self._failed(*failed)

    def _failed(self, place: str, error: Exception) -> DeliveryError:
        return DeliveryError(
            f"topic {self._settings.topics.texts} did not take letter {place}: {describe_error(error)}. "
            f"{self._outcome.letters} were sent and acknowledged; the next replay goes on after them",
            delivered=self._outcome.letters,
        )

    def _whole(self, letter: Letter) -> Letter | str:
        topic, partition, offset = letter.source_topic, letter.source_partition, letter.source_offset
        if topic is None or partition is None or offset is None:
            return "its text is clipped, and where it came from is not known"
        try:
            source = read_one(self._settings.kafka, topic, partition, offset)
        except ConnectionFailed:
            return "its text is clipped, and its source could not be read"
        if source is None:
            return "its text is clipped, and its source has been deleted"
        return restored(letter, source.key, source.value, source.headers)
