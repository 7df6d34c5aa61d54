"""Money thrown away: of the cost, never more than it, and the same however events are spread over partitions."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.events import BatchEvent
from stream_agents.compute.counters import Counters
from stream_agents.compute.ledger import PartitionState, day_scopes, day_totals
from stream_agents.compute.summary import day_summary
from stream_agents.compute.wasted import wasted_nano_usd
from stream_agents.compute.world import World
from tests.harness.agents_log import NOW, batch_event

UTC = ZoneInfo("UTC")
DAY = "2027-01-15"
LOST: dict[str, Any] = {"cache_hits": 0, "misses": 0, "errors": {"timeout": 10}}


@pytest.mark.parametrize(
    ("fields", "wasted"),
    [
        ({"cost_nano_usd": 9, "wasted_nano_usd": 4}, 4),
        ({"cost_nano_usd": 9, "wasted_nano_usd": 0, **LOST}, 0),
        ({"cost_nano_usd": 9, **LOST}, 9),  # an older sender: no text of it has a vector
        ({"cost_nano_usd": 9, "misses": 7, "errors": {"timeout": 1}}, 0),  # of which texts, nobody knows
        ({"cost_nano_usd": 9}, 0),
        ({"cost_nano_usd": 9, "texts": 0, "cache_hits": 0, "misses": 0}, 0),
    ],
)
def test_what_of_an_event_is_wasted(fields: dict[str, Any], wasted: int) -> None:
    event = batch_event(**fields)
    assert event.misfit() is None
    assert wasted_nano_usd(event) == wasted


def test_an_event_that_wasted_more_than_it_cost_is_refused() -> None:
    assert batch_event(cost_nano_usd=5, wasted_nano_usd=5).misfit() is None
    assert "wasted_nano_usd is 6" in (batch_event(cost_nano_usd=5, wasted_nano_usd=6).misfit() or "")


@st.composite
def events(draw: Any) -> BatchEvent:
    cost = draw(st.integers(0, 2**53))
    return batch_event(
        cost_nano_usd=cost, wasted_nano_usd=draw(st.none() | st.integers(0, cost)),
        model=draw(st.sampled_from(["a", "b", "c"])), tenant=draw(st.sampled_from([None, "s", "t"])),
        **draw(st.sampled_from([LOST, {}])),
    )  # fmt: skip


@given(st.lists(st.tuples(events(), st.integers(0, 3)), max_size=20), st.sampled_from([1, 3, 100]))
def test_sums_are_exact_over_partitions_and_within_the_cost(made: list[tuple[BatchEvent, int]], scopes: int) -> None:
    spread = [PartitionState(0) for _ in range(4)]
    one, counters = PartitionState(0), Counters()
    for event, partition in made:
        spread[partition].book(event, UTC, 100)
        one.book(event, UTC, 100)
        counters.add(event)
    for scope in day_scopes([one], DAY) | {"all"}:
        totals = day_totals(spread, DAY, scope)
        assert totals == day_totals([one], DAY, scope)
        assert 0 <= totals.wasted_nano_usd <= totals.cost_nano_usd
    whole = sum(wasted_nano_usd(event) for event, _ in made)
    assert day_totals(spread, DAY).wasted_nano_usd == whole
    assert sum(counts.sums["wasted_nano_usd"] for counts in counters.series.values()) == whole
    capped = PartitionState(0)
    for event, _ in made:
        capped.book(event, UTC, scopes)
    assert day_totals([capped], DAY).wasted_nano_usd == whole


def test_the_day_shows_it_and_does_not_know_it_where_nothing_has_a_price() -> None:
    def shown(**fields: Any) -> tuple[Any, Any]:
        world = World(zone=UTC, max_scopes=100, lag_group="g", lag_topic="t")
        world.partitions = {0: PartitionState(next_offset=0)}
        world.partitions[0].book(batch_event(**fields), UTC, 100)
        day = day_summary(world, DAY, now=NOW)
        return day["wasted_nano_usd"], day["wasted_usd"]

    assert shown(cost_nano_usd=9, wasted_nano_usd=4) == (4, 4e-9)
    assert shown(cost_nano_usd=9, wasted_nano_usd=0) == (0, 0.0)
    assert shown(cost_nano_usd=0, unpriced_tokens=800) == (None, None)


def test_a_state_of_before_is_read_and_has_wasted_nothing_that_is_known() -> None:
    state = PartitionState(0)
    state.book(batch_event(cost_nano_usd=9, wasted_nano_usd=4), UTC, 100)
    record = state.to_record()
    for totals in record["days"][DAY].values():
        for name in ("wasted_nano_usd", "unsettled_texts", "uncounted_texts", "cancelled_texts"):
            totals.pop(name, None)
    read = PartitionState.from_record({**record, "v": 4})
    assert (read.days[DAY]["all"].cost_nano_usd, read.days[DAY]["all"].wasted_nano_usd) == (9, 0)
    assert read.older_days == [DAY]
