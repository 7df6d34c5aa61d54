from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.pricing import UNKNOWN, PriceBook, per_token, provider_of

USD = 1_000_000_000


@pytest.mark.parametrize(
    ("model", "usd_per_thousand"),
    [("text-embedding-3-small", "0.00002"), ("text-embedding-3-large", "0.00013")],
)
def test_the_guides_price_table_per_1k_tokens_holds(model: str, usd_per_thousand: str) -> None:
    price = PriceBook().quote(model)
    assert price.source.startswith("genai-prices ")
    assert price.cost(1000, 0.0) == Decimal(usd_per_thousand) * USD


def test_fifty_thousand_tokens_of_the_small_model_cost_a_tenth_of_a_cent() -> None:
    assert PriceBook().quote("text-embedding-3-small").cost(50_000, 0.0) == USD // 1000


@pytest.mark.parametrize(
    ("model", "nano_usd"),
    [
        ("openai/text-embedding-3-small", 20),
        ("text-embedding-ada-002", 100),
        ("embed-v4.0", 120),
        ("voyage-3", 60),
        ("gemini-embedding-001", 150),
        ("mistral-embed", 100),
    ],
)
def test_listed_models_are_found_by_name(model: str, nano_usd: int) -> None:
    assert PriceBook().quote(model).cost(1, 0.0) == nano_usd


@pytest.mark.parametrize("model", ["all-MiniLM-L6-v2", "BAAI/bge-m3", "/models/mine", "", "text-embedding-9-huge"])
def test_an_unknown_price_is_unknown_and_not_zero(model: str) -> None:
    price = PriceBook().quote(model)
    assert price == UNKNOWN
    assert price.cost(1000, 1.0) is None
    assert "unknown" in price.describe()


def test_an_override_beats_the_list_and_ignores_case() -> None:
    book = PriceBook({"Text-Embedding-3-Small": Decimal("0.01")}, Decimal(3))
    price = book.quote("text-embedding-3-small")
    assert (price.source, price.cost(1_000_000, 5.0)) == ("override", USD // 100)


def test_an_override_of_zero_is_a_price() -> None:
    price = PriceBook({"mine": Decimal(0)}).quote("mine")
    assert price.cost(10, 1.0) == 0


def test_the_machine_is_paid_by_the_hour_only_where_no_token_price_is_known() -> None:
    book = PriceBook(gpu_usd_per_hour=Decimal("3.60"))
    assert book.quote("text-embedding-3-small").source.startswith("genai-prices")
    price = book.quote("all-MiniLM-L6-v2", local=True)
    assert (price.source, price.cost(123, 0.5)) == ("gpu-hour", 500_000)
    assert "3.6 USD per hour" in price.describe()


def test_the_hour_of_our_machine_is_no_price_of_a_hosted_model() -> None:
    assert PriceBook(gpu_usd_per_hour=Decimal("3.60")).quote("nobody-lists-this") == UNKNOWN


def test_a_local_model_is_never_booked_at_a_providers_price() -> None:
    assert PriceBook().quote("voyage-3", local=True) == UNKNOWN


def test_a_provider_may_be_named_where_the_name_does_not_tell() -> None:
    assert provider_of("my-deployment") is None
    assert PriceBook().quote("text-embedding-3-small", provider="azure").nano_usd_per_token is not None
    assert PriceBook().quote("no-such-model", provider="openai") == UNKNOWN


@given(
    usd=st.decimals(min_value=0, max_value=1000, places=6, allow_nan=False),
    tokens=st.integers(min_value=0, max_value=10**9),
)
def test_one_event_is_off_by_at_most_half_a_nano_usd(usd: Decimal, tokens: int) -> None:
    cost = PriceBook({"m": usd}).quote("m").cost(tokens, 0.0)
    assert cost is not None
    assert abs(Fraction(cost) - per_token(usd) * tokens) <= Fraction(1, 2)


@given(
    usd=st.decimals(min_value=0, max_value=1000, places=3, allow_nan=False),
    counts=st.lists(st.integers(min_value=0, max_value=10**6), max_size=20),
)
def test_with_three_decimals_the_sum_of_events_is_the_price_of_the_sum(usd: Decimal, counts: list[int]) -> None:
    price = PriceBook({"m": usd}).quote("m")
    assert sum(price.cost(count, 0.0) or 0 for count in counts) == price.cost(sum(counts), 0.0)
