"""What each fault is: how it begins, and how it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from embedwatch.errors import ConnectionFailed
from embedwatch.kafka import KafkaError, TopicPartition, admin_client
from tests.chaos.faults import Fault
from tests.chaos.world import WAYS, World
from tests.harness import moved_clock
from tests.harness.proxy import Mode


class Breaker:
    """Breaks the processes and lines of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def begin(self, fault: Fault) -> Callable[[], None]:
        """Let it happen; what is given back ends it."""
        match fault.kind:
            case "slow" | "silent" | "cut":
                return self._network(fault)
            case "leader":
                return self._move_leaders()
            case "disk-full":
                return self._fill(fault)
            case "clock":
                return self._move_clock(fault)
        match fault.victim:
            case "broker":
                return self._broker_fault(fault)
            case "redis":
                return self._redis_fault(fault)
            case "worker" if fault.which % 2 and (pid := self._scaled_worker()) is not None:
                return self._scaled_fault(fault, pid)
        return self._stage_fault(fault)

    def _stage_fault(self, fault: Fault) -> Callable[[], None]:
        name: str = fault.victim
        process = self._world.children[name].process
        if fault.kind == "freeze":
            return _frozen(process.pid)
        self._world.down.add(name)
        if fault.kind == "kill":
            process.kill()
            process.wait(30)
        else:
            started = time.monotonic()
            process.terminate()
            status = process.wait(60)
            wanted = (0, -15, 143) if name == "producer" else (0, -15)
            words = self._world.children[name].last_words(3)
            if (status == 4 and "Kafka does not answer; ended at once" in words) or (
                status == 5 and "not acknowledged" in words and "Nothing of this poll was committed" in words
            ):
                # A broker that fails in the same moment: it says that it did not wait, or what had no answer in the
                # time that there is to stop, and nothing is lost by that.
                self._world.run.ended_alone += 1
                wanted = (*wanted, status)
            # -15: the signal came before the process knew what to do with it
            assert status in wanted, (
                f"{name} ended with {status} on SIGTERM: {self._world.children[name].last_words(30)}"
            )
            self._world.say(f"  {name} stopped in {time.monotonic() - started:.1f} s")
        return self._world.go_on if name == "producer" else lambda: self._world.launch(name)

    def _scaled_worker(self) -> int | None:
        """The autoscaler's worker, by the last word of the autoscaler about it."""
        found = re.findall(r" scaled\S* started, process (\d+)", self._world.children["autoscaler"].log.read_text())
        alive = bool(found) and Path(f"/proc/{found[-1]}").exists()
        return int(found[-1]) if alive else None

    def _scaled_fault(self, fault: Fault, pid: int) -> Callable[[], None]:
        """The autoscaler itself has to start it again."""
        if fault.kind == "freeze":
            return _frozen(pid)
        os.kill(pid, signal.SIGKILL if fault.kind == "kill" else signal.SIGTERM)
        return lambda: None

    def _broker_fault(self, fault: Fault) -> Callable[[], None]:
        if self._world.embedded is not None:
            assert fault.kind == "freeze", "a restart of the embedded broker loses everything"
            assert self._world.embedded.pid is not None
            return _frozen(self._world.embedded.pid)
        cluster, node = self._world.cluster, self._node(fault)
        assert cluster is not None
        if fault.kind == "freeze":
            return _frozen(cluster.process(node).pid)
        self._world.down.add(f"broker-{node}")
        if fault.kind == "kill":
            cluster.kill(node)
        else:
            cluster.halt(node)
        return lambda: self._launch_broker(node)

    def _launch_broker(self, node: int) -> None:
        assert self._world.cluster is not None
        self._world.cluster.launch(node)
        self._world.down.discard(f"broker-{node}")

    def _node(self, fault: Fault) -> int:
        assert self._world.cluster is not None
        return self._world.cluster.nodes[fault.which % len(self._world.cluster.nodes)]

    def _redis_fault(self, fault: Fault) -> Callable[[], None]:
        assert self._world.cache.pid is not None
        if fault.kind == "freeze":
            return _frozen(self._world.cache.pid)
        if fault.kind == "kill":
            os.kill(self._world.cache.pid, signal.SIGKILL)
        self._world.cache.stop()
        return self._world.cache.start

    def _network(self, fault: Fault) -> Callable[[], None]:
        names = ["redis"]
        if self._world.cluster is not None and fault.victim == "broker":
            names = [f"{way}:{self._node(fault)}" for way in WAYS]
        elif self._world.cluster is not None and fault.victim != "redis":
            names = [f"{fault.victim}:{node}" for node in self._world.cluster.nodes]
        mode: Mode = fault.kind  # type: ignore[assignment]
        for name in names:
            self._world.board.set(name, mode)

        def lift() -> None:
            for name in names:
                self._world.board.set(name, "pass")

        return lift

    def _move_leaders(self) -> Callable[[], None]:
        """Every partition gets its next replica as its leader. Where a broker is away just now, at the fault's end."""
        try:
            self._move_once()
        except (KafkaError, ConnectionFailed):
            return self._move_soon
        return lambda: None

    def _move_soon(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._move_once()
            except (KafkaError, ConnectionFailed):
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.5)

    def _move_once(self) -> None:
        admin = admin_client(self._world.kafka)
        try:
            moved: dict[TopicPartition, list[int]] = {}
            for topic in admin.describe_topics():
                for part in topic["partitions"]:
                    first, *others = part["replica_nodes"]
                    moved[TopicPartition(topic["name"], part["partition_index"])] = [*others, first]
            admin.alter_partition_reassignments(moved)
            admin.elect_leaders(0, raise_errors=False)
        finally:
            admin.close()

    def _fill(self, fault: Fault) -> Callable[[], None]:
        name = "agents" if fault.victim == "agents" else f"broker-{self._node(fault)}"
        ballast = self._world.disks[name] / "ballast"
        with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(b"\0" * 1024 * 1024)
        with ballast.open("ab", buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(b"\0" * 4096)
        if fault.victim == "agents":
            # What they hold on to is written when they start: they do so on a full disk.
            self._world.down.add("agents")
            self._world.children["agents"].process.kill()
            self._world.children["agents"].process.wait(30)
            self._world.launch("agents")
            return lambda: ballast.unlink()
        self._world.down.add(name)

        def lift() -> None:
            assert self._world.cluster is not None
            ballast.unlink()
            node = self._node(fault)
            if not self._world.cluster.running(node):
                self._world.cluster.launch(node)
            self._world.down.discard(name)

        return lift

    def _move_clock(self, fault: Fault) -> Callable[[], None]:
        file = self._world.clocks[fault.victim]
        moved_clock.write(file, fault.jump_seconds)
        return lambda: moved_clock.write(file, 0.0)


def _frozen(pid: int) -> Callable[[], None]:
    """SIGSTOP now; what is given back is SIGCONT."""
    os.kill(pid, signal.SIGSTOP)

    def lift() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return lift
