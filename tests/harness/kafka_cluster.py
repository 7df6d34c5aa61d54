"""Several Apache Kafka brokers (KRaft, each broker and controller in one process) on loopback ports, for tests.

    with KafkaCluster(folder, brokers=3, ways=("worker", "agents")) as kafka:
        kafka.bootstrap_servers            # for who is never cut off: the test itself
        kafka.way("worker")                # the same brokers, by listeners of their own
        kafka.kill(2); kafka.launch(2)

A *way* is one more listener of every broker. What the brokers advertise there is an address that `advertise` gives: of
a proxy between them and one kind of client, which can then be slowed down or cut off alone.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from embedwatch.errors import EmbedwatchError
from embedwatch.processes import Child, port_answers
from embedwatch.settings import KafkaSettings
from tests.harness.apache_kafka import HOST, LOG4J, CannotRun, cluster_id, quiet_port, why_not
from tests.harness.kafka_jars import java_program, resolve

START_TIMEOUT_SECONDS = 90.0

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=DIRECT
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map={protocols}
log.dirs={data}
auto.create.topics.enable=false
num.network.threads=1
num.io.threads=4
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
controller.quorum.election.timeout.ms=1500
controller.quorum.fetch.timeout.ms=3000
replica.lag.time.max.ms=5000
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=500
# Each log has two index files that are laid out at this size: the disk of a broker is small here.
log.index.size.max.bytes=65536
auto.leader.rebalance.enable=false
min.insync.replicas={topics_in_sync}
offsets.topic.replication.factor={brokers}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={brokers}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={brokers}
share.coordinator.state.topic.min.isr={in_sync}
"""

_JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")


class KafkaCluster:
    """Start it from the main thread. `folder` takes configuration and logs, `data_folder(node)` the data."""

    def __init__(
        self,
        folder: Path,
        *,
        brokers: int = 3,
        ways: Sequence[str] = (),
        advertise: Callable[[str, int, int], int] = lambda _way, _node, port: port,
        say: Callable[[str], None] = lambda _: None,
        in_sync: int | None = None,
    ) -> None:
        """`in_sync`: the brokers' own `min.insync.replicas` (all but one), which is 1 where nobody sets it."""
        self.folder = folder
        self.nodes = tuple(range(1, brokers + 1))
        self._say = say
        self._in_sync = in_sync
        self._ways = tuple(ways)
        self._controllers = {node: quiet_port() for node in self.nodes}
        self._direct = {node: quiet_port() for node in self.nodes}
        self._ports = {(way, node): quiet_port() for way in ways for node in self.nodes}
        self._advertised = {(way, node): advertise(way, node, port) for (way, node), port in self._ports.items()}
        self._children: dict[int, Child] = {}
        self._jars: Path | None = None
        self._cluster_id = cluster_id()

    def __enter__(self) -> KafkaCluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        return ",".join(f"{HOST}:{self._direct[node]}" for node in self.nodes)

    def way(self, name: str) -> str:
        """Bootstrap servers of one way."""
        return ",".join(f"{HOST}:{self._advertised[name, node]}" for node in self.nodes)

    def data_folder(self, node: int) -> Path:
        """Where its log is. Whoever wants it on a disk of its own mounts one there before the start."""
        return self.folder / f"data-{node}"

    def process(self, node: int) -> subprocess.Popen[bytes]:
        return self._children[node].process

    def running(self, node: int) -> bool:
        return node in self._children and self._children[node].running()

    def start(self) -> None:
        """Until all answer. Raises `CannotRun` without Java or jars, `EmbedwatchError` with the last words."""
        reason = why_not()
        if reason is not None:
            raise CannotRun(reason)
        self._jars = resolve(self._say)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.xml").write_text(LOG4J, encoding="utf-8")
        try:
            for node in self.nodes:
                self._format(node)
            for node in self.nodes:
                self.launch(node)
            for node in self.nodes:
                self.wait(node)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.stop(timeout_seconds=20.0)

    def launch(self, node: int) -> None:
        """Start one, without waiting for it."""
        program = self._java(node, "kafka.Kafka", str(self._properties(node)))
        self._children[node] = Child(f"broker {node}", program, self.folder / f"broker-{node}.out")

    def wait(self, node: int) -> None:
        """Until it serves: its port opens only at the end of its start."""
        from embedwatch.kafka import wait_for_broker  # slow to import: not for those who run unit tests

        port = self._direct[node]
        self._children[node].wait_until(
            lambda: port_answers(port, HOST), START_TIMEOUT_SECONDS, f"readiness (log: {self._log(node)})"
        )
        wait_for_broker(KafkaSettings(bootstrap_servers=f"{HOST}:{port}"), START_TIMEOUT_SECONDS)

    def kill(self, node: int) -> None:
        """kill -9; the data stays."""
        self.process(node).kill()
        self.process(node).wait(10)

    def halt(self, node: int) -> None:
        """SIGTERM, and it hands over what it leads."""
        self._children[node].stop(timeout_seconds=60.0)

    def _log(self, node: int) -> Path:
        return self.folder / f"broker-{node}.log"

    def _properties(self, node: int) -> Path:
        return self.folder / f"broker-{node}.properties"

    def _format(self, node: int) -> None:
        names = ("DIRECT", *(way.upper() for way in self._ways))
        ports: Mapping[str, int] = {"DIRECT": self._direct[node]} | {
            way.upper(): self._ports[way, node] for way in self._ways
        }
        advertised: Mapping[str, int] = {"DIRECT": self._direct[node]} | {
            way.upper(): self._advertised[way, node] for way in self._ways
        }
        listeners = [f"{name}://{HOST}:{ports[name]}" for name in names]
        self._properties(node).write_text(
            _PROPERTIES.format(
                node=node,
                voters=",".join(f"{each}@{HOST}:{port}" for each, port in self._controllers.items()),
                listeners=",".join([*listeners, f"CONTROLLER://{HOST}:{self._controllers[node]}"]),
                advertised=",".join(f"{name}://{HOST}:{advertised[name]}" for name in names),
                protocols=",".join(f"{name}:PLAINTEXT" for name in (*names, "CONTROLLER")),
                data=self.data_folder(node) / "log",
                brokers=len(self.nodes),
                in_sync=max(1, len(self.nodes) - 1),
                topics_in_sync=max(1, len(self.nodes) - 1) if self._in_sync is None else self._in_sync,
            ),
            encoding="utf-8",
        )
        command = self._java(
            node, "kafka.tools.StorageTool", "format", "-t", self._cluster_id, "-c", str(self._properties(node))
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise EmbedwatchError(f"the storage of broker {node} could not be formatted: {done.stderr[-500:]}")

    def _java(self, node: int, *main: str) -> list[str]:
        java = java_program()
        if java is None or self._jars is None:
            raise CannotRun("there is no java on PATH")
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.xml'}"
        return [java, *_JVM, "-cp", f"{self._jars}/*", log4j, f"-Dembedwatch.log={self._log(node)}", *main]
