"""The endpoint of a stage: GET /metrics, /livez and /readyz from a thread, off unless a port is set.

Small and bounded: a few connections at once, each for a few seconds in all, one answer a connection, no body read, and
only hosts that are ours. A port that is taken is said once, and the stage works without.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

from embedwatch.errors import ConfigError
from embedwatch.hosts import Hosts, host_name, hosts_of
from embedwatch.metric_families import Family
from embedwatch.settings_metrics import MetricsSettings
from embedwatch.stage_metrics import Look, Sample, grouped

log = logging.getLogger(__name__)

#: Of one connection: each wait for a byte, and all of it.
WAIT_SECONDS = 3.0
CONNECTION_SECONDS = 10.0
#: So many connections at once; further ones are closed unanswered.
MAX_CONNECTIONS = 16
CLOSE_SECONDS = 2.0
PATHS = ("/metrics", "/livez", "/readyz")
#: On every answer, errors too.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@contextlib.contextmanager
def serving(
    settings: MetricsSettings, stage: str, families: Sequence[Family], look: Callable[[], Look]
) -> Iterator[int | None]:
    """Serve while inside; gives the port, None where none is served. `look` is called from another thread.

    Raises `ConfigError` where prometheus-client is not installed.
    """
    if settings.metrics_port is None:
        yield None
        return
    _require_prometheus()
    server = open_server(settings, stage, families, look)
    if server is None:
        yield None
        return
    # A short poll: it is also how long stopping waits.
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="embedwatch-metrics", daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(CLOSE_SECONDS)


def open_server(
    settings: MetricsSettings, stage: str, families: Sequence[Family], look: Callable[[], Look]
) -> Server | None:
    """Bound and listening; None where the port cannot be had, which is said."""
    host, port = settings.metrics_host, settings.metrics_port or 0
    try:
        server = Server(host, port, hosts_of(host, settings.metrics_host_names), families, look)
    except OSError as error:
        log.warning(
            "%s: /metrics, /livez and /readyz cannot be served at %s port %d: %s; going on without them",
            stage, host, port, error.strerror or error,
        )  # fmt: skip
        return None
    log.info("%s: /metrics, /livez and /readyz at http://%s:%d", stage, _bracketed(host), server.port)
    return server


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """`look` gives what is answered. Raises `OSError` when the port cannot be had.

    Not `http.server.HTTPServer`: that asks a name server for our own name when it starts, which may take long.
    """

    daemon_threads = True
    block_on_close = False
    # Without it a process that starts again finds its own port taken by connections that linger.
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(
        self, host: str, port: int, hosts: Hosts, families: Sequence[Family], look: Callable[[], Look]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.hosts = hosts
        self.families = families
        self.look = look
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A client that sends a byte now and then keeps every single wait short: all of them together end, too.
        deadline = threading.Timer(CONNECTION_SECONDS, _cut, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked has gone: nothing for a log."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = WAIT_SECONDS

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if not self._ours():
            self._say(403, {"error": "no such host is served here; `metrics_allowed_hosts` can name it"})
        elif path not in PATHS:
            self._say(404, {"error": f"there is {', '.join(PATHS)}"})
        else:
            self._look(path)

    def _look(self, path: str) -> None:
        try:
            look = self.server.look()
            body, kind = exposition(self.server.families, look.samples) if path == "/metrics" else (b"", "")
        except Exception as error:
            # Its text may hold anything: not for whoever asked.
            log.warning("%s could not be answered: unexpected %s", path, type(error).__name__)
            self._say(500, {"error": "this could not be answered; the log says more"})
            return
        if path == "/metrics":
            self._answer(200, kind, body)
        elif path == "/livez":
            self._probe("alive", look.dead)
        else:
            self._probe("ready", [*look.dead, *look.unready])

    do_HEAD = do_GET

    def _ours(self) -> bool:
        """Of several the next one on the way may take another."""
        named = self.headers.get_all("Host") or []
        return len(named) < 2 and all(self.server.hosts.ours(host_name(host)) for host in named)

    def _probe(self, word: str, reasons: Sequence[str]) -> None:
        """As the agents' `/readyz` says it."""
        self._say(503 if reasons else 200, {word: not reasons, "reasons": list(reasons)})

    def _say(self, status: int, document: dict[str, Any]) -> None:
        self._answer(status, "application/json", json.dumps(document).encode() + b"\n")

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """For what is no request, or another method. Nothing of what was sent is said back."""
        if self.request_version == "HTTP/0.9":  # knows no status line
            return
        self.close_connection = True
        self._say(405 if code == 501 else code, {"error": "GET is answered here, and nothing else"})

    def version_string(self) -> str:
        return "embedwatch"

    def log_message(self, format: str, *args: Any) -> None:
        """A probe every few seconds is nothing for a log."""


def exposition(families: Sequence[Family], samples: Sequence[Sample]) -> tuple[bytes, str]:
    """The body and its content type, in Prometheus' text format. A family of which nothing is known has no sample."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
            for family, found in grouped(families, samples):
                make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
                made = make(family.full_name, family.text, labels=family.labels)
                for sample in found:
                    made.add_metric(sample.labels, sample.number)
                yield made

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _require_prometheus() -> None:
    try:
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(
            "metrics_port is set, and the package prometheus-client is not installed: pip install 'embedwatch[kafka]', "
            "or take the setting out"
        ) from None


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
