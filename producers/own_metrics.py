"""What `embedwatch produce` says of itself at /metrics, /livez and /readyz. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from embedwatch.stage_metrics import BROKER_SECONDS, ROUTINE, Look, Sample, family, known, stuck

#: A source that may stand still is looked at ten times a second; a file that gives nothing for so long hangs.
STUCK_SECONDS = 120.0

_family = partial(family, "embedwatch_producer_", "Of a producer")
_gauge, _counter = partial(_family, "gauge"), partial(_family, "counter")

FAMILIES = (
    _gauge("ready", "1 or 0", "1 where the broker takes what is sent, as its `/readyz` says.",
           "0 for minutes: look at the broker; it gives up after `--timeout-seconds`."),
    _counter("read_texts", "texts", "Texts read, those skipped and left out included.",
             "Stands still: the source gives nothing, or the broker takes nothing; see `in_flight_texts`."),
    _counter("skipped_texts", "texts", "Texts passed over by `--skip`.", ROUTINE),
    _counter("bad_records", "records", "Records without a usable text or id, left out.", "Rises: mend the source."),
    _counter("too_large_texts", "texts", "Texts that were too large, left out.",
             "Rises: split them, or raise `--max-text-bytes`, here and at the workers; of lines above 64 MiB only "
             "splitting helps."),
    _counter("invalid_utf8_texts", "texts", "Texts sent that are no UTF-8: they become dead letters.",
             "Rises: name the encoding of the source (`--encoding`)."),
    _counter("empty_texts", "texts", "Texts sent that are empty: they become dead letters.", "Rises: mend the source."),
    _counter("sent_messages", "messages", "Messages handed to the client of the broker.", ROUTINE),
    _counter("sent_texts", "texts", "Texts in them.", ROUTINE),
    _counter("acknowledged_messages", "messages", "Messages that every required replica has.", ROUTINE),
    _counter("acknowledged_texts", "texts", "Texts in them.", "Stands still while texts are in flight: the broker."),
    _counter("acknowledged_bytes", "bytes", "Bytes in them, keys included.", ROUTINE),
    _gauge("in_flight_texts", "texts", "Texts sent and not acknowledged.",
           "Stays near its bound of 64 messages: the broker is slower than the source."),
    _gauge("broker_owes_seconds", "seconds", "For how long an acknowledgement is waited for; 0 while none is owed.",
           "Above 30: it is not ready."),
    _gauge("last_acknowledged_timestamp_seconds", "Unix seconds", "When the broker last acknowledged a message; absent "
           "before.", ROUTINE),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """A run at one moment. `connected` is False until there is a broker; the rest is 0 then."""

    connected: bool
    stopping: bool = False
    read: int = 0
    skipped: int = 0
    bad: int = 0
    too_large: int = 0
    invalid_utf8: int = 0
    empty: int = 0
    sent_messages: int = 0
    sent_texts: int = 0
    acknowledged_messages: int = 0
    acknowledged_texts: int = 0
    acknowledged_bytes: int = 0
    broker_owes_seconds: float = 0.0
    last_acknowledged: float | None = None
    progress_seconds_ago: float = 0.0


def look(view: View) -> Look:
    """What is answered."""
    unready = _unready(view)
    dead = stuck(view.progress_seconds_ago, STUCK_SECONDS) if view.connected else []
    return Look(_samples(view, ready=not unready and not dead), dead, unready)


def _unready(view: View) -> list[str]:
    if view.stopping:
        return ["it is stopping"]
    if not view.connected:
        return ["the broker has not answered yet"]
    if view.broker_owes_seconds > BROKER_SECONDS:
        return [f"the broker has not answered for {view.broker_owes_seconds:.0f} s"]
    return []


def _samples(view: View, *, ready: bool) -> list[Sample]:
    numbers: dict[str, float | None] = {
        "ready": ready,
        "read_texts": view.read,
        "skipped_texts": view.skipped,
        "bad_records": view.bad,
        "too_large_texts": view.too_large,
        "invalid_utf8_texts": view.invalid_utf8,
        "empty_texts": view.empty,
        "sent_messages": view.sent_messages,
        "sent_texts": view.sent_texts,
        "acknowledged_messages": view.acknowledged_messages,
        "acknowledged_texts": view.acknowledged_texts,
        "acknowledged_bytes": view.acknowledged_bytes,
        "in_flight_texts": max(view.sent_texts - view.acknowledged_texts, 0),
        "broker_owes_seconds": view.broker_owes_seconds,
        "last_acknowledged_timestamp_seconds": view.last_acknowledged,
    }
    return [sample for name, number in numbers.items() for sample in known(name, number)]
