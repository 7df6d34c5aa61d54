"""Agents whose broker has gone away stop all the same, and nothing that they had counted is lost by it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from stream_agents.stopping import STOP_SECONDS, TIMED_OUT
from tests.harness.agents import Agents, events
from tests.harness.brokers import Broker, settings_for


@pytest.mark.restarts_broker
def test_they_stop_within_their_time_limit_and_at_once_when_asked_twice(own_broker: Broker, tmp_path: Path) -> None:
    assert own_broker.pid is not None
    agents = Agents(settings_for(own_broker), tmp_path)
    second = Agents(settings_for(own_broker), tmp_path / "second")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    own_folder = {"EMBEDWATCH_AGENTS_DATA_DIR": None, "TMPDIR": str(temporary)}
    with agents.running(environment=own_folder) as patient, second.running(environment=own_folder) as hurried:
        for each, child in ((agents, patient), (second, hurried)):
            each.send(events(20))
            each.wait_ready(child)
            each.wait_texts(child, 200)
        os.kill(own_broker.pid, signal.SIGKILL)
        patient.process.terminate()
        hurried.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            hurried.process.wait(1)
        hurried.process.send_signal(signal.SIGINT)
        assert hurried.process.wait(5) == 128 + signal.SIGINT
        assert patient.process.wait(STOP_SECONDS + 15) in (0, TIMED_OUT)
        assert list(temporary.iterdir()) == [], "however they end, their folders are gone"
        words = patient.log.read_text(), hurried.log.read_text()
    assert "SIGINT came a second time; ended at once" in words[1]
    assert not any("Traceback" in each for each in words)
