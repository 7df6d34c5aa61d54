"""One trial of the stream agents: a truth that is published bit by bit while agents are killed, stopped and started."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from embedwatch.codec import encode
from embedwatch.events import BatchEvent
from embedwatch.kafka import TopicPartition, consumer, producer, true_end_offsets
from embedwatch.processes import Child
from embedwatch.settings import KafkaSettings
from stream_agents.compute.history import is_state, partition_of
from tests.harness.agents import PARTITIONS, Agents, until
from tests.harness.agents_log import batch_event
from tests.harness.kafka_io import READ_TIMEOUT_SECONDS, opened
from tests.harness.truth import FIELDS, ZONES, Totals, Truth, differences, read_truth, totals_of

STEP_SECONDS = 0.05
COUNTED_SECONDS = 90.0


class Publisher:
    """Sends events in a thread, evenly over `seconds`, so that whatever happens meanwhile falls between them."""

    def __init__(self, kafka: KafkaSettings, topic: str, events: Sequence[BatchEvent], seconds: float, random: Random):
        self._kafka, self._topic, self._seconds = kafka, topic, seconds
        self._values = [(random.randrange(PARTITIONS), encode(event)) for event in events]
        self._hurry = threading.Event()
        self._trouble: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="publisher")
        self._thread.start()

    def finish(self) -> None:
        """Send what is left at once. Raises what went wrong; all is acknowledged when it returns."""
        self._hurry.set()
        self._thread.join(120)
        assert not self._thread.is_alive(), "events could not be published in time"
        if self._trouble is not None:
            raise self._trouble

    def _run(self) -> None:
        try:
            with opened(producer(self._kafka, "truth")) as client:
                count = max(int(len(self._values) * STEP_SECONDS / self._seconds), 1)
                sent = []
                for start in range(0, len(self._values), count):
                    for partition, value in self._values[start : start + count]:
                        sent.append(client.send(self._topic, value=value, partition=partition))
                    self._hurry.wait(STEP_SECONDS)
                client.flush(60)
                for future in sent:
                    future.get(30)
        except BaseException as error:
            self._trouble = error


class Trial:
    """Use as a context manager. `names` are the agents processes there may be, all of one group."""

    def __init__(self, kafka: KafkaSettings, folder: Path, seed: int, names: Sequence[str] = ("one",)) -> None:
        self.kafka, self.folder, self.random = kafka, folder, Random(seed)
        self.truth = Truth(self.random, self.random.choice(ZONES), time.time())
        self.agents: dict[str, Agents] = {}
        for name in names:
            (folder / name).mkdir()
            self.agents[name] = Agents(kafka, folder / name, create=not self.agents)
        self.topics, self.app_id = self.agents[names[0]].topics, self.agents[names[0]].app_id
        self.running: dict[str, Child] = {}
        self.kills = 0
        self._publisher: Publisher | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *error: object) -> None:
        if self._publisher is not None and error[0] is not None:
            with contextlib.suppress(BaseException):
                self._publisher.finish()
        self._stack.close()

    def publish(self, seconds: float) -> None:
        """Begin to publish all events over so many seconds."""
        self._publisher = Publisher(self.kafka, self.topics.metrics, self.truth.events, seconds, self.random)

    def start(self, name: str, *, ready: bool = True) -> None:
        self.running[name] = self._stack.enter_context(self.agents[name].running("--timezone", self.truth.zone))
        if ready:
            self.agents[name].wait_ready(self.running[name])

    def pause(self, least_seconds: float, most_seconds: float) -> None:
        time.sleep(self.random.uniform(least_seconds, most_seconds))

    def wait_counting(self, name: str) -> None:
        """Until this process counts events that it has not been given before."""

        def texts() -> int:
            rows = self.agents[name].get("/api/v1/ledger?scope=all")[1].get("rows", [])
            return sum(row["texts"] for row in rows)

        before = texts()
        until(lambda: texts() > before, f"counting by {name}")

    def kill(self, name: str) -> None:
        child = self.running.pop(name)
        child.process.kill()
        child.process.wait(30)
        self.kills += 1

    def stop(self, name: str) -> None:
        """SIGTERM, and it ends well."""
        child = self.running.pop(name)
        child.process.terminate()
        assert child.process.wait(30) == 0, child.last_words()

    def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP for so long, then SIGCONT."""
        process = self.running[name].process
        process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Publish the rest, and compare what the processes serve, and what the state topic holds, with the truth."""
        assert self._publisher is not None
        self._publisher.finish()
        marks = [self.truth.add(self._mark(partition)) for partition in range(PARTITIONS)]
        with opened(producer(self.kafka, "truth-marks")) as client:
            for partition, event in enumerate(marks):
                client.send(self.topics.metrics, value=encode(event), partition=partition).get(30)
        file = self.folder / "truth.json"
        self.truth.write(file)
        truth = read_truth(file)
        served = [(f"the API of {name}", partial(self.served, name)) for name in self.running]
        for what, read in (*served, ("the state topic", self.written)):
            self._wait_counted(what, read)
            if len(self.running) > 1:
                # Each answers for the whole, and hears of the partitions of the others a moment later.
                until(lambda read=read: not differences(truth, read()), f"agreement of {what} with the truth")  # type: ignore[misc]
                time.sleep(1.0)
            found = differences(truth, read())
            assert not found, f"{what} differs from {file} in {len(found)} numbers: {found[:12]}; {self.last_words()}"
        for name, agents in self.agents.items():
            if name in self.running:
                assert agents.get("/api/v1/summary")[1]["rejected_events"] == {}
            for log in agents.folder.glob("agents-*.log"):
                assert "Traceback" not in log.read_text(errors="replace"), log.read_text(errors="replace")[-3000:]

    def _mark(self, partition: int) -> BatchEvent:
        return batch_event(time_seconds=self.truth.now, tenant=f"mark-{partition}")

    def _wait_counted(self, what: str, read: Any) -> None:
        """A partition is read in order: behind its mark, nothing of what was published before is still to come."""
        wanted = {f"tenant=mark-{partition}" for partition in range(PARTITIONS)}
        deadline = time.monotonic() + COUNTED_SECONDS
        while missing := wanted - {scope for _, scope in read()}:
            assert time.monotonic() < deadline, f"{what} lacks {sorted(missing)}; {self.last_words()}"
            time.sleep(0.5)

    def served(self, name: str) -> Totals:
        """The ledger that a running process serves: of all partitions."""
        status, data = self.agents[name].get("/api/v1/ledger")
        return totals_of(data.get("rows", []) if status == 200 else [])

    def written(self) -> Totals:
        """What the state topic holds of all partitions: what the next process will start from."""
        return totals_of(
            {"day": day, "scope": scope, **dict.fromkeys(FIELDS, 0), **fields}  # a state does not write zeros
            for record in read_states(self.kafka, self.app_id).values()
            for day, scopes in record["days"].items()
            for scope, fields in scopes.items()
        )

    def last_words(self) -> str:
        return "; ".join(f"{name}: {child.last_words()}" for name, child in self.running.items())


def read_states(kafka: KafkaSettings, app_id: str, partitions: int = PARTITIONS) -> dict[int, dict[str, Any]]:
    """The last state record of every source partition, from the changelog of the agents' table."""
    logs = [TopicPartition(f"{app_id}-state-changelog", partition) for partition in range(partitions)]
    ends = true_end_offsets(kafka, logs)
    assert len(ends) == len(logs), f"only {len(ends)} partitions of {logs[0].topic} answered"
    states: dict[int, dict[str, Any]] = {}
    with opened(consumer(kafka, "state-reader", group=None)) as client:
        client.assign(logs)
        client.seek_to_beginning()
        deadline = time.monotonic() + READ_TIMEOUT_SECONDS
        while any(client.position(log) < end for log, end in ends.items()):
            assert time.monotonic() < deadline, f"{logs[0].topic} could not be read to its end"
            for log, records in client.poll(200).items():
                for record in records:
                    # State belongs to its source partition, so its record must lie in the partition of that number.
                    key = json.loads(record.key)
                    assert partition_of(key) == log.partition
                    if not is_state(key):
                        continue
                    states[log.partition] = json.loads(record.value)
    return states
