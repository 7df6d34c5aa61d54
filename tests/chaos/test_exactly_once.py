"""Workers killed at random moments on Apache Kafka, exactly once: every text has one vector, and the numbers are true.

`make chaos` runs it, 20 times or RUNS=n. A failed run is repeated with the seed in its name.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from embedwatch import codec, wire
from embedwatch.events import BatchEvent
from embedwatch.processes import Child
from tests.harness.brokers import Broker, settings_for
from tests.harness.kafka_io import read_committed
from tests.harness.workers import HASHING, PARTITIONS, Flow, said

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.timeout(300)]

RUNS = int(os.environ.get("EMBEDWATCH_TEST_CHAOS_RUNS", "20"))
NAMES = ("one", "two")
CHUNKS, TEXTS_IN_CHUNK, SINGLES, BAD = 40, 10, 40, 5
DONE_SECONDS = 120.0
EXACTLY_ONCE = ("--delivery", "exactly_once", "--hashing-seconds-per-text", 0.01, "--max-poll-texts", 20)


class Chaos:
    """One run: a known set of texts, two workers, and a source of accidents."""

    def __init__(self, broker: Broker, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.flow = Flow(settings_for(broker), folder)
        self._stack = contextlib.ExitStack()
        self.workers: dict[str, Child] = {}
        self.texts: dict[str, str] = {}
        self.arguments: tuple[object, ...] = ()

    def __enter__(self) -> Chaos:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def send(self) -> None:
        """Chunks and single texts, of which some are copies of others, and some that cannot be embedded."""
        words = ("alpha", "beta", "gamma", "delta")

        def text() -> str:
            return " ".join(self.random.choices(words, k=self.random.randint(1, 6)))

        for number in range(CHUNKS):
            ids = [f"c{number}-{place}" for place in range(TEXTS_IN_CHUNK)]
            bodies = [text() for _ in ids]
            tenant = self.random.choice(("acme", "globex", None))
            headers = wire.chunk_headers(len(ids), tenant=tenant)
            self.flow.send([(ids[0].encode(), wire.encode_chunk(ids, bodies), headers)])
            self.texts |= dict(zip(ids, bodies, strict=True))
        singles = {f"s{number}": text() for number in range(SINGLES)}
        self.flow.send((name.encode(), body.encode(), []) for name, body in singles.items())
        self.texts |= singles
        self.flow.send((f"bad{number}".encode(), b"\xff", []) for number in range(BAD))

    def start(self, name: str) -> None:
        arguments = (*HASHING, *EXACTLY_ONCE, *self.arguments, "--name", name)
        self.workers[name] = self._stack.enter_context(self.flow.worker(*arguments))

    def kill(self, name: str) -> None:
        self.workers[name].process.kill()
        self.workers[name].process.wait(30)

    def vectors(self) -> list[Any]:
        return read_committed(self.flow.kafka, self.flow.topics.vectors, partitions=PARTITIONS)

    def wait_until_done(self) -> None:
        deadline = time.monotonic() + DONE_SECONDS
        while sum(1 for _ in self.ids()) < len(self.texts) or len(self.letters()) < BAD:
            assert time.monotonic() < deadline, [child.last_words() for child in self.workers.values()]
            for name, child in list(self.workers.items()):
                code = child.process.poll()
                assert code is None, f"worker {name} ended with {code}: {child.last_words()}"
            time.sleep(0.5)

    def stop(self) -> None:
        for child in self.workers.values():
            said(child, "worker: ready")  # from there on a signal is obeyed rather than fatal
            child.process.terminate()
        for child in self.workers.values():
            assert child.process.wait(60) == 0, child.last_words()

    def ids(self) -> list[str]:
        return [name for r in self.vectors() for name, _ in wire.read_vectors(r.key, r.value, r.headers)]

    def letters(self) -> list[str]:
        return [r.key.decode() for r in read_committed(self.flow.kafka, self.flow.topics.dead_letters)]

    def check(self) -> None:
        """Everything once: vectors, dead letters, and what the events count."""
        assert Counter(self.ids()) == Counter(list(self.texts))
        assert Counter(self.letters()) == Counter(f"bad{number}" for number in range(BAD))
        records = read_committed(self.flow.kafka, self.flow.topics.metrics, partitions=PARTITIONS)
        events = [event for r in records if isinstance(event := codec.decode_metric(r.value), BatchEvent)]
        assert sum(event.texts for event in events) == len(self.texts) + BAD
        assert sum(sum(event.errors.values()) for event in events) == BAD
        assert sum(event.tokens_received for event in events) == sum(len(body.split()) for body in self.texts.values())
        assert sum(event.tokens_embedded + event.tokens_saved for event in events) == sum(
            event.tokens_received for event in events
        )
        assert len({event.event_id for event in events}) == len(events)


@pytest.mark.parametrize("seed", range(RUNS))
def test_kill_9_at_random_moments_loses_and_doubles_nothing(apache_kafka: Broker, tmp_path: Path, seed: int) -> None:
    with Chaos(apache_kafka, tmp_path, seed) as chaos:
        chaos.send()
        for name in NAMES:
            chaos.start(name)
        for _ in range(chaos.random.randint(2, 4)):
            time.sleep(chaos.random.uniform(0.2, 4.0))
            victims = chaos.random.sample(NAMES, chaos.random.choice((1, 1, 2)))
            for name in victims:
                chaos.kill(name)
            for name in victims:
                chaos.start(name)
        chaos.wait_until_done()
        chaos.stop()
        chaos.check()


def test_sigterm_in_the_middle_doubles_nothing(apache_kafka: Broker, tmp_path: Path) -> None:
    with Chaos(apache_kafka, tmp_path, 1000) as chaos:
        chaos.send()
        for _ in range(2):
            for name in NAMES:
                chaos.start(name)
            time.sleep(chaos.random.uniform(5.0, 6.0))
            chaos.stop()
        for name in NAMES:
            chaos.start(name)
        chaos.wait_until_done()
        chaos.stop()
        chaos.check()


@pytest.mark.restarts_broker
@pytest.mark.parametrize("own_broker", ["apache-kafka"], indirect=True)
def test_a_broker_started_again_in_the_middle_doubles_nothing(own_broker: Broker, tmp_path: Path) -> None:
    assert own_broker.restart is not None
    with Chaos(own_broker, tmp_path, 2000) as chaos:
        chaos.send()
        chaos.arguments = ("--broker-retry-seconds", 15)
        for name in NAMES:
            chaos.start(name)
        time.sleep(5.0)
        own_broker.restart()
        # kafka-python may hear nothing more of a transaction that was open then: the worker connects anew.
        chaos.wait_until_done()
        chaos.stop()
        chaos.check()
