"""Bytes to events and back. Everything that arrives is checked against the types; nothing here does I/O."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from embedwatch.errors import InvalidEvent
from embedwatch.events import (
    VERSION,
    AlertAction,
    BatchEvent,
    CorrectionEvent,
    DayEvent,
    MetricEvent,
    ScalingEvent,
    Silence,
    Verdict,
    WindowEvent,
)

#: A metric event is a few KiB (its sketches are the bulk). A larger one is not ours.
MAX_EVENT_BYTES = 256 * 1024

#: Of what is wrong with an event. It names what the sender wrote, which may be long, and goes into logs and headers.
MAX_DETAIL_CHARS = 500

_encoder = msgspec.json.Encoder()
_metric_decoder = msgspec.json.Decoder(MetricEvent)
_verdict_decoder = msgspec.json.Decoder(Verdict)
_window_decoder = msgspec.json.Decoder(WindowEvent)
_action_decoder = msgspec.json.Decoder(AlertAction)
_silence_decoder = msgspec.json.Decoder(Silence)
_correction_decoder = msgspec.json.Decoder(CorrectionEvent)
_kept_decoder = msgspec.json.Decoder(DayEvent | WindowEvent | ScalingEvent)


def encode(event: msgspec.Struct) -> bytes:
    """JSON, UTF-8. A name with lone surrogates, which UTF-8 cannot hold, has `?` in their place."""
    try:
        return _encoder.encode(event)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(event), ensure_ascii=False).encode("utf-8", "replace")


def decode_metric(data: bytes | None) -> MetricEvent:
    """One metric event. The parts of a batch add up (`BatchEvent.misfit`).

    Raises `InvalidEvent` with a bounded reason: empty, too_large, not_json, wrong_version or invalid.
    """
    event: MetricEvent = _decode(_metric_decoder, data)
    if isinstance(event, BatchEvent) and (misfit := event.misfit()) is not None:
        raise InvalidEvent("invalid", misfit)
    return event


def decode_verdict(data: bytes | None) -> Verdict:
    """One verdict. Raises `InvalidEvent` as `decode_metric` does."""
    verdict: Verdict = _decode(_verdict_decoder, data)
    return verdict


def decode_window(data: bytes | None) -> WindowEvent:
    """One closed window. Raises `InvalidEvent` as `decode_metric` does."""
    window: WindowEvent = _decode(_window_decoder, data)
    return window


def decode_action(data: bytes | None) -> AlertAction:
    """What a person asks of an alert. Raises `InvalidEvent` as `decode_metric` does."""
    action: AlertAction = _decode(_action_decoder, data)
    return action


def decode_silence(data: bytes | None) -> Silence:
    """One silence. Raises `InvalidEvent` as `decode_metric` does."""
    silence: Silence = _decode(_silence_decoder, data)
    return silence


def decode_correction(data: bytes | None) -> CorrectionEvent:
    """One correction of a closed day. Raises `InvalidEvent` as `decode_metric` does."""
    correction: CorrectionEvent = _decode(_correction_decoder, data)
    return correction


def decode_kept(data: bytes | None) -> DayEvent | WindowEvent | ScalingEvent:
    """What stands on the topic of days. Raises `InvalidEvent` as `decode_metric` does."""
    kept: DayEvent | WindowEvent | ScalingEvent = _decode(_kept_decoder, data)
    return kept


def _decode(decoder: msgspec.json.Decoder[Any], data: bytes | None) -> Any:
    if not data:
        raise InvalidEvent("empty", "the message has no value")
    if len(data) > MAX_EVENT_BYTES:
        raise InvalidEvent("too_large", f"{len(data)} bytes, at most {MAX_EVENT_BYTES} are read")
    try:
        event = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise InvalidEvent("invalid", str(error)[:MAX_DETAIL_CHARS]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent("not_json", str(error)[:MAX_DETAIL_CHARS]) from None
    if event.v != VERSION:
        raise InvalidEvent("wrong_version", f"v is {str(event.v)[:40]}, this reader knows {VERSION}")
    return event
