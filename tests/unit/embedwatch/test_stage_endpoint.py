"""The endpoint of a stage: what it answers, whom it refuses, what it bounds, and that it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Iterator

import pytest

from embedwatch import stage_endpoint
from embedwatch.errors import ConfigError
from embedwatch.settings_metrics import MetricsSettings
from embedwatch.stage_endpoint import serving
from embedwatch.stage_metrics import BROKER_SECONDS, Look, Sample, broker_trouble, family, grouped, stuck
from tests.harness import without
from tests.harness.own_endpoint import ask, numbers, probe

FAMILIES = (
    family("embedwatch_x_", "Of x", "counter", "texts", "texts", "Texts.", "Nothing."),
    family("embedwatch_x_", "Of x", "counter", "errors", "texts", "Errors.", "Nothing.", "class"),
    family("embedwatch_x_", "Of x", "gauge", "silent_seconds", "seconds", "Silence.", "Nothing."),
)
ANY = MetricsSettings(metrics_port=0)


class Stage:
    def __init__(self) -> None:
        self.now = Look((Sample("texts", 3), Sample("errors", 1, ("other",))))
        self.error: Exception | None = None

    def look(self) -> Look:
        if self.error:
            raise self.error
        return self.now


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def port(stage: Stage) -> Iterator[int]:
    with serving(ANY, "x", FAMILIES, stage.look) as found:
        assert found
        yield found


def test_numbers_are_those_of_the_look_and_what_is_not_known_is_absent(port: int) -> None:
    assert numbers(port) == {"embedwatch_x_texts_total": 3.0, "embedwatch_x_errors_total other": 1.0}
    _, body, headers = ask(port, "/metrics")
    assert b"# HELP embedwatch_x_texts_total Texts.\n" in body
    assert headers["Content-Type"].startswith("text/plain")
    assert (headers["Server"], headers["X-Content-Type-Options"]) == ("embedwatch", "nosniff")


def test_probes_say_no_with_their_reasons(port: int, stage: Stage) -> None:
    assert probe(port, "/livez") == probe(port, "/readyz") == (200, [])
    stage.now = Look(unready=["no broker"])
    assert (probe(port, "/livez"), probe(port, "/readyz")) == ((200, []), (503, ["no broker"]))
    stage.now = Look(dead=["stuck"], unready=["no broker"])
    assert (probe(port, "/livez"), probe(port, "/readyz")) == ((503, ["stuck"]), (503, ["stuck", "no broker"]))
    assert json.loads(ask(port, "/readyz")[1])["ready"] is False


@pytest.mark.parametrize(
    ("path", "method", "host", "status"),
    [
        ("/livez?verbose=1", "GET", "localhost:1", 200), ("/livez", "HEAD", "[::1]:1", 200),
        ("/metrics", "GET", "evil.example", 403), ("/livez", "GET", "10.0.0.1", 403), ("/", "GET", "127.0.0.1", 404),
        ("/metrics/../x", "GET", "127.0.0.1", 404), ("/metrics", "POST", "127.0.0.1", 405),
        ("/metrics", "<script>", "127.0.0.1", 405),
    ],
)  # fmt: skip
def test_only_three_paths_are_read_and_only_by_names_that_are_ours(
    port: int, path: str, method: str, host: str, status: int
) -> None:
    found, body, headers = ask(port, path, method=method, Host=host)
    assert found == status
    assert b"script" not in body
    assert headers["Content-Type"] == "application/json"


def test_a_name_that_was_told_is_answered() -> None:
    told = MetricsSettings(metrics_port=0, metrics_allowed_hosts="alerts, Other.Example")
    with serving(told, "x", FAMILIES, Look) as port:
        assert port
        assert [ask(port, "/livez", Host=host)[0] for host in ("alerts:9101", "other.example", "else")] == [
            200, 200, 403,
        ]  # fmt: skip


def test_two_hosts_in_one_request_are_refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        assert b" 403 " in client.recv(100)


def test_a_mistake_of_ours_is_told_without_its_words(port: int, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.error = RuntimeError("a secret")
    status, body, _ = ask(port, "/metrics")
    assert status == 500
    assert b"secret" not in body
    assert [record.getMessage() for record in caplog.records] == [
        "/metrics could not be answered: unexpected RuntimeError"
    ]
    stage.error = None
    assert probe(port, "/livez") == (200, [])


def test_connections_are_few_and_those_that_only_wait_are_cut(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_endpoint, "CONNECTION_SECONDS", 0.5)
    idle = []
    try:
        for _ in range(stage_endpoint.MAX_CONNECTIONS):
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            idle[-1].sendall(b"GET /livez HTTP/1.1\r\n")
        assert probe(port, "/livez") is None, "all places are taken"
        assert all(cut(client) for client in idle), "each is ended"
    finally:
        for client in idle:
            client.close()
    gone = threading.Event()
    for _ in range(100):  # the places are free a moment after the connections end
        if probe(port, "/livez") == (200, []):
            break
        gone.wait(0.05)
    else:
        pytest.fail("nobody is answered any more")


def test_connections_that_only_wait_are_cut_whatever_they_send(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then keeps every single wait short."""
    monkeypatch.setattr(stage_endpoint, "CONNECTION_SECONDS", 0.3)
    over = threading.Event()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not over.wait(0.05):
                    client.sendall(b"G")

        sender = threading.Thread(target=drip)
        sender.start()
        try:
            assert cut(client)
        finally:
            over.set()
            sender.join()


