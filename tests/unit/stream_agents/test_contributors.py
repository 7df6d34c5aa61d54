"""What moved a number: compared with the hour before, by phase, error class, model and tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from embedwatch.events import BatchEvent, Contributor, PhaseSeconds
from embedwatch.rules import parse_rules
from embedwatch.sketch import Sketch
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.contributors import MAX_INNER, Explainer
from stream_agents.compute.judge import judge
from stream_agents.compute.world import World
from tests.harness.agents_log import NOW, batch_event

Row = tuple[str, str, float, float | None, float | None]


def event(seconds_ago: float, tenant: str | None = None, latencies: Sequence[float] = (), **fields: Any) -> BatchEvent:
    if latencies:
        fields |= {"latency_sketch": Sketch.of(latencies).to_text(), "texts": len(latencies)}
    return batch_event(time_seconds=NOW - seconds_ago, tenant=tenant, **fields)


def breached(rule: str, *events: BatchEvent, max_scopes: int = 1000) -> list[Row]:
    """Kind, name, value, share and factor, rounded to whole numbers where they are large."""
    world = World(zone=ZoneInfo("UTC"), max_scopes=max_scopes, lag_group="g", lag_topic="t")
    for one in events:
        world.apply_batch(one, NOW)
    (verdict,) = judge(parse_rules(YamlFile("rules.yaml", rule)), world, NOW)
    assert verdict.judgement == "breached", verdict
    return [row(part) for part in verdict.contributors]


def row(part: Contributor) -> Row:
    share = None if part.share_pct is None else round(part.share_pct)
    return part.kind, part.name, round(part.value, 1), share, None if part.factor is None else round(part.factor, 1)


def phases(**seconds: float) -> PhaseSeconds:
    return PhaseSeconds(**seconds)


LATENCY = "thresholds: {latency_p95_ms: 500}"


def test_the_phase_that_grew_is_named_not_the_largest_one() -> None:
    usual = phases(embed=0.3, cache_lookup=0.01, publish=0.02, queue_wait=5.0)
    slow = phases(embed=0.3, cache_lookup=0.61, publish=0.05, queue_wait=900.0)
    found = breached(
        LATENCY,
        *[event(600 + n, latencies=[300.0] * 100, phase_seconds=usual) for n in range(10)],
        *[event(n, latencies=[900.0] * 100, phase_seconds=slow) for n in range(5)],
    )
    assert found == [("phase", "cache_lookup", 610.0, 95, 61.0), ("phase", "publish", 50.0, 5, 2.5)]


def test_with_nothing_known_of_before_the_largest_phase_is_named() -> None:
    found = breached(LATENCY, event(0, latencies=[900.0] * 100, phase_seconds=phases(embed=0.6, publish=0.2)))
    assert found == [("phase", "embed", 600.0, 75, None), ("phase", "publish", 200.0, 25, None)]


def test_phases_that_are_as_before_are_shown_by_size() -> None:
    """The wait in front of the model grew, say: no phase is to blame, and none is blamed for a growth of a hair."""
    same = phases(embed=0.3, publish=0.1)
    found = breached(
        LATENCY, event(600, latencies=[300.0] * 100, phase_seconds=same),
        event(0, latencies=[900.0] * 100, phase_seconds=phases(embed=0.301, publish=0.1)),
    )  # fmt: skip
    assert found == [("phase", "embed", 301.0, 75, 1.0), ("phase", "publish", 100.0, 25, 1.0)]


def test_the_tenant_whose_texts_became_slow_is_named_and_not_the_one_that_always_was() -> None:
    # `old` has always been slow and is the larger one; `new` has just become slow.
    before = [event(600, "old", [900.0] * 30 + [100.0] * 270), event(600, "new", [100.0] * 300)]
    now = [event(0, "old", [900.0] * 30 + [100.0] * 270), event(0, "new", [700.0] * 100 + [100.0] * 100)]
    found = [r for r in breached(LATENCY, *before, *now) if r[0] == "tenant"]
    assert found == [("tenant", "new", pytest.approx(700, rel=0.006), 100, pytest.approx(7, rel=0.02))]


def test_inside_a_model_its_tenants_are_compared_and_a_single_model_is_no_news() -> None:
    now = [event(0, "a", [900.0] * 90 + [1.0] * 10), event(0, "b", [900.0] * 10 + [1.0] * 90), event(0, "c", [1.0] * 9)]
    for rule in (LATENCY, "rules: [{metric: latency_p95_ms, threshold: 500, scope: {model: m}}]"):
        found = [(kind, name, share) for kind, name, _, share, _ in breached(rule, *now) if kind != "phase"]
        assert found == [("tenant", "a", 90), ("tenant", "b", 10)]


def test_errors_by_class_model_and_tenant_beyond_the_usual() -> None:
    before = [event(600, "a", texts=1000, errors={"timeout": 5}), event(600, "b", model="n", texts=1000)]
    now = [
        event(0, "a", texts=100, errors={"timeout": 1}),
        event(0, "b", model="n", texts=100, errors={"rate_limited": 40, "timeout": 2}),
    ]
    found = breached("thresholds: {error_rate_pct: 1}", *before, *now)
    assert found == [
        ("error_class", "rate_limited", 20.0, 94, None), ("error_class", "timeout", 1.5, 6, 6.0),
        ("model", "n", 42.0, 99, None), ("tenant", "b", 42.0, 99, None),
    ]  # fmt: skip


def test_hits_that_are_missing_by_tenant() -> None:
    def looked_up(ago: float, tenant: str, hits: int, misses: int) -> BatchEvent:
        return event(ago, tenant, texts=hits + misses, cache_hits=hits, misses=misses)

    before = [looked_up(600, "a", 600, 400), looked_up(600, "cold", 50, 950)]
    now = [looked_up(0, "a", 300, 700), looked_up(0, "cold", 50, 950), looked_up(0, "new", 0, 200)]
    found = [r for r in breached("thresholds: {cache_hit_rate_pct: 40}", *before, *now) if r[0] == "tenant"]
    # `a` lost 300 of its hits; `new` would have had 65 at the rate of all; `cold` is as it was.
    assert found == [("tenant", "a", 30.0, 82, 0.5), ("tenant", "new", 0.0, 18, None)]


def test_a_tenant_that_fell_silent_is_what_lowered_the_throughput() -> None:
    before = [event(ago, tenant, texts=600) for ago in range(60, 3000, 10) for tenant in ("quiet", "steady")]
    now = [event(ago, "steady", texts=600) for ago in range(0, 60, 10)]
    found = [r for r in breached("thresholds: {throughput_texts_per_s: 100}", *before, *now) if r[0] == "tenant"]
    _, name, value, share, factor = found[0]
    assert (name, value, factor) == ("quiet", 0.0, 0.0)
    assert share is not None
    assert share >= 80


def test_tokens_without_a_price_name_their_model_even_when_it_is_the_only_one() -> None:
    found = breached("thresholds: {unpriced_tokens: 0}", event(0, unpriced_tokens=7))
    assert found == [("model", "m", 7.0, 100, None)]


def test_of_a_thousand_tenants_the_busiest_are_looked_at() -> None:
    world = World(zone=ZoneInfo("UTC"), max_scopes=5000, lag_group="g", lag_topic="t")
    for n in range(300):
        world.apply_batch(event(0, f"t{n}", texts=1000 - n), NOW)
    explainer = Explainer(world.windows, NOW, lambda scope, seconds: world.windows.window(scope, seconds, NOW))
    tenants = [name for kind, name, _ in explainer.inner(()) if kind == "tenant"]
    assert tenants == [f"t{n}" for n in range(MAX_INNER)]


def test_the_cap_on_scopes_hides_names_but_breaks_nothing() -> None:
    found = breached(LATENCY, *[event(0, f"t{n}", [900.0] * 20, model=f"m{n}") for n in range(50)], max_scopes=6)
    assert all(kind in ("phase", "model", "tenant") for kind, *_ in found)


def test_what_is_well_is_not_explained() -> None:
    world = World(zone=ZoneInfo("UTC"), max_scopes=9, lag_group="g", lag_topic="t")
    world.apply_batch(event(0, "a", [1.0] * 100), NOW)
    (verdict,) = judge(parse_rules(YamlFile("rules.yaml", LATENCY)), world, NOW)
    assert (verdict.judgement, verdict.contributors) == ("ok", [])
