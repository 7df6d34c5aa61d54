"""A report is gathered from the topic and the agents, and says what one of them could not tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from embedwatch.codec import encode
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.events import Verdict
from embedwatch.reports.alerts import Seen
from embedwatch.reports.build import Known, build
from embedwatch.reports.model import Report
from embedwatch.reports.period import Period, resolve
from embedwatch.reports.source import gather
from embedwatch.settings import Settings, load
from tests.harness.agents_log import NOW, batch_event
from tests.harness.reports import Records, of_events

UTC = ZoneInfo("UTC")
DAY = 86_400
TODAY, YESTERDAY = "2027-01-15", "2027-01-14"


@dataclass
class Record:
    key: bytes
    value: bytes | None


@dataclass
class FakeTopics:
    records: dict[str, Records] = field(default_factory=dict)
    away: tuple[str, ...] = ()
    since: dict[str, float] = field(default_factory=dict)

    def read(self, topic: str, since_seconds: float, take: Callable[[Any], None]) -> None:
        name = topic.rpartition(".")[2]
        if name in self.away:
            raise ConnectionFailed("no broker at nowhere")
        self.since[name] = since_seconds
        for key, value in self.records.get(name, []):
            take(Record(key, value))


@dataclass
class FakeAgents:
    days: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    timezone: str = "UTC"
    away: bool = False
    not_ready: list[str] = field(default_factory=list)
    app_id: str | None = "app"

    def ledger(self, scope: str = "all") -> dict[str, Any]:
        if self.away:
            raise ConnectionFailed("no stream agents at http://nowhere")
        rows = [row for rows in self.days.values() for row in rows if row["scope"] == scope]
        whose = {} if self.app_id is None else {"app_id": self.app_id}
        return {"timezone": self.timezone, "today": TODAY, "days": sorted(self.days), "rows": rows, **whose}

    def ledger_day(self, day: str) -> dict[str, Any]:
        return {**self.ledger(), "rows": self.days.get(day, [])}

    def ready(self) -> tuple[bool, list[str]]:
        return not self.not_ready, self.not_ready


def row(day: str, scope: str = "all", **more: Any) -> dict[str, Any]:
    return {"day": day, "scope": scope, "texts": 10, "cost_nano_usd": 5, "saved_nano_usd": None, "errors": 0, **more}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("EMBEDWATCH_AGENTS_APP_ID", "app")
    return load()


def days(count: int = 1) -> Records:
    events = [batch_event(n, time_seconds=NOW - DAY * (1 + n), cost_nano_usd=7 + n) for n in range(count)]
    named = [f"2027-01-{14 - n}" for n in range(count)]
    return of_events([events], named, UTC)


def gathered(
    settings: Settings, agents: FakeAgents, topics: FakeTopics, kind: Any = "day", name: str = "yesterday", **more: Any
) -> tuple[Known, Period]:
    return gather(settings, agents, topics, lambda today: resolve(kind, name, today), NOW, (), **more)


def report(*arguments: Any, **more: Any) -> Report:
    known, period = gathered(*arguments, **more)
    return build(known, period, [])


def test_a_closed_day_needs_no_agents(settings: Settings) -> None:
    found = report(settings, FakeAgents(away=True), FakeTopics({"days": days()}))
    assert (found.total.cost_nano_usd, found.total.texts, found.complete) == (7, 10, True)
    assert found.period.first == YESTERDAY


def test_closed_days_of_one_system_and_the_agents_of_another_are_not_added_up(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"are those of --app-id other, and the report is of app: say --app-id other"):
        gathered(settings, FakeAgents({TODAY: [row(TODAY)]}, app_id="other"), FakeTopics({"days": days()}))
    gathered(settings, FakeAgents({TODAY: [row(TODAY)]}, app_id=None), FakeTopics({"days": days()}))  # they are older


def test_today_is_the_agents(settings: Settings) -> None:
    budgets = [{"rule": "mine", "budget_usd": 3.0}, {"rule": "larger", "budget_usd": 4.0}]
    agents = FakeAgents({TODAY: [row(TODAY, budgets=budgets, forecast_usd=2.0), row(TODAY, "model=m")]})
    found = report(settings, agents, FakeTopics({"days": days()}), kind="week", name="this-week")
    assert found.total.cost_nano_usd == 12
    assert [one.state for one in found.missing] == [*["unknown"] * 3, "running", "to_come", "to_come"]
    assert found.budget is not None
    assert (found.budget.rule, found.budget.daily_nano_usd) == ("larger", 4 * 10**9)
    assert found.forecast is not None
    assert found.forecast.nano_usd == 7 + 2 * 10**9 + 2 * 7


def test_a_day_with_nothing_so_far_is_known_to_be_empty(settings: Settings) -> None:
    found = report(settings, FakeAgents(), FakeTopics(), name="today")
    assert (found.total.texts, [one.state for one in found.missing]) == (0, ["running"])


def test_without_agents_a_period_with_today_says_what_is_missing(settings: Settings) -> None:
    topics = FakeTopics({"days": days(2)})
    found = report(settings, FakeAgents(away=True), topics, kind="week", name="this-week")
    assert found.total.cost_nano_usd == 15
    (today,) = [one for one in found.missing if one.day == TODAY]
    assert today.state == "unknown"
    assert "no stream agents" in today.reason


def test_without_the_topic_the_days_that_the_agents_keep_are_there_and_it_is_said(settings: Settings) -> None:
    agents = FakeAgents({YESTERDAY: [row(YESTERDAY)]})
    found = report(settings, agents, FakeTopics(away=("days", "alerts")))
    assert found.total.cost_nano_usd == 5
    assert "could not be read" in found.notes[0]
    assert found.alerts.rows is None
    assert not found.complete


def test_without_either_there_is_no_report(settings: Settings) -> None:
    with pytest.raises(ConnectionFailed, match=r"no stream agents .* and closed days cannot be read: no broker"):
        gathered(settings, FakeAgents(away=True), FakeTopics(away=("days",)))


def test_agents_that_are_not_ready_are_told_of_where_today_is_asked_for(settings: Settings) -> None:
    agents = FakeAgents({TODAY: [row(TODAY)]}, not_ready=["gaps are open"])
    assert "gaps are open" in report(settings, agents, FakeTopics(), name="today").notes[0]
    assert report(settings, agents, FakeTopics({"days": days()})).notes == []


def test_a_zone_that_is_not_the_agents_is_refused(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="by days of UTC, not of 'Europe/Berlin'"):
        gathered(settings, FakeAgents(), FakeTopics(), timezone="Europe/Berlin")


def test_only_what_was_written_since_the_period_before_is_read(settings: Settings) -> None:
    topics = FakeTopics({"days": days()})
    gathered(settings, FakeAgents(away=True), topics, kind="month", name="2027-01")
    assert topics.since["days"] == 1_796_083_200.0  # 2026-12-01


def test_a_budget_is_that_of_the_rules_file_where_no_agents_answer(settings: Settings) -> None:
    found = report(settings, FakeAgents(away=True), FakeTopics({"days": days()}))
    assert found.budget is not None
    assert (found.budget.daily_nano_usd, found.budget.built_in) == (100 * 10**9, True)


def alert(status: str, history: list[tuple[float, str]], alert_id: str = "HIGH:all", **scope: str) -> bytes:
    import json

    verdict = Verdict(
        alert_id=alert_id, time_seconds=NOW, rule="r", alert_type="HIGH_LATENCY", severity="critical", scope=scope,
        judgement="breached", metric="latency_p95_ms", threshold=500.0, comparison=">", unit="ms", window_seconds=60,
        samples=9, value=812.0,
    )  # fmt: skip
    return json.dumps(
        {
            "alert_id": alert_id, "status": status, "verdict": json.loads(encode(verdict)),
            "changed_at_seconds": history[-1][0],
            "history": [{"at_seconds": at, "status": to, "reason": "fired"} for at, to in history],
        }
    ).encode()  # fmt: skip


def test_alerts_of_a_period_are_those_that_fired_or_were_active_in_it() -> None:
    seen = Seen(NOW - DAY, NOW, ())
    first = [(NOW - 9000, "pending"), (NOW - 8000, "firing"), (NOW - 7000, "resolved")]
    later = [(NOW - 6000, "firing"), (NOW - 5900, "acknowledged"), (NOW - 5800, "firing"), (NOW - 5000, "resolved")]
    for value in (
        alert("resolved", first), alert("resolved", later), alert("firing", [(NOW - 100, "firing")], "B:m", model="m"),
        alert("resolved", [(NOW - 9 * DAY, "firing"), (NOW - 8 * DAY, "resolved")], "old"),
        alert("pending", [(NOW - 50, "pending")], "never"), b'{"type": "digest"}', b"{", None,
    ):  # fmt: skip
        seen.take(value)
    rows = seen.rows()
    assert [(row.alert_id, row.fired, row.active) for row in rows] == [("B:m", 1, True), ("HIGH:all", 2, False)]
    assert rows[0].scope == "model=m"
    assert (rows[1].title, rows[1].severity) == ("high latency", "critical")
    assert rows[1].last_seconds == NOW - 5000


def test_of_a_scope_only_its_alerts_are_told() -> None:
    seen = Seen(NOW - DAY, NOW, (("tenant", "t"),))
    seen.take(alert("firing", [(NOW - 100, "firing")], "a", tenant="t"))
    seen.take(alert("firing", [(NOW - 100, "firing")], "b", tenant="u"))
    assert [row.alert_id for row in seen.rows()] == ["a"]


def test_the_day_of_the_agents_decides_what_yesterday_is(settings: Settings) -> None:
    _, period = gathered(settings, FakeAgents(), FakeTopics({"days": days()}))
    assert period.first == date(2027, 1, 14)
