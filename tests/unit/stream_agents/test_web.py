"""What the agents serve over HTTP, on a world of known numbers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from embedwatch.codec import encode
from embedwatch.events import CacheEvent, GpuSample, HeartbeatEvent, LagEvent
from embedwatch.rules import default_rules
from embedwatch.sketch import Sketch
from stream_agents.runtime import LASTING_GAP_SECONDS, Runtime
from stream_agents.web.api import add_routes
from stream_agents.web.problems import MACHINES
from stream_agents.web.routes import MAX_LIMIT, MAX_SCOPE_CHARS, ROUTES, Route
from tests.harness.agents_log import NOW, SetClock, batch_event, deliver, log_at, log_of, runtime_on
from tests.harness.agents_web import busy_runtime, serving

Answer = tuple[int, Any]


def ask(runtime: Runtime, *paths: str) -> list[Answer]:
    """Status and body of each path; JSON where it is JSON."""

    async def asking() -> list[Answer]:
        app = web.Application()
        add_routes(app.router, runtime, SetClock())
        async with TestClient(TestServer(app)) as client:
            answers: list[Answer] = []
            for path in paths:
                async with client.get(path) as response:
                    text = await response.text()
                    answers.append((response.status, json.loads(text) if "json" in response.content_type else text))
            return answers

    return asyncio.run(asking())


def busy() -> Runtime:
    """Some batches of two models, one of them slow; a lag sample, a worker, an event that does not decode."""
    lag = LagEvent(
        event_id="l", time_seconds=NOW, group="g", topic="t", partition=0, status="OK", lag_messages=3, lag_texts=30,
        oldest_age_seconds=1.5, arrival_rate_per_s=1.0, consume_rate_per_s=2.0,
    )  # fmt: skip
    beat = HeartbeatEvent(event_id="b", time_seconds=NOW, worker="w", model="m", state="running")
    slow = batch_event(
        model="slow", tenant="acme", texts=30, cache_hits=10, misses=17, errors={"timeout": 3},
        latency_sketch=Sketch.of([2000.0] * 30).to_text(), cost_nano_usd=2_000_000_000,
    )  # fmt: skip
    yesterday = batch_event(time_seconds=NOW - 86_400, cost_nano_usd=5)
    log = log_of(batch_event(), slow, yesterday, b"broken", encode(lag), encode(beat))

    async def run() -> Runtime:
        runtime = runtime_on(log, rules=default_rules())
        runtime.recover({}, {0})
        await deliver(log, runtime, 6)
        await runtime.evaluate()
        return runtime

    return asyncio.run(run())


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_summary_has_the_numbers_and_what_is_breached() -> None:
    (status, data), (_, model) = ask(busy(), "/api/v1/summary", "/api/v1/summary?scope=model%3Dslow&window_seconds=60")
    assert (status, data["scope"], data["window_seconds"]) == (200, "all", 300)
    assert data["performance"]["texts"] == 40
    assert data["today"]["cost_nano_usd"] == 2_001_234_567
    assert data["rejected_events"] == {"not_json": 1}
    assert {row["type"] for row in data["breached"]} == {"HIGH_LATENCY", "HIGH_ERROR_RATE", "REJECTED_EVENTS"}
    assert (model["scope"], model["performance"]["texts"], model["today"]["cost_nano_usd"]) == (
        "model=slow", 30, 2_000_000_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("summary?window_seconds=7", "window_seconds is a multiple of 10 up to 3600, not '7'"),
        ("summary?window_seconds=0", "not '0'"),
        ("summary?window_seconds=-10", "not '-10'"),
        ("summary?window_seconds=3610", "not '3610'"),
        ("summary?window_seconds=1e1", "not '1e1'"),
        ("summary?window_seconds=" + "1" * 5000, "not '1111"),
        ("summary?window_seconds=%C2%B2", "window_seconds is a multiple of 10"),
        ("summary?window_seconds=%D9%A6%D9%A0", "window_seconds is a multiple of 10"),
        ("summary?scope=model", "'model' is not a scope such as all or model=NAME,tenant=NAME"),
        ("ledger?scope=x", "'x' is not a scope"),
        ("ledger?scope=colour%3Dred", "'colour=red' is not a scope"),
        ("summary?scope=model%3Da,model%3Db", "model and tenant once each"),
        ("summary?scope=model%3D" + "a" * 2000, "scope has 2,006 characters, at most 2,000 are taken"),
        ("ledger?day=yesterday", "day is a date such as 2026-07-14, not 'yesterday'"),
    ],
)
def test_a_wrong_parameter_is_400_with_what_is_allowed(path: str, words: str) -> None:
    ((status, data),) = ask(busy(), f"/api/v1/{path}")
    assert status == 400
    assert words in data["error"]
    assert len(data["error"]) < 500
    name = path.partition("?")[2].partition("=")[0]
    assert data["parameter"] == name
    assert name in data["known"]


@pytest.mark.parametrize("path", MACHINES)
def test_scrapers_and_probes_may_add_parameters_of_their_own(path: str) -> None:
    ((bare, _), (asked, _)) = ask(busy(), path, f"{path}?name[]=up&t=1&t=2")
    assert bare == asked != 400


@pytest.mark.parametrize("route", [r for r in ROUTES if r.path not in MACHINES], ids=lambda route: route.path)
def test_a_parameter_that_is_unknown_or_doubled_is_400_and_named(route: Route) -> None:
    known = [parameter.name for parameter in route.parameters]
    first = known[0] if known else "x"
    asked = {f"{route.path}?{first}x=60": f"{first}x", f"{route.path}?{'y' * 300}": "y" * 60}
    asked |= {f"{route.path}?{p.name}={p.example}&{p.name}={p.example}": p.name for p in route.parameters}
    for (status, data), (path, name) in zip(ask(busy(), *asked), asked.items(), strict=True):
        assert (status, data["parameter"], data["known"]) == (400, name, known), path
        assert name in data["error"]
    ((_, data),) = ask(busy(), f"{route.path}?{first}x=60")
    assert (f"did you mean {first}?" if known else "it takes none") in data["error"]


def test_another_path_or_method_is_json_of_the_same_shape() -> None:
    paths = [route.path for route in ROUTES]
    runtime = busy_runtime()

    async def asking() -> None:
        async with serving(runtime) as client:
            for path in (
                "/api/v1/sumary",
                "/api/v1",
                "/api/v1/summary/",
                "/nothing?scope=all",
                "/a%0Ab",
                "/" + "x" * 5000,
            ):
                async with client.get(path) as response:
                    data = await response.json()
                    assert (response.status, data["parameter"], data["known"]) == (404, None, paths), path
            async with client.get("/api/v1/sumary") as response:
                assert "did you mean /api/v1/summary?" in (await response.json())["error"]
            for path, allowed in (("/api/v1/summary", ["GET", "HEAD"]), ("/", ["GET", "HEAD"]), ("/events", ["GET"])):
                for method in ("POST", "DELETE", "OPTIONS", "PROPFIND"):
                    async with client.request(method, path) as response:
                        data = await response.json()
                        assert (response.status, data["known"]) == (405, allowed), (method, path)
                        assert response.headers["Allow"] == ", ".join(allowed)
            async with client.head("/events") as response:
                assert response.status == 405
            async with client.head("/api/v1/summary") as response:
                assert response.status == 200

    asyncio.run(asking())


def test_the_scopes_are_those_of_the_windows_and_of_the_days() -> None:
    old = batch_event(model="old", time_seconds=NOW - 86_400)
    log = log_of(batch_event(model="m", tenant="a,b"), old)

    async def run() -> Runtime:
        runtime = runtime_on(log)
        runtime.recover({}, {0})
        await deliver(log, runtime, 2)
        return runtime

    (_, data), (_, again) = ask(asyncio.run(run()), "/api/v1/scopes", "/api/v1/summary?scope=tenant=a%252Cb,model=m")
    assert data["scopes"] == ["all", "model=m", "model=m,tenant=a%2Cb", "model=old", "tenant=a%2Cb"]
    assert (again["scope"], again["performance"]["texts"]) == ("model=m,tenant=a%2Cb", 10)
    ((_, none),) = ask(runtime_on(log_of()), "/api/v1/scopes")
    assert none == {"scopes": ["all"]}


def test_the_ledger_lists_days_and_scopes_and_can_be_narrowed_down() -> None:
    (_, every), (_, one), (_, scoped), (_, none) = ask(
        busy(), "/api/v1/ledger", "/api/v1/ledger?day=2027-01-14", "/api/v1/ledger?scope=tenant%3Dacme",
        "/api/v1/ledger?day=2020-01-01",
    )  # fmt: skip
    assert (every["timezone"], every["days"]) == ("UTC", ["2027-01-14", "2027-01-15"])
    assert {(row["day"], row["scope"]): row["cost_nano_usd"] for row in every["rows"]} == {
        ("2027-01-14", "all"): 5, ("2027-01-14", "model=m"): 5, ("2027-01-15", "all"): 2_001_234_567,
        ("2027-01-15", "model=m"): 1_234_567, ("2027-01-15", "model=slow"): 2_000_000_000,
        ("2027-01-15", "tenant=acme"): 2_000_000_000, ("2027-01-15", "model=slow,tenant=acme"): 2_000_000_000,
    }  # fmt: skip
    assert [row["scope"] for row in one["rows"]] == ["all", "model=m"]
    assert [row["cost_nano_usd"] for row in scoped["rows"]] == [0, 2_000_000_000]
    assert none["rows"] == []


def test_verdicts_are_listed_breached_first() -> None:
    ((_, data),) = ask(busy(), "/api/v1/verdicts")
    judgements = [row["judgement"] for row in data["verdicts"]]
    assert judgements[:4] == ["breached", "breached", "breached", "inconclusive"]
    assert len(judgements) == 13


def test_prometheus_reads_base_units_by_scope() -> None:
    ((status, text),) = ask(busy(), "/metrics")
    assert status == 200
    found = samples(text)
    assert found["embedwatch_latency_seconds", (("quantile", "0.99"),)] == pytest.approx(2.0, rel=0.005)
    assert found["embedwatch_model_latency_seconds", (("model", "m"), ("quantile", "0.5"))] == 0.05
    assert found["embedwatch_error_ratio", ()] == pytest.approx(3 / 40)
    assert found["embedwatch_model_cache_hit_ratio", (("model", "slow"),)] == pytest.approx(10 / 27)
    assert found["embedwatch_cost_usd_today", ()] == pytest.approx(2.001234567)
    assert found["embedwatch_texts_today", ()] == 40
    assert found["embedwatch_queue_depth_texts", ()] == 30
    assert found["embedwatch_queue_lag_seconds", ()] == 1.5
    assert found["embedwatch_workers", ()] == 1
    assert found["embedwatch_rejected_events_total", (("reason", "not_json"),)] == 1
    assert found["embedwatch_offset_gaps_total", ()] == 0
    assert found["embedwatch_stale_partitions", ()] == 0


def test_budgets_are_gauges_by_rule_scope_and_window() -> None:
    ((_, text),) = ask(busy(), "/metrics")
    found = samples(text)
    budget = (("rule", "daily_cost_usd"), ("scope", "all"))
    assert found["embedwatch_budget_remaining_usd", budget] == pytest.approx(100 - 2.001234567)
    # Eight of the day's hours have passed, and nothing is known of other days but 5 nano-USD of yesterday at eight:
    # as much again is expected, at no more than ten times what was spent so far.
    assert found["embedwatch_forecast_usd_today", ()] == pytest.approx(2.001234567 * 11)
    for window in ("fast", "slow"):
        name = ("embedwatch_budget_burn_ratio", (*budget, ("window", window)))
        assert found[name] == pytest.approx(0.02001234567)


def test_the_ledger_says_which_day_is_today_and_what_came_late() -> None:
    ((_, data),) = ask(busy(), "/api/v1/ledger?scope=all")
    yesterday, today = data["rows"]
    assert (data["today"], today["day"], yesterday["day"]) == ("2027-01-15", "2027-01-15", "2027-01-14")
    assert [yesterday[name] for name in ("late_events", "late_texts", "late_cost_nano_usd")] == [1, 10, 5]
    assert (yesterday["last_correction_seconds"], yesterday["burn"]) == (NOW, {})
    assert (today["late_events"], today["last_correction_seconds"]) == (0, None)
    assert today["budgets"][0]["remaining_usd"] == pytest.approx(100 - 2.001234567)


def test_what_is_not_known_is_absent_from_the_metrics() -> None:
    runtime = runtime_on(log_of())
    ((_, before),) = ask(runtime, "/metrics")
    runtime.recover({}, {0})
    ((_, after),) = ask(runtime, "/metrics")
    counters = {
        f"embedwatch_{name}_total"
        for name in (
            "offset_gaps",
            "skipped_deliveries",
            "late_events",
            "overflow_events",
            "dropped_windows",
            "day_corrections",
            "day_corrections_cost_usd",
        )
    }
    assert samples(before)["embedwatch_ready", ()] == 0
    assert {name for name, _ in samples(before)} == {*counters, "embedwatch_ready"}, (
        "nothing is said about today before it is recovered"
    )
    known = {name for name, _ in samples(after)}
    assert {"embedwatch_cost_usd_today", "embedwatch_workers"} <= known
    assert samples(after)["embedwatch_ready", ()] == 1
    assert not {name for name in known if "latency" in name or "ratio" in name or "queue" in name}


def test_the_energy_of_a_gpu_is_a_metric_where_it_is_known() -> None:
    beats = [
        encode(HeartbeatEvent(
            event_id=f"w:{ago}", time_seconds=NOW - ago, worker=worker, model="m", state="running",
            gpus=[GpuSample(uuid=uuid, energy_joules=9000.0 - 100 * ago)], tokens_embedded=tokens,
        ))
        for ago, tokens in ((60, 0), (0, 60_000))
        for worker, uuid in (("v", "GPU-1"), ("w", "MIG-1"))
    ]  # fmt: skip
    log = log_of(*beats)

    async def run() -> Runtime:
        runtime = runtime_on(log)
        runtime.recover({}, {0})
        await deliver(log, runtime, 4)
        return runtime

    ((_, text), (_, data)) = ask(asyncio.run(run()), "/metrics", "/api/v1/summary")
    found = {key: value for key, value in samples(text).items() if "joules" in key[0]}
    assert found == {("embedwatch_gpu_joules_per_million_tokens", (("gpu", "GPU-1"),)): 100_000.0}
    assert [row["uuid"] for row in data["gpus"]] == ["GPU-1", "MIG-1"]
    assert "MIG slice" in data["gpus"][1]["reason"]


def test_a_model_of_any_name_is_a_label() -> None:
    log = log_of(batch_event(model='a"b\\c\nd'))

    async def run() -> Runtime:
        runtime = runtime_on(log)
        runtime.recover({}, {0})
        await deliver(log, runtime)
        return runtime

    ((_, text),) = ask(asyncio.run(run()), "/metrics")
    assert ("embedwatch_model_latency_seconds", (("model", 'a"b\\c\nd'), ("quantile", "0.5"))) in samples(text)


def test_ready_is_said_only_when_the_numbers_can_be_relied_on() -> None:
    log = log_at({0: {0: batch_event(), 2: batch_event()}})
    clock = SetClock()
    runtime = runtime_on(log, clock=clock)
    ((status, data),) = ask(runtime, "/readyz")
    assert (status, data) == (503, {"ready": False, "reasons": ["the state is not recovered yet"]})
    runtime.recover({}, {0})
    assert ask(runtime, "/readyz", "/healthz") == [(200, {"ready": True, "reasons": []}), (200, {"status": "ok"})]
    asyncio.run(deliver(log, runtime, 2))
    log.moving = True
    clock.passed_seconds += LASTING_GAP_SECONDS
    ((status, data),) = ask(runtime, "/readyz")
    assert (status, data["reasons"]) == (503, ["partitions are being reassigned", "gaps are open in partitions [0]"])


def test_the_first_page_says_what_there_is_and_all_of_it_answers() -> None:
    ((_, data),) = ask(busy(), "/")
    # The stream does not end by itself: it has tests of its own.
    assert {status for status, _ in ask(busy(), *(path for path in data["paths"] if path != "/events"))} == {200}


def test_a_cache_that_cannot_be_asked_says_why() -> None:
    event = CacheEvent(event_id="c", time_seconds=NOW, worker="w", available=False, reason="refused")
    log = log_of(encode(event))

    async def run() -> Runtime:
        runtime = runtime_on(log)
        runtime.recover({}, {0})
        await deliver(log, runtime)
        return runtime

    ((_, data),) = ask(asyncio.run(run()), "/api/v1/summary")
    assert (data["cache"]["available"], data["cache"]["reason"], data["cache"]["entries"]) == (False, "refused", None)


def test_the_longest_scope_and_the_most_rows_are_taken_and_one_more_is_not() -> None:
    scope = "model=" + "a" * (MAX_SCOPE_CHARS - len("model="))
    asked = [f"/api/v1/summary?scope={scope}", f"/api/v1/summary?scope={scope}a"]
    asked += [f"/api/v1/windows?limit={MAX_LIMIT}", f"/api/v1/windows?limit={MAX_LIMIT + 1}"]
    answers = ask(busy(), *asked)
    assert [status for status, _ in answers] == [200, 400, 200, 400]
    assert f"at most {MAX_SCOPE_CHARS:,}" in answers[1][1]["error"]
    assert str(MAX_LIMIT) in answers[3][1]["error"]
