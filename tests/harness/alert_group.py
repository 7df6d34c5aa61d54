"""A group of alerting processes without Kafka: real services on one broker in memory, run cycle by cycle.

The broker keeps verdicts, committed offsets and states, and gives the one partition to the member that is longest
there. A member that was sent away learns of it as on Kafka: when a commit is refused, or, if a heartbeat got through,
at its next poll.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors as kafka_errors

from alerting import service as service_module
from alerting.calm import Calm
from alerting.parcels import Parcel, Traits
from alerting.policy import Policy
from alerting.service import AlertingService
from alerting.states import AlertState, Ref, decode, encode
from alerting.store import Stored
from embedwatch.codec import encode as encode_event
from embedwatch.errors import ConnectionFailed
from embedwatch.kafka import TopicPartition
from embedwatch.settings import AlertSettings, KafkaSettings, Settings
from tests.harness.verdicts import verdict

SESSION_SECONDS = 10.0
START_SECONDS = 1_000_000.0
TOPIC = "verdicts"
PARTITION = TopicPartition(TOPIC, 0)


class HandClock:
    """Moved by the test. A machine that sleeps moves only the time of day."""

    def __init__(self) -> None:
        self.awake_seconds = self.asleep_seconds = 0.0

    def now(self) -> float:
        return START_SECONDS + self.awake_seconds + self.asleep_seconds

    def monotonic(self) -> float:
        return self.awake_seconds

    def advance(self, seconds: float, *, asleep: bool = False) -> None:
        if asleep:
            self.asleep_seconds += seconds
        else:
            self.awake_seconds += seconds


class Broker:
    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.verdicts: list[bytes] = []
        self.committed: int | None = None
        self.states: dict[str, bytes] = {}
        self.writes: list[tuple[str, str, str]] = []  # who, alert, status
        self.members: list[str] = []
        self.generation = 0
        self.reachable = True

    def say(self, judgement: Any, name: str = "all") -> None:
        self.verdicts.append(encode_event(verdict(judgement, self.clock.now(), alert_id=f"latency|{name}")))

    def state(self, name: str = "all") -> AlertState:
        return decode(self.states[f"latency|{name}"])

    def evict(self, member: str) -> None:
        """It was silent for longer than its session."""
        self.members.remove(member)
        self.generation += 1


class GroupConsumer:
    """What the service asks of a `KafkaConsumer`."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker, self.name = broker, name
        self.listener: Any = None
        self.generation: int | None = None
        self.mine: set[Any] = set()
        self.at = 0

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.listener = listener

    def heartbeat(self) -> None:
        """The group says whether it knows this member."""
        if self.name not in self.broker.members or self.generation != self.broker.generation:
            self.generation = None

    def poll(self, timeout_ms: int) -> Mapping[Any, list[Any]]:
        broker = self.broker
        if self.generation is None:
            self.listener.on_partitions_revoked(self.mine)
            if self.name not in broker.members:
                broker.members.append(self.name)
                broker.generation += 1
            self.generation = broker.generation
            self.mine = {PARTITION} if broker.members[0] == self.name else set()
            self.listener.on_partitions_assigned(self.mine)
        if not self.mine:
            return {}
        found = [
            SimpleNamespace(
                topic=TOPIC, partition=0, offset=offset, key=b"k", value=value, timestamp=broker.clock.now() * 1000
            )
            for offset, value in enumerate(broker.verdicts)
            if offset >= self.at
        ]
        self.at = len(broker.verdicts)
        return {PARTITION: found} if found else {}

    def assignment(self) -> set[Any]:
        return set(self.mine)

    def committed(self, tp: Any, timeout_ms: int) -> int | None:
        return self.broker.committed

    def seek(self, tp: Any, offset: int) -> None:
        self.at = offset

    def seek_to_beginning(self, tp: Any) -> None:
        self.at = 0

    def position(self, tp: Any, timeout_ms: int | None = None) -> int:
        return self.at

    def commit(self, offsets: Mapping[Any, Any], timeout_ms: int) -> None:
        if not offsets:
            return
        if not self.broker.reachable:
            raise kafka_errors.KafkaTimeoutError
        self.heartbeat()
        if self.generation is None:
            raise kafka_errors.CommitFailedError
        self.broker.committed = offsets[PARTITION].offset

    def pause(self, tp: Any) -> None: ...

    def resume(self, tp: Any) -> None: ...

    def close(self, autocommit: bool, timeout_ms: int) -> None: ...


