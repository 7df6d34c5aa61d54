"""Sums of money as people give them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from embedwatch.errors import ConfigError


def as_usd(what: str, value: Any) -> Decimal:
    """Exactly what was written: 0.1 is a tenth. Raises `ConfigError` naming `what`."""
    try:
        amount = value if isinstance(value, Decimal) else Decimal(str(value))
        good = amount.is_finite() and amount >= 0 and not isinstance(value, bool)
    except ArithmeticError:
        good = False
    if not good:
        raise ConfigError(f"{what} is {value!r}; it must be a sum in USD, such as 0.02")
    return amount
