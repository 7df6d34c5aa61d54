"""A month of closed days as the topic has them, for the tests of reports and for the picture in the docs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from embedwatch.codec import encode
from embedwatch.errors import ConnectionFailed
from embedwatch.events import (
    BatchEvent,
    PhaseSeconds,
    ScalingEvent,
    WindowEvent,
    change_key,
    day_key,
    hour_key,
)
from embedwatch.reports.build import DailyBudget, Known
from embedwatch.reports.kept import Kept
from embedwatch.reports.model import AlertRow, AlertsInfo
from embedwatch.reports.period import Period
from embedwatch.sketch import Sketch
from stream_agents.compute.days import day_bounds
from stream_agents.compute.keeping import day_events
from stream_agents.compute.ledger import PartitionState
from tests.harness.agents_log import batch_event

APP = "app"
MODELS = ("text-embedding-3-small", "text-embedding-3-large", "all-MiniLM-L6-v2")
TENANTS = ("search", "support", "catalogue", None)
Records = list[tuple[bytes, bytes]]


def of_events(
    events: Sequence[Sequence[BatchEvent]], days: Sequence[str], zone: ZoneInfo, max_scopes: int = 1000,
    max_bytes: int = 200_000,
) -> Records:  # fmt: skip
    """What agents that hold one partition a sequence say of these days, all of them closed."""
    out: Records = []
    for partition, each in enumerate(events):
        state = PartitionState(next_offset=0, timezone=zone.key)
        for event in each:
            state.book(event, zone, max_scopes)
            state.next_offset += 1
        for day in days:
            said = day_events(APP, partition, len(events), state, day, zone, day_bounds(day, zone)[1] + 31, max_bytes)
            out += [(day_key(event).encode(), encode(event)) for event in said]
    return out


def taken(records: Records, days: Sequence[str], timezone: str, begin: float = 0.0, end: float = 1e12) -> Kept:
    kept = Kept(APP, timezone, days)
    for key, value in records:
        kept.take(key, value, (begin, end))
    return kept


def month(timezone: str = "Europe/Berlin", last: date = date(2026, 11, 30)) -> Known:
    """October and November 2026, in which spending grows and a tenant dominates."""
    zone, rng = ZoneInfo(timezone), random.Random(11)
    first = date(2026, 10, 1)
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    events: list[list[BatchEvent]] = [[], [], []]
    records: Records = []
    for number, day in enumerate(days):
        weekend = date.fromisoformat(day).weekday() >= 5
        for model_number, model in enumerate(MODELS):
            for tenant_number, tenant in enumerate(TENANTS):
                texts = int((1_000_000 if weekend else 4_500_000) * (1 + number / 60) * rng.uniform(0.8, 1.2))
                texts //= 1 + model_number + 3 * tenant_number
                errors, duplicates = texts // 400, texts // 30
                hits = int((texts - errors - duplicates) * rng.uniform(0.25, 0.4))
                misses = texts - errors - duplicates - hits
                tokens = misses * 230
                price = (20, 130, 2)[model_number]
                events[number % 3].append(
                    batch_event(
                        number, time_seconds=_noon(day, zone), texts=texts, cache_hits=hits, duplicates=duplicates,
                        misses=misses, errors={"timeout": errors}, model=model, tenant=tenant,
                        tokens_received=texts * 230, tokens_embedded=tokens, tokens_saved=(hits + duplicates) * 230,
                        cost_nano_usd=tokens * price, saved_nano_usd=(hits + duplicates) * 230 * price,
                        truncated_texts=0, padding_tokens=0,
                    )
                )  # fmt: skip
            records += _hours(day, zone, f"model={model}", (90, 160, 25)[model_number], rng)
        records += _hours(day, zone, "all", 110, rng)
        if number % 4 == 0:
            records.append(_change(day, zone, 1 + number % 7))
    records += of_events(events, days, zone)
    begin, end = day_bounds("2026-11-01", zone)[0], day_bounds(days[-1], zone)[1]
    kept = taken(records, days, timezone, begin, end)
    alerts = [
        AlertRow("LOW:all", "low cache hit rate", "", "warning", 6, begin + 4e5, begin + 1.9e6, False, "31 %."),
        AlertRow("HIGH:m", "high latency", "model=text-embedding-3-large", "critical", 2, begin + 1e6, begin + 1.1e6,
                 False, "P95 812 ms."),
    ]  # fmt: skip
    return Known(
        timezone=timezone,
        today=(last + timedelta(days=1)).isoformat(),
        now=end + 6 * 3600,
        days=kept.closed_days(),
        hours=list(kept.hours()),
        changes=kept.changes(),
        alerts=AlertsInfo(alerts),
        budget=DailyBudget("daily_cost_usd", 200_000_000_000),
    )


NOVEMBER = Period("month", "2026-11", date(2026, 11, 1), date(2026, 11, 30))


def _noon(day: str, zone: ZoneInfo) -> float:
    return day_bounds(day, zone)[0] + 12 * 3600


def _hours(
    day: str, zone: ZoneInfo, scope: str, latency_ms: float, rng: random.Random
) -> Iterator[tuple[bytes, bytes]]:
    begin = day_bounds(day, zone)[0] // 3600 * 3600
    for number in range(0, 24, 3):
        start = begin + number * 3600
        slow = 2.2 if day in ("2026-11-12", "2026-11-13") else 1.0
        values = [latency_ms * slow * rng.lognormvariate(0, 0.35) for _ in range(40)]
        waits = [40 * rng.lognormvariate(0, 0.8) for _ in range(40)]
        sketches = {"latency_sketch": Sketch.of(values).to_text(), "queue_wait_sketch": Sketch.of(waits).to_text()}
        yield hour(start, scope, **sketches)


def hour(start_seconds: float, scope: str = "all", **fields: Any) -> tuple[bytes, bytes]:
    """The record of a closed hour."""
    texts = 1_600_000
    values: dict[str, Any] = {
        "scope": scope, "window_seconds": 3600, "start_seconds": start_seconds, "end_seconds": start_seconds + 3600,
        "closed_seconds": start_seconds + 3631, "partial": False, "events": 10, "texts": texts, "cache_hits": 480_000,
        "duplicates": 48_000, "misses": texts - 532_000, "batches": 100, "tokens_received": texts * 230,
        "tokens_embedded": 1_068_000 * 230, "tokens_saved": 528_000 * 230, "truncated_texts": 3,
        "padding_tokens": 48_000_000, "cost_nano_usd": 10**7, "saved_nano_usd": 10**6, "unpriced_tokens": 0,
        "cache_errors": 0, "busy_seconds": 4000.0, "errors": {"timeout": 4000},
        "phase_seconds": PhaseSeconds(3.0, 140.0, 610.0, 4020.0, 90.0, 260.0),
        "latency_sketch": Sketch.of([50.0, 60.0]).to_text(), "queue_wait_sketch": Sketch.of([5.0]).to_text(),
    }  # fmt: skip
    event = WindowEvent(**{**values, **fields})
    return hour_key(APP, event).encode(), encode(event)


class NoAgents:
    """Agents of whom none answers."""

    def ledger(self, scope: str = "all") -> dict[str, Any]:
        raise ConnectionFailed("nobody answers")

    def ledger_day(self, day: str) -> dict[str, Any]:
        raise ConnectionFailed("nobody answers")

    def ready(self) -> tuple[bool, list[str]]:
        raise ConnectionFailed("nobody answers")


class RecordsOfTopics:
    """Topics with these records; or a broker that is not there."""

    def __init__(self, records: Mapping[str, Records], broken: bool = False) -> None:
        self._records, self._broken = records, broken

    def read(self, topic: str, since_seconds: float, take: Callable[[Any], None]) -> None:
        if self._broken:
            raise ConnectionFailed("no broker")
        for key, value in self._records.get(topic, ()):
            take(SimpleNamespace(key=key, value=value))


def _change(day: str, zone: ZoneInfo, workers: int) -> tuple[bytes, bytes]:
    event = ScalingEvent(
        event_id=f"a:{day}", time_seconds=_noon(day, zone), group="g", topic="t", desired_workers=workers,
        wanted_workers=workers, workers=workers, cause="arrivals", reason="more arrives", at_capacity=workers == 7,
    )  # fmt: skip
    return change_key(APP, event).encode(), encode(event)
