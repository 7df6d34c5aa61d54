from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from alerting.lifecycle import Heard, step
from alerting.outbox import delivered, failed, next_owed
from alerting.policy import Policy
from alerting.states import VERSION, AlertState, Ref, decode, encode, trim
from embedwatch.errors import InvalidEvent
from embedwatch.events import Contributor
from tests.harness.verdicts import verdict

POLICY = Policy(("slack", "console"))


def firing() -> AlertState:
    state = step(None, Heard(verdict(), 0, 7), 1000.0, POLICY).state
    assert state is not None
    return state


def test_a_state_survives_its_topic() -> None:
    state = delivered(firing(), 1, Ref("C1", "1.000001"))
    assert decode(encode(state)) == state


def test_a_record_says_of_which_version_it_is() -> None:
    assert msgspec.json.decode(encode(firing()))["v"] == VERSION
    assert msgspec.json.decode(encode(decode(encode(firing()))))["v"] == VERSION


def test_a_record_of_version_1_that_does_not_say_so_is_read() -> None:
    """As it was written before: fired, told to Slack, owed to the console, clearing."""
    record = (Path(__file__).parent / "state_v1.json").read_bytes()
    assert "v" not in msgspec.json.decode(record)
    state = decode(record)
    assert (state.status, state.episode, state.worst_value) == ("firing", 1, 3000.0)
    assert state.told["slack"].ref == Ref("C1", "1.000001")
    assert [owed.receiver for owed in state.owed] == ["console"]
    assert decode(encode(state)) == state


def test_a_record_of_a_newer_embedwatch_is_refused_by_name() -> None:
    record = msgspec.json.decode(encode(firing())) | {"v": VERSION + 1, "status": "acknowledged"}
    with pytest.raises(InvalidEvent, match="wrong_version"):
        decode(msgspec.json.encode(record))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"v": 1}', b"\xff", b"[" * 100_000])
def test_a_record_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidEvent):
        decode(data)


def test_the_largest_record_stays_far_below_a_messages_limit() -> None:
    names = ["x" * 256] * 3
    parts = [Contributor("tenant", "é" * 256, 1.0, 1.0)] * 500
    big = verdict(
        alert_id=names[0], rule=names[1], reason="é" * 100_000, text="é" * 100_000, contributors=parts,
        scope={f"k{i}" * 100: "é" * 10_000 for i in range(100)}, unit="é" * 1000, day="é" * 1000,
    )  # fmt: skip
    state = step(None, Heard(big, 0, 0), 1000.0, Policy(tuple(f"receiver-{i}" for i in range(5)))).state
    assert state is not None
    assert len(encode(state)) < 300_000
    assert trim(trim(big)) == trim(big)


def test_an_address_is_kept_whole_or_not_at_all() -> None:
    whole = "https://wiki.example/" + "x" * 479
    assert trim(verdict(runbook=whole)).runbook == whole
    assert trim(verdict(runbook=whole + "x")).runbook is None


def test_a_failure_is_kept_where_it_can_be_seen_until_it_is_over() -> None:
    state = failed(firing(), 1, "Slack refuses the bot token (invalid_auth)")
    assert state.troubles == {"slack": "Slack refuses the bot token (invalid_auth)"}
    assert next_owed(state, "slack") is not None
    state = delivered(state, 1, Ref("C1", "1.0"))
    assert state.troubles == {}
    assert next_owed(state, "slack") is None
    assert next_owed(state, "console") is not None


def test_a_result_for_a_message_that_is_not_owed_any_more_changes_nothing() -> None:
    state = firing()
    assert delivered(state, 99, None) == state
    assert failed(state, 99, "away") == state
