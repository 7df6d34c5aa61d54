"""`embedwatch silence add`: what is asked for, and what cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from embedwatch import silencing
from embedwatch.commands.silence import app, made, state
from embedwatch.errors import ConfigError, ConnectionFailed
from embedwatch.events import Silence
from embedwatch.settings import Settings

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC).timestamp()


def asked(**more: Any) -> Silence:
    given: dict[str, Any] = {
        "match": ["model=minilm"], "every": False, "for_": None, "start": None, "until": None, "weekdays": None,
        "at": None, "zone": "Europe/Berlin", "note": "", "by": "ada", "now": NOW, "silence_id": "s1",
    }  # fmt: skip
    return made(**(given | more))


def test_from_now_for_a_time() -> None:
    found = asked(for_="1h30m", note="new GPU")
    assert (found.starts_seconds, found.ends_seconds) == (NOW, NOW + 5400)
    assert (found.match, found.by, found.note, found.weekdays) == ({"model": "minilm"}, "ada", "new GPU", ())


def test_times_are_those_of_the_zone() -> None:
    found = asked(start="2026-11-28T22:00", until="2026-11-29T06:00")
    assert found.starts_seconds == datetime(2026, 11, 28, 21, 0, tzinfo=UTC).timestamp()
    assert found.ends_seconds == datetime(2026, 11, 29, 5, 0, tzinfo=UTC).timestamp()
    assert asked(until="2026-11-29T06:00Z").ends_seconds == datetime(2026, 11, 29, 6, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "days"),
    [("sun", (6,)), ("mon-fri", (0, 1, 2, 3, 4)), ("wed,Mon", (0, 2)), ("sat-mon", (0, 5, 6)), ("fri-fri", (4,))],
)
def test_days_of_the_week(text: str, days: tuple[int, ...]) -> None:
    found = asked(weekdays=text, at="02:00", for_="2h")
    assert (found.weekdays, found.at, found.for_seconds, found.ends_seconds) == (days, "02:00", 7200.0, None)
    assert found.timezone == "Europe/Berlin"


def test_every_alert_has_to_be_said() -> None:
    assert asked(match=[], every=True, for_="1h").match == {}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"match": [], "for_": "1h"}, "--match LABEL=PATTERN, or --all"),
        ({"every": True, "for_": "1h"}, "not both"),
        ({"match": ["modell=x"], "for_": "1h"}, "no label 'modell'"),
        ({"match": ["model"], "for_": "1h"}, "not LABEL=PATTERN"),
        ({"match": ["model=a", "model=b"], "for_": "1h"}, "--match model=... is given twice"),
        ({}, "say how long"),
        ({"for_": "1h", "until": "2026-11-29T06:00"}, "say how long"),
        ({"for_": "soon"}, "no length of time"),
        ({"for_": "0s"}, "no length of time"),
        ({"until": "tomorrow"}, "no time such as"),
        ({"until": "2026-11-25T06:00"}, "over already"),
        ({"start": "2026-11-29T06:00", "until": "2026-11-28T06:00"}, "ends before it begins"),
        ({"weekdays": "sun", "for_": "2h"}, "needs --at"),
        ({"weekdays": "sun", "at": "02:00"}, "needs --at"),
        ({"weekdays": "sunday", "at": "02:00", "for_": "2h"}, "none of mon"),
        ({"weekdays": "sun", "at": "2:00", "for_": "2h"}, "no time of day"),
        ({"weekdays": "sun", "at": "02:00", "for_": "8d"}, "at most 7 days"),
        ({"at": "02:00", "for_": "2h"}, "--at goes with --weekdays"),
        ({"for_": "1h", "note": "x" * 257}, "at most 256"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        asked(**more)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_its_state_in_words() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    once = asked(start="2026-11-28T22:00", until="2026-11-29T06:00")
    assert state(once, NOW, berlin) == "begins 2026-11-28 22:00 CET"
    assert state(once, once.starts_seconds, berlin) == "holds until 2026-11-29 06:00 CET"
    assert state(once, once.ends_seconds or 0.0, berlin) == "over"


def test_that_old_silences_cannot_be_forgotten_is_no_failure_of_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Silence] = []

    def forget(settings: Settings, now: float) -> int:
        raise ConnectionFailed("Kafka went away")

    monkeypatch.setattr(silencing, "write", lambda settings, silence: written.append(silence))
    monkeypatch.setattr(silencing, "forget", forget)
    result = CliRunner().invoke(app, ["add", "--all", "--for", "2h"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{written[0].silence_id}: every alert: holds until")
