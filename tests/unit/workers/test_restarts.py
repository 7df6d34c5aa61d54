from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.errors import (
    ConfigError,
    ConnectionFailed,
    DeliveryError,
    EmbedwatchError,
    FailureBudgetExceeded,
    InputError,
    ModelError,
)
from workers.restarts import (
    GOOD_LIFE_SECONDS,
    MAX_DELAY_SECONDS,
    MAX_RESTARTS,
    WINDOW_SECONDS,
    Again,
    Done,
    GiveUp,
    Restarts,
    Verdict,
    describe,
    exit_code,
)

BROKER = ConnectionFailed.exit_code


def history(*lives_seconds: float, status: int = BROKER) -> list[Verdict]:
    """What follows from each life of one slot, each of which ends with this status."""
    restarts, now, verdicts = Restarts(), 1000.0, []
    for life in lives_seconds:
        now += life
        verdict = restarts.ended(status, lived_seconds=life, now=now)
        verdicts.append(verdict)
        if isinstance(verdict, Again):
            now += verdict.delay_seconds
    return verdicts


@pytest.mark.parametrize("error", [ConfigError, InputError, ModelError, FailureBudgetExceeded])
def test_what_no_restart_mends_ends_the_command_with_its_code(error: type[EmbedwatchError]) -> None:
    verdict = Restarts().ended(error.exit_code, lived_seconds=1e6, now=0.0)
    assert isinstance(verdict, GiveUp)
    assert verdict.exit_code == error.exit_code


@pytest.mark.parametrize(
    "status",
    [
        -signal.SIGKILL, -signal.SIGSEGV, EmbedwatchError.exit_code, ConnectionFailed.exit_code,
        DeliveryError.exit_code, 70, 143,
    ],
)  # fmt: skip
def test_what_may_mend_itself_starts_again(status: int) -> None:
    assert Restarts().ended(status, lived_seconds=0.0, now=0.0) == Again(1.0)


def test_a_clean_end_is_an_end_after_any_history() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.ended(1, lived_seconds=0.0, now=0.0)
    assert restarts.ended(0, lived_seconds=0.0, now=0.0) == Done()


def test_a_clean_end_of_one_that_stays_is_as_any_other() -> None:
    restarts = Restarts()
    verdicts = [restarts.ended(0, lived_seconds=0.0, now=0.0, stays=True) for _ in range(6)]
    assert verdicts[:2] == [Again(1), Again(2)]
    assert verdicts[-1] == GiveUp(0, "crash loop: 5 restarts within 5 min")


def test_the_delay_doubles_and_the_sixth_end_within_the_window_is_a_crash_loop() -> None:
    *again, end = history(0, 0, 0, 0, 0, 0)
    assert again == [Again(1), Again(2), Again(4), Again(8), Again(16)]
    assert end == GiveUp(BROKER, "crash loop: 5 restarts within 5 min")


def test_a_crash_loop_by_a_signal_ends_the_command_with_one() -> None:
    assert history(*[0] * 6, status=-signal.SIGKILL)[-1] == GiveUp(1, "crash loop: 5 restarts within 5 min")


def test_the_delay_has_a_limit() -> None:
    # Lives too short to be good, too long for a crash loop.
    assert history(*[55] * 8) == [Again(delay) for delay in (1, 2, 4, 8, 16, 30, 30, 30)]


def test_a_good_life_begins_the_delays_anew() -> None:
    assert history(0, 0, 60, 0, 59) == [Again(1), Again(2), Again(1), Again(2), Again(4)]


def test_good_lives_are_no_crash_loop() -> None:
    assert history(*[60] * 500) == [Again(1)] * 500


@given(st.lists(st.tuples(st.floats(0, 400), st.sampled_from([1, 4, 5, 70, -9, -11, 143])), min_size=1, max_size=60))
def test_never_more_restarts_than_allowed_and_never_a_delay_out_of_bounds(lives: list[tuple[float, int]]) -> None:
    restarts, now = Restarts(), 0.0
    ends: list[float] = []
    before = 0.0
    for life, status in lives:
        now += life
        verdict = restarts.ended(status, lived_seconds=life, now=now)
        recent = [end for end in ends if now - end < WINDOW_SECONDS]
        if len(recent) == MAX_RESTARTS:
            assert verdict == GiveUp(1 if status < 0 else status, "crash loop: 5 restarts within 5 min")
            return
        assert isinstance(verdict, Again)
        assert 1.0 <= verdict.delay_seconds <= MAX_DELAY_SECONDS
        if life >= GOOD_LIFE_SECONDS:
            assert verdict.delay_seconds == 1.0
        else:
            assert verdict.delay_seconds >= before
        before = verdict.delay_seconds
        ends.append(now)
        now += verdict.delay_seconds


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [
        (4, "ended with status 4", 4),
        (-9, "was ended by SIGKILL (out of memory?)", 1),
        (-11, "was ended by SIGSEGV", 1),
        (-64 - 63, "was ended by signal 127", 1),
    ],
)
def test_an_end_in_words_and_as_an_exit_code(status: int, words: str, code: int) -> None:
    assert describe(status) == words
    assert exit_code(status) == code


def test_a_broker_that_is_away_is_no_crash_loop_of_one_that_stays() -> None:
    restarts = Restarts()
    for number in range(100):
        found = restarts.ended(4, lived_seconds=10.0, now=40.0 * number, stays=True)
        assert isinstance(found, Again)
        assert found.delay_seconds <= MAX_DELAY_SECONDS
    # What is the slot's own fault counts as ever.
    ends = [restarts.ended(1, lived_seconds=1.0, now=4000.0 + n, stays=True) for n in range(6)]
    assert [type(each) for each in ends] == [Again] * 5 + [GiveUp]
