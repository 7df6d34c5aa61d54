"""What `embedwatch alerts show` and `history` print."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from alerting.cli_people import find
from alerting.lifecycle import Heard, act, step
from alerting.listing import as_table
from alerting.outbox import failed
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.showing import as_lines, happened, history_table
from alerting.states import AlertState
from embedwatch.errors import InputError
from tests.harness.actions import action
from tests.harness.verdicts import verdict

POLICY = Policy(("slack",))


def firing(alert_id: str = "latency|all", at: float = 1000.0) -> AlertState:
    state = step(None, Heard(verdict(at=at, alert_id=alert_id), 0, 0), at, POLICY).state
    assert state is not None
    return state


def taken(do: str, name: str = "latency|all", **more: object) -> AlertState:
    asked = action(do, 1010.0, alert_id=name, until_seconds=4600.0 if do == "snooze" else None, **more)
    state = act(firing(name), asked, 1010.0, POLICY).state
    assert state is not None
    return state


def printed(table: object) -> str:
    out = StringIO()
    Console(file=out, width=300).print(table)
    return out.getvalue()


def test_an_alert_is_shown_with_who_took_it_on_and_how_it_came_to_be_so() -> None:
    text = "\n".join(as_lines(failed(taken("acknowledge", note="looking [into] it"), 1, "Slack is away")))
    assert "status:    acknowledged since 1970-01-01 00:16:50 UTC" in text
    assert "1,240 ms, limit 800 ms" in text
    assert "scope:     model minilm" in text
    assert "acknowledge, kim (slack): looking [into] it" in text
    assert "not delivered yet: slack: firing (Slack is away)" in text
    assert "00:16:40 UTC  firing (fired)" in text
    assert "00:16:50 UTC  acknowledged (acknowledged), kim (slack)" in text


def test_a_snooze_says_until_when_and_quiet_says_why() -> None:
    lines = as_lines(taken("snooze"))
    assert any("until 1970-01-01 01:16:40 UTC" in line for line in lines)
    quiet = step(firing(), Heard(verdict(at=1001.0), 0, 1), 1001.0, POLICY, quiet=Quiet("silence", "deploy")).state
    assert quiet is not None
    assert any("silence (deploy)" in line for line in as_lines(quiet))


def test_text_of_others_acts_on_no_terminal() -> None:
    hostile = taken("acknowledge", by="\x1b[31mkim\u202e[bold]", note="a\nb\x07")
    for text in ("\n".join(as_lines(hostile)), printed(history_table(happened([hostile], 0.0)))):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\x07" not in text
        assert "[31mkim[bold]" in text
    assert "[31mkim[bold]" in printed(as_table([hostile]))


def test_the_history_of_all_alerts_is_in_order_of_time_and_from_then_on() -> None:
    states = [taken("acknowledge", "b"), firing("a", 1005.0)]
    assert [(h.alert_id, h.status) for h in happened(states, 0.0)] == [
        ("b", "firing"),
        ("a", "firing"),
        ("b", "acknowledged"),
    ]
    assert [h.alert_id for h in happened(states, 1005.0)] == ["a", "b"]
    assert "kim (slack)" in printed(history_table(happened(states, 0.0)))


def test_the_list_says_who_and_until_when() -> None:
    text = printed(as_table([taken("acknowledge", "a"), taken("snooze", "b")]))
    assert "acknowledged by kim" in text
    assert "snoozed until 1970-01-01 01:16:40 UTC by kim" in text


def test_an_alert_is_found_by_a_part_that_only_it_has() -> None:
    states = {name: firing(name) for name in ("latency|m", "latency|m|n", "errors|m")}
    assert find(states, "latency|m").alert_id == "latency|m"
    assert find(states, "errors").alert_id == "errors|m"
    with pytest.raises(InputError, match=re.escape("several alerts: latency|m, latency|m|n; name one")):
        find(states, "latency")
    for unknown in ("queue", ""):
        with pytest.raises(InputError, match="is known"):
            find(states, unknown)