def cut(client: socket.socket) -> bool:
    """Whether it ends, before its own time of ten seconds."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_after_its_end_nobody_listens_and_no_thread_is_left(stage: Stage) -> None:
    with serving(ANY, "x", FAMILIES, stage.look) as port:
        assert port
        assert probe(port, "/livez") == (200, [])
    assert probe(port, "/livez") is None
    assert "embedwatch-metrics" not in {thread.name for thread in threading.enumerate()}


def test_without_a_port_nothing_is_served(stage: Stage) -> None:
    with serving(MetricsSettings(), "x", FAMILIES, stage.look) as port:
        assert port is None


def test_a_port_that_is_taken_is_said_once_and_the_stage_goes_on(
    port: int, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    with serving(MetricsSettings(metrics_port=port), "worker", FAMILIES, stage.look) as second:
        assert second is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"worker: /metrics, /livez and /readyz cannot be served at 127.0.0.1 port {port}: " in record.getMessage()
    assert record.getMessage().endswith("; going on without them")


def test_a_missing_package_is_named_with_its_extra() -> None:
    done = without.run(
        ["prometheus_client"], "-c",
        "from embedwatch.settings_metrics import MetricsSettings\n"
        "from embedwatch.stage_endpoint import serving\n"
        "with serving(MetricsSettings(metrics_port=0), 'x', (), None): pass",
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{ConfigError.__name__}: metrics_port is set, and the package prometheus-client" in done.stderr
    assert "embedwatch[kafka]" in done.stderr


def test_a_number_that_no_table_has_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        grouped(FAMILIES, [Sample("nonsense", 1)])
    with pytest.raises(KeyError, match="embedwatch_x_errors has the labels"):
        grouped(FAMILIES, [Sample("errors", 1)])


def test_the_broker_counts_as_lost_after_its_limit() -> None:
    assert broker_trouble(None) == ["the broker has not answered yet"]
    assert broker_trouble(BROKER_SECONDS) == []
    assert broker_trouble(BROKER_SECONDS + 1) == ["the broker has not answered for 31 s"]


def test_a_loop_counts_as_stuck_after_its_bound() -> None:
    assert stuck(60.0, 60.0) == []
    assert stuck(61.0, 60.0) == ["its main loop has not moved for 61 s; 60 s are allowed"]
