"""What `make chaos` does and says, without any process."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.curves import growth
from tests.chaos.faults import ON_A_CLUSTER, ON_THE_EMBEDDED_BROKER, Fault, Outcome, Run, document, plan, rows, table


@given(seed=st.integers(), faults=st.integers(1, 120), possible=st.sampled_from((ON_A_CLUSTER, ON_THE_EMBEDDED_BROKER)))
def test_a_plan_has_every_fault_once_and_every_kind_equally_often(seed: int, faults: int, possible: tuple) -> None:  # type: ignore[type-arg]
    steps = plan(seed, faults, possible)
    every = [fault for step in steps for fault in step.faults]
    assert [fault.number for fault in every] == list(range(faults))
    counts = Counter((fault.kind, fault.victim) for fault in every)
    assert set(counts) <= set(possible)
    most, least = max(counts.values()), min(counts[pair] for pair in possible)
    assert most - least <= 1
    for step in steps:
        assert len({fault.victim for fault in step.faults}) == len(step.faults)
    assert plan(seed, faults, possible) == steps


def test_every_process_is_killed_frozen_and_started_again_and_every_line_to_it_fails() -> None:
    assert len(set(ON_A_CLUSTER)) == len(ON_A_CLUSTER) == 50
    assert Counter(kind for kind, _ in ON_A_CLUSTER) == {
        "kill": 7, "freeze": 7, "restart": 7, "slow": 7, "silent": 7, "cut": 7, "leader": 1, "disk-full": 2, "clock": 5,
    }  # fmt: skip


def test_the_table_has_a_row_for_each_kind_and_victim_and_the_worst_recovery() -> None:
    def outcome(number: int, seconds: float, **more: int) -> Outcome:
        return Outcome(Fault(number, "kill", "agents", 1.0, 0), seconds, **more)

    run = Run("Kafka x3", 7, [outcome(0, 3.0), outcome(1, 9.04, doubled=2), outcome(2, 4.0, alerts_lost=1)], texts=10)
    (row,) = rows([run])
    assert row == {
        "on": "Kafka x3", "kind": "kill", "victim": "agents", "faults": 3, "lost": 0, "doubled": 2, "alerts_lost": 1,
        "alerts_doubled": 0, "median_recovery_seconds": 4.0, "worst_recovery_seconds": 9.0,
    }  # fmt: skip
    heading, line, whole = table([run])
    assert heading.split()[:4] == ["on", "fault", "victim", "faults"]
    assert line.split() == ["Kafka", "x3", "kill", "agents", "3", "0", "2", "1", "0", "4.0", "9.0"]
    assert whole.startswith("Kafka x3, seed 7: 3 faults in 0 s; ")
    assert "; 10 texts, " in whole
    assert (document([run])["faults"], document([run])["worst_recovery_seconds"]) == (3, 9.0)


def test_growth_is_that_of_the_second_half() -> None:
    samples = [(float(n), 100.0 * n) for n in range(20)] + [(20.0 + n, 2000.0 + 5.0 * n) for n in range(20)]
    found = growth("agents", samples)
    assert found is not None
    assert (found.start, found.end, found.seconds) == pytest.approx((2000.0, 2095.0, 19.0))
    assert found.flat(allowed=0)  # 4.75 %
    assert not growth("x", [(float(n), 2000.0 + 10.0 * n) for n in range(40)]).flat(allowed=100)  # type: ignore[union-attr]
    assert growth("short", samples[:10]) is None
