"""Sums of money as text that still add up. Pure.

Amounts are integers of nano-USD to the end. A column of them is printed with two, four, six or nine decimals, so that
its total has three digits that mean something; each row is rounded down, and what is missing to the rounded total goes,
a last digit each, to the rows that lost most. So no printed amount is off by a whole last digit, and those of a column
add up to the printed total.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

NANO_DECIMALS = 9


def decimals_for(total_nano_usd: int) -> int:
    """Two where there are dollars; more where the whole is cents or less."""
    size = abs(total_nano_usd)
    return next((n for n in (2, 4, 6) if not size or size >= 10 ** (NANO_DECIMALS + 2 - n)), NANO_DECIMALS)


def printed(parts_nano_usd: Sequence[int], decimals: int) -> list[Decimal]:
    """Amounts that are not negative, rounded so that their sum is the rounded sum, half to even."""
    unit: int = 10 ** (NANO_DECIMALS - decimals)
    whole = [part // unit for part in parts_nano_usd]
    owed = _rounded(sum(parts_nano_usd), unit) - sum(whole)
    lost = sorted(range(len(whole)), key=lambda n: (-(parts_nano_usd[n] % unit), n))
    for n in lost[:owed]:
        whole[n] += 1
    return [Decimal(units).scaleb(-decimals) for units in whole]


def rounded(nano_usd: int, decimals: int) -> Decimal:
    """Half to even."""
    return Decimal(_rounded(nano_usd, 10 ** (NANO_DECIMALS - decimals))).scaleb(-decimals)


def exact(nano_usd: int) -> str:
    """All of it, as a decimal number of USD: "12.000000001"."""
    return f"{Decimal(nano_usd).scaleb(-NANO_DECIMALS):.{NANO_DECIMALS}f}"


def shown(amount: Decimal) -> str:
    """ "$1,234.50", "-$0.10"."""
    return f"-${-amount:,f}" if amount < 0 else f"${amount:,f}"


def _rounded(nano_usd: int, unit: int) -> int:
    whole, rest = divmod(nano_usd, unit)
    return whole + (2 * rest > unit or (2 * rest == unit and whole % 2 == 1))
