"""Rules on the world: what fires, what is not known, and what is said when."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from embedwatch.events import BatchEvent, GpuSample, HeartbeatEvent, LagEvent, PhaseSeconds, Verdict
from embedwatch.rules import METRICS, Rule, default_rules, parse_rules
from embedwatch.sketch import Sketch
from embedwatch.yamlfile import YamlFile
from stream_agents.compute.days import day_bounds, day_of
from stream_agents.compute.judge import LONGEST_ID, REPEAT_SECONDS, REPEAT_UNWELL_SECONDS, Announcer, judge
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.world import World
from tests.harness.agents_log import NOW, batch_event
from tests.harness.verdicts import verdict

UTC_ZONE = ZoneInfo("UTC")


def rules(text: str) -> tuple[Rule, ...]:
    return parse_rules(YamlFile("rules.yaml", text))


def world_of(*events: BatchEvent, zone: ZoneInfo = UTC_ZONE) -> World:
    """Events counted and booked, as the runtime does."""
    world = World(zone=zone, max_scopes=100, lag_group="g", lag_topic="t")
    world.started_seconds = NOW - 1000
    world.partitions = {0: PartitionState(next_offset=0)}
    for event in events:
        world.apply_batch(event, NOW)
        world.partitions[0].book(event, zone, 100)
    return world


def latency(values_ms: Any) -> str:
    return Sketch.of(values_ms).to_text()


def judged(text: str, world: World, now: float = NOW) -> list[tuple[str, str]]:
    return [(v.alert_id, v.judgement) for v in judge(rules(text), world, now)]


def one(text: str, world: World, now: float = NOW) -> Verdict:
    (verdict,) = judge(rules(text), world, now)
    return verdict


def test_of_a_quiet_pipeline_nothing_is_ok_but_that_no_worker_is_missed() -> None:
    verdicts = judge(default_rules(), world_of(), NOW)
    assert {v.metric: v.judgement for v in verdicts} == {
        "latency_p95_ms": "no_data", "error_rate_pct": "no_data", "cache_hit_rate_pct": "no_data",
        "unpriced_tokens": "no_data", "daily_cost_usd": "inconclusive", "queue_depth": "inconclusive",
        "rejected_events": "ok", "worker_silent_seconds": "ok", "workers_silent_seconds": "ok",
        "stalled_partitions": "inconclusive", "queue_failing_pct": "no_data",
    }  # fmt: skip
    assert all(v.reason for v in verdicts)


@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"latency_regression_pct"}))
def test_no_metric_is_ok_or_breached_where_nothing_is_known(metric: str) -> None:
    world = World(zone=UTC_ZONE, max_scopes=10, lag_group="g", lag_topic="t")
    (first, *_) = judge(rules(f"thresholds: {{{metric}: 0}}"), world, NOW)
    assert first.judgement in ("no_data", "inconclusive")
    assert METRICS[metric].windowed == (first.judgement == "no_data")


def test_what_a_rule_says_to_people_goes_with_its_verdict() -> None:
    book = "https://wiki.example/runbooks/search"
    said = f"{{metric: error_rate_pct, threshold: 5, route: search, text: Look, runbook: '{book}'}}"
    found = one(f"rules: [{said}]", world_of())
    assert (found.route, found.text, found.runbook) == ("search", "Look", book)
    assert one("thresholds: {error_rate_pct: 5}", world_of()).runbook is None


def test_too_few_samples_are_inconclusive_and_say_how_many_are_needed() -> None:
    world = world_of(batch_event(texts=19, latency_sketch=latency([9000.0] * 19)))
    found = one("thresholds: {latency_p95_ms: 500}", world)
    assert (found.judgement, found.reason, found.samples) == ("inconclusive", "19 samples, 20 are needed", 19)
    assert found.value == 9000
    single = world_of(batch_event(texts=1, latency_sketch=latency([9000.0])))
    assert one("thresholds: {latency_p95_ms: 500}", single).reason == "1 sample, 20 are needed"
    found = one("rules: [{metric: latency_p95_ms, threshold: 500, min_samples: 19}]", world)
    assert found.judgement == "breached"


@pytest.mark.parametrize(("threshold", "judgement"), [(9.99, "breached"), (10, "ok"), (10.01, "ok")])
def test_a_value_at_its_threshold_is_not_above_it(threshold: float, judgement: str) -> None:
    world = world_of(batch_event(texts=100, errors={"other": 10}))
    assert one(f"thresholds: {{error_rate_pct: {threshold}}}", world).judgement == judgement


def test_callers_that_give_up_are_no_errors_of_whoever_they_asked() -> None:
    rule = "thresholds: {error_rate_pct: 1}"
    found = one(rule, world_of(batch_event(texts=100, errors={"cancelled": 50})))
    assert (found.judgement, found.value, found.samples) == ("ok", 0.0, 100)
    found = one(rule, world_of(batch_event(texts=100, errors={"cancelled": 50, "timeout": 2})))
    assert (found.judgement, found.value) == ("breached", 2.0)
    assert [(part.kind, part.name) for part in found.contributors if part.kind == "error_class"] == [
        ("error_class", "timeout")
    ]


@pytest.mark.parametrize(("threshold", "judgement"), [(19.99, "ok"), (20, "ok"), (20.01, "breached")])
def test_a_value_at_its_threshold_is_not_below_it(threshold: float, judgement: str) -> None:
    world = world_of(batch_event(texts=100, cache_hits=20, misses=80))
    assert one(f"thresholds: {{cache_hit_rate_pct: {threshold}}}", world).judgement == judgement


def test_the_budget_speaks_at_half_at_eighty_and_at_all_of_it() -> None:
    def steps(cost_usd: float) -> list[tuple[str, str, str]]:
        world = world_of(batch_event(cost_nano_usd=int(cost_usd * 1e9)))
        found = judge(rules("thresholds: {daily_cost_usd: 100}"), world, NOW)
        assert {v.day for v in found} == {"2027-01-15"}
        return [(v.alert_id, v.severity, v.judgement) for v in found]

    ids = [f"daily_cost_usd|all|2027-01-15|{step}%" for step in (50, 80, 100)]
    severities = ["info", "info", "warning"]
    for cost, breached in ((10, 0), (50, 0), (50.000000001, 1), (80.5, 2), (100.000000001, 3)):
        judgements = ["breached"] * breached + ["ok"] * (3 - breached)
        assert steps(cost) == list(zip(ids, severities, judgements, strict=True))


def test_a_budget_is_of_the_day_in_its_zone_and_names_who_spent() -> None:
    apia = ZoneInfo("Pacific/Apia")
    events = [
        batch_event(model="big", tenant="acme", cost_nano_usd=75_000_000_000),
        batch_event(model="small", cost_nano_usd=25_000_000_000),
        batch_event(model="big", cost_nano_usd=500_000_000_000, time_seconds=NOW - 86_400),
    ]
    found = judge(rules("thresholds: {daily_cost_usd: 90}"), world_of(*events, zone=apia), NOW)[-1]
    assert (found.value, found.day, found.judgement) == (100.0, "2027-01-15", "breached")
    spent = [(c.kind, c.name, c.value, c.share_pct) for c in found.contributors]
    assert sorted(spent) == [("model", "big", 75, 75), ("model", "small", 25, 25), ("tenant", "acme", 75, 75)]
    tomorrow = judge(rules("thresholds: {daily_cost_usd: 90}"), world_of(*events, zone=apia), NOW + 4 * 3600)[-1]
    assert (tomorrow.day, tomorrow.judgement, tomorrow.value) == ("2027-01-16", "inconclusive", 0.0)


def test_tokens_at_no_known_price_are_an_alert_and_not_free() -> None:
    text = "thresholds: {unpriced_tokens: 0}"
    assert one(text, world_of(batch_event())).judgement == "ok"
    found = one(text, world_of(batch_event(unpriced_tokens=1)))
    assert (found.alert_type, found.judgement, found.value) == ("UNPRICED_MODEL", "breached", 1)


def test_one_alert_for_each_model_or_tenant_and_a_fixed_scope() -> None:
    world = world_of(*[
        batch_event(model=model, tenant=tenant, texts=count, latency_sketch=latency([value] * count))
        for model, tenant, value, count in (("a", "x", 100.0, 40), ("a", "y", 900.0, 30), ("b", None, 900.0, 30))
    ])  # fmt: skip
    rule = "metric: latency_p50_ms, threshold: 500, name: r"
    assert judged(f"rules: [{{{rule}, by: model}}]", world) == [("r|model=a", "ok"), ("r|model=b", "breached")]
    assert judged(f"rules: [{{{rule}, by: [model, tenant]}}]", world) == [
        ("r|model=a,tenant=x", "ok"), ("r|model=a,tenant=y", "breached"),
    ]  # fmt: skip
    assert judged(f"rules: [{{{rule}, scope: {{model: a}}, by: tenant}}]", world) == [
        ("r|model=a,tenant=x", "ok"), ("r|model=a,tenant=y", "breached"),
    ]  # fmt: skip
    assert judged(f"rules: [{{{rule}, scope: {{tenant: y}}}}]", world) == [("r|tenant=y", "breached")]
    assert judged(f"rules: [{{{rule}, scope: {{tenant: y, model: a}}}}]", world) == [("r|model=a,tenant=y", "breached")]
    assert judged(f"rules: [{{{rule}, scope: {{model: gone}}}}]", world) == [("r|model=gone", "no_data")]


def test_budgets_by_tenant_go_by_the_days_bookings() -> None:
    world = world_of(batch_event(tenant="x", cost_nano_usd=2 * 10**9), batch_event(tenant="y", cost_nano_usd=10**8))
    world.windows.prune(NOW + 7200)
    found = judge(rules("rules: [{metric: daily_cost_usd, threshold: 1, by: tenant, steps_pct: [100]}]"), world, NOW)
    assert [(v.scope, v.judgement) for v in found] == [({"tenant": "x"}, "breached"), ({"tenant": "y"}, "ok")]


def test_long_names_never_make_two_alerts_one() -> None:
    long = "x" * 250
    world = world_of(*[batch_event(model=f"{long}{n}", tenant="t" * 250) for n in range(3)])
    found = judge(rules("rules: [{metric: daily_cost_usd, threshold: 1, by: [model, tenant]}]"), world, NOW)
    assert len({v.alert_id for v in found}) == len(found) == 9
    assert max(len(v.alert_id) for v in found) <= LONGEST_ID
    assert [v.alert_id for v in judge(rules(  # the same the next time
        "rules: [{metric: daily_cost_usd, threshold: 1, by: [model, tenant]}]"), world, NOW)] == [
        v.alert_id for v in found]  # fmt: skip


def test_latency_statistics_and_what_the_time_went_into() -> None:
    values = list(np.arange(1.0, 1001.0))
    event = batch_event(
        texts=1000,
        latency_sketch=latency(values),
        batches=2,
        phase_seconds=PhaseSeconds(queue_wait=99.0, embed=3.0, publish=1.0),
    )
    world = world_of(event)
    expected = {"p50": 501, "p95": 951, "p99": 991, "avg": 500.5, "max": 1000}
    for statistic, value in expected.items():
        found = one(f"thresholds: {{latency_{statistic}_ms: 1}}", world)
        assert found.value == pytest.approx(value, rel=0.0051)
        assert [(c.name, c.value, c.share_pct) for c in found.contributors][:2] == [
            ("embed", 1500.0, 75.0), ("publish", 500.0, 25.0),
        ]  # fmt: skip


def test_throughput_is_over_the_time_looked_at() -> None:
    world = world_of(
        batch_event(time_seconds=NOW - 20, texts=100, tokens_embedded=1000), batch_event(texts=100, tokens_embedded=500)
    )
    assert one("thresholds: {throughput_texts_per_s: 11}", world).value == 10
    assert one("thresholds: {throughput_texts_per_s: 11}", world).judgement == "breached"
    assert one("thresholds: {throughput_tokens_per_s: 11}", world).value == 75


def test_a_cache_that_fails_is_an_alert() -> None:
    assert one("thresholds: {cache_errors: 0}", world_of(batch_event(cache_errors=2))).judgement == "breached"


def beat(worker: str, seconds_ago: float = 0.0, **more: Any) -> HeartbeatEvent:
    return HeartbeatEvent(
        event_id="e", time_seconds=NOW - seconds_ago, worker=worker, model="m", state="running", **more
    )


def test_workers() -> None:
    world = world_of()
    world.apply_heartbeat(beat("slow", 3, model_load_seconds=30.0, gpus=[GpuSample(0, utilization_pct=90.0)]))
    world.apply_heartbeat(beat("gone", 50, model_load_seconds=5.0, gpus=[GpuSample(0, utilization_pct=10.0)]))
    found = one("thresholds: {worker_silent_seconds: 30}", world)
    assert (found.judgement, found.value, found.samples) == ("breached", 50, 2)
    assert [(c.name, c.value) for c in found.contributors] == [("gone", 50), ("slow", 3)]
    found = one("thresholds: {model_load_seconds: 20}", world)
    assert (found.judgement, found.value, found.contributors[0].name) == ("breached", 30, "slow")
    assert one("thresholds: {gpu_utilization_pct: 60}", world).value == 50


@pytest.mark.parametrize("metric", ["worker_silent_seconds", "workers_silent_seconds"])
def test_an_alert_of_silence_ends_when_the_silent_are_forgotten(metric: str) -> None:
    world, text = world_of(), f"thresholds: {{{metric}: 45}}"
    world.started_seconds = NOW - 100
    world.apply_heartbeat(beat("gone", 50))
    assert one(text, world).reason == "above the threshold (1 of 1 workers)"
    for hours, judgement in ((1, "breached"), (23, "breached"), (24, "ok")):
        # That all of them are gone is not over after an hour.
        world.tidy(NOW + 3600 * hours)
        assert one(text, world, NOW + 3600 * hours).judgement == judgement
    found = one(text, world, NOW + 86_400)
    assert (found.value, found.reason) == (None, "no worker is known, so none is missed")


def test_one_that_is_silent_for_an_hour_beside_others_is_forgotten() -> None:
    world = world_of()
    world.started_seconds = NOW - 100
    world.apply_heartbeat(beat("gone", 50))
    world.apply_heartbeat(beat("here"), NOW + 3500)
    world.tidy(NOW + 3500)
    assert one("thresholds: {worker_silent_seconds: 60}", world, NOW + 3540).judgement == "breached"
    world.tidy(NOW + 3560)
    assert one("thresholds: {worker_silent_seconds: 60}", world, NOW + 3560).judgement == "ok"


@pytest.mark.parametrize(("age", "judgement"), [(59.0, "inconclusive"), (60.0, "ok")])
def test_agents_that_have_just_started_neither_end_nor_raise_an_alert_of_silence(age: float, judgement: str) -> None:
    world = world_of()
    world.started_seconds = NOW - age
    assert one("thresholds: {worker_silent_seconds: 45}", world).judgement == judgement
    world.apply_heartbeat(beat("known from before", 500))
    raised = one("thresholds: {workers_silent_seconds: 45}", world).judgement
    assert raised == ("breached" if judgement == "ok" else judgement)


def test_a_number_that_nobody_foresaw_spoils_one_rule_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(batch_event())

    def broken(now: float) -> None:
        raise OverflowError

    monkeypatch.setattr(world, "queue", broken)
    found = {v.metric: v for v in judge(default_rules(), world, NOW)}
    assert (found["queue_depth"].judgement, found["queue_depth"].reason) == (
        "inconclusive", "cannot be computed (OverflowError)",
    )  # fmt: skip
    assert found["unpriced_tokens"].judgement == "ok"


def test_a_machine_without_a_gpu_is_not_a_lazy_gpu() -> None:
    world = world_of()
    world.apply_heartbeat(beat("cpu", gpus=[GpuSample(unavailable="no driver")]))
    found = one("thresholds: {gpu_utilization_pct: 60}", world)
    assert (found.judgement, found.value, found.reason) == ("inconclusive", None, "no GPU is visible")


def test_a_gpu_that_workers_share_is_one_gpu_and_its_newest_reading_counts() -> None:
    world = world_of()
    shared = [("a", 3, 10.0), ("b", 2, 20.0), ("c", 1, None)]
    for worker, ago, use in shared:
        world.apply_heartbeat(beat(worker, ago, gpus=[GpuSample(uuid="GPU-1", utilization_pct=use)]))
    world.apply_heartbeat(beat("d", 5, gpus=[GpuSample(uuid="GPU-2", utilization_pct=90.0)]))
    found = one("thresholds: {gpu_utilization_pct: 60}", world)
    assert (found.value, found.samples) == (55, 2)


def test_a_slice_of_a_gpu_says_why_its_utilisation_is_not_known() -> None:
    world = world_of()
    missing = {"utilization_pct": "not of a slice"}
    world.apply_heartbeat(beat("a", gpus=[GpuSample(uuid="MIG-1", memory_used_bytes=1, missing=missing)]))
    found = one("thresholds: {gpu_utilization_pct: 60}", world)
    assert (found.judgement, found.value, found.reason) == ("inconclusive", None, "not of a slice")


def test_silence_counts_from_the_last_batch_or_else_from_the_start() -> None:
    text = "thresholds: {data_silent_seconds: 60}"
    assert one(text, world_of()).value == 1000
    assert one(text, world_of(batch_event(time_seconds=NOW - 61))).judgement == "breached"
    assert one(text, world_of(batch_event(time_seconds=NOW - 60))).judgement == "ok"


def test_the_queue() -> None:
    world = world_of()
    world.apply_lag(LagEvent(
        event_id="l", time_seconds=NOW, group="g", topic="t", partition=0, status="STALLED", lag_messages=2,
        lag_texts=2000, oldest_age_seconds=90.0, reason="no commit for 90 s",
    ))  # fmt: skip
    text = "thresholds: {queue_depth: 1000, lag_seconds: 60, stalled_partitions: 0}"
    assert [(v.alert_type, v.judgement, v.value) for v in judge(rules(text), world, NOW)] == [
        ("HIGH_QUEUE_DEPTH", "breached", 2000), ("HIGH_LAG", "breached", 90), ("QUEUE_STALLED", "breached", 1),
    ]  # fmt: skip
    stale = judge(rules(text), world, NOW + 60)
    assert {(v.judgement, v.value) for v in stale} == {("inconclusive", None)}
    assert stale[0].reason == "the last lag sample is 60 s old"


def test_a_verdict_carries_what_alerting_needs_of_its_rule() -> None:
    text = (
        "rules: [{name: r, metric: latency_p95_ms, threshold: 10, window: 2m, for: 30s, keep_firing_for: 1m, "
        "severity: critical, route: gpu, text: Look at the GPU.}]"
    )
    found = one(text, world_of(batch_event(texts=30)))
    assert (found.rule, found.severity, found.route, found.text) == ("r", "critical", "gpu", "Look at the GPU.")
    assert (found.window_seconds, found.for_seconds, found.keep_firing_for_seconds) == (120, 30, 60)
    assert (found.unit, found.metric, found.time_seconds, found.day) == ("ms", "latency_p95_ms", NOW, None)


def published(announcer: Announcer, verdicts: list[Verdict], now: float) -> list[str]:
    due = announcer.due(verdicts, now)
    announcer.said(due, now)
    return [v.alert_id for v in due]


def test_changes_are_said_at_once_and_the_rest_now_and_then() -> None:
    announcer, well, unwell = Announcer(), verdict("ok", alert_id="a"), verdict("breached", alert_id="a")
    assert published(announcer, [well], 0) == ["a"]
    assert published(announcer, [well], REPEAT_SECONDS - 0.1) == []
    assert published(announcer, [well], REPEAT_SECONDS) == ["a"]
    assert published(announcer, [unwell], REPEAT_SECONDS + 0.1) == ["a"]
    assert published(announcer, [unwell], REPEAT_SECONDS + 0.2) == []
    assert published(announcer, [unwell], REPEAT_SECONDS + 0.1 + REPEAT_UNWELL_SECONDS) == ["a"]
    assert published(announcer, [well], REPEAT_SECONDS + 0.2 + REPEAT_UNWELL_SECONDS) == ["a"]


def test_what_was_not_said_stays_due() -> None:
    announcer, unwell = Announcer(), [verdict("breached")]
    assert announcer.due(unwell, 0) == announcer.due(unwell, 0) == unwell
    announcer.said(unwell, 0)
    assert announcer.due(unwell, 0) == []


def test_a_clock_that_was_set_back_does_not_silence_anybody() -> None:
    announcer, well = Announcer(), [verdict("ok", alert_id="a")]
    assert published(announcer, well, 1000) == ["a"]
    assert published(announcer, well, 500) == ["a"]


def test_alerts_that_are_gone_are_forgotten() -> None:
    announcer = Announcer()
    for number in range(5000):
        published(announcer, [verdict("ok", alert_id=f"day-{number}")], number)
    assert len(announcer._last) < 1100


NEW_YORK = ZoneInfo("America/New_York")
SPRING = datetime(2026, 3, 8, tzinfo=NEW_YORK).timestamp()  # a day of 23 hours
HOUR = 3600.0


def spending(zone: ZoneInfo, now: float, *spends: tuple[float, float], watched: bool = True) -> World:
    """(hours of the day, USD), counted and booked."""
    world = World(zone=zone, max_scopes=100, lag_group="g", lag_topic="t")
    world.started_seconds = now - 100_000 if watched else now
    world.partitions = {0: PartitionState(next_offset=0)}
    begin, _ = day_bounds(day_of(now, zone), zone)
    for hours, usd in spends:
        event = batch_event(time_seconds=begin + hours * HOUR, cost_nano_usd=round(usd * 1e9), tenant="acme")
        world.apply_batch(event, now)
        world.partitions[0].book(event, zone, 100, now)
    return world


@pytest.mark.parametrize(
    ("what", "hour", "usd", "exceeded", "forecast", "burn"),
    [
        ("nothing spent, nothing counted", 12, None, "???", "?", "?"),
        ("batches that cost nothing", 12, 0.0, "ooo", "?", "o"),
        ("below all of it, but in one go", 12, 40.0, "ooo", "o", "B"),
        ("at half of it", 12, 50.0, "ooo", "o", "B"),
        ("above the first step, and so above the forecast", 12, 50.1, "Boo", "B", "B"),
        ("above the second", 12, 80.1, "BBo", "B", "B"),
        ("above all of it", 12, 100.1, "BBB", "B", "B"),
        ("too early for a forecast", 0.9, 9.9, "ooo", "?", "o"),
        ("a fast burn in the first hour", 0.9, 10.1, "ooo", "?", "B"),
        ("late in the day", 23, 95.0, "BBo", "o", "B"),
        ("late in the day, above the forecast by a little", 23, 95.9, "BBo", "B", "B"),
    ],
)
def test_every_case_of_a_budget(
    what: str, hour: float, usd: float | None, exceeded: str, forecast: str, burn: str
) -> None:
    """A budget of 100 USD, judged two minutes after the spend."""
    now = NOW - NOW % 86_400 + hour * HOUR
    world = spending(UTC_ZONE, now, *([] if usd is None else [(hour - 1 / 30, usd)]))
    letters = {"ok": "o", "breached": "B", "inconclusive": "?"}
    text = "thresholds: {daily_cost_usd: 100, daily_forecast_usd: 100, budget_burn_pct: 100}"
    found = "".join(letters[v.judgement] for v in judge(rules(text), world, now))
    assert found == exceeded + forecast + burn, what


@pytest.mark.parametrize(
    ("spends", "judgement", "window", "percent"),
    [
        ([(11.9, 10.0)], "ok", 900, 10.0),
        ([(11.9, 10.001)], "breached", 900, 10.001),
        ([(11.5, 10.001)], "ok", 7200, 10.001),
        ([(11.5, 12.0), (10.3, 13.0)], "ok", 7200, 25.0),
        ([(11.5, 12.0), (10.3, 13.001)], "breached", 7200, 25.001),
        ([(11.5, 12.0), (9.5, 13.001)], "ok", 7200, 12.0),
        ([(11.9, 11.0), (11.5, 10.0), (10.3, 9.0)], "breached", 7200, 30.0),  # both; the slow one is further above
        ([(11.9, 19.0), (10.3, 9.0)], "breached", 900, 19.0),
    ],
)
def test_a_budget_burns_when_15_minutes_take_10_or_2_hours_25_percent_of_it(
    spends: list[tuple[float, float]], judgement: str, window: int, percent: float
) -> None:
    now = NOW - NOW % 86_400 + 12 * HOUR
    found = one("thresholds: {budget_burn_pct: 100}", spending(UTC_ZONE, now, *spends), now)
    assert (found.judgement, found.window_seconds, found.value) == (judgement, window, pytest.approx(percent))
    assert (found.unit, found.threshold, found.comparison) == ("%", 10.0 if window == 900 else 25.0, ">")
    assert found.alert_type == "BUDGET_BURN_RATE"
    assert ("fast" if window == 900 else "slow") in found.reason
    assert found.alert_id == "budget_burn_pct|all|2027-01-15"
    assert {(c.kind, c.name) for c in found.contributors} == {("model", "m"), ("tenant", "acme")}
    assert [c.share_pct for c in found.contributors] == [pytest.approx(100), pytest.approx(100)]


def test_agents_that_have_just_started_say_that_the_burn_is_by_quarters_of_an_hour() -> None:
    now = NOW - NOW % 86_400 + 12.125 * HOUR
    world = spending(UTC_ZONE, now, (11.95, 30.0), watched=False)
    found = one("thresholds: {budget_burn_pct: 100}", world, now)
    assert (found.value, found.judgement) == (pytest.approx(15), "breached")
    assert "15-minute buckets" in found.reason


def test_a_budget_of_nothing_does_not_burn() -> None:
    now = NOW - NOW % 86_400 + 12 * HOUR
    found = one("thresholds: {budget_burn_pct: 0}", spending(UTC_ZONE, now, (11.9, 5)), now)
    assert (found.judgement, found.reason) == ("inconclusive", "a budget of 0 has no share that could burn")


@pytest.mark.parametrize(("usd", "judgement"), [(39.9, "ok"), (40.1, "breached")])
def test_the_forecast_of_a_day_of_23_hours_is_over_23_hours(usd: float, judgement: str) -> None:
    """9.2 of 23 hours have passed: 40 %. Of 24 they would be less, and the forecast higher."""
    now = SPRING + 9.2 * HOUR
    world = spending(NEW_YORK, now, (1.0, usd))
    found = one("thresholds: {daily_forecast_usd: 100}", world, now)
    assert (found.judgement, found.value, found.day) == (judgement, pytest.approx(usd / 0.4), "2026-03-08")
    assert found.alert_id == "daily_forecast_usd|all|2026-03-08"
    assert (found.threshold, found.unit, found.severity, found.window_seconds) == (100, "USD", "warning", 0)
    assert found.reason.endswith("(as if spend went on evenly: no earlier day is known)")
    assert found.contributors[0].share_pct == 100


def test_an_inconclusive_forecast_says_why() -> None:
    now = NOW - NOW % 86_400 + 0.5 * HOUR
    found = one("thresholds: {daily_forecast_usd: 100}", spending(UTC_ZONE, now, (0.4, 5)), now)
    assert (found.judgement, found.value) == ("inconclusive", None)
    assert found.reason == "the day is 30 min old, 60 are needed"


def test_forecast_and_burn_by_model_and_tenant() -> None:
    world = world_of(*[
        batch_event(model=model, tenant=tenant, cost_nano_usd=usd * 10**9)
        for model, tenant, usd in (("a", "x", 30), ("a", "y", 2), ("b", "x", 1))
    ])  # fmt: skip
    both = (
        "rules: [{metric: daily_forecast_usd, threshold: 60, by: %s}, {metric: budget_burn_pct, threshold: 60, by: %s}]"
    )
    named = {"ok": "o", "breached": "B"}
    found = {v.alert_id: named[v.judgement] for v in judge(rules(both % ("[model, tenant]", "tenant")), world, NOW)}
    assert found == {
        "daily_forecast_usd|model=a,tenant=x|2027-01-15": "B",  # 8 hours of 24 have passed
        "daily_forecast_usd|model=a,tenant=y|2027-01-15": "o",
        "daily_forecast_usd|model=b,tenant=x|2027-01-15": "o",
        "budget_burn_pct|tenant=x|2027-01-15": "B",
        "budget_burn_pct|tenant=y|2027-01-15": "o",
    }


def test_texts_for_which_no_cache_was_asked_are_in_no_hit_rate() -> None:
    """Of programs that have none: 0 of 300 would be an alert on something that is not there."""
    rule = "thresholds: {cache_hit_rate_pct: 40}"
    bare = batch_event(texts=300, cache_hits=0, misses=300, uncached_texts=300)
    assert judged(rule, world_of(bare)) == [("cache_hit_rate_pct|all", "no_data")]
    both = world_of(bare, batch_event(texts=200, cache_hits=90, misses=110))
    found = one(rule, both)
    assert (found.judgement, found.value, found.samples) == ("ok", 45.0, 200)
