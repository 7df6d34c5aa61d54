"""Printed amounts add up."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.reports.money import decimals_for, exact, printed, rounded, shown

AMOUNTS = st.lists(st.integers(0, 10**18), max_size=30)


@given(AMOUNTS, st.sampled_from([0, 2, 4, 6, 9]))
def test_the_printed_parts_add_up_to_the_printed_whole_and_none_is_off_by_a_digit(
    parts: list[int], decimals: int
) -> None:
    found = printed(parts, decimals)
    assert sum(found, Decimal(0)) == rounded(sum(parts), decimals)
    for part, amount in zip(parts, found, strict=True):
        assert abs(amount - Decimal(part).scaleb(-9)) < Decimal(1).scaleb(-decimals)
        assert bool(part) or not amount


@given(st.integers(0, 10**20))
def test_the_exact_form_is_exact(amount: int) -> None:
    assert Decimal(exact(amount)).scaleb(9) == amount


def test_the_exact_form_has_all_nine_digits() -> None:
    assert exact(12_000_000_001) == "12.000000001"
    assert exact(0) == "0.000000000"


@pytest.mark.parametrize(
    ("nano_usd", "decimals"), [(0, 2), (10**12, 2), (10**9, 2), (10**8, 4), (10**6, 6), (10**3, 9), (1, 9)]
)
def test_small_sums_have_more_digits(nano_usd: int, decimals: int) -> None:
    assert decimals_for(nano_usd) == decimals
    assert rounded(nano_usd, decimals) or not nano_usd


@pytest.mark.parametrize(
    ("nano_usd", "text"),
    [
        (0, "$0.00"), (1_234_567_890_123, "$1,234.57"), (1_005_000_000, "$1.00"), (123_456_789, "$0.1235"),
        (1_234_567, "$0.001235"), (1_234, "$0.000001234"), (-2_500_000_000, "-$2.50"),
    ],
)  # fmt: skip
def test_an_amount_has_digits_that_mean_something(nano_usd: int, text: str) -> None:
    assert shown(rounded(nano_usd, decimals_for(nano_usd))) == text
