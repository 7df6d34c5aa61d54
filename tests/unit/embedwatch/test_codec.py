from __future__ import annotations

import json
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch import events
from embedwatch.codec import MAX_EVENT_BYTES, decode_metric, decode_verdict, encode
from embedwatch.errors import InvalidEvent

BATCH = events.BatchEvent(
    event_id="w1:7", time_seconds=1_700_000_000.25, worker="w1", model="m", texts=10, cache_hits=3, duplicates=1,
    misses=5, batches=2, tokens_received=100, tokens_embedded=50, tokens_saved=40, truncated_texts=1,
    token_method="model", padding_tokens=4, cost_nano_usd=12_345_678_901_234, saved_nano_usd=9,
    price_source="override", phase_seconds=events.PhaseSeconds(embed=0.5), latency_sketch="AA==",
    queue_wait_sketch="AA==", errors={"timeout": 1}, tenant="Zoë", busy_seconds=0.5,
)  # fmt: skip
HEARTBEAT = events.HeartbeatEvent(
    event_id="w1:8", time_seconds=1.0, worker="w1", model="m", state="running",
    gpus=[events.GpuSample(unavailable="no driver")],
)  # fmt: skip
LAG = events.LagEvent(event_id="l:1", time_seconds=1.0, group="g", topic="t", partition=0, status="UNKNOWN")
CACHE = events.CacheEvent(event_id="c:1", time_seconds=1.0, worker="w1", available=False, reason="refused")
VERDICT = events.Verdict(
    alert_id="HIGH_LATENCY:all", time_seconds=1.0, rule="latency", alert_type="HIGH_LATENCY", severity="warning",
    scope={"model": "m"}, judgement="breached", metric="latency_p95_ms", threshold=500.0, comparison=">", unit="ms",
    window_seconds=60.0, samples=10, value=812.5,
    contributors=[events.Contributor(kind="phase", name="embed", value=700.0, share_pct=86.2)],
)  # fmt: skip


def reason_for(data: bytes | None) -> str:
    with pytest.raises(InvalidEvent) as caught:
        decode_metric(data)
    return caught.value.reason


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(encode(BATCH)), **fields}).encode()


@pytest.mark.parametrize("event", [BATCH, HEARTBEAT, LAG, CACHE], ids=lambda e: type(e).__name__)
def test_each_metric_event_comes_back_as_it_was(event: events.MetricEvent) -> None:
    assert decode_metric(encode(event)) == event


def test_a_verdict_comes_back_as_it_was() -> None:
    assert decode_verdict(encode(VERDICT)) == VERDICT


def test_an_event_is_json_that_names_its_type_and_version() -> None:
    plain = json.loads(encode(BATCH))
    assert (plain["type"], plain["v"], plain["tenant"]) == ("batch", 1, "Zoë")


@given(cost=st.integers(0, 2**63 - 1))
def test_money_is_exact(cost: int) -> None:
    decoded = decode_metric(encode(msgspec.structs.replace(BATCH, cost_nano_usd=cost)))
    assert isinstance(decoded, events.BatchEvent)
    assert decoded.cost_nano_usd == cost


@given(data=st.binary())
def test_no_bytes_raise_anything_but_invalid_event(data: bytes) -> None:
    assert reason_for(data) in {"empty", "not_json", "invalid", "wrong_version", "too_large"}


