"""The stream agents through a restart of Apache Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.agents import Agents, events
from tests.harness.brokers import APACHE_KAFKA, Broker, settings_for


@pytest.mark.restarts_broker
@pytest.mark.parametrize("own_broker", [pytest.param(APACHE_KAFKA, marks=pytest.mark.kafka)], indirect=True)
def test_a_broker_that_is_started_again_costs_no_event_and_few_words(own_broker: Broker, tmp_path: Path) -> None:
    assert own_broker.restart is not None
    agents = Agents(settings_for(own_broker), tmp_path)
    before, after = events(100), events(100, start=100)
    with agents.running() as child:
        agents.wait_ready(child)
        agents.send(before)
        agents.wait_texts(child, 500)  # the rest may be counted and not yet written
        own_broker.restart()
        agents.send(after)
        agents.wait_texts(child, 2000, timeout_seconds=90)
        agents.check_totals(child, [*before, *after])
        child.process.terminate()
        assert child.process.wait(20) == 0
        lines = child.log.read_text().splitlines()
    assert not any("Traceback" in line for line in lines)
    assert len(lines) < 60, lines
