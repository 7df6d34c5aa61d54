"""Asks the broker how far a group is behind: any group, any topics, in a handful of requests for all partitions.

    1. one OffsetFetch to the group's coordinator: what was committed
    2. one Fetch to each broker, from the commits: it answers at once with log start, last stable offset and high
       watermark of every partition (right on the embedded broker, too, unlike its end offsets) and, where something
       waits, with the first batches of it: age, texts, and offsets that are no records
    3. more Fetches where that did not tell: a batch larger than asked for, or marks of transactions without end; and a
       ListOffsets for commits that are outside of their log

What was seen behind a commit is kept until the commit moves. Partitions and members are asked for every few seconds.
kafka-python's consumer would take a seek and a poll for each of these steps, so its requests are used without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from kafka import errors as kafka_errors
from kafka.protocol.admin import DescribeGroupsRequest
from kafka.protocol.consumer import FetchRequest, ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest

from embedwatch import kafka
from embedwatch.clock import Clock
from embedwatch.errors import ConnectionFailed
from embedwatch.lag.partition import PartitionLog
from embedwatch.lag.records import Allowance
from embedwatch.lag.tracker import OffsetSample, Place
from embedwatch.settings import KafkaSettings

#: One reading takes no longer, whatever the broker does.
READ_SECONDS = 5.0
#: How often partitions and members are asked for again.
ROSTER_SECONDS = 5.0
#: How long partitions are asked again whose first answer did not tell how old what waits there is; the next reading
#: goes on. Where that can be told from what was seen earlier, it has to be told again only so long.
LOOK_SECONDS = 3.0
LOOK_AGAIN_SECONDS = 0.2
#: Of partitions whose age is told by the times at which their logs ended, one in so many is looked at in a reading.
TURNS = 8
ROUNDS = 20
FETCH_BYTES = 32 * 1024 * 1024
#: The embedded broker answers a fetch that may not wait with nothing at all.
FETCH_WAIT_MS = 50
_EARLIEST = -2
#: Versions of Fetch above it name topics by ids.
_FETCH_VERSION = 12
_RETRIABLE = (
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.NotCoordinatorError,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a group. Partitions that could not be read have a sample without an end and with a reason."""

    time_seconds: float
    samples: dict[Place, OffsetSample]
    members: int | None = None  # None: not known
    topics_missing: tuple[str, ...] = ()
    trouble: str | None = None  # why nothing could be read


