from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.wording import clean, clip, duration, pair, quantity


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1240.0, "ms", "1,240 ms"),
        (0.0, "ms", "0 ms"),
        (7.25, "ms", "7.25 ms"),
        (12_400.0, "ms", "12.4 s"),
        (200_000.0, "ms", "3 min 20 s"),
        (45.0, "s", "45 s"),
        (125.0, "s", "2 min 5 s"),
        (0.042, "%", "0.042 %"),
        (97.5, "%", "97.5 %"),
        (52.1, "USD", "$52.10"),
        (1234.5, "USD", "$1,234.50"),
        (0.0042, "USD", "$0.0042"),
        (-3.0, "USD", "-$3.00"),
        (0.0, "USD", "$0.00"),
        (1.0, "texts", "1 text"),
        (1.0, "ms", "1 ms"),
        (12_340.0, "tokens", "12,340 tokens"),
        (12.34, "texts/s", "12.3 texts/s"),
        (3.0, "", "3"),
        (None, "ms", "unknown"),
        (math.nan, "ms", "unknown"),
        (math.inf, "USD", "unknown"),
    ],
)
def test_a_quantity_reads_as_a_person_would_write_it(value: float | None, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


def test_value_and_limit_can_always_be_told_apart() -> None:
    assert pair(1240.0, 800.0, "ms") == ("1,240 ms", "800 ms")
    assert pair(500.04, 500.0, "ms") == ("500.04 ms", "500 ms")
    assert pair(100.0001, 100.0, "USD") == ("$100.0001", "$100.0000")
    assert pair(800.0, 800.0, "ms") == ("800 ms", "800 ms")
    assert pair(None, 800.0, "ms") == ("unknown", "800 ms")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 s"),
        (2.5, "2.5 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (250.0, "4 min 10 s"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 min"),
        (183_600.0, "2 d 3 h"),
        (-5.0, "0 s"),
        (math.inf, "unknown"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_clipping_shows_that_something_is_missing() -> None:
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdefg", 6) == "abcde…"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\tand  blanks ", "two lines and blanks"),
        ("\x1b[31mred\x07", "[31mred"),
        ("\u202egnitset\u202c", "gnitset"),
        ("a\u2066b\u2069c", "abc"),
        ("👩‍💻 ok", "👩‍💻 ok"),
        ("\ud800x", "x"),
        ("שלום", "\u2068שלום\u2069"),
        ("", ""),
    ],
)
def test_other_peoples_text_acts_on_nothing(text: str, shown: str) -> None:
    assert clean(text, 100) == shown


@given(st.text(st.characters(codec=None), max_size=300), st.integers(3, 60))
def test_cleaned_text_is_one_line_within_its_limit(text: str, limit: int) -> None:
    shown = clean(text, limit)
    assert len(shown) <= limit
    assert "\n" not in shown
    assert shown.isprintable() or any(c in shown for c in "\u2068\u2069\u200c\u200d") or not shown.isascii()
    shown.encode()
    assert shown.count("\u2068") == shown.count("\u2069")


def test_a_hundred_kilobytes_are_not_read_to_their_end() -> None:
    assert clean("x" * 100_000, 80) == "x" * 79 + "…"
