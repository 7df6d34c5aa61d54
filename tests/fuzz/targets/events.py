"""What arrives on topics as events, and the states that processes keep."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec

from embedwatch import codec
from embedwatch.errors import InvalidEvent
from embedwatch.rules import default_rules
from embedwatch.sketch import Sketch
from stream_agents.compute.history import parsed_key
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.partials import Checkpoint, checkpoint_record, marker_record, pane_records, sample_records
from stream_agents.runtime import Runtime
from tests.fuzz.dice import Dice, dumped
from tests.fuzz.seeds import EVENTS, STATES, batch
from tests.fuzz.targets.web import answers
from tests.harness.agents_log import NOW, SetClock, deliver, log_of, runtime_on
from tests.harness.agents_web import batch_event

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "batch": codec.decode_metric, "heartbeat": codec.decode_metric, "lag": codec.decode_metric,
    "cache": codec.decode_metric, "scaling": codec.decode_metric, "verdict": codec.decode_verdict,
    "window": codec.decode_window, "action": codec.decode_action, "silence": codec.decode_silence,
    "correction": codec.decode_correction, "day": codec.decode_kept,
}  # fmt: skip
REASONS = {"empty", "too_large", "not_json", "wrong_version", "invalid"}


def fuzz_codec(data: bytes) -> None:
    """Every decoder: an event or `InvalidEvent` with one of five reasons; what was decoded says the same again."""
    dice = Dice(data)
    kind = dice.pick(sorted(DECODERS))
    value = dice.json(EVENTS[kind]) if dice.byte() % 8 else dice.rest()
    for decode in {DECODERS[kind], codec.decode_kept, codec.decode_metric}:
        try:
            event = decode(value)
        except InvalidEvent as error:
            assert error.reason in REASONS
            assert len(str(error)) < 1000
            continue
        again = codec.encode(event)
        assert decode(again) == event
        # Names that were not sent are defaults now, and nothing else makes it longer.
        assert len(again) < 4096 + 6 * len(value)
        json.loads(again, parse_constant=_no_constant)


def fuzz_sketch(data: bytes) -> None:
    """Bytes and text of a sketch: a sketch whose answers are finite and within its bounds, or `InvalidEvent`."""
    dice = Dice(data)
    values = [abs(float(n)) for n in (dice.number() for _ in range(dice.below(6))) if n == n and abs(n) < 1e14]
    raw = bytearray(Sketch.of(values).to_bytes())
    for _ in range(dice.below(6)):
        raw[dice.below(len(raw))] = dice.byte()
    if dice.maybe():
        raw += dice.raw()
    try:
        sketch = Sketch.from_text(dice.text()) if dice.maybe(8) else Sketch.from_bytes(bytes(raw))
    except InvalidEvent as error:
        assert error.reason == "invalid"
        return
    assert Sketch.from_bytes(sketch.to_bytes()).to_bytes() == sketch.to_bytes()
    twice = Sketch.merged([sketch, sketch])
    assert twice.count == 2 * sketch.count
    assert twice.without(sketch).count == sketch.count
    found = [sketch.quantile(q) for q in (0.0, 0.5, 0.95, 1.0)]
    if sketch.count:
        assert all(a <= b for a, b in pairwise(found))  # type: ignore[operator]
        assert (sketch.minimum, sketch.maximum) == (found[0], found[-1])
        assert 0.0 <= (sketch.share_above(dice.byte()) or 0.0) <= 1.0
    msgspec.json.decode(msgspec.json.encode([*found, sketch.mean()]))


def fuzz_agents(data: bytes) -> None:
    """Events that decode or not, through counting, judging, the state and every answer of the API."""
    dice = Dice(data)
    values: list[bytes | None] = []
    for _ in range(1 + dice.below(5)):
        kind = dice.pick(("batch", "batch", "heartbeat", "lag", "cache", "scaling", "empty"))
        values.append(None if kind == "empty" else dice.json(batch(dice) if kind == "batch" else EVENTS[kind]))
    log = log_of(*values)
    clock = SetClock()
    runtime = runtime_on(log, rules=default_rules(), clock=clock)
    runtime.recover({}, {0})
    asyncio.run(_count(log, runtime, clock, dice.pick((0.0, 61.0, 3700.0, 90_000.0))))
    assert runtime.world.partitions[0].next_offset == len(values)
    state = runtime.world.partitions[0]
    assert state.events + sum(state.rejected.values()) <= len(values)
    assert not any(reason == "not_counted" for *_, reason in log.kept), log.kept
    _answers(runtime, clock, dice)


async def _count(log: Any, runtime: Runtime, clock: SetClock, passes_seconds: float) -> None:
    await deliver(log, runtime, 10)
    await runtime.evaluate()
    await runtime.flush()
    clock.passed_seconds += passes_seconds
    clock.moved_seconds += passes_seconds
    await runtime.publish_windows()
    runtime.tidy()
    await runtime.evaluate()
    await runtime.flush()


def _answers(runtime: Runtime, clock: SetClock, dice: Dice) -> None:
    for body in answers(runtime, clock, dice):
        assert len(body) < 2_000_000


def fuzz_agent_state(data: bytes) -> None:
    """Records of the state topic: a state that is written as it was read, or `ValueError` for people."""
    dice = Dice(data)
    record = dice.changed(dice.pick(STATES))
    histories = [h for h in (dice.changed(HISTORY) for _ in range(dice.below(3))) if isinstance(h, dict)]
    try:
        state = PartitionState.from_record(json.loads(dumped(record)), histories) if isinstance(record, dict) else None
    except ValueError as error:
        assert len(str(error)) < 2000
        return
    if state is None:
        return
    first = json.loads(json.dumps(state.to_record()))
    named = [{"v": 1, "version": state.history.version, "spend": msgspec.to_builtins(state.history.spend)}]
    assert json.loads(json.dumps(PartitionState.from_record(first, named).to_record())) == first
    log, clock = log_of(batch_event()), SetClock()
    runtime = runtime_on(log, rules=default_rules(), clock=clock)
    try:
        runtime.recover({0: first}, {0}, {0: named})
    except ValueError:  # of another time zone
        return
    _answers(runtime, clock, dice)
    runtime.world.partitions[0].prune(NOW, runtime.world.zone)


def fuzz_partials(data: bytes) -> None:
    """What other processes say, and states as a reader of the changelog gets them: nothing is raised, and whatever was
    taken in is answered."""
    dice = Dice(data)
    log, clock = log_of(batch_event()), SetClock()
    runtime = runtime_on(log, rules=default_rules(), clock=clock)
    merger = runtime.merger
    merger.partitions = 2
    runtime.recover({}, {0})
    for _ in range(1 + dice.below(4)):
        if dice.maybe(4):
            key = dice.pick((b'"p1"', b'"p1-history-1"', b"p1", b'"p-1"', b'"p99999999999"', b'"pX"', b"[]", None))
            key = dice.raw() if dice.maybe(4) else key
            assert isinstance(parsed_key(key), str)
            merger.take_state(1, key, dice.json(dice.pick(STATES)) if dice.byte() % 8 else None)
            continue
        key, value = dice.pick(PARTIALS)
        merger.take_partial(key, dice.json(json.loads(value)), clock.now())
    merger.trouble(clock.now())
    merger.coverage(clock.now())
    merger.unpack(clock.now())
    asyncio.run(runtime.evaluate())
    _answers(runtime, clock, dice)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def _partials() -> list[tuple[bytes, bytes]]:
    log, clock = log_of(batch_event(), batch_event(model="n", tenant="t")), SetClock()
    runtime = runtime_on(log, clock=clock)
    runtime.recover({}, {0})
    asyncio.run(deliver(log, runtime, 2))
    part = runtime.world.windows.part(0)
    start = int(NOW // 10 * 10)
    found = pane_records("alone", 1, start, 2, part.pane(start))
    found += sample_records("alone", 1, 0, [codec.decode_metric(dumped(EVENTS[k])) for k in SAMPLES])  # type: ignore[misc]
    return [*found, checkpoint_record("alone", Checkpoint(1, 2, NOW)), marker_record("alone", "x")]


SAMPLES = ("heartbeat", "lag", "cache", "scaling")
HISTORY = {"v": 1, "version": 1, "spend": {"all": {"2027-01-14": ""}}}
PARTIALS = _partials()
