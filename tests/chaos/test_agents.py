"""Stream agents killed, stopped, frozen and rebalanced at random: a day of a million texts costs what it cost.

One run on each broker is part of `make test`. `make chaos` runs the long forms. A failed run is repeated with the
seed in its name.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from embedwatch.settings import KafkaSettings
from tests.harness.brokers import Broker, settings_for
from tests.harness.trial import Trial

# Each run here is about a minute, so that of 20 runs of `make chaos` these are 5.
RUNS = (int(os.environ.get("EMBEDWATCH_TEST_CHAOS_RUNS", "20")) + 3) // 4
NAMES = ("one", "two")
SESSION_SECONDS = 6.0  # of the test's settings


def kill_again_and_again(kafka: KafkaSettings, folder: Path, seed: int, kills: int) -> None:
    with Trial(kafka, folder, seed) as trial:
        trial.publish(seconds=14.0 * (kills + 1))
        for _ in range(kills):
            # Now and then before it is ready: joining, or in the middle of the recovery.
            early = trial.random.random() < 0.25
            trial.start("one", ready=not early)
            if early:
                trial.pause(2.0, 9.0)
            else:
                trial.wait_counting("one")
                trial.pause(0.0, 3.0)
            trial.kill("one")
        trial.start("one")
        trial.check()
        trial.stop("one")


def test_a_million_texts_are_booked_exactly_through_two_kills(kafka_settings: KafkaSettings, tmp_path: Path) -> None:
    kill_again_and_again(kafka_settings, tmp_path, seed=4, kills=2)  # both while it counts


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 100 + RUNS))
def test_a_million_texts_are_booked_exactly_through_many_kills(
    kafka_settings: KafkaSettings, tmp_path: Path, seed: int
) -> None:
    kill_again_and_again(kafka_settings, tmp_path, seed, kills=5)


@pytest.mark.chaos
@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(RUNS))
def test_two_processes_one_killed_and_three_rebalances(apache_kafka: Broker, tmp_path: Path, seed: int) -> None:
    with Trial(settings_for(apache_kafka), tmp_path, seed, NAMES) as trial:
        trial.publish(seconds=75.0)
        for name in NAMES:
            trial.start(name)
        trial.pause(0.0, 3.0)
        killed = trial.random.choice(NAMES)
        trial.kill(killed)
        trial.pause(0.0, 2 * SESSION_SECONDS)  # the other one may have taken over, or not yet
        for _ in range(3):
            trial.start(killed)
            trial.pause(0.0, 3.0)
            trial.stop(killed)
            trial.pause(0.0, 3.0)
        trial.start(killed)
        trial.check()
        for name in NAMES:
            trial.stop(name)


@pytest.mark.chaos
@pytest.mark.kafka
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(RUNS))
def test_a_process_that_stood_still_for_longer_than_its_session(
    apache_kafka: Broker, tmp_path: Path, seed: int
) -> None:
    """Its partitions are the other one's when it wakes up, and it does not know."""
    with Trial(settings_for(apache_kafka), tmp_path, seed, NAMES) as trial:
        trial.publish(seconds=60.0)
        for name in NAMES:
            trial.start(name)
        for _ in range(2):
            frozen = trial.random.choice(NAMES)
            trial.wait_counting(frozen)
            trial.pause(0.0, 2.0)
            trial.freeze(frozen, SESSION_SECONDS + trial.random.uniform(2.0, 6.0))
            trial.pause(0.0, 3.0)
        trial.check()
        for name in NAMES:
            trial.stop(name)


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(RUNS))
def test_the_only_process_stood_still_for_longer_than_its_session(
    kafka_settings: KafkaSettings, tmp_path: Path, seed: int
) -> None:
    with Trial(kafka_settings, tmp_path, seed) as trial:
        trial.publish(seconds=40.0)
        trial.start("one")
        trial.wait_counting("one")
        trial.pause(0.0, 2.0)
        trial.freeze("one", SESSION_SECONDS + trial.random.uniform(2.0, 6.0))
        trial.check()
        trial.stop("one")
