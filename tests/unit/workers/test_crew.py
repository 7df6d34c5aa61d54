from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedwatch.clock import SystemClock
from tests.harness.waiting import PATIENCE_SECONDS, eventually, full_pipe, gone
from workers import crew as crew_module
from workers.crew import Crew, Member, supervise

ROOT = Path(__file__).parents[3]


def shell(name: str, script: str, **environ: str | None) -> Member:
    return Member(name, ("/bin/sh", "-c", script), environ)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def said(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Where a crew's members are heard: the file as a descriptor and its path."""
    path = tmp_path / "said"
    out_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    yield out_fd, path
    os.close(out_fd)


def run_down(crew: Crew) -> int:
    """Step until nothing is left to do."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while crew.busy:
        assert time.monotonic() < deadline, "the crew does not come to an end"
        crew.step(0.02)
    return crew.exit_code


def stepped(crew: Crew, done: Callable[[], bool]) -> None:
    """Step until it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        assert time.monotonic() < deadline, crew.standing()
        crew.step(0.02)


def test_when_all_are_done_the_crew_is(said: tuple[int, Path]) -> None:
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        for number in range(3):
            crew.add(shell(f"w-{number}", f"echo line $W >&2; echo more of {number} >&2", W=str(number)))
        assert run_down(crew) == 0
    assert sorted(lines(said[1])) == sorted(
        [f"[w-{n}] line {n}" for n in range(3)] + [f"[w-{n}] more of {n}" for n in range(3)]
    )


def test_what_a_member_says_in_pieces_comes_in_whole_lines_and_its_last_words_too(said: tuple[int, Path]) -> None:
    big = "x" * 100_000
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        crew.add(Member("w", (sys.executable, "-c", "import os\nfor c in b'ab\\ncd': os.write(2, bytes([c]))"), {}))
        crew.add(Member("v", (sys.executable, "-c", "import os; os.write(2, b'x' * 100_000)"), {}))
        assert run_down(crew) == 0
    heard = lines(said[1])
    assert [line for line in heard if line.startswith("[w]")] == ["[w] ab", "[w] cd"]
    # A line has a limit, for memory has one; nothing of it is lost.
    assert "".join(line.removeprefix("[v] ") for line in heard if line.startswith("[v]")) == big


def test_where_logs_are_json_a_members_lines_are_too(said: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDWATCH_LOG_FORMAT", "json")
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        crew.add(shell("w", """echo '{"message": "m", "level": "ERROR"}' >&2; echo plain >&2"""))
        run_down(crew)
    told, plain = (json.loads(line) for line in lines(said[1]))
    assert told == {"message": "m", "level": "ERROR", "process": "w"}
    assert (plain["message"], plain["process"]) == ("plain", "w")


def test_a_variable_can_be_taken_from_a_member(said: tuple[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "kept")
    monkeypatch.setenv("THEIRS", "not this")
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        crew.add(shell("w", "echo ${OURS-none} ${THEIRS-none} >&2", THEIRS=None))
        run_down(crew)
    assert lines(said[1]) == ["[w] kept none"]


def test_one_that_crashed_starts_again_after_a_while_and_keeps_its_name(clock: Any, said: tuple[int, Path]) -> None:
    with Crew(clock=clock, out_fd=said[0]) as crew:
        # It counts for itself: what it said is passed on when we come to it.
        again = "echo start >&2; echo >> $RUNS; test $(wc -l < $RUNS) -ge 3 || kill -9 $$"
        crew.add(shell("w", again, RUNS=f"{said[1]}.runs"))
        deadline = time.monotonic() + PATIENCE_SECONDS
        for runs, delay_seconds in ((1, 1.0), (2, 2.0)):
            while crew.step(0.02) or len(lines(said[1])) < runs or crew._seats[0].starts_at is None:
                assert time.monotonic() < deadline
            clock.pass_by(delay_seconds - 0.1)
            crew.step(0.05)
            assert len(lines(said[1])) == runs
            clock.pass_by(0.2)
        assert run_down(crew) == 0
    assert lines(said[1]) == ["[w] start"] * 3


@pytest.mark.parametrize(("end", "code"), [("exit 4", 4), ("kill -9 $$", 1)])
def test_a_crash_loop_is_said_once_and_ends_all(
    clock: Any, said: tuple[int, Path], caplog: pytest.LogCaptureFixture, end: str, code: int
) -> None:
    clock.step_seconds = 0.5
    with Crew(clock=clock, out_fd=said[0]) as crew:
        crew.add(shell("bad", f"echo start >&2; {end}"))
        crew.add(shell("good", "exec sleep 600"))
        assert run_down(crew) == code
    assert lines(said[1]) == ["[bad] start"] * 6
    (error,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "crash loop" in error
    assert error.startswith("bad ")


@pytest.mark.parametrize("code", [2, 3, 6, 7])
def test_an_end_that_no_restart_mends_stops_the_others_too(said: tuple[int, Path], code: int) -> None:
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        crew.add(shell("good", "trap 'echo stopped >&2; exit 0' TERM; while :; do sleep 0.05; done"))
        crew.add(shell("bad", f"sleep 0.3; exit {code}"))
        assert run_down(crew) == code
    assert lines(said[1]) == ["[good] stopped"]


def test_a_program_that_cannot_be_started_is_tried_again_and_given_up(clock: Any) -> None:
    clock.step_seconds = 1.0
    with Crew(clock=clock) as crew:
        crew.add(Member("w", ("/no/such/program",), {}))
        assert crew.busy
        assert run_down(crew) == 1


def test_whoever_fails_while_the_crew_stops_gives_it_its_code_and_a_start_owed_is_forgotten(
    said: tuple[int, Path],
) -> None:
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        crew.add(shell("crashed", "exit 4"))
        crew.add(shell("w", "trap 'exit 5' TERM; echo ready >&2; while :; do sleep 0.05; done"))
        while lines(said[1]) != ["[w] ready"] or crew._seats[0].starts_at is None:
            crew.step(0.02)
        crew.ask_to_stop()
        crew.ask_to_stop()
        assert run_down(crew) == 5


def test_nothing_is_left_when_the_crew_is_left() -> None:
    with Crew(clock=SystemClock()) as crew:
        for number in range(3):
            crew.add(shell(f"w-{number}", "trap '' TERM; while :; do sleep 0.05; done"))
        pids = [seat.process.pid for seat in crew._seats if seat.process is not None]
        assert not any(gone(pid) for pid in pids)
    assert len(pids) == 3
    assert all(gone(pid) for pid in pids)


def test_a_reader_who_went_away_does_not_hold_up_the_members(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Crew(clock=SystemClock(), out_fd=writer) as crew:
        crew.add(Member("w", (sys.executable, "-c", "import os\nfor _ in range(64): os.write(2, b'x' * 65536)"), {}))
        assert run_down(crew) == 0
    os.close(writer)


def test_one_that_does_not_stop_in_time_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crew_module, "CLOSE_MARGIN_SECONDS", 0.1)
    bad = shell("bad", "sleep 0.5; exit 2")
    deaf = shell("deaf", "trap '' TERM; while :; do sleep 0.05; done")
    assert supervise([deaf, bad], drain_seconds=0.2) == 2
    assert "killed, because they did not stop within 0.3 s: deaf" in caplog.text


def test_a_member_that_is_removed_stops_in_its_own_time_and_the_others_stay(said: tuple[int, Path]) -> None:
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        for name in ("a", "b"):
            crew.add(shell(name, "trap 'echo asked >&2; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done"))
        stepped(crew, lambda: sorted(lines(said[1])) == ["[a] ready", "[b] ready"])
        crew.remove("a", limit_seconds=600)
        crew.remove("a", limit_seconds=600)
        assert [(each.name, each.leaving) for each in crew.standing()] == [("a", True), ("b", False)]
        with pytest.raises(ValueError, match="a is there already"):
            crew.add(shell("a", "exit 0"))
        stepped(crew, lambda: [each.name for each in crew.standing()] == ["b"])
        # Asked once: a worker takes a second time as "at once".
        assert [line for line in lines(said[1]) if "asked" in line] == ["[a] asked"]
        with pytest.raises(KeyError):
            crew.remove("a", limit_seconds=1)
        crew.add(shell("a", "exec sleep 600"))
        assert [each.name for each in crew.standing()] == ["b", "a"]


def test_one_that_leaves_is_not_asked_again_when_all_are(said: tuple[int, Path]) -> None:
    deaf = "trap 'echo asked >&2' TERM; echo ready >&2; until test -e $FILE.end; do sleep 0.05; done"
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        crew.add(shell("a", deaf, FILE=str(said[1])))
        stepped(crew, lambda: lines(said[1]) == ["[a] ready"])
        crew.remove("a", limit_seconds=600)
        stepped(crew, lambda: lines(said[1])[-1] == "[a] asked")
        crew.ask_to_stop()
        said[1].with_name("said.end").touch()
        assert run_down(crew) == 0
    assert lines(said[1]) == ["[a] ready", "[a] asked"]


def test_one_that_does_not_leave_in_time_is_killed_and_the_others_work_on(
    clock: Any, said: tuple[int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with Crew(clock=clock, out_fd=said[0]) as crew:
        crew.add(shell("deaf", "trap '' TERM; echo ready >&2; while :; do sleep 0.05; done"))
        crew.add(shell("good", "exec sleep 600"))
        stepped(crew, lambda: lines(said[1]) == ["[deaf] ready"])
        crew.remove("deaf", limit_seconds=50)
        clock.pass_by(49)
        crew.step(0.05)
        assert "killed" not in caplog.text
        clock.pass_by(2)
        stepped(crew, lambda: [each.name for each in crew.standing()] == ["good"])
        assert crew.exit_code == 0
    assert "deaf is killed, because it did not stop in time" in caplog.text


def test_one_that_is_removed_while_a_start_is_owed_is_gone(clock: Any) -> None:
    with Crew(clock=clock) as crew:
        crew.add(shell("w", "exit 4"))
        stepped(crew, lambda: not crew.standing()[0].running)
        crew.remove("w", limit_seconds=1)
        assert not crew.busy
        assert crew.standing() == []


@pytest.mark.parametrize(("end", "code"), [("exit 9", 9), ("exit 0", 0), ("exit 2", 2)])
def test_in_an_independent_crew_who_gives_up_leaves_the_others_alone(
    clock: Any, said: tuple[int, Path], caplog: pytest.LogCaptureFixture, end: str, code: int
) -> None:
    clock.step_seconds = 0.5
    with Crew(clock=clock, out_fd=said[0], independent=True) as crew:
        crew.add(shell("bad", f"echo start >&2; {end}"))
        crew.add(shell("good", "exec sleep 600"))
        stepped(crew, lambda: "bad" in crew.gave_up)
        assert crew.gave_up["bad"].exit_code == code
        assert [(each.name, each.running) for each in crew.standing()] == [("good", True)]
        assert not crew.stopping
    # A clean end that nobody asked for is no reason to stay away; a wrong setting is.
    assert lines(said[1]) == ["[bad] start"] * (1 if code == 2 else 6)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_a_member_with_a_listener_is_heard_by_it_alone(said: tuple[int, Path]) -> None:
    heard: list[bytes] = []
    with Crew(clock=SystemClock(), out_fd=said[0]) as crew:
        crew.add(Member("w", ("/bin/sh", "-c", "echo one >&2; printf two >&2"), {}, heard.append))
        assert run_down(crew) == 0
    assert (heard, lines(said[1])) == ([b"one", b"two"], [])


PARENT = """
import logging, sys
logging.basicConfig(level="INFO", stream=sys.stderr)
from workers.crew import Member, supervise
script = "trap '" + sys.argv[1] + "' TERM; echo $$ >> " + sys.argv[2] + "; while :; do sleep 0.05; done"
members = [Member(f"w-{n}", ("/bin/sh", "-c", script), {}) for n in (1, 2)]
sys.exit(supervise(members, drain_seconds=30))
"""


@contextlib.contextmanager
def parent(on_term: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int], Path]]:
    """A process that supervises two members: it, their process ids, its log."""
    ids, log = folder / "ids", folder / "log"
    with log.open("wb") as err:
        process = subprocess.Popen([sys.executable, "-c", PARENT, on_term, str(ids)], stderr=err, cwd=ROOT)
    try:
        assert eventually(lambda: len(lines(ids)) == 2), log.read_text()
        yield process, [int(pid) for pid in lines(ids)], log
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_passed_on_once_and_the_members_stop_in_their_own_time(
    tmp_path: Path, signum: signal.Signals
) -> None:
    with parent("echo asked >&2; exit 0", tmp_path) as (process, pids, log):
        process.send_signal(signum)
        assert process.wait(PATIENCE_SECONDS) == 0
        assert all(gone(pid) for pid in pids)
        assert sorted(line for line in lines(log) if line.startswith("[")) == ["[w-1] asked", "[w-2] asked"]
        assert "embedwatch: stopping within 30 s; a second signal stops at once" in lines(log)


def asked_again(process: subprocess.Popen[bytes]) -> int | None:
    """A signal right after the first is taken as the same wish: this one is repeated until it counts."""
    if process.poll() is None:
        process.terminate()
    return process.returncode


def test_a_second_signal_stops_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    with parent("echo asked >&2", tmp_path) as (process, pids, log):
        process.terminate()
        assert eventually(lambda: log.read_text().count("asked") == 2)
        assert not any(gone(pid) for pid in pids)
        assert eventually(lambda: asked_again(process) is not None)
        assert process.returncode == 128 + signal.SIGTERM
        assert eventually(lambda: all(gone(pid) for pid in pids))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_members_end_also_when_the_command_is_killed(tmp_path: Path) -> None:
    with parent("exit 0", tmp_path) as (process, pids, _):
        process.kill()
        assert eventually(lambda: all(gone(pid) for pid in pids))


def test_a_reader_that_has_stopped_reading_keeps_no_member_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "WRITE_SECONDS", 0.01)
    with full_pipe() as pipe, Crew(clock=SystemClock(), out_fd=pipe) as crew:
        crew.add(shell("w", "echo one >&2; echo two >&2"))
        assert run_down(crew) == 0
