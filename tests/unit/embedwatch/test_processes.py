from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from embedwatch.errors import EmbedwatchError
from embedwatch.processes import Child, free_port, port_answers, stop_on_signals
from tests.harness.waiting import PATIENCE_SECONDS, eventually, gone

SLEEP = "import time; time.sleep(600)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_child_writes_to_its_log_and_ends_with_its_own_status(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "child.log"
    child = Child("child", python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), log)
    assert child.process.wait(PATIENCE_SECONDS) == 3
    assert not child.running()
    assert sorted(child.last_words().splitlines()) == ["err", "out"]
    assert child.stop() == 3


def test_the_last_words_are_the_end_of_a_long_log(tmp_path: Path) -> None:
    child = Child("child", python("for n in range(1000): print(n)"), tmp_path / "log")
    child.process.wait(PATIENCE_SECONDS)
    assert child.last_words(3) == "997\n998\n999"
    child.log.unlink()
    assert child.last_words() == ""


def test_stopping_asks_first(tmp_path: Path) -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); " + SLEEP
    with Child("polite", python(code), tmp_path / "log") as child:
        child.wait_until(lambda: "ready" in child.last_words(), PATIENCE_SECONDS, "readiness")
        assert child.stop() == 7
        assert child.stop() == 7


def test_stopping_kills_what_does_not_listen(tmp_path: Path) -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); " + SLEEP
    with Child("deaf", python(code), tmp_path / "log") as child:
        child.wait_until(lambda: "ready" in child.last_words(), PATIENCE_SECONDS, "readiness")
        assert child.stop(timeout_seconds=0.2) == -signal.SIGKILL


def test_leaving_the_block_stops_the_child_also_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), Child("child", python(SLEEP), tmp_path / "log") as child:
        raise RuntimeError("on purpose")
    assert not child.running()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children of a parent that was killed")
def test_a_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom embedwatch.processes import Child\n"
        f"child = Child('child', [sys.executable, '-c', {SLEEP!r}], Path({str(tmp_path / 'child.log')!r}))\n"
        "print(child.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, str(parent)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child_pid = int(process.stdout.readline())
        assert not gone(child_pid)
        process.kill()
    assert eventually(lambda: gone(child_pid))


def test_the_environment_is_ours_with_changes_and_without_what_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("EW_KEPT", "EW_CHANGED", "EW_REMOVED"):
        monkeypatch.setenv(name, "old")
    code = "import os; print(sorted((k, v) for k, v in os.environ.items() if k.startswith('EW_')))"
    child = Child("child", python(code), tmp_path / "log", environ={"EW_CHANGED": "new", "EW_REMOVED": None})
    child.process.wait(PATIENCE_SECONDS)
    assert child.last_words() == "[('EW_CHANGED', 'new'), ('EW_KEPT', 'old')]"


def test_a_child_has_its_own_working_folder_and_no_terminal(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd()); print(repr(sys.stdin.read())); print(os.getsid(0) == os.getpid())"
    child = Child("child", python(code), tmp_path / "log", cwd=tmp_path)
    child.process.wait(PATIENCE_SECONDS)
    assert child.last_words().splitlines() == [str(tmp_path.resolve()), "''", "True"]


def test_waiting_for_a_child_that_ended_tells_its_last_words(tmp_path: Path) -> None:
    child = Child("broken", python("import sys; sys.exit('no such model')"), tmp_path / "log")
    with pytest.raises(EmbedwatchError, match=r"broken ended with status 1 before readiness(.|\n)*no such model"):
        child.wait_until(lambda: False, PATIENCE_SECONDS, "readiness")


def test_waiting_ends_when_the_time_is_up(tmp_path: Path) -> None:
    with Child("slow", python("print('loading', flush=True); " + SLEEP), tmp_path / "log") as child:
        child.wait_until(lambda: "loading" in child.last_words(), PATIENCE_SECONDS, "its first word")
        with pytest.raises(EmbedwatchError, match=r"slow: no readiness after 0 s(.|\n)*loading"):
            child.wait_until(lambda: False, 0.1, "readiness")


def test_a_free_port_can_be_used_and_then_answers() -> None:
    port = free_port()
    assert not port_answers(port)
    with socket.create_server(("127.0.0.1", port)):
        assert port_answers(port)
    assert not port_answers(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_first_signal_is_noted_and_told_at_the_next_look(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        stop.check()
        signal.raise_signal(number)
        assert stop.signum == number
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    assert signal.getsignal(number) is before


def test_the_second_signal_does_not_wait_for_the_next_look() -> None:
    with stop_on_signals():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_process_is_asked_to_stop_only_once(tmp_path: Path) -> None:
    script = (
        "import signal, time\nn = []\nsignal.signal(signal.SIGTERM, lambda *_: n.append(1))\nprint('up', flush=True)\n"
    )
    script += "while not n: time.sleep(0.01)\ntime.sleep(0.3)\nraise SystemExit(40 + len(n))"
    with Child("counter", [sys.executable, "-c", script], tmp_path / "log") as child:
        child.wait_until(lambda: "up" in child.last_words(), 30, "its start")
        child.ask_to_stop()
        child.ask_to_stop()
        assert child.stop(30) == 41
