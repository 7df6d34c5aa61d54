"""What tokens and machine seconds cost, in integer nano-USD. Exact arithmetic, no I/O, no network.

The order of prices: the user's override, then the built-in list (genai-prices, as installed: it is never updated from
the network here), then a price of the machine by the hour for local models, else unknown. An unknown price is never 0:
`Price.cost` gives None for it and the caller counts the tokens as unpriced.

Rounding: a price is an exact fraction of nano-USD per token (or per second); an event's cost is rounded once, half to
even. So one event is off by at most half a nano-USD, and by nothing at all where the price in USD per million tokens
has at most three decimals (0.02 USD per million = 20 nano-USD per token), as all listed embedding prices have.
Sums of events are exact sums of those integers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from embedwatch.events import NANO_USD_PER_USD
from embedwatch.loading import loading

SOURCE_OVERRIDE = "override"
SOURCE_GPU_HOUR = "gpu-hour"
SOURCE_UNKNOWN = "unknown"

#: Which provider of the built-in list sells a model of that name. Without a provider the list would match names
#: loosely over all providers, and a local model must never be booked at a stranger's price.
_PROVIDERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"text-embedding-(3-(small|large)|ada-002)$"), "openai"),
    (re.compile(r"embed-(v\d|english|multilingual)"), "cohere"),
    (re.compile(r"voyage-"), "voyageai"),
    (re.compile(r"gemini-embedding-"), "google"),
    (re.compile(r"(mistral|codestral)-embed"), "mistral"),
    (re.compile(r"amazon\.titan-embed-"), "aws"),
)


@dataclass(frozen=True, slots=True)
class Price:
    """What one model costs. At most one of the two rates is set; with neither the price is unknown."""

    source: str
    nano_usd_per_token: Fraction | None = None
    nano_usd_per_second: Fraction | None = None

    def cost(self, tokens: int, busy_seconds: float) -> int | None:
        """Nano-USD for tokens embedded in so many seconds of a busy machine; None when the price is unknown.

        Seconds are taken to the nanosecond before they are multiplied, so that the money is exact for what was
        measured.
        """
        if self.nano_usd_per_token is not None:
            return round(self.nano_usd_per_token * tokens)
        if self.nano_usd_per_second is not None:
            return round(self.nano_usd_per_second * Fraction(round(busy_seconds * 1e9), 1_000_000_000))
        return None

    def describe(self) -> str:
        """For a log line: "0.02 USD per million tokens (override)"."""
        if self.nano_usd_per_token is not None:
            return f"{_plain(self.nano_usd_per_token / 1000)} USD per million tokens ({self.source})"
        if self.nano_usd_per_second is not None:
            return f"{_plain(self.nano_usd_per_second * 3600 / NANO_USD_PER_USD)} USD per hour ({self.source})"
        return "unknown (set pricing.usd_per_million_tokens or pricing.gpu_usd_per_hour)"


UNKNOWN = Price(SOURCE_UNKNOWN)

#: Of a price, in USD and in decimals. Arithmetic with fractions is exact, and so takes for ever with `1e99999999`.
MOST_USD = 1_000_000
MOST_DECIMALS = 18


def usable_price(usd: Decimal, most: int = MOST_USD) -> bool:
    """Whether it is from 0 to `most`, and written with at most `MOST_DECIMALS` decimals."""
    if not usd.is_finite() or not 0 <= usd <= most:
        return False
    exponent = usd.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -MOST_DECIMALS and (not usd or usd.adjusted() >= -MOST_DECIMALS)


@dataclass(slots=True)
class PriceBook:
    """Prices by model. `overrides` is USD per million tokens by model name; names are compared without case."""

    overrides: Mapping[str, Decimal] = field(default_factory=dict)
    gpu_usd_per_hour: Decimal | None = None
    _quotes: dict[tuple[str, str | None, bool], Price] = field(default_factory=dict, repr=False)

    def quote(self, model: str, *, provider: str | None = None, local: bool = False) -> Price:
        """The price of a model, held for the life of the book.

        `provider` is an id of genai-prices ("openai", "cohere", "aws"); without it the name must tell. With
        `local=True` the model runs on a machine of ours: the built-in list does not apply, the hour price may.
        """
        key = (model, provider, local)
        if key not in self._quotes:
            self._quotes[key] = self._find(model, provider, local)
        return self._quotes[key]

    def _find(self, model: str, provider: str | None, local: bool) -> Price:
        override = self._override(model)
        if override is not None:
            return Price(SOURCE_OVERRIDE, nano_usd_per_token=per_token(override))
        listed = None if local else _listed(model, provider)
        if listed is not None:
            return listed
        if local and self.gpu_usd_per_hour is not None:
            hourly = Fraction(self.gpu_usd_per_hour) * NANO_USD_PER_USD
            return Price(SOURCE_GPU_HOUR, nano_usd_per_second=hourly / 3600)
        return UNKNOWN

    def _override(self, model: str) -> Decimal | None:
        if model in self.overrides:
            return self.overrides[model]
        wanted = model.casefold()
        return next((price for name, price in self.overrides.items() if name.casefold() == wanted), None)


#: Of a sum of money: all of it has a price, a part of it, or nothing.
MoneyState = Literal["known", "partial", "unknown"]


def known_nano_usd(nano_usd: int, unpriced_tokens: int) -> int | None:
    """A sum as it may be shown: None where something has no price and nothing was spent on what has one.

    A sum of 0 beside tokens without a price says nothing; one above 0 is the part that is known (`money_state`).
    """
    return None if unpriced_tokens and not nano_usd else nano_usd


def money_state(nano_usd: int, unpriced_tokens: int) -> MoneyState:
    """What `known_nano_usd` of the same two numbers is worth."""
    if not unpriced_tokens:
        return "known"
    return "partial" if nano_usd else "unknown"


def to_usd(nano_usd: int | None) -> float | None:
    """For people; None stays None."""
    return None if nano_usd is None else nano_usd / NANO_USD_PER_USD


def per_token(usd_per_million_tokens: Decimal) -> Fraction:
    """Exact nano-USD per token: 10**9 nano-USD a dollar over 10**6 tokens."""
    return Fraction(usd_per_million_tokens) * 1000


def provider_of(model: str) -> str | None:
    """The provider that sells a model of that name, as genai-prices calls it; None when the name does not tell."""
    name = model.rsplit("/", 1)[-1].casefold()
    return next((provider for pattern, provider in _PROVIDERS if pattern.match(name)), None)


def _listed(model: str, provider: str | None) -> Price | None:
    provider = provider or provider_of(model)
    if provider is None:
        return None
    with loading:  # the list itself is loaded with the first price
        import genai_prices

        try:
            found = genai_prices.calc_price(
                genai_prices.Usage(input_tokens=1_000_000), model_ref=model.rsplit("/", 1)[-1], provider_id=provider
            )
        except LookupError:
            return None
    price = getattr(found.model_price, "input_mtok", None)
    if not isinstance(price, Decimal):
        return None  # a price in steps is not a price per token
    return Price(f"genai-prices {genai_prices.__version__}", nano_usd_per_token=per_token(price))


def _plain(value: Fraction) -> str:
    return f"{float(value):.6f}".rstrip("0").rstrip(".")
