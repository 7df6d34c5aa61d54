from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.codec import encode
from embedwatch.rules import default_rules
from stream_agents.compute.judge import judge
from stream_agents.compute.ledger import PartitionState
from stream_agents.compute.rejections import MAX_KINDS, Rejections, rejected, sender_of
from tests.harness.agents_log import NOW, batch_event, deliver, log_of, started

LEARNT = 120.0  # the agents run for so long


@pytest.mark.parametrize(
    ("value", "worker"),
    [
        (encode(batch_event(worker="gpu-2", texts=11)), "gpu-2"),
        (b'{"worker": "gpu-2", "type": "nope", "v": 9}', "gpu-2"),
        (b'{"worker": "%s"}' % (b"w" * 1000), "w" * 220 + "..38bc2286bb38fa85"),
        *((value, "unknown") for value in (
            None, b"", b"\xff", b'{"worker": ""}', b'{"worker": 3}', b"[]", b"3", b'{"worker": "gpu', b"{}",
            b'{"worker":' + b"[" * 100_000,
        )),
    ],
)  # fmt: skip
def test_whose_it_is_as_far_as_can_be_read(value: bytes | None, worker: str) -> None:
    assert sender_of(value) == worker


def test_made_up_workers_fill_no_memory_and_none_is_lost() -> None:
    part = Rejections()
    for number in range(1000):
        part.add("invalid", f"made-up-{number}", NOW)
    reasons, workers = rejected([part], 900, NOW)
    assert reasons == {"invalid": 1000}
    assert len(workers) == MAX_KINDS + 1
    assert workers["other"] == 1000 - MAX_KINDS


@given(
    st.lists(st.tuples(st.sampled_from(["invalid", "empty"]), st.sampled_from("abc"), st.integers(-9000, 9000))),
    st.sampled_from([10, 60, 900, 3600]),
)
def test_a_window_holds_what_came_in_it_and_at_most_a_minute_more(
    events: list[tuple[str, str, int]], window_seconds: int
) -> None:
    part = Rejections()
    for reason, worker, at in sorted(events, key=lambda event: event[2]):
        part.add(reason, worker, NOW + at)
    part.prune(NOW)
    assert len(part.minutes) <= 2 * 3600 // 60 + 1
    part = msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(part))), Rejections)
    reasons, workers = rejected([part], window_seconds, NOW)
    assert reasons.total() == workers.total()
    at_least = sum(-window_seconds < at <= 0 and at > -3540 for _, _, at in events)
    at_most = sum(-window_seconds - 60 < at <= 180 for _, _, at in events)
    assert at_least <= reasons.total() <= at_most


def test_a_record_of_an_agent_that_did_not_note_them_is_read() -> None:
    record = PartitionState(next_offset=7, rejected={"invalid": 2}).to_record()
    del record["rejections"]
    state = PartitionState.from_record(record)
    assert (state.rejected, state.rejections.minutes) == ({"invalid": 2}, {})


def test_the_default_rule_says_how_many_why_and_whose_and_a_restart_forgets_nothing() -> None:
    async def scenario() -> None:
        log = log_of(batch_event(), batch_event(worker="gpu-2", texts=11), b"{", batch_event(worker="gpu-2", texts=12))
        runtime = started(log)
        await deliver(log, runtime, 4)
        await runtime.flush()
        again = started(log)
        again.recover(log.tables(), log.partitions)
        for world in (runtime.world, again.world):
            (verdict,) = (v for v in judge(default_rules(), world, NOW) if v.alert_type == "REJECTED_EVENTS")
            assert (verdict.judgement, verdict.value, verdict.window_seconds) == ("breached", 3, 900)
            assert verdict.reason == "above the threshold (2 invalid, 1 not_json)"
            assert [(c.kind, c.name, c.value) for c in verdict.contributors] == [
                ("worker", "gpu-2", 2), ("worker", "unknown", 1),
            ]  # fmt: skip
        world = runtime.world
        (late,) = (v for v in judge(default_rules(), world, NOW + 990) if v.alert_type == "REJECTED_EVENTS")
        assert (late.judgement, late.value) == ("ok", 0)

    asyncio.run(scenario())
