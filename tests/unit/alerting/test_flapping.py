"""An alert that comes and goes is told as that once, then nothing until it is calm, then how it ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.flapping import changes_lately
from alerting.message import compose
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import decode, encode
from tests.harness.stories import Alert

POLICY = Policy(
    ("slack",),
    repeat_interval_seconds=3600.0,
    no_data_grace_seconds=60.0,
    flapping_changes=4,
    flapping_window_seconds=600.0,
    flapping_calm_seconds=120.0,
)
CALM = ["firing", "resolved"] * 2  # four changes: what is told before it is called flapping


def flapping(**fields: Any) -> Alert:
    """It fired for the third time within 50 s."""
    alert = Alert(POLICY, **fields)
    for second, judgement in enumerate(["breached", "ok"] * 2 + ["breached"]):
        alert.hear(judgement, second * 10)
    return alert


def test_more_changes_than_the_limit_are_told_as_flapping_once() -> None:
    alert = flapping()
    assert alert.told == [*CALM, "firing"]
    assert "Flapping" in compose(alert.messages[-1]).title
    assert "5 times" in compose(alert.messages[-1]).sentence
    for second in range(50, 2000, 10):
        alert.hear("ok" if second // 10 % 2 else "breached", second)
    assert alert.told == [*CALM, "firing"], "silent while it flaps"
    assert alert.status == "firing"


def test_as_many_changes_as_the_limit_are_not() -> None:
    alert = Alert(POLICY).hear("breached", 0).hear("ok", 10).hear("breached", 20).hear("ok", 30)
    assert alert.hear("breached", 650).told == [*CALM, "firing"]
    assert "Flapping" not in compose(alert.messages[-1]).title, "the first are longer ago than the window"
    off = Alert(Policy(("slack",), flapping_changes=None))
    for second in range(50):
        off.hear("ok" if second % 2 else "breached", second)
    assert len(off.told) == 50


def test_calm_and_clear_it_is_over() -> None:
    alert = flapping().hear("ok", 50).hear("breached", 60).hear("ok", 70)
    assert alert.hear("ok", 120).hear("ok", 189).status == "firing"
    alert.hear("ok", 190)
    assert (alert.status, alert.told) == ("resolved", [*CALM, "firing", "resolved"])
    assert "8 times" in compose(alert.messages[-1]).sentence
    assert alert.state is not None
    assert alert.state.flapping is None


def test_calm_and_breached_it_is_told_that_it_fires_steadily() -> None:
    alert = flapping().hear("ok", 50).hear("breached", 60).hear("breached", 100).hear("breached", 179)
    assert alert.told == [*CALM, "firing"]
    alert.hear("breached", 180)
    assert (alert.status, alert.told, alert.reason) == ("firing", [*CALM, "firing", "steady"], "calm")
    alert.hear("ok", 200)
    assert alert.told[-1] == "resolved", "afterwards it ends like any other"


def test_calm_without_data_that_is_told() -> None:
    alert = flapping().hear("ok", 50).hear("breached", 60).tick(125)
    assert (alert.status, alert.told) == ("no_data", [*CALM, "firing"])
    alert.tick(300)
    assert (alert.status, alert.told) == ("no_data", [*CALM, "firing", "no_data"])


def test_data_that_comes_and_goes_flaps_too() -> None:
    alert = Alert(POLICY)
    for second in range(0, 1000, 100):
        alert.hear("breached", second).tick(second + 70)
    assert alert.told == ["firing", "no_data", "data_back", "no_data", "data_back"]
    assert "Flapping" in compose(alert.messages[-1]).title


def test_what_calmed_down_counts_from_then_on() -> None:
    alert = flapping().hear("ok", 50).hear("ok", 170)
    assert alert.told[-2:] == ["firing", "resolved"]
    alert.hear("breached", 180).hear("ok", 190)
    assert alert.told[-2:] == ["firing", "resolved"]
    assert "Flapping" not in compose(alert.messages[-2]).title


def test_a_person_can_take_it_on() -> None:
    alert = flapping().act("acknowledge", 45, episode=3)
    for second in range(50, 500, 10):
        alert.hear("ok" if second // 10 % 2 else "breached", second)
    alert.hear("breached", 500).hear("breached", 700)
    assert (alert.status, alert.told) == ("acknowledged", [*CALM, "firing", "acknowledged"])
    assert alert.state is not None
    assert alert.state.flapping is None
    assert alert.hear("ok", 710).told[-1] == "resolved"


def test_it_flaps_in_silence_too() -> None:
    quiet = Quiet("silence", "s1")
    alert = Alert(POLICY)
    for second, judgement in enumerate(["breached", "ok"] * 2 + ["breached"]):
        alert.hear(judgement, second * 10, quiet)
    assert alert.told == []
    assert alert.hear("breached", 45).told == ["firing"]
    assert "Flapping" in compose(alert.messages[-1]).title


def test_it_survives_a_restart() -> None:
    alert = flapping().hear("ok", 50)
    assert alert.state is not None
    assert alert.state.flapping is not None
    assert decode(encode(alert.state)) == alert.state


@pytest.mark.parametrize(
    ("transitions", "counted"),
    [
        ([], 0),
        ([(10.0, "fired"), (20.0, "recovered")], 2),
        ([(9.9, "fired"), (20.0, "acknowledged"), (30.0, "breach_began"), (40.0, "snooze_over")], 0),
        ([(10.0, "no_data"), (20.0, "data_returned"), (30.0, "day_over")], 2),
    ],
)
def test_only_what_the_numbers_did_counts(transitions: list[tuple[float, str]], counted: int) -> None:
    assert changes_lately(transitions, 10.0) == counted


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ok", "breached", "no_data", "tick"]), st.floats(0.1, 200.0)), max_size=60))
def test_however_it_flaps_few_messages_are_sent_and_the_last_is_true(events: list[tuple[str, float]]) -> None:
    alert, second = Alert(POLICY), 0.0
    for event, after in events:
        second += after
        alert.tick(second) if event == "tick" else alert.hear(event, second)
    # Before it is flapping a window holds 5 changes; after that one message and an outcome, at least a calm time apart.
    assert len(alert.told) <= 2 * (1 + second / POLICY.flapping_calm_seconds) + 5 * (
        1 + second / POLICY.flapping_window_seconds
    )
    for _ in range(20):
        second += 30.0
        alert.hear("ok", second)
    assert alert.status in ("resolved", "inactive")
    assert [kind for kind in alert.told if kind in ("firing", "resolved")] == ["firing", "resolved"] * (
        alert.told.count("firing")
    )
