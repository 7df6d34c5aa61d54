"""The page of figures is what was measured, all of it, and what does not hold is told as plainly as what does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import figures
from benchmarks.capacity import HEADROOM, Measured, need
from benchmarks.claims import Claim

MEASURED = Measured(
    worker_texts_per_s=100.0, agent_events_per_s=5000.0, heartbeat_share=0.1, lag_share=0.01,
    lag_read_1000_partitions_ms=100.0,
)  # fmt: skip


def row(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "claim": "c", "value": value, "unit": "s", "target": 1.0, "bound": "at_most", "holds": value <= 1.0,
        "spread": [value, value], "peers": {}, "on": "a machine", **more,
    }  # fmt: skip


def test_the_page_is_made_from_the_results_that_stand_beside_it() -> None:
    assert figures.PAGE.read_text(encoding="utf-8") == figures.made(), "python -m benchmarks.figures makes it anew"


def test_every_claim_has_its_place_on_the_page() -> None:
    told = [name for _, _, ids in figures.SECTIONS for name in ids]
    assert sorted(told) == sorted(figures.claims())


def test_what_does_not_hold_is_said_where_it_stands_and_where_we_lose() -> None:
    known = {"good": Claim("good", "fast", "s", 1.0, "at_most"), "bad": Claim("bad", "slow", "s", 1.0, "at_most")}
    text = figures.page(known, {"good": row("good", 0.5), "bad": row("bad", 2.0)})
    assert "Of 2 claims 1 hold, 1 do not, 0 have no target here, 0 are not measured" in text
    assert "| slow (`bad`) | 2 s | ≤ 1 | **no** | 2 to 2 |" in text
    assert "- `bad`: 2 s" in text.partition("## Where we lose")[2]


def test_what_was_not_measured_is_no_number() -> None:
    known = {"good": Claim("good", "fast", "s", 1.0, "at_most")}
    text = figures.page(known, {})
    assert "| fast (`good`) | not measured | ≤ 1 | | |" in text
    assert "Not computed" in text


def test_a_million_texts_a_second_in_arithmetic() -> None:
    found = need(1e6, MEASURED, backlog=False, wait_seconds=1.0)
    assert (found.workers, found.partitions, found.batch_events_per_s) == (10_000, 10_000, 10_000.0)
    # One reading of 10,000 partitions takes a second, so it is done each two seconds at most.
    assert (found.lag_read_seconds, found.lag_interval_seconds, found.lag_samples_per_s) == (1.0, 2.0, 5000.0)
    assert found.agents_processes == 4  # ((10,000 + 500 + 50) / 5,000 + 1.0 / 2.0) / 0.7
    assert found.texts_mb_per_s == pytest.approx(246.0)


def test_workers_that_wait_for_texts_publish_more_than_those_that_always_find_some() -> None:
    busy, thin = need(1e6, MEASURED), need(1e6, MEASURED, backlog=False)
    assert busy.batch_events_per_s == pytest.approx(1e6 / 256)
    assert thin.batch_events_per_s == 10_000 * 20  # a cycle ends after 50 ms
    assert thin.agents_processes > 10 * busy.agents_processes
    assert need(3, MEASURED, backlog=False).batch_events_per_s == 3  # never more events than texts


@given(st.floats(1, 1e7), st.floats(1, 1e7), st.booleans())
def test_more_texts_never_need_less_and_what_is_needed_is_enough(one: float, other: float, backlog: bool) -> None:
    small, large = (need(texts, MEASURED, backlog=backlog) for texts in sorted((one, other)))
    assert small.workers <= large.workers
    assert small.agents_processes <= large.agents_processes
    assert large.workers * MEASURED.worker_texts_per_s >= large.texts_per_s
    assert large.agents_processes * MEASURED.agent_events_per_s * HEADROOM >= large.batch_events_per_s
    assert large.lag_interval_seconds >= 2 * large.lag_read_seconds
