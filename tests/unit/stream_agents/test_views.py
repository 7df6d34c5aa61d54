"""Windows, lag and scaling as the API tells them."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from embedwatch.events import HeartbeatEvent, LagEvent, ScalingEvent
from embedwatch.sketch import Sketch
from stream_agents.compute.counters import COUNTED, OTHER, Counters
from stream_agents.compute.phases import error_rates_pct, phase_rows
from stream_agents.compute.scopes import ALL
from stream_agents.compute.views import lag_view, scaling_view, windows_view
from stream_agents.compute.windows import Totals
from stream_agents.compute.world import World
from tests.harness.agents_log import NOW, batch_event

MODEL = (("model", "m"),)


def world() -> World:
    made = World(zone=ZoneInfo("UTC"), max_scopes=100, lag_group="g", lag_topic="t", window_lengths=(60, 300))
    made.closer.assign({0}, NOW - 900)
    return made


def lag(partition: int, seconds_ago: float = 0.0, **more: Any) -> LagEvent:
    fields: dict[str, Any] = {
        "status": "OK", "lag_messages": 10, "lag_texts": 100, "oldest_age_seconds": 2.0, "consume_rate_per_s": 6.0,
        "arrival_rate_per_s": 3.0, **more,
    }  # fmt: skip
    return LagEvent(event_id="e", time_seconds=NOW - seconds_ago, group="g", topic="t", partition=partition, **fields)


def test_windows_are_told_newest_first_with_the_open_ones_and_within_the_limit() -> None:
    one = world()
    for ago in (290, 200, 130, 20):
        one.apply_batch(batch_event(time_seconds=NOW - ago, tenant="t"), NOW - ago)
        one.closer.observe(0, NOW - ago, NOW - ago)
        one.closer.due(one.windows, NOW - ago)
    one.closer.due(one.windows, NOW)
    data = windows_view(one, NOW, scope=ALL, window_seconds=60, limit=60)
    told = [(row["start_seconds"] - NOW, row["state"], row["events"], row["partial"]) for row in data["windows"]]
    # NOW begins a minute; the one before it is over and waits for late events.
    assert told[:6] == [
        (0.0, "open", 0, False), (-60.0, "open", 1, False), (-120.0, "closed", 0, False), (-180.0, "closed", 1, False),
        (-240.0, "closed", 1, False), (-300.0, "closed", 1, False),
    ]  # fmt: skip
    assert (data["scope"], data["lengths"], data["grace_seconds"]) == ("all", [60, 300], 30.0)
    row = data["windows"][3]
    assert row["performance"]["latency_ms"]["p95"] == 50.0
    assert row["performance"]["throughput_texts_per_s"] == pytest.approx(10 / 60)
    assert row["cost_nano_usd"] == 1_234_567
    three = windows_view(one, NOW, scope=ALL, window_seconds=60, limit=3)["windows"]
    assert [row["start_seconds"] - NOW for row in three] == [0.0, -60.0, -120.0]
    model = windows_view(one, NOW, scope=MODEL, window_seconds=300, limit=60)
    assert [(r["start_seconds"] - NOW, r["state"], r["events"]) for r in model["windows"]] == [
        (0.0, "open", 0), (-300.0, "open", 4),
    ]  # fmt: skip


def test_a_partial_window_has_no_throughput() -> None:
    one = World(zone=ZoneInfo("UTC"), max_scopes=100, lag_group="g", lag_topic="t", window_lengths=(60,))
    one.closer.assign({0}, NOW - 100)
    one.apply_batch(batch_event(time_seconds=NOW - 110), NOW - 99)
    one.closer.due(one.windows, NOW)
    while one.closer.busy:
        one.closer.due(one.windows, NOW)
    row = windows_view(one, NOW, scope=ALL, window_seconds=60, limit=60)["windows"][-1]
    assert (row["state"], row["partial"], row["performance"]["throughput_texts_per_s"]) == ("closed", True, None)


def test_lag_by_partition_says_when_a_sample_is_too_old() -> None:
    one = world()
    one.apply_lag(lag(1))
    one.apply_lag(lag(0, status="STALLED", reason="no commit for 90 s"))
    one.apply_lag(lag(2, seconds_ago=31))
    data = lag_view(one, NOW)
    assert [(row["partition"], row["status"], row["reason"]) for row in data["partitions"]] == [
        (0, "STALLED", "no commit for 90 s"), (1, "OK", None), (2, "UNKNOWN", "the last sample is 31 s old"),
    ]  # fmt: skip
    assert data["partitions"][2]["lag_messages"] == 10, "what was read then is still told"
    assert (data["status"], data["reason"]) == ("UNKNOWN", "the last lag sample is 31 s old")
    assert lag_view(world(), NOW)["partitions"] == []


def decided(seconds_ago: float, desired: int, **more: Any) -> ScalingEvent:
    fields: dict[str, Any] = {
        "wanted_workers": desired, "workers": 1, "cause": "arrivals", "reason": "40 texts/s arrive",
        "running_workers": 1, "changes_today": 3, "cost_usd_per_hour": 1.5 * desired, **more,
    }  # fmt: skip
    return ScalingEvent(
        event_id=f"s{seconds_ago}", time_seconds=NOW - seconds_ago, group="g", topic="t", desired_workers=desired,
        **fields,
    )  # fmt: skip


def test_scaling_tells_the_decision_and_those_before_it() -> None:
    one = world()
    nothing = scaling_view(one, NOW)
    assert (nothing["desired_workers"], nothing["cause"], nothing["decisions"]) == (None, None, [])
    assert "scaling.enabled" in nothing["desired_workers_reason"]
    for ago in range(30, 5, -1):
        one.apply_scaling(decided(ago, 1 + ago % 2))
    one.apply_scaling(decided(4, 4, wanted_workers=7, limited_by="max_workers", at_capacity=True))
    data = scaling_view(one, NOW)
    assert (data["desired_workers"], data["wanted_workers"], data["limited_by"], data["at_capacity"]) == (
        4, 7, "max_workers", True,
    )  # fmt: skip
    assert (data["cause"], data["desired_workers_reason"], data["changes_today"]) == (
        "arrivals", "40 texts/s arrive", 3,
    )  # fmt: skip
    assert (data["cost_usd_per_hour"], data["decision_seconds"]) == (6.0, NOW - 4)
    assert [row["desired_workers"] for row in data["decisions"]] == [4, *[1, 2] * 9, 1]
    assert data["decisions"][0]["wanted_workers"] == 7


@pytest.mark.parametrize("cause", ["unknown", "stalled", "failing"])
def test_where_nothing_may_be_decided_there_is_no_number_that_somebody_could_act_on(cause: Any) -> None:
    one = world()
    one.apply_scaling(decided(40, 5))
    one.apply_scaling(decided(1, 0, cause=cause, reason="no commit for 90 s"))
    data = scaling_view(one, NOW)
    assert (data["desired_workers"], data["wanted_workers"], data["at_capacity"], data["cause"]) == (
        None, None, None, cause,
    )  # fmt: skip
    assert data["desired_workers_reason"] == "no commit for 90 s"
    assert [row["desired_workers"] for row in data["decisions"]] == [None, 5]


def test_a_decision_that_nobody_confirms_is_none() -> None:
    one = world()
    one.apply_scaling(decided(91, 5))
    data = scaling_view(one, NOW)
    assert (data["desired_workers"], data["running_workers"], data["cause"]) == (None, None, None)
    assert data["desired_workers_reason"] == "the last decision is 91 s old: nobody decides now"


def test_scaling_tells_what_is_measured() -> None:
    one = world()
    empty = scaling_view(one, NOW)
    assert (empty["workers"], empty["consume_rate_per_worker_per_s"], empty["lag_seconds"]) == (0, None, None)
    one.apply_lag(lag(0))
    for name, state, ago in (("a", "running", 0), ("b", "running", 5), ("c", "starting", 0), ("d", "running", 91)):
        one.apply_heartbeat(
            HeartbeatEvent(event_id="e", time_seconds=NOW - ago, worker=name, model="m", state=state)  # type: ignore[arg-type]
        )
    one.apply_batch(batch_event(time_seconds=NOW - 100, texts=1000), NOW - 100)
    data = scaling_view(one, NOW)
    assert data["workers"] == 2, "running, and heard of within a minute and a half"
    assert (data["consume_rate_per_s"], data["consume_rate_per_worker_per_s"]) == (6.0, 3.0)
    assert data["throughput_texts_per_worker_per_s"] == pytest.approx(1000 / 100 / 2)
    assert (data["depth_texts"], data["lag_seconds"], data["drain_seconds"]) == (100, 2.0, pytest.approx(10 / 3))


def test_phases_are_means_a_batch_and_a_text() -> None:
    one = world()
    for _ in range(2):
        one.apply_batch(batch_event(batches=2, errors={"timeout": 1, "other": 2}), NOW)
    totals = one.windows.window(ALL, 60, NOW)
    rows = phase_rows(totals)
    assert rows["embed"] == {
        "seconds": 0.4, "per_batch_ms": pytest.approx(100.0), "per_text_ms": pytest.approx(20.0), "share_pct": 100.0,
    }  # fmt: skip
    assert rows["publish"]["share_pct"] == 0.0
    assert rows["queue_wait"] == {"seconds": 0.0, "per_batch_ms": None, "per_text_ms": 5.0, "share_pct": None}
    assert error_rates_pct(totals) == {"other": 20.0, "timeout": 10.0}
    nothing = phase_rows(Totals())
    assert {value for row in nothing.values() for name, value in row.items() if name != "seconds"} == {None}
    assert error_rates_pct(Totals()) == {}


def test_counters_are_exact_bounded_and_only_go_up() -> None:
    counters = Counters(max_series=3)
    events = [
        batch_event(n, model=f"m{n % 7}", tenant=tenant, errors={"timeout": n}, busy_seconds=0.5)
        for n, tenant in enumerate([None, "t0", "t1"] * 20)
    ]
    before: dict[tuple[str, str | None], int] = {}
    for event in events:
        counters.add(event)
        now = {pair: counts.sums["texts"] for pair, counts in counters.series.items()}
        assert all(now[pair] >= texts for pair, texts in before.items())
        before = now
    assert len(counters.series) == 4
    assert (OTHER, OTHER) in counters.series
    for name in COUNTED:
        assert sum(c.sums[name] for c in counters.series.values()) == sum(getattr(e, name) for e in events), name
    assert sum(c.errors["timeout"] for c in counters.series.values()) == sum(range(60))
    assert sum(c.phase_seconds["embed"] for c in counters.series.values()) == pytest.approx(12.0)
    assert sum(c.busy_seconds for c in counters.series.values()) == 30.0


def test_the_sketch_of_a_closed_window_is_that_of_its_events() -> None:
    one = world()
    values = [[1.0, 10.0, 100.0], [2.0, 500.0]]
    for sample in values:
        one.apply_batch(batch_event(time_seconds=NOW - 150, latency_sketch=Sketch.of(sample).to_text()), NOW - 150)
    one.closer.due(one.windows, NOW)
    rows = windows_view(one, NOW, scope=ALL, window_seconds=60, limit=60)["windows"]
    (row,) = [row for row in rows if row["events"]]
    latency = row["performance"]["latency_ms"]
    assert (latency["count"], latency["min"], latency["max"]) == (5, 1.0, 500.0)
    assert latency["p50"] == pytest.approx(10.0, rel=0.005)
