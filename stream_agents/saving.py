"""`embedwatch agents save` and `restore`: what agents and alerting know, to a file and back into empty topics."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from kafka.errors import KafkaError

from embedwatch import kafka
from embedwatch.errors import ConnectionFailed, InputError
from embedwatch.kafka import TopicPartition, create_topics, partitions_of, true_end_offsets
from embedwatch.reading import TopicReader, read_one
from embedwatch.settings import Settings
from embedwatch.topics import TopicSpec
from stream_agents.compute.state_file import (
    Gone,
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
    thinned,
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
    names = saved_topics(settings)
    # The state first: whatever else is known of a later moment does no harm beside it.
    state = list(thinned(_read(settings, "state", names.pop("state"), say), Latest()))
    counted = {record.partition: offset for record in state if (offset := next_offset_of(record)) is not None}
    if not counted:
        raise InputError(f"topic {state_topic(settings)} holds no state yet")
    head = Head(
        settings.agents.app_id, now, len(partitions_of(settings.kafka, settings.topics.metrics)), counted,
        {partition: _mark(settings, partition, offset) for partition, offset in counted.items()},
    )  # fmt: skip
    written: Counter[str] = Counter()

    def records() -> Iterator[Kept]:
        others = (thinned(_read(settings, role, topic, say), Latest()) for role, topic in names.items())
        for record in chain(state, *others):
            written[record.topic] += 1
            yield record

    _write(path, lines(head, records()))
    return dict(written)


def restore(settings: Settings, path: Path, log_is: LogIs | None, say: Say) -> tuple[dict[str, int], list[str], LogIs]:
    """Brings the file's records back: how many by topic, the topics that were left as they are, and which log it is.

    Raises `InputError` where the state would mix with another one, or the log is neither known to be the same nor to
    be a new one.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    with file:  # one file for all passes, also where a new one takes its name meanwhile
        return _restore(settings, path, file, log_is, say)


def _restore(
    settings: Settings, path: Path, file: BinaryIO, log_is: LogIs | None, say: Say
) -> tuple[dict[str, int], list[str], LogIs]:
    say(f"reading {path}", None)
    head, found = _records(path, file)
    counts = Counter(record.topic for record in found)  # all of it is read once before anything is sent
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
    firsts: dict[int, int] | None = None
    if decided == "new":
        logs = [TopicPartition(settings.topics.metrics, partition) for partition in head.next_offsets]
        firsts = {log.partition: first for log, first in kafka.first_offsets(settings.kafka, logs).items()}
    wanted = {role: count for role, count in counts.items() if role in names and role not in filled}

    def records() -> Iterator[Kept]:
        # The state last: agents that start too early find none, and nothing is half there.
        for roles in (wanted.keys() - {"state"}, wanted.keys() & {"state"}):
            for record in _records(path, file)[1]:
                if record.topic in roles:
                    yield record if firsts is None else rebased(record, firsts)

    _send(settings, names, records(), sum(wanted.values()), say)
    return wanted, sorted(names[role] for role in filled), decided


def _read(settings: Settings, role: str, topic: str, say: Say) -> Iterator[Kept | Gone]:
    """All records of a topic up to where it ends now; none where there is no such topic."""
    if not partitions_of(settings.kafka, topic):
        return
    with TopicReader(settings.kafka, topic) as reader:
        for batch in reader.batches():
            say(f"reading {topic}", reader.done_pct)
            for record in batch:
                yield Gone(role, record.partition, record.key) if record.value is None else _kept(role, record)


def _records(path: Path, file: BinaryIO) -> tuple[Head, Iterator[Kept]]:
    """Head and records of the file, from its beginning. Raises `InputError`, also while they are read."""
    file.seek(0)
    with _told(path):
        head, found = parse(bounded_lines(io.TextIOWrapper(gzip.GzipFile(fileobj=file), encoding="utf-8")))

    def records() -> Iterator[Kept]:
        with _told(path):
            yield from found

    return head, records()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


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


def _send(settings: Settings, names: Mapping[str, str], records: Iterable[Kept], total: int, say: Say) -> None:
    client = kafka.producer(settings.kafka, "embedwatch-restore")
    try:
        pending = []
        for number, record in enumerate(records, 1):
            pending.append(client.send(
                names[record.topic], key=record.key, value=record.value, partition=record.partition,
                headers=list(record.headers), timestamp_ms=record.timestamp_ms,
            ))  # fmt: skip
            if number % 1000 == 0 or number == total:
                say("writing", 100 * number / total)
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
