"""Replays the metrics topic into fresh states, as far as the states that are kept have read, and compares the two."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from embedwatch import kafka
from embedwatch.errors import ConnectionFailed, EmbedwatchError, InputError
from embedwatch.settings import Settings
from stream_agents.compute.ledger import PartitionState, day_of
from stream_agents.compute.rebuild import Difference, book_record, differences, kept_days

#: No record for so long, and the end not reached: the broker is not there.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """`days` were compared; of `unknown_days` the topic no longer holds, or may not hold, every event."""

    events: int
    next_offsets: dict[int, int]
    days: list[str]
    unknown_days: list[str]
    differences: list[Difference]


def compare(settings: Settings, now: float) -> Comparison:
    """The kept states against the events. Agents may run meanwhile: both are taken at the same offsets.

    Raises `ConnectionFailed`, or `InputError` where there is no state.
    """
    zone = ZoneInfo(settings.budget.timezone)
    try:
        kept = _kept_states(settings)
        rebuilt, first_seconds = _replayed(settings, kept, zone)
    except kafka.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers}: the topics could not be read: {kafka.describe_error(error)}"
        ) from None
    days = kept_days([*kept.values(), *rebuilt.values()], now, zone)
    # Where events were removed, those of the day of the first one left may be among them.
    whole_after = max((day_of(seconds, zone) for seconds in first_seconds.values()), default="")
    known = [day for day in days if day > whole_after]
    return Comparison(
        events=sum(state.events for state in rebuilt.values()),
        next_offsets={p: state.next_offset for p, state in sorted(kept.items())},
        days=known,
        unknown_days=[day for day in days if day not in known],
        differences=differences(kept.values(), rebuilt.values(), known),
    )


def _kept_states(settings: Settings) -> dict[int, PartitionState]:
    topic = f"{settings.agents.app_id}-state-changelog"
    tps = kafka.partitions_of(settings.kafka, topic)
    if not tps:
        raise InputError(
            f"topic {topic} does not exist: no agents with --app-id {settings.agents.app_id} have written a state yet"
        )
    ends = kafka.true_end_offsets(settings.kafka, tps)
    if len(ends) < len(tps):
        raise ConnectionFailed(f"topic {topic}: its end could not be read in time; try again")
    found: dict[int, PartitionState] = {}
    for tp, record in _records(settings, ends, "embedwatch-rebuild-state"):
        if record.value is None:
            continue
        try:
            state = PartitionState.from_record(json.loads(record.value))
        except ValueError as error:
            raise EmbedwatchError(f"the state in topic {topic} cannot be used: {error}") from None
        known = found.get(tp.partition)
        if known is None or state.next_offset >= known.next_offset:
            found[tp.partition] = state
    return found


def _replayed(
    settings: Settings, kept: dict[int, PartitionState], zone: ZoneInfo
) -> tuple[dict[int, PartitionState], dict[int, float]]:
    """Fresh states up to the offsets of the kept ones; and when the first event left was written, by partition, where
    earlier ones were removed."""
    rebuilt = {partition: PartitionState(next_offset=0) for partition in kept}
    removed: dict[int, float] = {}
    upto = {kafka.TopicPartition(settings.topics.metrics, p): state.next_offset for p, state in kept.items()}
    for tp, record in _records(settings, upto, "embedwatch-rebuild"):
        state, at = rebuilt[tp.partition], record.timestamp / 1000.0
        if state.next_offset == 0 and record.offset > 0:
            removed[tp.partition] = at
        book_record(state, record.offset, record.value, at, zone, settings.agents.max_scopes)
    for tp, end in upto.items():
        if end and rebuilt[tp.partition].next_offset == 0:
            removed[tp.partition] = time.time()  # nothing at all is left
    return rebuilt, removed


def _records(settings: Settings, upto: Mapping[Any, int], client_id: str) -> Iterator[tuple[Any, Any]]:
    """Committed records below these offsets, from the start of each partition."""
    client = kafka.consumer(settings.kafka, client_id, group=None, fetch_max_wait_ms=100)
    try:
        todo = {tp: end for tp, end in upto.items() if end > 0}
        client.assign(list(todo))
        for tp, start in client.beginning_offsets(list(todo)).items():
            client.seek(tp, start)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(client.position(tp) < end for tp, end in todo.items()):
            found = client.poll(200)
            for tp, records in found.items():
                for record in records:
                    if record.offset < todo[tp]:
                        yield tp, record
            if found:
                deadline = time.monotonic() + PATIENCE_SECONDS
            elif time.monotonic() > deadline:
                ends = ", ".join(f"{tp.partition}: {client.position(tp)} of {end}" for tp, end in todo.items())
                raise ConnectionFailed(f"topic {next(iter(todo)).topic} could not be read to the end ({ends})")
    finally:
        client.close()