class MemoryStore:
    """In place of `alerting.store.Store`."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.broker, self.name = broker, name

    def save(self, states: Mapping[str, AlertState | None], letters: Any = (), books: Any = ()) -> None:
        if not self.broker.reachable:
            raise ConnectionFailed("alerts could not be stored")
        for alert_id, state in states.items():
            assert state is not None
            self.broker.states[alert_id] = encode(state)
            self.broker.writes.append((self.name, alert_id, state.status))

    def begin_term(self, term: int) -> None: ...

    def close(self) -> None: ...


class Quiet:
    """In place of actions and silences: there are none. `then` is run once, in the midst of a cycle."""

    def __init__(self) -> None:
        self.then: Callable[[], None] | None = None

    def rewind(self) -> None: ...

    def caught_up(self) -> bool:
        return True

    def apply(self, *_: Any) -> None:
        if self.then is not None:
            then, self.then = self.then, None
            then()

    def close(self) -> None: ...


class Channel:
    """One channel, as all processes see it; what may have arrived is looked for. `before` is run before each post."""

    address = "nowhere"
    traits = Traits(edits=True)

    def __init__(self, name: str = "slack") -> None:
        self.name = name
        self.posts: list[tuple[str, str]] = []  # news key and kind
        self.before: Callable[[Parcel], None] = lambda parcel: None

    def check(self) -> str:
        return "fine"

    def send(self, parcel: Parcel) -> Ref | None:
        self.before(parcel)
        known = [key for key, _ in self.posts]
        if not (parcel.doubtful and parcel.news_key in known):
            self.posts.append((parcel.news_key, parcel.message.kind))
        return Ref("C1", "1")

    @property
    def kinds(self) -> list[str]:
        return [kind for _, kind in self.posts]


class Process:
    """One alerting process. `cycle` runs it on; who does not call it has stopped it."""

    def __init__(self, broker: Broker, name: str, channel: Channel, patch: pytest.MonkeyPatch, **calm: Any) -> None:
        patch.setattr(service_module.store, "Store", lambda _: MemoryStore(broker, name))
        patch.setattr(
            service_module.store,
            "load_all",
            lambda _: Stored({key: decode(value) for key, value in broker.states.items()}, {}),
        )
        patch.setattr(service_module, "true_end_offsets", lambda _, tps: {tp: len(broker.verdicts) for tp in tps})
        for kind in ("Actions", "Silences"):
            patch.setattr(service_module, kind, lambda _: Quiet())
        settings = Settings(
            kafka=KafkaSettings(session_timeout_seconds=SESSION_SECONDS),
            alerts=AlertSettings(agents_silent_seconds=86_400),  # a test speaks for the agents, and not all the time
        )
        clock, policy = broker.clock, Policy((channel.name,))
        self.name, self.broker = name, broker
        self.service = AlertingService(settings, policy, [channel], clock, random.Random(1), Calm(**calm))
        self.consumer = GroupConsumer(broker, name)
        self.service._consumer = self.consumer
        self.consumer.subscribe([TOPIC], self.service._ownership)

    def cycle(self, seconds: float = 0.6) -> None:
        """One, and the clock goes on. What a sender was given is answered before the next one."""
        self.broker.clock.advance(seconds)
        self.service._cycle()
        self.answered()

    def answered(self) -> None:
        for sender in self.service._senders.values():
            if sender.in_flight is not None:
                result = self.service._results.get(timeout=10)
                self.service._results.put(result)

    def run(self, cycles: int) -> None:
        for _ in range(cycles):
            self.cycle()

    def in_midst_of_next_cycle(self, then: Callable[[], None]) -> None:
        silences: Any = self.service._silences
        silences.then = then

    def close(self) -> None:
        self.service._close()
