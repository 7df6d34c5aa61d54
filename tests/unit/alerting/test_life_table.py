"""Each state of an alert and each thing that can happen to it: `life_table.md` says what becomes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from alerting.change import Outcome
from alerting.lifecycle import Heard, Tick, act, step
from alerting.outbox import delivered
from alerting.policy import Policy
from alerting.quiet import Quiet
from alerting.states import AlertState, Ref, Status
from tests.harness.actions import action
from tests.harness.verdicts import verdict

START = 1_000_000.0
FOR, SNOOZE, KEEP, NO_DATA = 20.0, 30.0, 40.0, 60.0  # seconds, as in the table's words
HOUR = 3600
POLICY = Policy(("slack",), repeat_interval_seconds=4.0 * HOUR, no_data_grace_seconds=NO_DATA)
SILENCE, INHIBITION = Quiet("silence", "s1"), Quiet("inhibited", "other")


class Life:
    """An alert in one clock, and a receiver that takes each message at once."""

    def __init__(self, cause: Quiet) -> None:
        self.cause = cause  # of quiet, where the table says silence
        self.quiet: Quiet | None = None
        self.now = START
        self.state: AlertState | None = None
        self.heard: Heard | None = None
        self.told: list[str] = []
        self.reason = ""
        self._offset = -1

    def hear(self, judgement: Any, *, late: float = 0.0, severity: str = "warning") -> None:
        """The verdict is dated `late` seconds before now."""
        self._offset += 1
        said = verdict(judgement, self.now - late, for_seconds=FOR, keep_firing_for_seconds=KEEP, severity=severity)
        self.heard = Heard(said, 0, self._offset)
        self.again()

    def again(self) -> None:
        """The newest verdict arrives."""
        assert self.heard is not None
        self._after(step(self.state, self.heard, self.now, POLICY, (), self.quiet))

    def wait(self, seconds: float, every: float = 1.0) -> None:
        for _ in range(int(seconds / every)):
            self.now += every
            self._after(step(self.state, Tick(START), self.now, POLICY, (), self.quiet))

    def act(self, do: str, *, episode: int = 1) -> None:
        until = self.now + SNOOZE if do == "snooze" else None
        name = f"{do}-{self.now}-{self.reason}"
        asked = action(do, self.now, episode=episode, until_seconds=until, action_id=name)
        self._after(act(self.state, asked, self.now, POLICY, (), self.quiet))

    def _after(self, outcome: Outcome) -> None:
        self.state, self.reason = outcome.state, outcome.reason
        for owed in outcome.messages:
            assert self.state is not None
            self.told.append(owed.kind)
            self.state = delivered(self.state, owed.number, Ref("C1", "1"))

    @property
    def name(self) -> str:
        if self.state is None:
            return "inactive"
        if self.state.status == "firing" and self.state.clear_since_seconds is not None:
            return "clearing"
        return self.state.status


def _fire(life: Life) -> None:
    life.hear("breached")
    life.now += FOR
    life.hear("breached")


def _clear(life: Life) -> None:
    _fire(life)
    life.hear("ok")


def _acknowledge(life: Life) -> None:
    _fire(life)
    life.act("acknowledge")


def _snooze(life: Life) -> None:
    _fire(life)
    life.act("snooze")


def _lose_data(life: Life) -> None:
    _fire(life)
    life.wait(NO_DATA)


def _resolve(life: Life) -> None:
    _clear(life)
    life.now += KEEP
    life.hear("ok")


STATES: dict[str, Callable[[Life], None]] = {
    "inactive": lambda life: life.hear("ok"),
    "pending": lambda life: life.hear("breached"),
    "firing": _fire,
    "clearing": _clear,
    "acknowledged": _acknowledge,
    "snoozed": _snooze,
    "no_data": _lose_data,
    "resolved": _resolve,
}


def _later(happens: Callable[[Life], None], seconds: float = 5.0) -> Callable[[Life], None]:
    def event(life: Life) -> None:
        life.now += seconds
        happens(life)

    return event


def _silenced(happens: Callable[[Life], None]) -> Callable[[Life], None]:
    def event(life: Life) -> None:
        life.quiet = life.cause
        happens(life)

    return event


def _end_silence(life: Life) -> None:
    """It was silent from the beginning, so that nobody was told."""
    life.quiet = None
    life.wait(5.0)


def _hear_no_more(life: Life) -> None:
    life.wait(HOUR)
    life.wait(8 * HOUR, every=600.0)


EVENTS: dict[str, Callable[[Life], None]] = {
    "breach": _later(lambda life: life.hear("breached")),
    "breach, more severe": _later(lambda life: life.hear("breached", severity="critical")),
    "breach, an hour on": _later(lambda life: life.hear("breached"), HOUR),
    "breach, 4 hours on": _later(lambda life: life.hear("breached"), 4 * HOUR),
    "ok": _later(lambda life: life.hear("ok")),
    "inconclusive": _later(lambda life: life.hear("inconclusive")),
    "no data": _later(lambda life: life.hear("no_data")),
    "the same again": _later(Life.again),
    "breach, dated earlier": _later(lambda life: life.hear("breached", late=35.0)),
    "ok, dated earlier": _later(lambda life: life.hear("ok", late=35.0)),
    **{f"{second} s pass": lambda life, s=second: life.wait(s) for second in (19, 20, 29, 30, 39, 40, 59, 60)},
    "acknowledge": _later(lambda life: life.act("acknowledge")),
    "acknowledge another": _later(lambda life: life.act("acknowledge", episode=7)),
    "snooze": _later(lambda life: life.act("snooze")),
    "silence begins": _silenced(lambda life: life.wait(5.0)),
    "breach, silenced": _silenced(_later(lambda life: life.hear("breached"))),
    "ok, silenced": _silenced(_later(lambda life: life.hear("ok"))),
    "silence ends": _end_silence,
    "the rule is gone": _hear_no_more,
}

Row = tuple[str, str, str, str, list[str]]


def _rows() -> list[Row]:
    rows: list[Row] = []
    for line in Path(__file__).with_name("life_table.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in STATES:
            state, event, after, reason, told = cells
            rows.append((state, event, after, reason, [] if told == "-" else told.split(", ")))
    return rows


ROWS = _rows()


def test_each_state_and_each_event_has_one_row() -> None:
    assert Counter((state, event) for state, event, *_ in ROWS) == Counter(product(STATES, EVENTS))


def test_each_status_is_a_state_of_the_table() -> None:
    assert {*STATES} == {*get_args(Status), "clearing"}


def in_state(state: str, cause: Quiet, *, silent: bool = False) -> Life:
    life = Life(cause)
    life.quiet = cause if silent else None
    STATES[state](life)
    life.told.clear()
    return life


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("state", STATES)
def test_a_state_is_what_it_is_called(state: str, silent: bool) -> None:
    assert in_state(state, SILENCE, silent=silent).name == state


@pytest.mark.parametrize(
    ("state", "event", "after", "reason", "told"), ROWS, ids=[f"{state}: {event}" for state, event, *_ in ROWS]
)
def test_what_becomes_of_it(state: str, event: str, after: str, reason: str, told: list[str]) -> None:
    for cause in (SILENCE, INHIBITION):
        life = in_state(state, cause, silent=event == "silence ends")
        EVENTS[event](life)
        assert (life.name, life.reason, life.told) == (after, reason, told), f"quiet by {cause.kind}"
