"""Panes and sliding windows: what is in, what is out, and that adding up panes loses nothing."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.errors import InvalidEvent
from embedwatch.events import BatchEvent, PhaseSeconds
from embedwatch.sketch import Sketch
from stream_agents.compute.scopes import ALL, OTHER
from stream_agents.compute.windows import MAX_AHEAD_SECONDS, MAX_CYCLES, MAX_STAGED, Totals, Windows, pane_start
from tests.harness.agents_log import batch_event

NOW = 1_800_000_005.0  # in the middle of the pane that begins at 1_800_000_000
MODEL = (("model", "m"),)


def at(seconds_ago: float, **fields: Any) -> BatchEvent:
    return batch_event(time_seconds=NOW - seconds_ago, **fields)


def windows_of(*events: BatchEvent, max_scopes: int = 100, now: float = NOW) -> Windows:
    windows = Windows(max_scopes=max_scopes)
    for event in events:
        windows.add(event, now)
    return windows


def plain(totals: Totals) -> dict[str, Any]:
    """Everything in it, comparable. Floats are sums in another order: rounded."""
    apart = ("latency", "queue_wait", "crossed_texts")  # the last one goes by moments, which a pane alone does not see
    fields = {name: getattr(totals, name) for name in Totals.__slots__ if name not in apart}
    fields["phase_seconds"] = {phase: round(s, 6) for phase, s in totals.phase_seconds.items()}
    fields["busy_seconds"] = round(totals.busy_seconds, 6)
    fields["squared_texts"] = round(totals.squared_texts, 6)
    for name in ("latency", "queue_wait"):
        sketch: Sketch = getattr(totals, name)
        fields[name] = (
            sketch.count, round(sketch.total, 6), sketch.minimum, sketch.maximum,
            [sketch.quantile(q / 20) for q in range(21)],
        )  # fmt: skip
    return fields


def test_a_pane_begins_at_a_multiple_of_ten_seconds() -> None:
    assert [pane_start(t) for t in (0.0, 9.999, 10.0, 1_800_000_009.9, -0.1)] == [0, 0, 10, 1_800_000_000, -10]


def test_a_window_is_the_present_pane_and_those_before_it() -> None:
    windows = windows_of(at(0), at(5), at(5.001), at(55), at(55.001))
    assert windows.window(ALL, 10, NOW).events == 2
    assert windows.window(ALL, 20, NOW).events == 3
    assert windows.window(ALL, 60, NOW).events == 4
    assert windows.window(ALL, 70, NOW).events == 5


def test_a_window_slides_and_ends_empty() -> None:
    windows = windows_of(at(0))
    assert [windows.window(ALL, 60, NOW + later).events for later in (0, 54.9, 55, 500)] == [1, 1, 0, 0]


def test_an_event_counts_in_each_of_its_scopes_and_no_other() -> None:
    windows = windows_of(at(0, tenant="t"), at(0), at(0, model="other"))
    count = {scope: windows.window(scope, 60, NOW).events for scope in windows.scopes()}
    assert count == {
        ALL: 3, MODEL: 2, (("tenant", "t"),): 1, (("model", "m"), ("tenant", "t")): 1, (("model", "other"),): 1,
    }  # fmt: skip
    assert windows.window((("model", "never seen"),), 60, NOW).events == 0


def test_a_late_event_is_counted_where_it_belongs_while_a_window_reaches_it() -> None:
    windows = Windows(max_scopes=10, keep_seconds=3600)
    assert windows.add(at(3594), NOW)
    assert not windows.add(at(3606), NOW)
    assert windows.window(ALL, 3600, NOW).events == 1
    assert windows.late_events == 1


def test_a_clock_that_runs_ahead_a_little_is_believed_and_one_far_ahead_is_not() -> None:
    windows = windows_of(at(-MAX_AHEAD_SECONDS), at(-MAX_AHEAD_SECONDS - 1000))
    assert windows.window(ALL, 10, NOW).events == 2, "both belong to the present"
    assert windows.window(ALL, 10, NOW + 10).events == 1


def test_how_long_a_window_has_looked_begins_with_its_first_event() -> None:
    windows = windows_of(at(30), at(0))
    totals = windows.window(ALL, 300, NOW)
    assert windows.covered_seconds(totals, 300, NOW) == pytest.approx(30)
    assert windows.covered_seconds(windows.window(ALL, 20, NOW), 20, NOW) == pytest.approx(1), "at least a second"
    later = NOW + 290
    assert windows.covered_seconds(windows.window(ALL, 300, later), 300, later) == pytest.approx(290)
    full = windows_of(*[at(ago) for ago in range(0, 100, 5)])
    assert full.covered_seconds(full.window(ALL, 60, NOW), 60, NOW) == pytest.approx(55), "from the first pane on"
    assert windows.covered_seconds(Totals(), 60, NOW) is None


def test_ratios_of_nothing_are_not_known() -> None:
    empty = Totals()
    assert empty.error_rate_pct() is None
    assert empty.cache_hit_rate_pct() is None
    assert empty.token_hit_rate_pct() is None
    assert empty.padding_waste_pct() is None
    assert empty.latency.quantile(0.5) is None


@given(
    hits=st.integers(0, 50), copies=st.integers(0, 50), misses=st.integers(0, 50), failed=st.integers(0, 50),
    tokens=st.integers(1, 40), cut=st.integers(0, 40),
)  # fmt: skip
def test_the_hit_rate_of_tokens_is_that_of_texts_where_all_texts_are_as_long(
    hits: int, copies: int, misses: int, failed: int, tokens: int, cut: int
) -> None:
    """Whatever is copied, fails or is cut off: neither rate asks for it."""
    texts = hits + copies + misses + failed
    event = at(
        0, texts=texts, cache_hits=hits, duplicates=copies, misses=misses, errors={"timeout": failed},
        tokens_received=texts * (tokens + cut), tokens_embedded=misses * tokens, tokens_saved=(hits + copies) * tokens,
        duplicate_tokens=copies * tokens,
    )  # fmt: skip
    totals = windows_of(event).window(ALL, 60, NOW)
    assert totals.token_hit_rate_pct() == pytest.approx(totals.cache_hit_rate_pct())
    assert (totals.cache_hit_rate_pct() is None) == (hits + misses == 0)


def test_duplicates_within_a_poll_do_not_flatter_the_cache() -> None:
    totals = windows_of(at(0, texts=100, cache_hits=10, duplicates=80, misses=10)).window(ALL, 60, NOW)
    assert totals.cache_hit_rate_pct() == 50


def test_ratios() -> None:
    event = at(
        0, texts=8, cache_hits=1, misses=3, errors={"timeout": 1, "other": 3}, tokens_received=1000, tokens_saved=250,
        tokens_embedded=750, padding_tokens=250,
    )  # fmt: skip
    totals = windows_of(event).window(ALL, 60, NOW)
    assert (totals.error_rate_pct(), totals.cache_hit_rate_pct(), totals.token_hit_rate_pct()) == (50, 25, 25)
    assert totals.padding_waste_pct() == 25


@pytest.mark.parametrize("field", ["latency_sketch", "queue_wait_sketch"])
def test_an_event_whose_sketch_does_not_decode_leaves_no_trace(field: str) -> None:
    windows = windows_of()
    with pytest.raises(InvalidEvent):
        windows.add(at(0, **{field: "AAAA"}), NOW)
    assert windows.window(ALL, 60, NOW).events == 0
    assert windows.scopes() == [ALL]


def test_above_the_cap_the_rest_is_counted_under_other_and_everything_still_adds_up() -> None:
    events = [at(0, model=f"m{n}", tenant=f"t{n}") for n in range(50)]
    windows = windows_of(*events, max_scopes=8)
    assert len(windows.scopes()) <= 9
    assert windows.window(ALL, 60, NOW).texts == 500
    named = sum(
        windows.window(scope, 60, NOW).events
        for scope in windows.scopes()
        if len(scope) == 1 and scope[0][0] == "model"
    )
    assert named + windows.window(OTHER, 60, NOW).events == 50
    assert windows.overflow_events == 50 - named


def test_what_is_added_up_aside_is_bounded_too() -> None:
    """Nobody looks at the panes while more models and tenants come than are ever kept."""
    windows = Windows(max_scopes=8)
    for number in range(3 * MAX_STAGED):
        windows.add(at(0, model=f"m{number}"), NOW)
        assert len(windows._staged) <= MAX_STAGED
    assert windows.window(ALL, 60, NOW).events == 3 * MAX_STAGED


def test_a_scope_that_is_known_is_counted_though_the_cap_is_reached() -> None:
    windows = windows_of(at(0), at(0, model="x"), at(0), max_scopes=2)
    assert windows.window(MODEL, 60, NOW).events == 2


def test_what_no_window_reaches_is_forgotten_and_makes_room() -> None:
    windows = Windows(max_scopes=2, keep_seconds=60)
    windows.add(at(0), NOW)
    windows.prune(NOW + 50)
    assert windows.scopes() == [ALL, MODEL]
    windows.prune(NOW + 61)
    assert windows.scopes() == [ALL]
    later = NOW + 61
    windows.add(at(-61, model="new"), later)
    assert windows.window((("model", "new"),), 60, later).events == 1


events = st.builds(
    at,
    seconds_ago=st.floats(-5, 3590),
    texts=st.integers(20, 10**6),
    cache_hits=st.integers(0, 10**6),
    misses=st.integers(0, 10**6),
    tokens_embedded=st.integers(0, 2**62),
    cost_nano_usd=st.integers(0, 2**62),
    unpriced_tokens=st.integers(0, 10),
    busy_seconds=st.floats(0, 100),
    tenant=st.sampled_from([None, "a", "b"]),
    model=st.sampled_from(["m", "n"]),
    errors=st.dictionaries(st.sampled_from(["timeout", "other"]), st.integers(0, 5)),
    phase_seconds=st.builds(PhaseSeconds, embed=st.floats(0, 10), publish=st.floats(0, 1)),
    latency_sketch=st.lists(st.floats(0, 1e5), max_size=20).map(lambda values: Sketch.of(values).to_text()),
)


@settings(max_examples=60, deadline=None)
@given(events=st.lists(events, max_size=30), seed=st.randoms(use_true_random=False))
def test_panes_in_any_order_add_up_to_one_window(events: list[BatchEvent], seed: random.Random) -> None:
    """Events in any order of arrival, panes in any order of merging: the same as counting all in one place."""
    whole = Totals()
    for event in events:
        whole.add(event, Sketch.from_text(event.latency_sketch), Sketch.from_text(event.queue_wait_sketch),
                  event.time_seconds)  # fmt: skip
    panes = []
    shuffled = list(events)
    seed.shuffle(shuffled)
    for event in shuffled:
        pane = Totals()
        pane.add(event, Sketch.from_text(event.latency_sketch), Sketch.from_text(event.queue_wait_sketch),
                 event.time_seconds)  # fmt: skip
        panes.append(pane)
    while len(panes) > 1:
        seed.shuffle(panes)
        panes[0].merge(panes.pop())
    assert plain(panes[0] if panes else Totals()) == plain(whole)
    assert plain(windows_of(*shuffled).window(ALL, 3600, NOW)) == plain(whole)


@settings(max_examples=60, deadline=None)
@given(events=st.lists(events, max_size=40), window_seconds=st.integers(1, 360).map(lambda n: 10 * n))
def test_a_window_holds_exactly_the_events_of_its_panes(events: list[BatchEvent], window_seconds: int) -> None:
    windows = windows_of(*events)
    begin = pane_start(NOW) - window_seconds + 10
    inside = [event for event in events if event.time_seconds >= begin]
    for scope, mine in (
        (ALL, inside),
        (MODEL, [e for e in inside if e.model == "m"]),
        ((("model", "n"), ("tenant", "b")), [e for e in inside if (e.model, e.tenant) == ("n", "b")]),
    ):
        totals = windows.window(scope, window_seconds, NOW)
        assert totals.events == len(mine)
        assert totals.cost_nano_usd == sum(e.cost_nano_usd for e in mine)
        assert totals.tokens_embedded == sum(e.tokens_embedded for e in mine)
        assert Counter(totals.errors) == sum((Counter(e.errors) for e in mine), Counter())


@settings(max_examples=60, deadline=None)
@given(events=st.lists(st.one_of(events, st.none()), max_size=40), max_scopes=st.integers(2, 10))
def test_looking_in_between_changes_nothing(events: list[BatchEvent | None], max_scopes: int) -> None:
    """Events are added up before they go into their scopes: None is a look, which puts them there."""
    looked, unlooked = (Windows(max_scopes=max_scopes) for _ in range(2))
    for event in events:
        if event is None:
            looked.window(ALL, 60, NOW)
            looked.window(MODEL, 3600, NOW)
        else:
            looked.add(event, NOW)
            unlooked.add(event, NOW)
    assert looked.scopes() == unlooked.scopes()
    assert (looked.overflow_events, looked.late_events) == (unlooked.overflow_events, unlooked.late_events)
    for scope in looked.scopes():
        assert plain(looked.window(scope, 3600, NOW)) == plain(unlooked.window(scope, 3600, NOW))
        assert looked.texts(scope, 3600, NOW) == unlooked.window(scope, 3600, NOW).texts


def test_a_model_that_came_under_the_cap_later_is_counted_from_then_on() -> None:
    """Also where an event of it went under `other` a moment before."""
    windows = windows_of(at(0), at(0, model="x"), at(0, model="y"), max_scopes=6)
    for event in (at(0, model="n", tenant="a"), at(0, model="n"), at(0, model="n", tenant="a")):
        windows.add(event, NOW)
    assert windows.window((("model", "n"),), 60, NOW).events == 2
    assert windows.window(OTHER, 60, NOW).events == 2
    assert windows.overflow_events == 2


def test_before_a_window_is_the_rest_of_the_hour() -> None:
    windows = windows_of(at(0), at(54), at(56), at(3580), at(3594))
    assert windows.window(ALL, 60, NOW).events == 2
    assert windows.before(ALL, 60, NOW).events == 3
    assert windows.before(ALL, 3600, NOW).events == 0
    assert windows.before((("model", "never seen"),), 60, NOW).events == 0


def test_percentiles_of_a_window_are_within_half_a_percent_of_the_exact_ones() -> None:
    rng = np.random.default_rng(7)
    values = [rng.lognormal(3, 1, size=200) for _ in range(100)]
    windows = windows_of(*[at(n * 0.5, texts=200, latency_sketch=Sketch.of(v).to_text()) for n, v in enumerate(values)])
    totals = windows.window(ALL, 60, NOW)
    everything = np.concatenate(values)
    assert totals.latency.count == everything.size == 20_000
    for q in (0.5, 0.95, 0.99):
        exact = float(np.quantile(everything, q, method="higher"))
        assert totals.latency.quantile(q) == pytest.approx(exact, rel=0.005 + 1e-9)
    assert totals.latency.mean() == pytest.approx(float(everything.mean()))
    assert (totals.latency.minimum, totals.latency.maximum) == (everything.min(), everything.max())


def test_moments_and_price_sources_that_are_remembered_are_bounded() -> None:
    windows = Windows(max_scopes=10)
    for n in range(MAX_CYCLES + 50):
        windows.add(at(n / 100_000, price_source=f"source {n % 40}"), NOW)
    assert len(windows._cycles) == MAX_CYCLES
    assert len(windows.window(ALL, 10, NOW).price_sources) == 8
