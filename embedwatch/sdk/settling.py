"""From what a caller left to a `Call`: counts that add up, tokens, money. Pure arithmetic; tokens are counted by an
argument.

Unknown stays unknown: a call whose tokens nobody knows has no cost, and a model without a price costs `None`. So does a
call that failed, unless it is one that nobody bills (`failures.never_billed`) or somebody said what it cost.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from typing import Any

from embedwatch.events import TokenMethod
from embedwatch.pricing import SOURCE_UNKNOWN, Price, PriceBook
from embedwatch.sdk.call import Call
from embedwatch.sdk.context import MOST_NANO_USD, MOST_TOKENS, CallContext
from embedwatch.sdk.providers import PRICE_LISTS
from embedwatch.sdk.texts import Held, strings
from embedwatch.tokens import TokenCounter

PRICE_GIVEN = "given"  # the caller, or the provider's answer, said the cost
UNNAMED_MODEL = "unknown"
LABEL_CHARS = 256


@dataclass(slots=True)
class Settler:
    """Prices calls. Holds what has been spent: a machine by the hour has no price per token but the measured one."""

    prices: PriceBook
    counter_for: Callable[[str], TokenCounter]
    model: str | None = None
    provider: str | None = None
    tenant: str | None = None
    source: str | None = None
    local: bool = False
    _spent_nano_usd: int = 0
    _spent_tokens: int = 0

    def count_ahead(self, calls: Sequence[CallContext]) -> None:
        """Counts the texts of all of these at once, where they are to be counted, and leaves the numbers with them.

        A counter gives up the interpreter's lock once for many texts. Beside a thread that is busy with Python it
        comes back 5 ms later: with each call by itself the monitor was seen to count 20 calls of 16 texts a second.
        """
        by_counter: dict[TokenCounter, list[tuple[CallContext, Sequence[str]]]] = {}
        for left in calls:
            texts = left.held_texts
            if type(texts) is tuple and left.held_tokens is None and not left.inner and strings(texts):
                counter = self.counter_for(self._model(left.model, left.response_model))
                by_counter.setdefault(counter, []).append((left, texts))
        for counter, theirs in by_counter.items():
            try:
                counts = iter(counter.count([text for _, texts in theirs for text in texts]))
            except ValueError:  # `settle` finds out of which
                continue
            for left, their_texts in theirs:
                tokens = sum(islice(counts, len(their_texts)))
                left.held_tokens = min(tokens, MOST_TOKENS), counter.method

    def _model(self, asked: Any, answered: Any) -> str:
        return label(asked) or label(self.model) or label(answered) or UNNAMED_MODEL

    def settle(self, left: CallContext) -> Call:
        """The call as sinks are told it."""
        facts = _Facts.of(left)
        response_model = label(facts.response_model)
        model = self._model(facts.model, response_model)
        provider = label(facts.provider) or label(self.provider)
        # A call that does not say how many texts it had had one at least.
        texts = 1 if left.text_count is None else left.text_count
        failed = left.error_class is not None
        hits = 0 if failed else min(facts.cache_hits, texts)
        copies = 0 if failed else min(facts.duplicates, texts - hits)
        misses = 0 if failed else texts - hits - copies
        tokens, saved, method = self._tokens(left, facts, model, texts, misses)
        local = self.local if facts.local is None else facts.local
        price = self._price(model, response_model, provider, local)
        source = price.source
        cost = facts.cost_nano_usd
        if cost is not None:
            source = PRICE_GIVEN
        elif price.nano_usd_per_second is not None:
            cost = 0 if texts and not misses and not failed else price.cost(0, left.seconds)
        elif price.nano_usd_per_token == 0 or (failed and tokens == 0):
            cost = 0
        elif tokens is not None:
            cost = price.cost(tokens, 0.0)
        if cost is None and left.listed_nano_usd is not None:
            cost, source = left.listed_nano_usd, left.listed_source or PRICE_GIVEN
        by_the_hour = price.nano_usd_per_second is not None  # whatever was tried within its time is in its cost
        settled = source == PRICE_GIVEN or by_the_hour or price.nano_usd_per_token == 0
        unsettled = (facts.unsettled or (failed and cost is None)) and not settled
        cost = None if cost is None else min(cost, MOST_NANO_USD)
        self._spent_nano_usd += cost or 0
        self._spent_tokens += tokens or 0 if cost is not None else 0
        return Call(
            start_seconds=left.start_seconds,
            seconds=left.seconds,
            model=model,
            texts=texts,
            misses=misses,
            uncached_texts=0 if facts.asked_cache or hits or copies else misses,
            cache_hits=hits,
            duplicates=copies,
            errors=texts if failed else 0,
            error_class=left.error_class,
            error_type=left.error_type,
            tokens=tokens,
            token_method=method,
            tokens_saved=saved or 0,
            cost_nano_usd=cost,
            saved_nano_usd=self._saved(saved, hits + copies, price),
            price_source=source,
            phase_seconds=_phases(facts.phase_seconds, left.seconds),
            provider=provider,
            tenant=label(left.tenant) or label(self.tenant),
            source=label(left.source) or label(self.source),
            dimensions=_int(facts.dimensions),
            encoding_format=label(facts.encoding_format),
            server_address=label(facts.server_address),
            server_port=_int(facts.server_port),
            response_model=response_model,
            unsettled=unsettled,
            contexts=left.contexts or {},
        )

    def _price(self, model: str, response_model: str | None, provider: str | None, local: bool) -> Price:
        """By the model asked for; where that is a name of the caller's own (a deployment of Azure) by that of the
        answer."""
        sold_by = PRICE_LISTS.get(provider or "", provider)
        price = self.prices.quote(model, provider=sold_by, local=local)
        if price.source == SOURCE_UNKNOWN and response_model is not None and not local:
            price = self.prices.quote(response_model, provider=sold_by)
        return price

    def _tokens(
        self, left: CallContext, facts: _Facts, model: str, texts: int, misses: int
    ) -> tuple[int | None, int | None, TokenMethod | None]:
        """Of misses, of hits and copies, and how they were counted; each None where it is not known.

        What was saved is what the texts hold less what was read. Which texts were hits is not known: where neither is
        said, both are shares by the number of texts, and so estimates.
        """
        told, saved = facts.tokens, facts.tokens_saved
        if left.error_class is not None:
            if told is None and facts.unsettled:
                return None, 0, None
            return told or 0, 0, facts.counted_by if told else None
        if told is not None and (saved is not None or misses == texts):
            return told, saved or 0, facts.counted_by
        if not misses and saved is not None:
            return told or 0, saved, facts.counted_by if told else None
        whole, method = self._count(left, model)
        if told is not None:
            return told, None if whole is None else max(whole - told, 0), facts.counted_by
        if whole is None or method is None:
            return (0 if not misses else None), saved, None
        if saved is not None:
            return max(whole - saved, 0), saved, method
        if misses in (0, texts):
            return (whole, 0, method) if misses else (0, whole, method)
        read = round(Fraction(whole * misses, texts))
        return read, whole - read, "estimated"

    def _count(self, left: CallContext, model: str) -> tuple[int | None, TokenMethod | None]:
        if left.held_tokens is not None:
            return left.held_tokens
        texts = left.held_texts
        if isinstance(texts, Held):
            texts = texts.texts(left.text_count or 0)
        if texts is not None:
            if not strings(texts):
                return None, None
            counter = self.counter_for(model)
            with contextlib.suppress(ValueError):  # a million spaces are too much for tiktoken
                return min(sum(counter.count(texts)), MOST_TOKENS), counter.method
        if left.chars is not None:  # too many to keep, changed since, or uncounted: by the same divisor as an estimate
            return min(-(-left.chars * 10 // 41), MOST_TOKENS), "estimated"
        return (0, "provider") if left.text_count == 0 else (None, None)

    def _saved(self, tokens: int | None, texts: int, price: Price) -> int | None:
        """Nano-USD that the hits and copies would have cost; None where that is not known."""
        if not texts:
            return 0
        if tokens is None:
            return None
        if price.nano_usd_per_token is not None:
            return min(round(price.nano_usd_per_token * tokens), MOST_NANO_USD)
        if price.nano_usd_per_second is not None and self._spent_tokens:
            return min(round(Fraction(self._spent_nano_usd, self._spent_tokens) * tokens), MOST_NANO_USD)
        return None


@dataclass(slots=True)
class _Facts:
    """What is known of a call, by itself or by the calls within it. What it says itself counts first."""

    model: Any
    provider: Any
    response_model: Any
    dimensions: Any
    encoding_format: Any
    server_address: Any
    server_port: Any
    tokens: int | None
    cost_nano_usd: int | None
    cache_hits: int
    duplicates: int
    tokens_saved: int | None
    phase_seconds: dict[str, float] = field(default_factory=dict)
    counted_by: TokenMethod = "provider"
    local: bool | None = None
    unsettled: bool = False  # it, or a try within it, failed and may have been billed
    asked_cache: bool = False

    @classmethod
    def of(cls, left: CallContext) -> _Facts:
        facts = cls(
            left.model, left.provider, left.response_model, left.dimensions, left.encoding_format,
            left.server_address, left.server_port, left.tokens, left.cost_nano_usd, left.cache_hits, left.duplicates,
            left.tokens_saved, dict(left.phase_seconds or {}), left.counted_by, left.local,
        )  # fmt: skip
        failed = left.error_class is not None
        every = [(each, cls.of(each)) for each in tuple(left.inner or ())]
        facts.asked_cache = (
            left.asked_cache or "cache_lookup" in facts.phase_seconds or any(of.asked_cache for _, of in every)
        )
        told = left.tokens is not None or left.cost_nano_usd is not None
        facts.unsettled = not told and (
            any(of.unsettled for _, of in every) or (failed and not every and not left.never_billed)
        )
        # A try that failed within (and was made again) cost no tokens that anybody told.
        inner = [of for each, of in every if each.error_class is None]
        if inner:
            facts._take_in(inner)
            # What was embedded before it failed was billed, and nobody counted it.
            if failed and not told and any(of.tokens is None and of.cost_nano_usd is None for of in inner):
                facts.unsettled = True
        return facts

    def _take_in(self, inner: list[_Facts]) -> None:
        for name in (
            "model", "provider", "response_model", "dimensions", "encoding_format", "server_address", "server_port",
            "local",
        ):  # fmt: skip
            if getattr(self, name) is None:
                setattr(self, name, next((v for each in inner if (v := getattr(each, name)) is not None), None))
        if self.tokens is None:
            self.counted_by = inner[0].counted_by
        for name in ("tokens", "cost_nano_usd"):
            parts = [getattr(each, name) for each in inner]
            if getattr(self, name) is None and None not in parts:
                setattr(self, name, sum(parts))
        if not self.cache_hits and not self.duplicates:
            self.cache_hits = sum(each.cache_hits for each in inner)
            self.duplicates = sum(each.duplicates for each in inner)
            parts = [each.tokens_saved for each in inner if each.tokens_saved is not None]
            if self.tokens_saved is None and parts:
                self.tokens_saved = sum(parts)
        if not self.phase_seconds:
            for each in inner:
                for name, seconds in each.phase_seconds.items():
                    self.phase_seconds[name] = self.phase_seconds.get(name, 0.0) + seconds


def _phases(measured: dict[str, float], seconds: float) -> dict[str, float]:
    """What no phase was timed for is `embed`, unless that was timed itself."""
    if "embed" in measured:
        return measured
    return {**measured, "embed": max(seconds - sum(measured.values()), 0.0)}


def label(value: Any) -> str | None:
    """A name as events take it: a string of at most 256 characters that are no control characters; None for nothing."""
    if value is None:
        return None
    try:
        text = str(value)[:LABEL_CHARS]
    except Exception:
        return None
    text = "".join(char if char.isprintable() else " " for char in text).strip()
    return text or None


def _int(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except Exception:
        return None
