"""The guide's trackers of money: what tokens cost, and what of a day's budget is left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from embedwatch.events import NANO_USD_PER_USD
from embedwatch.pricing import PriceBook, known_nano_usd, to_usd
from embedwatch.sdk.context import nano_usd
from embedwatch.sdk.day import zone_of
from embedwatch.sdk.money import as_usd
from embedwatch.tokens import counter_for

log = logging.getLogger("embedwatch.sdk")

#: Of a day. What is more is a mistake of units.
MOST_BUDGET_USD = 10**12


def count_tokens(text: str, model: str = "text-embedding-3-small") -> int:
    """Tokens of a text. Never uses the network, and takes any text: the guide's `encode` raises for one that holds
    `<|endoftext|>`."""
    return counter_for(model).count([text])[0]


class CostTracker:
    """Counts and prices texts of one model.

    Where it differs from the guide's: prices come from `prices` (USD per million tokens) and then from the built-in
    list, so that a model the guide's table does not have is no KeyError, but has an unknown cost (None); money is whole
    nano-USD and not rounded to 4 places, at which 1,000 short texts cost nothing; and `avg_tokens_per_text` works (the
    guide divides by `self.calls`, which it never sets). Its comment that 50,000 tokens cost $1.00 is wrong by 1,000.
    """

    def __init__(
        self, model: str, *, prices: Mapping[str, Decimal | float | str] | None = None, provider: str | None = None
    ) -> None:
        self.model = model
        book = PriceBook({name: as_usd(f"prices[{name!r}]", price) for name, price in (prices or {}).items()})
        self._price = book.quote(model, provider=provider)
        self._lock = threading.Lock()
        self.total_tokens = self.saved_tokens = self.texts = self.cached_texts = 0
        self.cost_nano_usd = self.saved_nano_usd = self.unpriced_tokens = 0

    def record_embedding(self, text: str) -> tuple[int, float | None]:
        """Count and price a text: its tokens and USD."""
        return self.record_tokens(count_tokens(text, self.model))

    def record_tokens(self, tokens: int, texts: int = 1) -> tuple[int, float | None]:
        """The same where the provider said the tokens. Raises ValueError for less than none."""
        if tokens < 0 or texts < 0:
            raise ValueError(f"{tokens} tokens of {texts} texts: neither can be less than 0")
        cost = self._price.cost(tokens, 0.0)
        with self._lock:
            self.total_tokens += tokens
            self.texts += texts
            self.cost_nano_usd += cost or 0
            self.unpriced_tokens += tokens if cost is None else 0
        return tokens, to_usd(cost)

    def record_cached(self, text: str) -> tuple[int, float | None]:
        """A text that a cache had: what it would have cost is saved, and not spent. Its tokens and USD."""
        tokens = count_tokens(text, self.model)
        saved = self._price.cost(tokens, 0.0)
        with self._lock:
            self.saved_tokens += tokens
            self.cached_texts += 1
            self.saved_nano_usd += saved or 0
        return tokens, to_usd(saved)

    @property
    def total_cost(self) -> float | None:
        """USD so far; None where the price is not known."""
        return to_usd(known_nano_usd(self.cost_nano_usd, self.unpriced_tokens))

    @property
    def total_saved(self) -> float | None:
        """USD that `record_cached` has counted; None where the price is not known."""
        return None if self._price.nano_usd_per_token is None and self.saved_tokens else to_usd(self.saved_nano_usd)

    def summary(self) -> dict[str, float | int | None]:
        """`avg_cost_per_text` is what the guide's dashboard asks for and its summary lacks.

        An average of none is None.
        """
        cost = self.total_cost
        return {
            "total_tokens": self.total_tokens,
            "total_cost_usd": cost,
            "avg_tokens_per_text": self.total_tokens / self.texts if self.texts else None,
            "avg_cost_per_text": cost / self.texts if self.texts and cost is not None else None,
            "saved_tokens": self.saved_tokens,
            "saved_usd": self.total_saved,
            "unpriced_tokens": self.unpriced_tokens,
        }


class BudgetMonitor:
    """What a day has cost, and a word at each threshold of its budget.

    Where it differs from the guide's: the day is that of a time zone you name (the guide takes the machine's); each
    threshold is told once a day (the guide repeats itself with every call above the budget); `remaining_budget` knows
    that a new day has begun without a cost; and a cost that is no sum is refused (ValueError), not added.
    `on_threshold(pct, spent_usd, budget_usd)` takes the place of the guide's `alert_over_budget`.
    """

    def __init__(
        self,
        daily_budget_usd: Decimal | float | str = 10.0,
        *,
        timezone: str = "UTC",
        thresholds_pct: Sequence[float] = (50, 80, 100),
        on_threshold: Callable[[float, float, float], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.daily_budget = float(as_usd("daily_budget_usd", daily_budget_usd, MOST_BUDGET_USD))
        self._zone = zone_of(timezone)
        self._budget_nano_usd = round(as_usd("daily_budget_usd", daily_budget_usd, MOST_BUDGET_USD) * NANO_USD_PER_USD)
        self._thresholds_pct = sorted(thresholds_pct)
        self._on_threshold = on_threshold or _warn
        self._clock = clock
        self._lock = threading.Lock()
        self._spent_nano_usd = 0
        self._told = 0
        self._day = self._today()

    def record_cost(self, cost_usd: Decimal | float | str) -> None:
        """Add to today. Raises ValueError for what is no sum of money."""
        cost = nano_usd(cost_usd)
        if cost is None:
            raise ValueError(f"a cost is a sum in USD of at least 0, not {cost_usd!r}")
        with self._lock:
            self._turn()
            self._spent_nano_usd += cost
            reached = [pct for pct in self._thresholds_pct if self._spent_nano_usd * 100 >= pct * self._budget_nano_usd]
            new, self._told = reached[self._told :], max(len(reached), self._told)
            spent = self._spent_nano_usd / 1e9
        for pct in new:
            self._on_threshold(pct, spent, self.daily_budget)

    def remaining_budget(self) -> float:
        """USD of today's budget that are left, at least 0."""
        with self._lock:
            self._turn()
            return max(self._budget_nano_usd - self._spent_nano_usd, 0) / 1e9

    @property
    def today_spend(self) -> float:
        """USD of today."""
        with self._lock:
            self._turn()
            return self._spent_nano_usd / 1e9

    def _today(self) -> object:
        return datetime.fromtimestamp(self._clock(), self._zone).date()

    def _turn(self) -> None:
        today = self._today()
        if today != self._day:
            self._day, self._spent_nano_usd, self._told = today, 0, 0


def _warn(pct: float, spent_usd: float, budget_usd: float) -> None:
    log.warning("budget: %g %% of today's $%.2f are spent ($%.4f)", pct, budget_usd, spent_usd)
