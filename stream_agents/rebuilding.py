"""Replays the metrics topic into fresh states, as far as the states that are kept have read, and compares the two."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from kafka.errors import OffsetOutOfRangeError

from embedwatch import kafka, topics
from embedwatch.errors import ConnectionFailed, EmbedwatchError, InputError
from embedwatch.settings import Settings
from stream_agents.compute.history import is_state, parsed_key
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.rebuild import Difference, Removed, book_record, differences, kept_days, whole_days

#: Records of a partition between two words about how far it is.
TOLD_EVERY = 1000
#: No record for so long, and the end not reached: the broker is not there.
PATIENCE_SECONDS = 30.0


def state_topic(settings: Settings) -> str:
    """The changelog of the agents' table, as Faust names it."""
    return topics.state_topic(settings.agents.app_id)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`days` of `timezone` were compared; of `unknown_days` the topic no longer holds, or may not hold, every event:
    what was `removed` says why. `without_state`: partitions of which nothing is kept, and the ends of their logs."""

    timezone: str
    events: int
    next_offsets: dict[int, int]
    days: list[str]
    unknown_days: list[str]
    differences: list[Difference]
    removed: list[Removed]
    without_state: dict[int, int]
    #: Of `unknown_days`, those of which a part was restored from a file: those events never were in this topic.
    carried_days: list[str]

    @property
    def saw_everything(self) -> bool:
        """Whether all was compared that the agents keep and that was published, up to what is written now."""
        lacking = self.unknown_days or self.without_state or any(one.uncounted for one in self.removed)
        return bool(self.days) and not lacking


def compare(settings: Settings, now: float, told: Callable[[float], object] = lambda done_pct: None) -> Comparison:
    """The kept states against the events. Agents may run meanwhile: both are taken at the same offsets. `told` is
    called with how much is replayed, in percent.

    Raises `ConnectionFailed`, also where records are removed while they are read, or `InputError` where there is no
    state, or one of another time zone than the one that is asked for.
    """
    try:
        kept = _kept_states(settings)
        zone = _zone(settings, kept.values())
        _require_events(settings, kept)
        without_state = _without_state(settings, kept)
        rebuilt, removed = _replayed(settings, kept, zone, told)
    except OffsetOutOfRangeError:
        raise ConnectionFailed(
            f"topic {settings.topics.metrics}: records were removed while they were read; run it again"
        ) from None
    except kafka.KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers}: the topics could not be read: {kafka.describe_error(error)}"
        ) from None
    days = kept_days([*kept.values(), *rebuilt.values()], now, zone)
    carried = sorted({day for state in kept.values() for day in state.carried_days})
    known = [day for day in whole_days(days, removed, now, zone) if day not in carried]
    return Comparison(
        timezone=zone.key,
        events=sum(state.events for state in rebuilt.values()),
        next_offsets={p: state.next_offset for p, state in sorted(kept.items())},
        days=known,
        unknown_days=[day for day in days if day not in known],
        differences=differences(kept.values(), rebuilt.values(), known),
        removed=removed,
        without_state=without_state,
        carried_days=carried,
    )


def what_is_missing(found: Comparison, topic: str) -> list[str]:
    """Lines for people: which days cannot be told, of which offsets the events are gone, and what to do."""
    lines = [
        f"{day}: cannot be told, events of it are, or may be, no longer in topic {topic}" for day in found.unknown_days
    ]
    if found.unknown_days:
        if found.carried_days:
            lines.append(
                "  A state was restored onto a new topic (`embedwatch agents restore`): what it had counted up to "
                f"{found.carried_days[-1]} was counted from the one before"
            )
        lines += [_gone(one, found.timezone) for one in found.removed]
        lines.append(
            "  The kept numbers of such a day may well be right: they were counted before. Nothing is left to prove "
            f"it. Compare a day while topic {topic} holds all of it, or raise its retention.ms."
        )
    if not found.days and not found.unknown_days:
        lines.append("no day that is kept has a booking: there is nothing to compare")
    lines += [
        f"partition {one.partition}: the state ends at offset {one.next_offset}, and the log begins at "
        f"{one.log_start_offset} only. Where agents run, compare again in a few seconds; if this line comes again, "
        "the events in between were removed before they were counted"
        for one in found.removed
        if one.uncounted
    ]
    lines += [
        f"partition {partition}: {end} offsets were written, and there is no state. Where agents run, compare again in "
        "a few seconds; if this line comes again, the state is lost: other agents (another --app-id) count anew what "
        "the topic still holds"
        for partition, end in found.without_state.items()
    ]
    return lines


def _gone(one: Removed, timezone: str) -> str:
    left = "nothing that was counted is left"
    if one.oldest_left_seconds is not None:
        written = datetime.fromtimestamp(one.oldest_left_seconds, ZoneInfo(timezone))
        left = f"the oldest event left was written on {written:%Y-%m-%d at %H:%M:%S} ({timezone})"
    return f"  partition {one.partition}: offsets 0 to {one.log_start_offset - 1} were removed; {left}"


def _kept_states(settings: Settings) -> dict[int, PartitionState]:
    topic = state_topic(settings)
    tps = kafka.partitions_of(settings.kafka, topic)
    if not tps:
        raise InputError(
            f"topic {topic} does not exist: no agents with --app-id {settings.agents.app_id} have written a state yet; "
            "name the --app-id (or the --topic-prefix, which it follows) that the agents run with"
        )
    ends = kafka.true_end_offsets(settings.kafka, tps)
    if len(ends) < len(tps):
        raise ConnectionFailed(f"topic {topic}: its end could not be read in time; try again")
    found: dict[int, PartitionState] = {}
    for tp, record in _records(settings, ends, kafka.first_offsets(settings.kafka, ends), "embedwatch-rebuild-state"):
        if record.value is None or not is_state(parsed_key(record.key)):
            continue
        try:
            state = PartitionState.from_record(json.loads(record.value))
        except ValueError as error:
            raise EmbedwatchError(f"the state in topic {topic} cannot be used: {error}") from None
        known = found.get(tp.partition)
        if known is None or state.next_offset >= known.next_offset:
            found[tp.partition] = state
    if not found:
        raise InputError(f"topic {topic} holds no state yet: agents write one when they have read their first event")
    return found


def _zone(settings: Settings, states: Iterable[PartitionState]) -> ZoneInfo:
    """The zone whose days the states have: nobody has to name it. Where none says so, the one that is configured."""
    asked = settings.budget.timezone
    zones = sorted({state.timezone for state in states if state.timezone is not None})
    if len(zones) > 1:
        raise InputError(f"the states are of several time zones: {', '.join(zones)}; agents run with different ones")
    if not zones:
        return ZoneInfo(asked)
    if asked != zones[0] and "timezone" in settings.budget.model_fields_set:
        raise InputError(
            f"the states have the days of {zones[0]}, and budget.timezone is {asked}: leave out --timezone "
            "(EMBEDWATCH_BUDGET_TIMEZONE), the days are compared in the zone of the states"
        )
    return ZoneInfo(zones[0])


def _require_events(settings: Settings, kept: Collection[int]) -> None:
    """Raises `InputError` where the topic, or a partition that the states have read, is not there: it would be waited
    for."""
    topic = settings.topics.metrics
    there = {tp.partition for tp in kafka.partitions_of(settings.kafka, topic)}
    missing = sorted(set(kept) - there)
    if not there:
        raise InputError(
            f"topic {topic} does not exist, so there are no events to replay: name the --topic-prefix and --app-id "
            f"that the agents run with (this state is of --app-id {settings.agents.app_id}), or was the topic deleted?"
        )
    if missing:
        raise InputError(
            f"topic {topic} has no partition {missing[0]}, of which --app-id {settings.agents.app_id} keeps a state: "
            "name the --topic-prefix that these agents run with, or was the topic made anew with fewer partitions?"
        )


def _without_state(settings: Settings, kept: Collection[int]) -> dict[int, int]:
    """Partitions of the metrics topic with records and without a state, and where they end."""
    tps = [tp for tp in kafka.partitions_of(settings.kafka, settings.topics.metrics) if tp.partition not in kept]
    ends = kafka.true_end_offsets(settings.kafka, tps)
    if len(ends) < len(tps):
        raise ConnectionFailed(f"topic {settings.topics.metrics}: its end could not be read in time; try again")
    return {tp.partition: end for tp, end in sorted(ends.items()) if end}


def _replayed(
    settings: Settings, kept: dict[int, PartitionState], zone: ZoneInfo, told: Callable[[float], object]
) -> tuple[dict[int, PartitionState], list[Removed]]:
    """Fresh states up to the offsets of the kept ones, and what of the log is gone. Where a log begins with an aborted
    transaction the first record is not at offset 0 either: only the log's own start tells the two apart."""
    rebuilt = {partition: PartitionState(next_offset=0) for partition in kept}
    oldest: dict[int, float] = {}
    upto = {kafka.TopicPartition(settings.topics.metrics, p): state.next_offset for p, state in kept.items()}
    starts = kafka.first_offsets(settings.kafka, upto)
    total, places = sum(max(end - starts[tp], 0) for tp, end in upto.items()), dict(starts)
    for tp, record in _records(settings, upto, starts, "embedwatch-rebuild"):
        places[tp] = record.offset
        if not record.offset % TOLD_EVERY:
            told(100.0 * sum(place - starts[tp] for tp, place in places.items()) / total)
        at = record.timestamp / 1000.0
        oldest.setdefault(tp.partition, at)
        book_record(rebuilt[tp.partition], record.offset, record.value, at, zone, settings.agents.max_scopes)
    removed = [
        Removed(tp.partition, start, upto[tp], oldest.get(tp.partition))
        for tp, start in sorted(starts.items())
        if start
    ]
    return rebuilt, removed


def _records(
    settings: Settings, upto: Mapping[Any, int], starts: Mapping[Any, int], client_id: str
) -> Iterator[tuple[Any, Any]]:
    """Committed records below these offsets, from the start of each partition. Raises `OffsetOutOfRangeError` where
    the log begins later by now: going on from there would leave out what nobody is told of."""
    client = kafka.consumer(settings.kafka, client_id, group=None, fetch_max_wait_ms=100, auto_offset_reset="none")
    try:
        todo = {tp: end for tp, end in upto.items() if end > starts[tp]}
        client.assign(list(todo))
        for tp in todo:
            client.seek(tp, starts[tp])
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
