"""A batch with texts of several tenants is one batch of the whole, and one of each of them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client.core import Metric

from embedwatch.events import BatchEvent, PhaseSeconds
from stream_agents.compute.baseline import snapshot
from stream_agents.compute.closing import Closer, totals_of, window_event
from stream_agents.compute.counters import Counters
from stream_agents.compute.merger import Merger
from stream_agents.compute.partials import pane_records
from stream_agents.compute.phases import phase_rows
from stream_agents.compute.scopes import ALL, OTHER, Scope
from stream_agents.compute.windows import Totals, Windows, pane_start
from stream_agents.web.series import counted
from tests.harness.agents_cluster import APP_ID, new_world
from tests.harness.agents_log import NOW, batch_event

MODEL: Scope = (("model", "m"),)
A: Scope = (("tenant", "a"),)
B: Scope = (("tenant", "b"),)


def cycle(**fields: Any) -> list[BatchEvent]:
    """Three passes of 100 ms: two with texts of both tenants, half and half, one of `a` alone. `a` has two sources."""
    return [
        batch_event(0, tenant="a", source="x", batches=3, batch_share=1.75, phase_seconds=PhaseSeconds(embed=0.175),
                    **fields),
        batch_event(1, tenant="a", source="y", batches=1, batch_share=0.25, repeated_batches=1,
                    tenant_repeated_batches=1, phase_seconds=PhaseSeconds(embed=0.025), **fields),
        batch_event(2, tenant="b", batches=2, batch_share=1.0, repeated_batches=2,
                    phase_seconds=PhaseSeconds(embed=0.1), **fields),
    ]  # fmt: skip


def test_each_scope_has_the_batches_that_held_its_texts_and_a_batch_takes_as_long_in_all_of_them() -> None:
    windows = Windows(max_scopes=100)
    for event in cycle():
        windows.add(event, NOW)
    expected = {ALL: 3, MODEL: 3, A: 3, (*MODEL, *A): 3, B: 2, (*MODEL, *B): 2}
    assert {scope: windows.window(scope, 60, NOW).batches for scope in windows.scopes()} == expected
    for scope in expected:
        per_batch = phase_rows(windows.window(scope, 60, NOW))["embed"]["per_batch_ms"]
        assert per_batch == pytest.approx(100.0), scope


def test_a_sender_that_is_older_is_counted_as_it_was() -> None:
    windows = Windows(max_scopes=100)
    for tenant in "ab":
        windows.add(batch_event(tenant=tenant, batches=2, phase_seconds=PhaseSeconds(embed=0.2)), NOW)
    found = windows.window(ALL, 60, NOW)
    assert (found.batches, found.batch_share) == (4, 4.0)
    assert phase_rows(found)["embed"]["per_batch_ms"] == pytest.approx(100.0)


def test_numbers_that_make_no_sense_make_no_sum_negative() -> None:
    windows = Windows(max_scopes=100)
    windows.add(batch_event(batches=2, repeated_batches=10, tenant_repeated_batches=9, batch_share=1e300), NOW)
    found = windows.window(ALL, 60, NOW)
    assert (found.batches, found.batch_share) == (0, 2.0)


def test_above_the_cap_on_scopes_nothing_is_lost() -> None:
    windows = Windows(max_scopes=3)  # all, the model and one of the two of `a`
    for event in cycle():
        windows.add(event, NOW)
    assert windows.window(ALL, 60, NOW).batches == 3
    assert windows.window(OTHER, 60, NOW).batches == 5, "which texts share a batch in there is not known"


def test_a_late_event_brings_a_longer_window_what_it_brings_a_pane() -> None:
    windows, closer = Windows(max_scopes=100), Closer((60, 3600), grace_seconds=30)
    closer.assign({0}, NOW)
    for _ in range(2):
        closer.due(windows, NOW + 3000)
    for event in cycle(time_seconds=NOW + 100):
        closer.add(event, windows.add(event, NOW + 3000), NOW + 3000)
    assert closer.late_events == 3
    for scope, batches in ((ALL, 3), (A, 3), (B, 2)):
        ((_, hour),) = closer.unclosed(windows, scope, 3600, NOW + 3000)
        assert (hour.batches, hour.texts) == (batches, windows.window(scope, 3600, NOW + 3000).texts)


def test_a_closed_window_tells_and_one_of_an_older_agent_is_read() -> None:
    windows = Windows(max_scopes=100)
    for event in cycle():
        windows.add(event, NOW)
    closed = window_event(B, 60, 0, windows.window(B, 60, NOW), NOW, False)
    assert (closed.batches, closed.batch_share) == (2, 1.0)
    assert totals_of(closed).batch_share == 1.0
    assert totals_of(replace(closed, batch_share=None)).batch_share == 2.0


def test_a_pane_of_an_older_agent_has_a_share_for_each_batch() -> None:
    merger = Merger(new_world(), APP_ID, 4)
    merger.unpack(NOW)
    pane = {ALL: Totals(texts=10, events=1, batches=4, first_seconds=NOW)}
    for key, value in pane_records(APP_ID, 1, pane_start(NOW), 5, pane):
        merger.take_partial(key, value, NOW)
    assert merger.world.windows.window(ALL, 60, NOW).batch_share == 4.0


def test_counters_by_tenant_and_each_batch_once_by_model() -> None:
    counters = Counters()
    for event in cycle():
        counters.add(event)
    families = {family.name: family for family in counted(counters)}

    def values(family: Metric) -> dict[tuple[str, ...], float]:
        return {tuple(sample.labels.values()): sample.value for sample in family.samples}

    assert values(families["embedwatch_batches"]) == {("m", "a"): 3, ("m", "b"): 2}
    assert values(families["embedwatch_model_batches"]) == {("m",): 3}


def test_a_baseline_keeps_both() -> None:
    world = new_world()
    for event in cycle():
        world.apply_batch(event, NOW)
    saved = snapshot(world, NOW, 60)["scopes"]
    assert [(saved[key]["batches"], saved[key]["batch_share"]) for key in ("all", "tenant=b")] == [(3, 3.0), (2, 1.0)]