class LagReader:
    """Reads one group. `topics` None: those that it has committed in. Not for several threads at a time.

    `read` raises nothing for what a broker does or does not do: what could not be read is said in the reading. It takes
    `READ_SECONDS` at most, and `connect_timeout_seconds` more where a broker has to be looked for.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        topics: Iterable[str] | None,
        clock: Clock,
        *,
        read_committed: bool = True,
    ) -> None:
        self.settings = settings
        self.group = group
        self.topics = None if topics is None else tuple(dict.fromkeys(topics))
        self.clock = clock
        self.read_committed = read_committed
        self._admin: Any = None
        self._logs: dict[Place, PartitionLog] = {}
        self._members: int | None = None
        self._missing: tuple[str, ...] = ()
        self._roster_topics: tuple[str, ...] = ()
        self._roster_read: float | None = None
        self._members_read: float | None = None
        self._round = 0
        self._usual_texts: dict[str, float] = {}  # of a message, by topic: where none of a partition was decoded

    def close(self) -> None:
        """Safe to call twice."""
        admin, self._admin = self._admin, None
        self._roster_read = self._members_read = None
        if admin is not None:
            admin.close()

    def __enter__(self) -> LagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> Reading:
        """All partitions now."""
        try:
            self._open()
            deadline = self.clock.monotonic() + READ_SECONDS
            now = self._admin._manager.run(self._read, deadline)
        except (ConnectionFailed, kafka.KafkaError, OSError) as error:
            trouble = str(error) if isinstance(error, ConnectionFailed) else kafka.describe_error(error)
            self.close()
            return self._unread(trouble)
        except BaseException:
            self.close()
            raise
        self._learn_usual_texts()
        samples = {
            place: log.sample(now, self._members, self._usual_texts.get(place.topic))
            for place, log in sorted(self._logs.items())
        }
        if any(sample.end_offset is None for sample in samples.values()):
            self._roster_read = None  # perhaps another broker has it now
        return Reading(now, samples, self._members, self._missing)

    def _open(self) -> None:
        if self._admin is not None:
            return
        # A client that cannot start leaves a thread behind (kafka-python 3.0.12): see first that something listens.
        why = kafka.nobody_there(self.settings)
        if why is not None:
            raise ConnectionFailed(f"Kafka at {self.settings.bootstrap_servers}: {why}")
        self._admin = kafka.admin_client(
            self.settings, "embedwatch-lag", request_timeout_ms=int(READ_SECONDS * 1000), metadata_max_age_ms=30_000
        )

    def _unread(self, trouble: str) -> Reading:
        now = self.clock.now()
        for log in self._logs.values():
            log.end, log.reason = None, trouble
        self._members = None
        return Reading(now, {p: log.sample(now, None) for p, log in sorted(self._logs.items())}, None, (), trouble)

    async def _read(self, deadline: float) -> float:
        if self.topics is None:
            committed = await self._read_commits(None, deadline)
            await self._read_roster(tuple(sorted({place.topic for place in committed})), deadline)
        else:
            await self._read_roster(self.topics, deadline)
            committed = await self._read_commits(list(self._logs), deadline)
        await self._read_members(deadline)
        now, begun = self.clock.now(), self.clock.monotonic()
        for number, (place, log) in enumerate(self._logs.items()):
            log.begin(committed.get(place), now, (number + self._round) % TURNS == 0)
        allowance = Allowance()
        todo = self._logs
        out_of_range: dict[Place, PartitionLog] = {}
        for number in range(ROUNDS):
            if out_of_range:
                await self._find_starts(out_of_range, deadline)
            took = self.clock.monotonic() - begun
            if number and took >= LOOK_AGAIN_SECONDS:
                todo = {place: log for place, log in todo.items() if log.oldest_timestamp_seconds is None}
            if not todo or (number and took >= LOOK_SECONDS):
                break
            todo, out_of_range = await self._fetch_round(todo, allowance, deadline)
            if number == 0:
                now = self.clock.now()
        self._round += 1
        return now

    async def _read_commits(self, places: list[Place] | None, deadline: float) -> dict[Place, int]:
        """What the group has committed, everywhere without `places`; nothing where it never did, or does not exist."""
        if places is not None and not places:
            return {}
        wanted = None if places is None else [kafka.TopicPartition(*place) for place in places]
        answer = await self._coordinated(lambda: self._admin._async_list_group_offsets({self.group: wanted}), deadline)
        found = answer.get(self.group, {})
        return {Place(tp.topic, tp.partition): int(meta.offset) for tp, meta in found.items() if meta.offset >= 0}

    async def _coordinated(self, call: Any, deadline: float) -> Any:
        """A coordinator that moves, or is made for the first group of a cluster, is waited for."""
        manager = self._admin._manager
        while True:
            try:
                return await manager.wait_for(manager.call_soon(call), self._left_ms(deadline))
            except _RETRIABLE:
                manager.cluster._coordinators.clear()
                if self.clock.monotonic() + 0.2 >= deadline:
                    raise
                await manager._net.sleep(0.1)

    async def _read_roster(self, topics: tuple[str, ...], deadline: float) -> None:
        """Which partitions there are, and which broker has them."""
        begun = self.clock.monotonic()
        fresh = self._roster_read is not None and begun - self._roster_read < ROSTER_SECONDS
        if fresh and topics == self._roster_topics:
            return
        logs: dict[Place, PartitionLog] = {}
        missing = []
        if topics:
            request = MetadataRequest(
                topics=[MetadataRequest.MetadataRequestTopic(name=topic) for topic in topics],
                allow_auto_topic_creation=False,
            )
            answer = await self._send(request, None, deadline)
            for topic in answer.topics:
                if topic.error_code == kafka_errors.UnknownTopicOrPartitionError.errno:
                    missing.append(topic.name)
                    continue
                if topic.error_code:
                    # Known partitions stay, so that they are said to be unknown.
                    reason = _reason(topic.error_code)
                    for place, log in self._logs.items():
                        if place.topic == topic.name:
                            logs[place], log.leader, log.reason = log, -1, reason
                    if not any(place.topic == topic.name for place in logs):
                        raise kafka_errors.for_code(topic.error_code)(topic.name)
                    continue
                for part in topic.partitions:
                    place = Place(topic.name, part.partition_index)
                    log = self._logs.get(place) or PartitionLog(part.leader_id, topic.topic_id)
                    if log.topic_id != topic.topic_id:
                        log = PartitionLog(part.leader_id, topic.topic_id)  # made anew
                    log.leader = part.leader_id
                    logs[place] = log
        self._logs, self._missing, self._roster_topics = logs, tuple(missing), topics
        self._roster_read = begun

    async def _read_members(self, deadline: float) -> None:
        """None where the broker does not tell."""
        begun = self.clock.monotonic()
        # A group without members is looked at each time: its first member changes what is said of it.
        if self._members and self._members_read is not None and begun - self._members_read < ROSTER_SECONDS:
            return
        self._members_read = begun
        try:
            self._members = await self._coordinated(lambda: self._describe(deadline), deadline)
        except (kafka.KafkaError, OSError):  # not allowed, perhaps: lag is told without it
            self._members = None

    async def _describe(self, deadline: float) -> int | None:
        node = await self._admin._find_coordinator_id(self.group)
        # Without kafka-python's own `describe_groups`: it cannot read what the embedded broker says of permissions.
        request = DescribeGroupsRequest(groups=[self.group], include_authorized_operations=False)
        group = (await self._send(request, node, deadline)).groups[0]
        error = kafka_errors.for_code(group.error_code)
        if error in _RETRIABLE:
            raise error(self.group)
        if error is not kafka_errors.NoError and error is not kafka_errors.GroupIdNotFoundError:
            return None
        if error is kafka_errors.NoError and group.group_state != "Dead":
            return len(group.members)
        # There is none, or it is of a newer protocol (KIP-848), of which this request knows nothing.
        listed = await self._admin._async_list_groups([node])
        states = [each.get("group_state") for each in listed if each["group_id"] == self.group]
        return 0 if not states or states[0] in ("Empty", "Dead") else None

    async def _fetch_round(
        self, todo: Mapping[Place, PartitionLog], allowance: Allowance, deadline: float
    ) -> tuple[dict[Place, PartitionLog], dict[Place, PartitionLog]]:
        """One Fetch to each broker. Returns what has to be asked again, and those of it without a known log start."""
        by_leader: dict[int, list[Place]] = defaultdict(list)
        for place, log in todo.items():
            if log.leader < 0:
                log.reason = log.reason or "the partition has no leader"
            else:
                by_leader[log.leader].append(place)
        sent = {}
        for leader, places in by_leader.items():
            # What does not fit into the answer of this reading may come first in the next.
            turn = self._round * 997 % len(places)
            places = sorted(places[turn:] + places[:turn], key=lambda p: todo[p].oldest_timestamp_seconds is not None)
            sent[leader] = self._admin._manager.send(self._fetch(places), node_id=leader)
        again: dict[Place, PartitionLog] = {}
        lost: dict[Place, PartitionLog] = {}
        for leader, future in sent.items():
            try:
                answer = await self._admin._manager.wait_for(future, self._left_ms(deadline))
            except (kafka.KafkaError, OSError) as error:
                for place in by_leader[leader]:
                    todo[place].reason = kafka.describe_error(error)
                continue
            now = self.clock.now()
            if answer.error_code:
                raise kafka_errors.for_code(answer.error_code)()
            for topic in answer.responses:
                for part in topic.partitions:
                    place = Place(topic.topic, part.partition_index)
                    log = todo[place]
                    if part.error_code == kafka_errors.OffsetOutOfRangeError.errno:
                        again[place] = lost[place] = log
                    elif part.error_code:
                        log.reason = _reason(part.error_code)
                    elif not log.answered(part, self.read_committed, allowance, now):
                        again[place] = log
        self._ask_for_usual(again)
        return again, lost

    def _ask_for_usual(self, again: Mapping[Place, PartitionLog]) -> None:
        """Batches of a topic are alike: what one partition's is like saves others the search for their size."""
        sizes: dict[str, list[int]] = defaultdict(list)
        for place, log in self._logs.items():
            if log.batch_bytes is not None:
                sizes[place.topic].append(log.batch_bytes)
        usual = {topic: median(found) * 5 // 4 for topic, found in sizes.items()}
        for place, log in again.items():
            log.ask_for(max(log.partition_bytes, int(usual.get(place.topic, 0))))

    def _fetch(self, places: list[Place]) -> Any:
        topics: dict[str, list[Any]] = defaultdict(list)
        partition = FetchRequest.FetchTopic.FetchPartition
        for place in places:
            log = self._logs[place]
            topics[place.topic].append(
                partition(
                    partition=place.partition, fetch_offset=log.seen.next_offset,
                    partition_max_bytes=log.wanted_bytes,
                )
            )  # fmt: skip
        return FetchRequest(
            max_wait_ms=FETCH_WAIT_MS, min_bytes=0, max_bytes=FETCH_BYTES, isolation_level=int(self.read_committed),
            session_id=0, session_epoch=-1, forgotten_topics_data=[], rack_id="",
            topics=[FetchRequest.FetchTopic(topic=name, partitions=parts) for name, parts in topics.items()],
            min_version=4, max_version=_FETCH_VERSION,
        )  # fmt: skip

    async def _find_starts(self, logs: Mapping[Place, PartitionLog], deadline: float) -> None:
        """Where logs begin whose commits are not in them."""
        by_leader: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, log in logs.items():
            by_leader[log.leader][place.topic].append(place.partition)
        topic_spec = ListOffsetsRequest.ListOffsetsTopic
        for leader, topics in by_leader.items():
            asked = [
                topic_spec(name=name, partitions=[_earliest(topic_spec.ListOffsetsPartition, part) for part in parts])
                for name, parts in topics.items()
            ]
            request = ListOffsetsRequest(isolation_level=0, min_version=1, topics=asked)
            answer = await self._send(request, leader, deadline)
            for topic in answer.topics:
                for part in topic.partitions:
                    log = logs[Place(topic.name, part.partition_index)]
                    if part.error_code:
                        log.reason = _reason(part.error_code)
                    else:
                        log.out_of_range(part.offset)

    def _learn_usual_texts(self) -> None:
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for place, log in self._logs.items():
            sums[place.topic][0] += log.seen.decoded_texts
            sums[place.topic][1] += log.seen.decoded_records
        self._usual_texts |= {topic: texts / records for topic, (texts, records) in sums.items() if records}

    async def _send(self, request: Any, node: int | None, deadline: float) -> Any:
        manager = self._admin._manager
        return await manager.wait_for(manager.send(request, node_id=node), self._left_ms(deadline))

    def _left_ms(self, deadline: float) -> float:
        return max(1.0, (deadline - self.clock.monotonic()) * 1000)


def _reason(code: int) -> str:
    return kafka.describe_error(kafka_errors.for_code(code)())


def _earliest(spec: Any, partition: int) -> Any:
    return spec(partition_index=partition, timestamp=_EARLIEST, current_leader_epoch=-1)
