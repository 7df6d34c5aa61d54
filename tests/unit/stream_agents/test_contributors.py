"""What moved a number: compared with the hour before, by phase, error class, model, tenant and worker."""

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
from stream_agents.compute.worker_panes import MAX_WORKERS
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


def workers(rule: str, *events: BatchEvent) -> list[Row]:
    return [found for found in breached(rule, *events) if found[0] == "worker"]


def of(names: str, ago: float, **fields: Any) -> list[BatchEvent]:
    return [event(ago, worker=name, **fields) for name in names]


def test_the_worker_that_became_slow_is_named_with_its_mean() -> None:
    before = of("abcd", 600, latencies=[100.0] * 50)
    now = [*of("abc", 0, latencies=[110.0] * 50), *of("d", 0, latencies=[900.0] * 50)]
    expected = [("worker", "d", pytest.approx(900, rel=0.01), 96, pytest.approx(9, rel=0.01))]
    assert workers(LATENCY, *before, *now) == expected
    in_model = "rules: [{metric: latency_p95_ms, threshold: 500, scope: {model: m}}]"
    assert workers(in_model, *before, *now) == expected


def test_where_every_worker_became_slower_none_is_to_blame() -> None:
    before = of("abcdef", 600, latencies=[100.0] * 50)
    assert workers(LATENCY, *before, *of("abcdef", 0, latencies=[900.0] * 50)) == []
    assert workers(LATENCY, *of("abcdef", 0, latencies=[900.0] * 50)) == [], "nor where nothing is known of before"


def test_with_nothing_known_of_before_the_slow_worker_stands_out() -> None:
    now = [*of("abc", 0, latencies=[100.0] * 50), *of("d", 0, latencies=[900.0] * 50)]
    assert workers(LATENCY, *now) == [("worker", "d", pytest.approx(900, rel=0.01), 75, None)]


def test_a_worker_that_was_always_slow_is_not_what_moved() -> None:
    before = [*of("ab", 600, latencies=[100.0] * 50), *of("s", 600, latencies=[450.0] * 50)]
    now = [
        *of("a", 0, latencies=[100.0] * 50),
        *of("b", 0, latencies=[800.0] * 50),
        *of("s", 0, latencies=[452.0] * 50),
    ]
    assert [name for _, name, *_ in workers(LATENCY, *before, *now)] == ["b"]


def test_a_new_worker_is_measured_by_what_is_usual_for_all() -> None:
    before = of("ab", 600, latencies=[100.0] * 50)
    now = [*of("ab", 0, latencies=[100.0] * 50), event(0, worker="new", latencies=[900.0] * 50)]
    assert workers(LATENCY, *before, *now) == [("worker", "new", pytest.approx(900, rel=0.01), 100, None)]


def test_the_worker_that_fails_the_one_without_a_cache_and_the_one_that_is_gone() -> None:
    failing = [*of("ab", 600, texts=1000, errors={"timeout": 5}), *of("a", 0, texts=100, errors={"timeout": 1}),
               *of("b", 0, texts=100, errors={"timeout": 30})]  # fmt: skip
    assert workers("thresholds: {error_rate_pct: 1}", *failing) == [("worker", "b", 30.0, 98, 60.0)]
    cold = [*of("ab", 600, cache_hits=60, misses=40, texts=100), *of("a", 0, cache_hits=60, misses=40, texts=100),
            *of("b", 0, cache_hits=0, misses=100, texts=100)]  # fmt: skip
    assert workers("thresholds: {cache_hit_rate_pct: 40}", *cold) == [("worker", "b", 0.0, 100, 0.0)]
    before = [one for ago in range(60, 3000, 10) for one in of("abc", ago, texts=600)]
    now = [one for ago in range(0, 60, 10) for one in of("ab", ago, texts=600)]
    ((kind, name, value, share, factor),) = workers("thresholds: {throughput_texts_per_s: 150}", *before, *now)
    assert (kind, name, value, factor) == ("worker", "c", 0.0, 0.0)
    assert share is not None
    assert share >= 80


def test_one_worker_alone_or_a_scope_with_a_tenant_names_none() -> None:
    slow = of("a", 0, latencies=[900.0] * 50)
    assert workers(LATENCY, *of("a", 600, latencies=[100.0] * 50), *slow) == []
    tenants = [*of("ab", 600, latencies=[100.0] * 50, tenant="t"), *of("a", 0, latencies=[900.0] * 50, tenant="t"),
               *of("b", 0, latencies=[100.0] * 50, tenant="t")]  # fmt: skip
    assert len(workers(LATENCY, *tenants)) == 1
    in_tenant = "rules: [{metric: latency_p95_ms, threshold: 500, scope: {tenant: t}}]"
    assert workers(in_tenant, *tenants) == []


def test_workers_above_the_cap_are_part_of_the_move_and_not_named() -> None:
    names = [f"w{n}" for n in range(MAX_WORKERS + 20)]
    before = [event(600, latencies=[100.0] * 20, worker=name) for name in names]
    now = [event(0, latencies=[900.0 if name in ("w3", names[-1]) else 100.0] * 20, worker=name) for name in names]
    found = workers("rules: [{metric: latency_max_ms, threshold: 500}]", *before, *now)
    assert [(name, share) for _, name, _, share, _ in found] == [("w3", 50)]
