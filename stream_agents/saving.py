"""`embedwatch agents save` and `restore`: what agents and alerting know, to a file and back into empty topics."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kafka.errors import KafkaError

from embedwatch import kafka
from embedwatch.errors import ConnectionFailed, InputError
from embedwatch.kafka import TopicPartition, create_topics, partitions_of, true_end_offsets
from embedwatch.reading import TopicReader, read_one
from embedwatch.settings import Settings
from embedwatch.topics import TopicSpec
from stream_agents.compute.state_file import (
    Head,
    Kept,
    Latest,
    LogIs,
    Mark,
    bounded_lines,
    digest,
    lines,
    next_offset_of,
    parse,
    rebased,
    which_log,
)
from stream_agents.rebuilding import state_topic

#: How many records before the last one that was counted are tried as a mark: a mark of a transaction is none.
LOOK_BACK = 5
#: Called with what is done, and how much of it in percent where that is known.
Say = Callable[[str, float | None], object]
ACKNOWLEDGE_SECONDS = 60.0


def saved_topics(settings: Settings) -> dict[str, str]:
    """Names of the topics that hold what is known, by role. `partials` live for two hours and belong to offsets; texts,
    vectors, metric events and dead letters are data, and not a state."""
    topics = settings.topics
    return {
        "state": state_topic(settings), "days": topics.days, "corrections": topics.corrections,
        "windows": topics.windows, "alerts": topics.alerts, "silences": topics.silences,
    }  # fmt: skip


def save(settings: Settings, path: Path, now: float, say: Say) -> dict[str, int]:
    """Writes the file, whole or not at all; how many records of each topic are in it.

    Agents and alerting may run meanwhile: what is counted after the moment of reading is counted again from the
    metrics topic. Raises `InputError` where there is no state, `ConnectionFailed`.
    """
    if not partitions_of(settings.kafka, state_topic(settings)):
        raise InputError(
            f"topic {state_topic(settings)} does not exist: no agents with --app-id {settings.agents.app_id} have "
            "written a state yet"
        )
    latest = Latest()
    # The state first: whatever else is known of a later moment does no harm beside it.
    for role, topic in saved_topics(settings).items():
        if not partitions_of(settings.kafka, topic):
            continue
        with TopicReader(settings.kafka, topic) as reader:
            for batch in reader.batches():
                say(f"reading {topic}", reader.done_pct)
                for record in batch:
                    if record.value is None:
                        latest.remove(role, record.partition, record.key)
                    else:
                        latest.add(_kept(role, record))
    counted = {record.partition: offset for record in latest if (offset := next_offset_of(record)) is not None}
    if not counted:
        raise InputError(f"topic {state_topic(settings)} holds no state yet")
    head = Head(
        settings.agents.app_id, now, len(partitions_of(settings.kafka, settings.topics.metrics)), counted,
        {partition: _mark(settings, partition, offset) for partition, offset in counted.items()},
    )  # fmt: skip
    _write(path, lines(head, latest))
    return dict(Counter(record.topic for record in latest))


def restore(settings: Settings, path: Path, log_is: LogIs | None, say: Say) -> tuple[dict[str, int], list[str], LogIs]:
    """Brings the file's records back: how many by topic, the topics that were left as they are, and which log it is.

    Raises `InputError` where the state would mix with another one, or the log is neither known to be the same nor to
    be a new one.
    """
    with contextlib.ExitStack() as stack:
        try:
            head, records = parse(bounded_lines(stack.enter_context(_opened(path))))
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    if head.app_id != settings.agents.app_id:
        raise InputError(
            f"{path} is the state of --app-id {head.app_id}, and --app-id is {settings.agents.app_id}: its records are "
            "of use to that one only"
        )
    create_topics(settings.kafka, settings.topics.specs())
    there = len(partitions_of(settings.kafka, settings.topics.metrics))
    if there != head.partitions:
        raise InputError(
            f"{settings.topics.metrics} has {there} partitions, and the state is of {head.partitions}: make the topics "
            f"with `embedwatch topics create --partitions {head.partitions}`"
        )
    create_topics(settings.kafka, [
        TopicSpec(state_topic(settings), "", "", "stream_agents", "compact", None, partitions=head.partitions)
    ])  # fmt: skip
    names = saved_topics(settings)
    filled = {role for role, topic in names.items() if _has_records(settings, topic)}
    if "state" in filled:
        raise InputError(
            f"topic {names['state']} has records: there is a state already. Stop the agents and delete that topic, if "
            "the file is to take its place"
        )
    decided = _decided(settings, head, log_is)
    if decided == "new":
        logs = [TopicPartition(settings.topics.metrics, partition) for partition in head.next_offsets]
        firsts = {log.partition: first for log, first in kafka.first_offsets(settings.kafka, logs).items()}
        records = [rebased(record, firsts) for record in records]
    wanted = [record for record in records if record.topic in names and record.topic not in filled]
    # The state last: agents that start too early find none, and nothing is half there.
    _send(settings, names, sorted(wanted, key=lambda record: record.topic == "state"), say)
    return dict(Counter(record.topic for record in wanted)), sorted(names[role] for role in filled), decided


def _decided(settings: Settings, head: Head, log_is: LogIs | None) -> LogIs:
    if log_is is not None:
        return log_is
    logs = [TopicPartition(settings.topics.metrics, partition) for partition in head.next_offsets]
    ends = true_end_offsets(settings.kafka, logs)
    if len(ends) < len(logs):
        raise ConnectionFailed(f"topic {settings.topics.metrics}: its end could not be read in time; try again")
    found: dict[int, str | None] = {}
    for log in logs:
        mark = head.marks.get(log.partition)
        if mark is not None and ends[log] > mark.offset:
            record = read_one(settings.kafka, settings.topics.metrics, log.partition, mark.offset)
            found[log.partition] = None if record is None else digest(record.key, record.value)
    decided = which_log(head, {log.partition: end for log, end in ends.items()}, found)
    if decided == "unknown":
        raise InputError(
            f"whether {settings.topics.metrics} is the topic that was counted cannot be seen: say --log same where it "
            "is (what came since is counted), or --log new where it was made anew (all of it is counted on top)"
        )
    return decided


def _mark(settings: Settings, partition: int, next_offset: int) -> Mark | None:
    for offset in range(next_offset - 1, max(next_offset - 1 - LOOK_BACK, -1), -1):
        record = read_one(settings.kafka, settings.topics.metrics, partition, offset)
        if record is not None:
            return Mark(offset, digest(record.key, record.value))
    return None


def _has_records(settings: Settings, topic: str) -> bool:
    logs = partitions_of(settings.kafka, topic)
    ends = true_end_offsets(settings.kafka, logs)
    if len(ends) < len(logs):
        raise ConnectionFailed(f"topic {topic}: its end could not be read in time; try again")
    return any(ends.values())


def _send(settings: Settings, names: Mapping[str, str], records: Sequence[Kept], say: Say) -> None:
    client = kafka.producer(settings.kafka, "embedwatch-restore")
    try:
        pending = []
        for number, record in enumerate(records, 1):
            pending.append(client.send(
                names[record.topic], key=record.key, value=record.value, partition=record.partition,
                headers=list(record.headers), timestamp_ms=record.timestamp_ms,
            ))  # fmt: skip
            if number % 1000 == 0 or number == len(records):
                say("writing", 100 * number / len(records))
                for each in pending:
                    each.get(ACKNOWLEDGE_SECONDS)
                pending.clear()
    except KafkaError as error:
        raise ConnectionFailed(
            f"Kafka at {settings.kafka.bootstrap_servers} did not take the records: {kafka.describe_error(error)}. "
            "Some may be there: delete the topics that are named above and try again"
        ) from None
    finally:
        kafka.close_producer(client, 10.0)


def _kept(role: str, record: Any) -> Kept:
    headers = tuple((name, bytes(value)) for name, value in record.headers or () if value is not None)
    return Kept(role, record.partition, record.key, record.value, record.timestamp, headers)


def _opened(path: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8")


def _write(path: Path, found: Iterable[str]) -> None:
    """Readable by its owner only: alerts and days say what somebody spends."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as raw, gzip.open(raw, "wt", encoding="utf-8") as file:
            for line in found:
                file.write(line + "\n")
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
