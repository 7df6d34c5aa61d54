"""`embedwatch report --day, --week, --month` as a person calls it; topics stand in for a broker."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from alerting.states import AlertState, Transition, encode
from embedwatch.alert_view import ACTIVE
from embedwatch.reports import source
from embedwatch.reports.alerts import Seen
from embedwatch.settings import Settings
from embedwatch.sketch import Sketch
from stream_agents.compute.days import day_bounds
from stream_agents.runtime import Runtime
from tests.harness.agents_log import NOW, batch_event, deliver, log_of, runtime_on
from tests.harness.reports import RecordsOfTopics, hour, of_events
from tests.harness.verdicts import verdict

AWAY = ("--agents-url", "http://127.0.0.1:9")


def agents(*events: Any) -> Runtime:
    log = log_of(*(events or (batch_event(), batch_event(model="slow", tenant="acme"))))

    async def counted() -> Runtime:
        runtime = runtime_on(log)
        runtime.merger.app_id = "app"
        runtime.recover({}, {0})
        await deliver(log, runtime, len(events) or 2)
        return runtime

    return asyncio.run(counted())


def day_and_zone(runtime: Runtime) -> tuple[date, ZoneInfo]:
    """What day it is for these agents."""
    return date.fromisoformat(runtime.world.today(NOW)), runtime.world.zone


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """topics(days=records, alerts=records): what the broker has; topics(broken=True): there is none."""
    names = Settings().topics
    monkeypatch.setenv("EMBEDWATCH_AGENTS_APP_ID", "app")

    def has(broken: bool = False, **records: Any) -> None:
        found = {getattr(names, name): some for name, some in records.items()}
        monkeypatch.setattr(source, "KafkaTopics", lambda *_: RecordsOfTopics(found, broken))

    return has


def closed(day: date, zone: ZoneInfo, *events: dict[str, Any]) -> Any:
    noon = day_bounds(day.isoformat(), zone)[0] + 12 * 3600
    return of_events([[batch_event(n, time_seconds=noon, **more) for n, more in enumerate(events)]],
                     [day.isoformat()], zone)  # fmt: skip


def test_a_week_is_its_closed_days_and_today_of_the_agents(run: Any, serve: Any, topics: Any) -> None:
    runtime = agents()
    today, zone = day_and_zone(runtime)
    before = today - timedelta(days=1)
    topics(days=closed(before, zone, {"model": "m", "cost_nano_usd": 7}, {"model": "m", "cost_nano_usd": 1}))
    month = f"{today:%Y-%m}"
    assert before.month == today.month
    code, out, err = run("report", "--agents-url", serve(runtime), "--month", month, "--by", "model", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["period"]["name"] == month
    assert found["total"]["texts"] == 40
    assert found["total"]["cost_nano_usd"] == 2 * 1_234_567 + 8
    assert {row["model"]: row["texts"] for row in found["groups"]} == {"m": 30, "slow": 10}
    days = {row["day"]: row["texts"] for row in found["days"]}
    assert days == {before.isoformat(): 20, today.isoformat(): 20}
    assert not found["complete"]
    assert {m["day"]: m["state"] for m in found["missing"]}[today.isoformat()] == "running"


@pytest.mark.parametrize("form", ["text", "md", "html", "csv", "json"])
def test_a_closed_day_needs_no_agents(run: Any, topics: Any, tmp_path: Path, form: str) -> None:
    zone = ZoneInfo(Settings().budget.timezone)
    topics(days=closed(date(2026, 1, 15), zone, {"model": "m", "tenant": "t"}))
    file = tmp_path / "out.file"
    code, out, err = run("report", *AWAY, "--day", "2026-01-15", "--by", "tenant", "--format", form, "-o", str(file))
    assert (code, out) == (0, ""), err
    assert "out.file written" in err
    text = file.read_text(encoding="utf-8")
    assert "2026-01-15" in text
    code, out, err = run("report", *AWAY, "--day", "2026-01-15", "--by", "tenant", "--format", form)
    assert code == 0, err
    assert len(out.splitlines()) == len(text.splitlines())
    if form == "csv":
        assert [row["tenant"] for row in csv.DictReader(io.StringIO(text))] == ["t"]


def test_the_form_follows_the_name_of_the_file(run: Any, topics: Any, tmp_path: Path) -> None:
    zone = ZoneInfo(Settings().budget.timezone)
    topics(days=closed(date(2026, 1, 15), zone, {}))
    for name, begin in (("a.html", "<!doctype html>"), ("a.md", "# "), ("a.csv", "period,"), ("a.json", "{")):
        code, _, err = run("report", *AWAY, "--day", "2026-01-15", "--output", str(tmp_path / name))
        assert code == 0, err
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begin)
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "a.html", "a.json", "a.md"]


def test_options_may_be_variables(run: Any, topics: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = ZoneInfo(Settings().budget.timezone)
    topics(days=closed(date(2026, 1, 15), zone, {"tenant": "t"}))
    for name, value in (
        ("DAY", "2026-01-15"), ("BY", "tenant"), ("FORMAT", "csv"), ("AGENTS_URL", AWAY[1]), ("OUTPUT", "x.csv"),
        ("TOP", "3"),
    ):  # fmt: skip
        monkeypatch.setenv(f"EMBEDWATCH_REPORT_{name}", value)
    code, _, err = run("report")
    assert code == 0, err
    assert Path("x.csv").read_text(encoding="utf-8").startswith("period,")


def test_a_day_alone_is_the_short_page_and_with_json_the_row_of_the_ledger(run: Any, serve: Any, topics: Any) -> None:
    topics(broken=True)  # is not asked
    runtime = agents()
    url, (today, zone) = serve(runtime), day_and_zone(runtime)
    code, out, err = run("report", "--agents-url", url, "--day", "today")
    assert (code, err) == (0, "")
    assert f"LEDGER OF {today.isoformat()} ({zone.key})" in out
    code, out, err = run("report", "--agents-url", url, "--day", "today", "--json")
    assert (code, err) == (0, "")
    row = json.loads(out)
    assert (row["day"], row["texts"], row["ready"]) == (today.isoformat(), 20, True)
    assert {"period", "groups"}.isdisjoint(row)
    code, again, _ = run("report", "--agents-url", url, "--tz", zone.key, "--json")
    assert (code, json.loads(again)["day"]) == (0, today.isoformat())
    code, out, err = run("report", "--agents-url", url, "--day", "2026-01-15", "--json")
    assert (code, out) == (3, "")
    assert "kept: " in err
    assert "--format json" in err
    code, out, err = run("report", "--agents-url", url, "--day", "today", "--tz", "Asia/Tokyo")
    assert (code, out) == (2, "")


def test_an_old_day_alone_is_read_from_the_topic(run: Any, serve: Any, topics: Any) -> None:
    runtime = agents()
    _, zone = day_and_zone(runtime)
    topics(days=closed(date(2026, 1, 15), zone, {"cost_nano_usd": 5 * 10**9}))
    code, out, err = run("report", "--agents-url", serve(runtime), "--day", "2026-01-15")
    assert (code, err) == (0, "")
    assert "Thursday, 15 January 2026" in out
    assert "$5.00" in out


def test_without_broker_today_is_of_the_agents_and_that_is_said(run: Any, serve: Any, topics: Any) -> None:
    topics(broken=True)
    url = serve(agents())
    code, out, err = run("report", "--agents-url", url, "--week", "this-week", "--format", "json")
    # The agents' today is not this week of the machine, but of theirs.
    assert code == 0, err
    found = json.loads(out)
    assert found["total"]["texts"] == 20
    assert any("could not be read (no broker)" in note for note in found["notes"])
    assert found["alerts"] == {"rows": None, "reason": "no broker"}


def test_without_agents_and_broker_there_is_no_report(run: Any, topics: Any, tmp_path: Path) -> None:
    topics(broken=True)
    code, out, err = run("report", *AWAY, "--month", "2026-01", "-o", "a.html")
    assert (code, out) == (4, "")
    assert "closed days cannot be read" in err
    assert not list(tmp_path.iterdir())


def test_a_period_of_which_nothing_is_known_is_an_error(run: Any, topics: Any) -> None:
    topics()
    code, out, err = run("report", *AWAY, "--month", "2026-01")
    assert (code, out) == (3, "")
    assert "nothing is known of 2026-01" in err


def test_a_scope_of_which_nothing_is_known_is_told_with_those_that_there_are(run: Any, topics: Any) -> None:
    zone = ZoneInfo(Settings().budget.timezone)
    topics(days=closed(date(2026, 1, 15), zone, {"model": "slow"}))
    code, out, err = run("report", *AWAY, "--day", "2026-01-15", "--by", "tenant", "--scope", "model=slwo")
    assert (code, out) == (3, "")
    assert "did you mean model=slow?" in err
    code, out, err = run("report", *AWAY, "--month", "2026-01", "--scope", "model=slow")
    assert code == 0, err
    assert "Embedding costs of model=slow: January 2026" in out


def test_a_file_that_cannot_be_written_is_an_error_of_its_own(run: Any, topics: Any, tmp_path: Path) -> None:
    code, out, err = run("report", *AWAY, "--day", "2026-01-15", "-o", str(tmp_path))
    assert (code, out) == (2, "")
    assert "--output" in err


def states(*changes: tuple[float, str], alert: str = "a", **more: Any) -> Any:
    """The records of an alert: one a change, each with the changes before it."""
    history = tuple(Transition(at, status, "x") for at, status in changes)  # type: ignore[arg-type]
    for number, (at, status) in enumerate(changes, 1):
        yield (
            b"k",
            encode(
                AlertState(alert, status, verdict(**more), at, at, at, at, 0, 0, history=history[:number])  # type: ignore[arg-type]
            ),
        )


def test_an_alert_that_fired_twice_in_the_period_is_counted_twice() -> None:
    seen = Seen(100.0, 200.0, ())
    steps = [(50.0, "firing"), (60.0, "resolved"), (110.0, "firing"), (120.0, "resolved"), (130.0, "firing"),
             (140.0, "acknowledged"), (150.0, "resolved")]  # fmt: skip
    for _, value in [*states(*steps), *states((10.0, "firing"), (20.0, "resolved"), alert="before")]:
        seen.take(value)
    seen.take(None)
    seen.take(b"no alert")
    (found,) = seen.rows()
    assert (found.alert_id, found.fired, found.active) == ("a", 2, False)
    assert (found.first_seconds, found.last_seconds) == (110.0, 150.0)
    assert seen.refused == 1
    assert "firing" in ACTIVE


def test_alerts_of_a_period_are_in_its_report(run: Any, topics: Any) -> None:
    zone, day = ZoneInfo(Settings().budget.timezone), date(2026, 1, 15)
    at = day_bounds(day.isoformat(), zone)[0] + 60
    topics(days=closed(day, zone, {}), alerts=list(states((at, "firing"))))
    code, out, err = run("report", *AWAY, "--day", day.isoformat(), "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert [(row["fired"], row["active"]) for row in found["alerts"]["rows"]] == [(1, True)]
    assert found["advice"][0]["code"] == "active_alerts"


def test_a_report_by_tenant_has_how_long_the_texts_of_each_took(run: Any, topics: Any) -> None:
    zone, day = ZoneInfo(Settings().budget.timezone), date(2026, 1, 15)
    begin = day_bounds(day.isoformat(), zone)[0]
    days = closed(day, zone, {"tenant": "acme"}, {"tenant": "small"})
    asked = ("report", *AWAY, "--day", day.isoformat(), "--by", "tenant")
    topics(days=[*days, hour(begin)])
    code, out, err = run(*asked)
    assert code == 0, err
    assert "Not kept by tenant: no hour of a tenant is kept of this period." in " ".join(out.split())
    slow = [hour(begin + n * 3600, "tenant=acme", latency_sketch=Sketch.of([200.0] * 30).to_text()) for n in (0, 5)]
    topics(days=[*days, hour(begin), *slow])
    code, out, err = run(*asked)
    assert code == 0, err
    table = out.lower().partition("how long a text took, by tenant")[2]
    assert "acme" in table
    assert "20 tenants with the most texts of each hour" in " ".join(table.split())
    code, out, err = run(*asked, "--json")
    (row,) = json.loads(out)["measured"]["latency_by_tenant"]
    assert (row["label"], row["texts"]) == ("acme", 60)
    assert row["p95_ms"] == pytest.approx(200, rel=0.005)
    # The report of one tenant goes by the same hours; one that was never among the largest is told as that.
    one = ("report", *AWAY, "--day", day.isoformat(), "--format", "md", "--scope")
    assert "| All " in run(*one, "tenant=acme")[1].partition("How long a text took")[2]
    assert "Not kept by tenant" in run(*one, "tenant=small")[1]
