"""LATENCY_REGRESSION against a baseline, and what a baseline keeps of the windows."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from embedwatch.baselines import Baseline, from_answer, from_json, to_json
from embedwatch.events import BatchEvent, PhaseSeconds, Verdict
from embedwatch.rules import Rule, parse_rules
from embedwatch.sketch import Sketch
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.baseline import snapshot
from stream_agents.compute.judge import judge
from stream_agents.compute.world import World
from tests.harness.agents_log import NOW, batch_event

RULE = "rules: [{type: LATENCY_REGRESSION, baseline: v1, window: 5m, %s}]"
SPREAD = np.random.default_rng(4).lognormal(4.0, 0.4, 60 * 20).reshape(60, 20)


def batches(factor: float = 1.0, count: int = 60, **fields: Any) -> list[BatchEvent]:
    """Batches of 20 texts, each with a moment of its own."""
    return [
        batch_event(n, **{
            "time_seconds": NOW - n, "texts": 20, "latency_sketch": Sketch.of(SPREAD[n] * factor).to_text(),
            "phase_seconds": PhaseSeconds(embed=0.08 * factor, publish=0.02), **fields,
        })
        for n in range(count)
    ]  # fmt: skip


def world_of(events: list[BatchEvent]) -> World:
    world = World(zone=ZoneInfo("UTC"), max_scopes=100, lag_group="g", lag_topic="t")
    for event in events:
        world.apply_batch(event, NOW)
    return world


def saved(events: list[BatchEvent]) -> Baseline:
    """What `embedwatch baseline save` keeps of it, read back from its file."""
    return from_json(to_json(from_answer(snapshot(world_of(events), NOW, 300), "v1")), "v1")


def judged(baseline: Baseline, live: list[BatchEvent], more: str = "min_samples: 200") -> list[Verdict]:
    rules: tuple[Rule, ...] = parse_rules(YamlFile("r.yaml", RULE % more), lambda _: baseline)
    return judge(rules, world_of(live), NOW)


@pytest.mark.parametrize(
    ("factor", "count", "judgement", "words"),
    [
        (1.0, 60, "ok", "1.00 times the baseline's"),
        (0.5, 60, "ok", "0.50 times the baseline's"),
        (1.03, 60, "ok", "times the baseline's"),
        (2.0, 60, "breached", "1.99 times the baseline's"),
        (2.0, 9, "inconclusive", "180 samples, 200 are needed"),
        (2.0, 10, "inconclusive", "200 texts weigh as 10 batches, 20 are needed"),
        (1.3, 20, "inconclusive", "20 batches against 60 are too few to tell it from chance"),
        (2.0, 0, "no_data", "nothing in the window"),
    ],
)
def test_what_is_slower_than_its_baseline_fires(factor: float, count: int, judgement: str, words: str) -> None:
    (found,) = judged(saved(batches()), batches(factor, count))
    assert (found.judgement, found.alert_type, found.unit) == (judgement, "LATENCY_REGRESSION", "%")
    assert words in found.reason
    assert (found.threshold, found.comparison, found.samples) == (10.0, ">", 20 * count)


def test_the_value_is_the_share_above_the_old_p95() -> None:
    (same,) = judged(saved(batches()), batches())
    assert same.value == pytest.approx(5.0, abs=0.5)
    (found,) = judged(saved(batches()), batches(2.0))
    line = np.quantile(SPREAD, 0.95)
    assert found.value == pytest.approx(100 * (2 * line / 2 < SPREAD * 2).mean(), abs=1.5)


def test_the_phases_that_grew_are_named_with_how_much() -> None:
    grown = batches(2.0, phase_seconds=PhaseSeconds(embed=0.15, publish=0.05, tokenise=0.02, queue_wait=9.0))
    (found,) = judged(saved(batches()), grown)
    # Of 100 ms a batch before: 70 ms more in the model, 30 in publishing, 20 in tokenising, which took none.
    assert [(c.kind, c.name) for c in found.contributors] == [
        ("phase", "embed"), ("phase", "publish"), ("phase", "tokenise"),
    ]  # fmt: skip
    assert [c.value for c in found.contributors] == pytest.approx([70, 30, 20])
    assert [c.share_pct for c in found.contributors] == pytest.approx([58.333, 25, 16.667], abs=0.01)
    assert [c.factor for c in found.contributors] == [pytest.approx(1.875), pytest.approx(2.5), None]
    (same,) = judged(saved(batches()), batches())
    assert same.contributors == []


@pytest.mark.parametrize("more", [1e-14, 1e-4])
def test_a_phase_that_explains_next_to_nothing_is_not_named(more: float) -> None:
    """The last digits of a sum depend on the order of events."""
    (found,) = judged(saved(batches()), batches(phase_seconds=PhaseSeconds(embed=0.16, publish=0.02 + more)))
    assert [c.name for c in found.contributors] == ["embed"]
    (same,) = judged(saved(batches()), batches(phase_seconds=PhaseSeconds(embed=0.08, publish=0.02 + 1e-14)))
    assert same.contributors == []


def test_each_model_is_compared_with_its_own_and_one_without_is_not_known() -> None:
    baseline = saved([*batches(model="a"), *batches(4.0, model="b")])
    live = [*batches(2.0, model="a"), *batches(4.0, model="b"), *batches(9.0, model="new")]
    found = {v.alert_id.partition("|")[2]: v for v in judged(baseline, live, "by: model")}
    assert {key: v.judgement for key, v in found.items()} == {
        "model=a": "breached", "model=b": "ok", "model=new": "inconclusive",
    }  # fmt: skip
    assert (found["model=new"].value, found["model=new"].reason) == (None, "baseline v1 has no scope model=new")


def test_a_threshold_of_the_rules_own_counts() -> None:
    (strict,) = judged(saved(batches()), batches(2.0), "threshold: 90")
    assert (strict.judgement, strict.threshold) == ("ok", 90)
    assert strict.value is not None
    (at,) = judged(saved(batches()), batches(2.0), f"threshold: {strict.value}")
    assert (at.judgement, at.value) == ("ok", at.threshold)
    (above,) = judged(saved(batches()), batches(2.0), f"threshold: {strict.value - 1}")
    assert above.judgement == "breached"


def test_events_of_one_moment_are_one_batch_and_tenants_of_it_are_not_counted_twice() -> None:
    """Four tenants in each batch: as many observations as batches in all of it, and for each tenant."""
    events = [
        event for tenant in "abcd"
        for event in batches(tenant=tenant, latency_sketch=Sketch.of([50.0] * 5).to_text(), texts=5)
    ]  # fmt: skip
    kept = from_answer(snapshot(world_of(events), NOW, 300))
    assert {key: round(each.numbers.effective_batches, 6) for key, each in kept.scopes.items()} == {
        "all": 60, "model=m": 60, **{f"tenant={t}": 60 for t in "abcd"}, **{f"model=m,tenant={t}": 60 for t in "abcd"},
    }  # fmt: skip


def test_batches_of_unequal_sizes_weigh_less_than_their_number() -> None:
    events = [
        batch_event(n, time_seconds=NOW - n, texts=size, batches=number)
        for n, (size, number) in enumerate([(100, 1), (10, 1), (10, 10)])
    ]
    kept = from_answer(snapshot(world_of(events), NOW, 300)).scopes["all"]
    assert kept.numbers.effective_batches == pytest.approx(120**2 / (100**2 + 10**2 + 10 * 1**2))


def test_a_snapshot_has_every_scope_that_was_seen_in_the_window() -> None:
    events = [
        *batches(model="a", tenant="x", price_source="override"), *batches(model="b", price_source="gpu-hour"),
        batch_event(time_seconds=NOW - 400, model="old"),
    ]  # fmt: skip
    kept = from_answer(snapshot(world_of(events), NOW, 300))
    assert list(kept.scopes) == ["all", "model=a", "model=a,tenant=x", "model=b", "tenant=x"]
    numbers = kept.scopes["all"].numbers
    assert (numbers.models, numbers.price_sources) == (["a", "b"], ["gpu-hour", "override"])
    assert (kept.scopes["tenant=x"].numbers.models, kept.scopes["model=b"].numbers.models) == (["a"], ["b"])
    assert (numbers.texts, numbers.batches, numbers.cost_nano_usd) == (2400, 120, 120 * 1_234_567)
    assert numbers.covered_seconds == 59
    nothing = from_answer(snapshot(world_of([]), NOW, 300))
    assert list(nothing.scopes) == ["all"]
    assert set(nothing.scopes["all"].for_people().values()) == {None}