@given(at=st.integers(0, 600), byte=st.integers(0, 255))
def test_one_changed_byte_raises_nothing_but_invalid_event(at: int, byte: int) -> None:
    data = bytearray(encode(BATCH))
    data[at % len(data)] = byte
    try:
        decode_metric(bytes(data))
    except InvalidEvent as error:
        assert error.reason in {"not_json", "invalid", "wrong_version"}  # noqa: PT017


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"{", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b'"\\ud800"', "not_json"),
        (b"[]", "invalid"),
        (b'{"type": "batch", "extra": ' + b"[" * 100_000, "not_json"),
        (b"null", "invalid"),
        (b"{}", "invalid"),
        (b'{"type": "unheard-of"}', "invalid"),
        (b" " * (MAX_EVENT_BYTES + 1), "too_large"),
        (encode(VERDICT), "invalid"),
        (changed(v=2), "wrong_version"),
        (changed(texts=-1), "invalid"),
        (changed(texts=1.5), "invalid"),
        (changed(cost_nano_usd="5"), "invalid"),
        (changed(worker="w" * 300), "invalid"),
        (changed(errors={"no_such_class": 1}), "invalid"),
        (changed(token_method="guess"), "invalid"),
        (encode(BATCH).replace(b"1700000000.25", b"1e999"), "invalid"),
        (encode(BATCH).replace(b"1700000000.25", b"NaN"), "not_json"),
    ],
)
def test_each_kind_of_bad_event_has_its_reason(data: bytes | None, reason: str) -> None:
    assert reason_for(data) == reason


def test_a_field_from_a_newer_writer_is_ignored() -> None:
    assert decode_metric(changed(from_the_future=1)) == BATCH


def test_what_is_wrong_is_named_with_its_place() -> None:
    with pytest.raises(InvalidEvent, match=r"cost_nano_usd"):
        decode_metric(changed(cost_nano_usd=None))


@given(name=st.text(st.characters(), max_size=50))
def test_no_name_stops_an_event_from_being_written_and_read(name: str) -> None:
    decoded = decode_metric(encode(msgspec.structs.replace(BATCH, tenant=name)))
    assert isinstance(decoded, events.BatchEvent)
    assert decoded.tenant == name.encode("utf-8", "replace").decode()


def test_the_bounded_reasons_of_errors_are_those_of_the_type() -> None:
    assert get_args(events.ErrorClass) == events.ERROR_CLASSES
    assert "other" in events.ERROR_CLASSES
    assert set(events.PHASES) == set(events.PhaseSeconds.__struct_fields__)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"texts": 11}, "texts is 11, cache_hits, duplicates, misses and errors add up to 10"),
        ({"misses": 6}, "texts is 10, cache_hits, duplicates, misses and errors add up to 11"),
        ({"errors": {}}, "add up to 9"),
        ({"errors": {"timeout": 1, "other": 1}}, "add up to 11"),
        ({"unpriced_tokens": 51}, "unpriced_tokens is 51, of 50 tokens_embedded"),
        ({"duplicate_tokens": 41}, "duplicate_tokens is 41, of 40 tokens_saved"),
        ({"unpriced_saved_tokens": 41}, "unpriced_saved_tokens is 41, of 40 tokens_saved"),
    ],
    ids=str,
)
def test_a_batch_whose_parts_do_not_add_up_is_refused_and_says_which(change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidEvent, match=told) as caught:
        decode_metric(changed(**change))
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize(
    "change",
    [
        {"unpriced_tokens": 50, "duplicate_tokens": 40, "unpriced_saved_tokens": 40},
        {"texts": 0, "cache_hits": 0, "duplicates": 0, "misses": 0, "errors": {}},
        {"texts": 3, "duplicates": 0, "misses": 0, "errors": {}},
        {"texts": 7, "cache_hits": 0, "duplicates": 0, "misses": 0, "errors": {"timeout": 3, "other": 4}},
        {"tokens_received": 1},
    ],
    ids=str,
)
def test_a_batch_of_one_kind_of_texts_only_or_of_none_adds_up(change: dict[str, Any]) -> None:
    assert isinstance(decode_metric(changed(**change)), events.BatchEvent)


def test_what_is_wrong_is_told_in_some_words_however_long_the_sender_was() -> None:
    with pytest.raises(InvalidEvent) as caught:
        decode_metric(b'{"type":"' + b"x" * 100_000 + b'"}')
    assert caught.value.reason == "invalid"
    assert len(str(caught.value)) < 600


def test_the_largest_event_is_read_and_one_byte_more_is_refused() -> None:
    data = encode(BATCH)
    full = data + b" " * (MAX_EVENT_BYTES - len(data))
    assert decode_metric(full) == BATCH
    with pytest.raises(InvalidEvent, match="too_large"):
        decode_metric(full + b" ")
