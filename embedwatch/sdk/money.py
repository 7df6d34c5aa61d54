"""Sums of money as people give them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from embedwatch.errors import ConfigError
from embedwatch.pricing import MOST_USD, usable_price


def as_usd(what: str, value: Any, most: int = MOST_USD) -> Decimal:
    """Exactly what was written: 0.1 is a tenth. Raises `ConfigError` naming `what`."""
    try:
        amount = value if isinstance(value, Decimal) else Decimal(str(value))
        good = usable_price(amount, most) and not isinstance(value, bool)
    except ArithmeticError:
        good = False
    if not good:
        raise ConfigError(f"{what} is {value!r:.60}; it must be a sum in USD from 0 to {most:,}, such as 0.02")
    return amount
