"""Signals to a real process whose output nobody reads any more."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.harness.waiting import eventually, full_pipe

PROGRAM = """
import os, time
from embedwatch.clock import SystemClock
from tests.harness.waiting import eventually
from workers.stopping import Stop
stop = Stop(60.0, SystemClock())
stop.in_flight = True
with stop.on_signals():
    os.write(1, b"ready")
    while not stop.requested:
        time.sleep(0.01)
    os.write(1, b"asked")
    while True:
        time.sleep(0.01)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_full_pipe_keeps_no_signal_from_doing_its_work() -> None:
    with full_pipe() as pipe:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=pipe)
        try:
            assert process.stdout is not None
            assert process.stdout.read(5) == b"ready"
            process.send_signal(signal.SIGINT)
            assert process.stdout.read(5) == b"asked"
            # Right after the first it is taken as the same wish.
            assert eventually(lambda: process.poll() is not None or process.send_signal(signal.SIGINT) is not None)
            assert process.returncode == 128 + signal.SIGINT
        finally:
            process.kill()
            process.wait(10)
            process.stdout.close()
