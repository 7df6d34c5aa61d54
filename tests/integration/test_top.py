"""`embedwatch top` as a process on a terminal of its own: what a person sees, and how it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.agents_served import ServedAgents
from tests.harness.agents_web import busy_runtime
from tests.harness.waiting import PATIENCE_SECONDS

#: The command alone, so that the test holds for a tree that is not the installed one.
COMMAND = "import typer, console.cli; from embedwatch import cli; root = typer.Typer(); \
root.command(name='top')(console.cli.app); root.command(name='other')(lambda: None); \
cli.build = lambda: root; cli.main()"
#: What gives a terminal back: the other screen is left and the cursor is shown.
LEFT, CURSOR = b"\x1b[?1049l", b"\x1b[?25h"


class Terminal:
    """80x24, with a process whose terminal it is."""

    def __init__(self, *arguments: str, **environ: str) -> None:
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        self.said = b""
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("EMBEDWATCH_", "NO_COLOR"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, "top", *arguments],
            stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True,
            env=mine | {"TERM": "xterm-256color"} | environ,
        )  # fmt: skip

    def read(self, seconds: float = 0.1) -> None:
        if select.select([self.ours], [], [], seconds)[0]:
            self.said += os.read(self.ours, 65536)

    def until(self, what: bytes) -> None:
        deadline = time.monotonic() + 2 * PATIENCE_SECONDS
        while what not in self.said:
            assert time.monotonic() < deadline, self.said
            assert self.process.poll() is None, self.said
            self.read()

    def end(self) -> int:
        """The exit code. What is said meanwhile is read, or the process would wait for a reader."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.said
            self.read()
        while select.select([self.ours], [], [], 0.1)[0]:
            self.read()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def url() -> Iterator[str]:
    with ServedAgents() as agents:
        yield agents.serve(busy_runtime())


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Any:
    """terminal(*arguments, **environ) -> a `Terminal`, closed at the end of the test."""

    def start(*arguments: str, **environ: str) -> Terminal:
        found = Terminal(*arguments, **environ)
        request.addfinalizer(found.close)
        return found

    return start


@pytest.mark.parametrize("how", ["q", "ctrl-c", "SIGTERM", "SIGHUP"])
def test_it_shows_the_numbers_and_gives_the_terminal_back(url: str, terminal: Any, how: str) -> None:
    screen = terminal("--agents-url", url)
    screen.until(b"STALLED")
    screen.until(b"$2.0025")
    screen.until(b"quit")
    if how.startswith("SIG"):
        screen.process.send_signal(getattr(signal, how))
    else:
        os.write(screen.ours, b"q" if how == "q" else b"\x03")
    assert screen.end() == 0
    assert termios.tcgetattr(screen.theirs) == screen.before
    assert screen.said.rindex(LEFT) > screen.said.rindex(b"STALLED")
    assert screen.said.rindex(CURSOR) > screen.said.rindex(b"STALLED")
    assert b"Traceback" not in screen.said


def test_without_colours_no_colour_is_sent(url: str, terminal: Any) -> None:
    screen = terminal("--agents-url", url, NO_COLOR="1")
    screen.until(b"STALLED")
    screen.until(b"quit")
    os.write(screen.ours, b"q")
    assert screen.end() == 0
    for colour in range(8):
        for first in (b"[3%d", b";3%d", b"[4%d", b";4%d", b"[9%d", b";9%d"):
            assert first % colour + b"m" not in screen.said


def test_a_broker_that_is_not_there_is_told_and_the_view_goes_on(url: str, terminal: Any) -> None:
    screen = terminal("--agents-url", url, EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    screen.until(b"FIRING")
    screen.until(b"quit")
    os.write(screen.ours, b"a")
    screen.until(b"Not asked to acknowledge: Kafka")
    os.write(screen.ours, b"w")
    screen.until(b"last 15 min")
    os.write(screen.ours, b"q")
    assert screen.end() == 0
