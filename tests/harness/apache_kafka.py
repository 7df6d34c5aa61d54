"""One Apache Kafka broker (KRaft, broker and controller in one process) on free loopback ports, for tests.

    with ApacheKafka(folder) as kafka:
        kafka.bootstrap_servers
        kafka.kill()      # kill -9
        kafka.restart()   # same address, same data

Small on purpose: 512 MiB of heap, few internal partitions, no replication. `KAFKA_BOOTSTRAP_SERVERS` in the
environment names a broker of the user's own instead; see `tests/conftest.py`.
"""

from __future__ import annotations

import base64
import random
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from embedwatch.errors import EmbedwatchError
from embedwatch.processes import Child, port_answers
from embedwatch.settings import KafkaSettings
from tests.harness.kafka_jars import CannotRun, java_program, resolve, why_not

__all__ = ["ApacheKafka", "CannotRun", "why_not"]

HOST = "127.0.0.1"
START_TIMEOUT_SECONDS = 60.0
_ATTEMPTS = 3

LOG4J = """\
<Configuration status="warn" shutdownHook="disable">
  <Appenders>
    <File name="file" fileName="${sys:embedwatch.log}">
      <PatternLayout pattern="[%d] %p %m (%c)%n"/>
    </File>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="file"/></Root>
    <Logger name="kafka.server.KafkaRaftServer" level="INFO"/>
  </Loggers>
</Configuration>
"""

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
# After kill -9 the broker is let in again only when its old session has expired: 9 s by default.
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=500
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""

# Serial collector and first compiler only: quicker to start and easier on two cores than what servers use.
_JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")


class ApacheKafka:
    """Start it from the main thread; it ends when this process does. `folder` takes configuration, data and logs."""

    def __init__(self, folder: Path, *, say: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self.log = folder / "kafka.log"
        self._say = say
        self._port = 0
        self._child: Child | None = None
        self._jars: Path | None = None

    def __enter__(self) -> ApacheKafka:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        if not self._port:
            raise RuntimeError("Apache Kafka was not started")
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Until it answers. Raises `CannotRun` without Java or jars, `EmbedwatchError` with its last words."""
        if self._child is not None and self._child.running():
            return
        reason = why_not()
        if reason is not None:
            raise CannotRun(reason)
        self._jars = resolve(self._say)
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _ATTEMPTS + 1):
            fixed = self._port
            port = fixed or quiet_port()
            try:
                self._launch(port)
                return
            except EmbedwatchError:
                self.stop()
                self._port = fixed
                if attempt == _ATTEMPTS or "Address already in use" not in self._words():
                    raise
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """In order; the data stays. Safe to call twice."""
        if self._child is not None:
            self._child.stop(timeout_seconds=20.0)
            self._child = None

    def kill(self) -> None:
        """kill -9; the data stays."""
        if self._child is not None:
            self._child.process.kill()
            self._child.process.wait(10)
            self._child = None

    def restart(self) -> None:
        """Stop in order and start again at the same address."""
        self.stop()
        self.start()

    def more_properties(self, port: int) -> str:
        """Lines after ours: of two with the same name the last counts. `port` is that of the plain listener."""
        return ""

    def format_options(self) -> tuple[str, ...]:
        """Further options of the tool that makes the empty log."""
        return ()

    def _launch(self, port: int) -> None:
        from embedwatch.kafka import wait_for_broker  # slow to import: not for those who run unit tests

        data = self.folder / "data"
        properties = self.folder / "server.properties"
        written = _PROPERTIES.format(host=HOST, port=port, controller_port=quiet_port(), data=data)
        properties.write_text(written + self.more_properties(port), encoding="utf-8")
        (self.folder / "log4j2.xml").write_text(LOG4J, encoding="utf-8")
        if not (data / "meta.properties").exists():
            self._format(properties)
        self._port = port
        started = time.monotonic()
        self._child = child = Child("Apache Kafka", self._java("kafka.Kafka", str(properties)), self._out)
        # The port opens only at the end of the start; asking earlier would only fill the log.
        child.wait_until(lambda: port_answers(port, HOST), START_TIMEOUT_SECONDS, f"readiness (log: {self.log})")
        wait_for_broker(KafkaSettings(bootstrap_servers=self.bootstrap_servers), START_TIMEOUT_SECONDS)
        self._say(f"Apache Kafka up in {time.monotonic() - started:.1f} s at {self.bootstrap_servers}")

    def _format(self, properties: Path) -> None:
        options = ("format", "-t", cluster_id(), "-c", str(properties), *self.format_options())
        command = self._java("kafka.tools.StorageTool", *options)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise EmbedwatchError(
                f"Apache Kafka's storage could not be formatted: {(done.stderr or done.stdout)[-500:]}"
            )

    def _java(self, *main: str) -> list[str]:
        java = java_program()
        if java is None or self._jars is None:
            raise CannotRun("there is no java on PATH")
        log4j = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.xml'}"
        return [java, *_JVM, "-cp", f"{self._jars}/*", log4j, f"-Dembedwatch.log={self.log}", *main]

    @property
    def _out(self) -> Path:
        return self.folder / "kafka.out"

    def _words(self) -> str:
        return "".join(p.read_text(encoding="utf-8", errors="replace") for p in (self._out, self.log) if p.exists())


def cluster_id() -> str:
    """As Kafka writes a random UUID; one that begins with a dash would be read as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def quiet_port() -> int:
    """A free port below the range from which the kernel takes ports of outgoing connections.

    A client that reconnects while the broker is down could otherwise be given the broker's own port and meet itself.
    """
    for _ in range(100):
        port = random.randint(20_000, 30_000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise EmbedwatchError(f"no free port of {HOST} between 20000 and 30000")
