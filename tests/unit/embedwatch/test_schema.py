"""docs/reference against the code, and the JSON Schema of the events against what the codec really accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from embedwatch import events
from embedwatch.codec import (
    decode_action,
    decode_correction,
    decode_kept,
    decode_metric,
    decode_silence,
    decode_verdict,
    decode_window,
    encode,
)
from embedwatch.errors import InvalidEvent
from embedwatch.settings import Settings, listed
from embedwatch.topics import Topics
from tests.harness.json_schema import fits
from tools import reference

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"

EXAMPLES: list[events.Event] = [
    events.BatchEvent(
        event_id="w1:7", time_seconds=1_700_000_000.25, worker="w1", model="m", texts=10, cache_hits=3, duplicates=1,
        misses=5, batches=2, tokens_received=100, tokens_embedded=50, tokens_saved=40, truncated_texts=1,
        token_method="model", padding_tokens=4, cost_nano_usd=12_345_678_901_234, saved_nano_usd=9,
        price_source="override", phase_seconds=events.PhaseSeconds(embed=0.5), latency_sketch="AA==",
        queue_wait_sketch="AA==", errors={"timeout": 1}, tenant="Zoë", busy_seconds=0.5,
    ),
    events.HeartbeatEvent(
        event_id="w1:8", time_seconds=1.0, worker="w1", model="m", state="running", resident_bytes=1,
        gpus=[
            events.GpuSample(unavailable="no driver"),
            events.GpuSample(index=0, utilization_pct=12.5, uuid="MIG-1", missing={"power_watts": "a slice has none"}),
        ],
        tokens_embedded=7,
    ),
    events.LagEvent(event_id="l:1", time_seconds=1.0, group="g", topic="t", partition=0, status="UNKNOWN"),
    events.CacheEvent(event_id="c:1", time_seconds=1.0, worker="w1", available=False, reason="refused"),
    events.ScalingEvent(
        event_id="s:1", time_seconds=1.0, group="g", topic="t", desired_workers=4, wanted_workers=7, workers=2,
        cause="backlog", reason="9,000 texts wait", limited_by="max_workers", at_capacity=True, lag_seconds=12.5,
        backlog_texts=9000, arrival_texts_per_s=80.0, capacity_texts_per_s=100.0, cost_usd_per_hour=4.8,
        wanted_cost_usd_per_hour=8.4, running_workers=2, changes_today=3,
    ),
    events.Verdict(
        alert_id="HIGH_LATENCY:all", time_seconds=1.0, rule="latency", alert_type="HIGH_LATENCY", severity="warning",
        scope={"model": "m"}, judgement="breached", metric="latency_p95_ms", threshold=500.0, comparison=">",
        unit="ms", window_seconds=60.0, samples=10, value=812.5, runbook="https://wiki.example/runbooks/search",
        contributors=[events.Contributor(kind="phase", name="embed", value=700.0, share_pct=86.2)],
    ),
    events.AlertAction(
        action_id="slack:U1:1.0", time_seconds=1.0, alert_id="HIGH_LATENCY:all", episode=2, do="snooze", by="Zoë",
        via="slack", until_seconds=3601.0,
    ),
    events.Silence(
        silence_id="s1", created_seconds=1.0, by="Zoë", match={"tenant": "acme*"}, starts_seconds=1.0,
        ends_seconds=None, weekdays=(5, 6), at="22:00", for_seconds=14_400.0, timezone="Europe/Berlin",
    ),
    events.WindowEvent(
        scope="model=m", window_seconds=60, start_seconds=60.0, end_seconds=120.0, closed_seconds=151.0, partial=False,
        events=1, texts=10, cache_hits=2, duplicates=0, misses=7, batches=1, tokens_received=100, tokens_embedded=80,
        tokens_saved=20, truncated_texts=0, padding_tokens=0, cost_nano_usd=8, saved_nano_usd=2, unpriced_tokens=0,
        cache_errors=0, busy_seconds=0.1, errors={"timeout": 1}, phase_seconds=events.PhaseSeconds(embed=0.1),
        latency_sketch="AA==", queue_wait_sketch="AA==", throughput_texts_per_s=10 / 60,
    ),
    events.CorrectionEvent(
        event_id="agents:3:17:2026-07-13:all", time_seconds=1.0, day="2026-07-13", timezone="Europe/Berlin",
        scope="all", partition=3, from_offset=17, until_offset=19, events=2,
        added=events.DaySums(texts=20, cost_nano_usd=8), total=events.DaySums(texts=520, cost_nano_usd=2**70),
    ),
    events.DayEvent(
        application="agents", day="2026-07-13", timezone="Europe/Berlin", begin_seconds=0.0, end_seconds=86_400.0,
        partition=3, partitions=4, from_offset=0, until_offset=19, time_seconds=86_431.0, piece=0, pieces=1,
        scopes={"all": events.DayScope(texts=20, cost_nano_usd=2**70, spend_nano_usd=[0, 2**70])},
        allocated_ms={"m": 3_600_000},
    ),
]  # fmt: skip
DECODERS: dict[str, Callable[[bytes], object]] = {
    "verdict": decode_verdict,
    "window": decode_window,
    "action": decode_action,
    "silence": decode_silence,
    "correction": decode_correction,
    "day": decode_kept,
}
BATCH = json.loads(encode(EXAMPLES[0]))
ACTION, SILENCE = (json.loads(encode(one)) for one in EXAMPLES if isinstance(one, events.AlertAction | events.Silence))
WINDOW = json.loads(encode(EXAMPLES[-3]))
CORRECTION = json.loads(encode(EXAMPLES[-2]))
DAY = json.loads(encode(EXAMPLES[-1]))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((FOLDER / "events.schema.json").read_text(encoding="utf-8"))
    return data


def decodes(data: dict[str, Any]) -> bool:
    raw = json.dumps(data).encode()
    try:
        DECODERS.get(str(data.get("type")), decode_metric)(raw)
    except InvalidEvent:
        return False
    return True


@pytest.mark.parametrize("name", sorted(reference.PAGES))
def test_a_page_of_the_reference_is_what_the_code_says(name: str) -> None:
    told = f"docs/reference/{name} is older than the code: run `make reference`"
    assert (FOLDER / name).read_text(encoding="utf-8") == reference.PAGES[name](), told


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: type(e).__name__)
def test_every_kind_of_event_fits_the_schema(event: msgspec.Struct, schema: dict[str, Any]) -> None:
    assert fits(json.loads(encode(event)), schema, schema["$defs"])


def test_the_examples_are_of_every_kind(schema: dict[str, Any]) -> None:
    kinds = {one["$ref"].removeprefix("#/$defs/") for one in schema["anyOf"]}
    assert {type(event).__name__ for event in EXAMPLES} == kinds


@pytest.mark.parametrize(
    "change",
    [
        {"texts": -1},
        {"texts": "10"},
        {"texts": 1.5},
        {"worker": "w" * 257},
        {"token_method": "guessed"},
        {"errors": {"timeout": -1}},
        {"errors": {"a class of its own": 1}},
        {"phase_seconds": {"embed": -0.5}},
        {"tenant": 7},
        {"v": 2},
        {"type": "no such type"},
    ],
    ids=str,
)
def test_schema_and_codec_refuse_the_same(change: dict[str, Any], schema: dict[str, Any]) -> None:
    changed = {**BATCH, **change}
    assert not fits(changed, schema, schema["$defs"])
    assert not decodes(changed)


@pytest.mark.parametrize(
    ("event", "change"),
    [
        (ACTION, {"do": "resolve"}),
        (ACTION, {"via": "telepathy"}),
        (ACTION, {"episode": -1}),
        (ACTION, {"by": "b" * 257}),
        (ACTION, {"v": 2}),
        (SILENCE, {"match": {f"label{i}": "*" for i in range(17)}}),
        (SILENCE, {"match": {"tenant": "t" * 257}}),
        (SILENCE, {"weekdays": [7]}),
        (SILENCE, {"at": "24:00"}),
        (SILENCE, {"at": "9:00"}),
        (SILENCE, {"for_seconds": -1.0}),
    ],
    ids=lambda part: str(part)[:40],
)
def test_schema_and_codec_refuse_the_same_of_what_people_ask(
    event: dict[str, Any], change: dict[str, Any], schema: dict[str, Any]
) -> None:
    changed = {**event, **change}
    assert not fits(changed, schema, schema["$defs"])
    assert not decodes(changed)


@pytest.mark.parametrize(
    ("event", "field"),
    [(event, field) for event in (ACTION, SILENCE) for field in sorted(event)],
    ids=lambda part: str(part)[:17],
)
def test_what_people_ask_lacks_what_it_may_lack(event: dict[str, Any], field: str, schema: dict[str, Any]) -> None:
    without = {name: value for name, value in event.items() if name != field}
    assert fits(without, schema, schema["$defs"]) == decodes(without)


@pytest.mark.parametrize("field", sorted(BATCH))
def test_schema_and_codec_can_do_without_the_same_fields(field: str, schema: dict[str, Any]) -> None:
    # No schema says that the parts of a batch add up: here they do without the errors, too.
    without = {name: value for name, value in {**BATCH, "errors": {"timeout": 0}, "texts": 9}.items() if name != field}
    assert fits(without, schema, schema["$defs"]) == decodes(without)


@pytest.mark.parametrize("field", sorted(WINDOW))
def test_a_closed_window_lacks_what_it_may_lack(field: str, schema: dict[str, Any]) -> None:
    without = {name: value for name, value in WINDOW.items() if name != field}
    assert fits(without, schema, schema["$defs"]) == decodes(without)


@pytest.mark.parametrize("field", sorted(CORRECTION))
def test_a_correction_lacks_what_it_may_lack(field: str, schema: dict[str, Any]) -> None:
    without = {name: value for name, value in CORRECTION.items() if name != field}
    assert fits(without, schema, schema["$defs"]) == decodes(without)


def test_a_field_of_a_later_version_is_let_pass_by_both(schema: dict[str, Any]) -> None:
    more = {**BATCH, "colour": "red"}
    assert fits(more, schema, schema["$defs"])
    assert decodes(more)


def test_the_settings_page_names_every_setting() -> None:
    page = (FOLDER / "settings.md").read_text(encoding="utf-8")
    assert [env for env, _, _ in listed(Settings()) if f"| `{env}` |" not in page] == []


def test_the_topics_page_names_every_topic() -> None:
    page = (FOLDER / "topics.md").read_text(encoding="utf-8")
    assert [spec.name for spec in Topics().specs() if f"| `{spec.name}` |" not in page] == []


def test_an_old_page_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    assert reference.make() == 0
    (tmp_path / "topics.md").write_text("yesterday's\n")
    (tmp_path / "settings.md").unlink()
    assert reference.check() == 1
    told = capsys.readouterr().err
    assert "docs/reference/topics.md" in told
    assert "docs/reference/settings.md" in told
    assert "events.schema.json" not in told
