"""The whole flow while everything fails: nothing is lost, nothing is doubled, every alert is told once.

    make chaos FAULTS=200                      # of which most are on three brokers of Apache Kafka
    make chaos SEED=7 ARGS="-k flow"           # the same again

A short form is part of `make test`. A failure prints the seed and the plan.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.chaos.breaking import Breaker
from tests.chaos.conftest import RUNS
from tests.chaos.faults import ON_A_CLUSTER, ON_THE_EMBEDDED_BROKER, Kind, Run, Victim, plan
from tests.chaos.world import World
from tests.harness.apache_kafka import why_not
from tests.harness.requirements import missing

SEED = int(os.environ.get("EMBEDWATCH_TEST_CHAOS_SEED", "1"))
FAULTS = int(os.environ.get("EMBEDWATCH_TEST_CHAOS_FAULTS", "200"))
#: The short form: what has hurt most.
SHORT: tuple[tuple[Kind, Victim], ...] = (
    ("kill", "broker"), ("cut", "worker"), ("kill", "agents"), ("freeze", "alerting"), ("slow", "redis"),
    ("silent", "producer"),
)  # fmt: skip
#: Everything is drained and compared after so many steps, and at the end.
CHECK_EVERY = 12


def carry_out(
    folder: Path, seed: int, faults: int, brokers: int, say: Callable[[str], None],
    possible: Sequence[tuple[Kind, Victim]],
) -> None:  # fmt: skip
    on = f"Kafka x{brokers}" if brokers else "embedded"
    if brokers and (reason := why_not()) is not None:
        missing("kafka", reason)
    run = Run(on, seed)
    RUNS.append(run)
    began = time.monotonic()
    try:
        with World(folder, run, brokers=brokers, say=say) as world:
            breaker = Breaker(world)
            if not world.has_disks:
                say("no disk is filled up: only root can mount one of a size of its own")
                possible = tuple(pair for pair in possible if pair[0] != "disk-full")
            steps = plan(seed, faults, possible)
            for number, step in enumerate(steps, 1):
                world.carry_out(step, breaker.begin)
                if number % CHECK_EVERY == 0 or number == len(steps):
                    world.check()
                    if number < len(steps):
                        world.begin_load()
    except BaseException:
        say(f"seed {seed}, {on}; the plan was (EMBEDWATCH_TEST_CHAOS_SEED={seed} repeats it):")
        for step in plan(seed, faults, possible):
            say("  " + "; ".join(map(str, step.faults)))
        raise
    finally:
        run.seconds = time.monotonic() - began


@pytest.mark.kafka
@pytest.mark.restarts_broker
@pytest.mark.timeout(300)
def test_a_few_faults_of_a_cluster(tmp_path: Path, say: Callable[[str], None]) -> None:
    carry_out(tmp_path, SEED, len(SHORT), 3, say, SHORT)


@pytest.mark.chaos
@pytest.mark.kafka
@pytest.mark.restarts_broker
@pytest.mark.timeout(5400)
def test_many_faults_of_a_cluster(tmp_path: Path, say: Callable[[str], None]) -> None:
    carry_out(tmp_path, SEED, FAULTS * 9 // 10, 3, say, ON_A_CLUSTER)


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_many_faults_on_the_embedded_broker(tmp_path: Path, say: Callable[[str], None]) -> None:
    carry_out(tmp_path, SEED, FAULTS - FAULTS * 9 // 10, 0, say, ON_THE_EMBEDDED_BROKER)
