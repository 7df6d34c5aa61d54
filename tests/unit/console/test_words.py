"""Text of a set width: exact in cells, cut between words, and nothing that a terminal would obey."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from console.lines import Span, beside, sized, width_of
from console.spark import ASCII, BLOCKS, bar, spark
from console.words import ago, amount, clean, fit, memory, middle, pad, pct, short, span, window, wrap

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf", "Mn", "Me", "Zl", "Zp")), max_size=40)


@given(TEXT, st.integers(0, 60), st.booleans())
def test_a_padded_text_has_exactly_so_many_cells(text: str, width: int, right: bool) -> None:
    assert cell_len(pad(text, width, right)) == width


@given(TEXT, st.integers(0, 60))
def test_a_fitted_text_has_at_most_so_many_cells_and_is_whole_where_it_fits(text: str, width: int) -> None:
    shown = fit(text, width)
    assert cell_len(shown) <= width
    if cell_len(text) <= width:
        assert shown == text


@given(st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=2, max_size=12), st.integers(12, 60))
def test_a_sentence_is_cut_between_two_words(words: list[str], width: int) -> None:
    shown = fit(" ".join(words), width).removesuffix(" …").split(" ")
    assert shown == words[: len(shown)]


def test_of_a_long_name_the_middle_goes_since_names_differ_at_their_ends() -> None:
    assert fit("embedding-worker-eu-central-0017", 15) == "embeddi…al-0017"
    assert middle("日本語日本語日本語", 9) == "日本…本語"


@given(TEXT, st.integers(1, 40), st.integers(1, 4))
def test_wrapped_lines_are_not_too_wide_and_not_too_many(text: str, width: int, lines: int) -> None:
    found = wrap(text, width, lines)
    assert len(found) <= lines
    assert all(cell_len(each) <= width for each in found)


def test_a_wrapped_text_loses_nothing_that_there_is_room_for() -> None:
    assert wrap("9,000 texts wait and 2 workers do 40 a second", 20, 4) == [
        "9,000 texts wait and",
        "2 workers do 40 a",
        "second",
    ]


def test_a_name_with_orders_for_the_terminal_shows_them_as_question_marks() -> None:
    assert clean("a\x1b[2J\x07b\u202ec") == "a?[2J?b?c"


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, "0.0"), (12.34, "12.3"), (999.94, "999.9"), (1234.6, "1,235"), (2.5e9, "2.5e+09")]
)
def test_numbers_keep_few_digits(value: float, told: str) -> None:
    assert amount(value) == told


def test_times_have_one_or_two_units() -> None:
    assert [span(s) for s in (None, 0.04, 9.96, 75, 600, 12_000, 187_200)] == [
        "unknown", "0.0 s", "10.0 s", "75 s", "10 min", "3 h 20 min", "2 d 4 h",
    ]  # fmt: skip
    assert [ago(s) for s in (None, 5, 119, 120, 7300, 260_000)] == ["–", "5 s", "119 s", "2 min", "2 h", "3 d"]
    assert [window(s) for s in (10, 60, 300, 3600)] == ["10 s", "1 min", "5 min", "1 h"]


@given(st.floats(0, 1e8))
def test_a_time_for_a_table_has_at_most_seven_cells(seconds: float) -> None:
    assert len(ago(seconds)) <= 7


def test_what_is_not_known_is_said_and_no_zero() -> None:
    assert (pct(None), memory(None, 1.0), short(12.5)) == ("unknown", "–", "12.5")
    assert memory(2**30, 2**34) == "1.0/16.0 GiB"
    assert memory(2**30, None) == "1.0 GiB"


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=100), st.integers(0, 50))
def test_a_picture_has_its_width_whatever_the_numbers(values: list[float | None], width: int) -> None:
    assert len(spark(values, width)) == width


def test_the_newest_is_at_the_right_and_a_gap_stays_a_gap() -> None:
    assert spark([0.0, 4.0, None, 8.0], 6) == "  ▁▅ █"
    assert spark([1.0, 9.0, 1.0, 1.0], 2) == "█▁", "of several that share a column the highest is shown"
    assert spark([0.0, 0.0], 2, ASCII) == "__", "nothing happened is a line, nothing known is none"


@given(st.floats(0, 1000), st.integers(1, 40))
def test_a_bar_is_full_only_at_a_hundred_and_empty_only_at_nothing(share: float, width: int) -> None:
    drawn = bar(share, width)
    assert len(drawn) == width
    assert (BLOCKS.empty in drawn) == (share < 100) or width == 1
    assert (BLOCKS.full in drawn) == (share > 0)
    assert bar(None, width) == " " * width


@given(st.lists(TEXT, max_size=5), st.integers(0, 80))
def test_a_line_has_exactly_its_width(texts: list[str], width: int) -> None:
    assert width_of(sized(tuple(Span(text) for text in texts), width)) == width


def test_two_columns_are_as_long_as_the_longer_one() -> None:
    rows = beside([(Span("a"),)], [(Span("b"),), (Span("c"),)], 11, 1)
    assert ["".join(span.text for span in row) for row in rows] == ["a     b    ", "      c    "]
