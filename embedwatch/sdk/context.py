"""One call while it runs: what its caller says of it. Takes the time, keeps what is said, and hands itself on.

Nothing in here raises but what the caller's own code raised. What cannot be right (a negative number of tokens, a cost
that is no number) is left out and said once in the log.
"""

from __future__ import annotations

import contextvars
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from time import perf_counter, time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from embedwatch.events import NANO_USD_PER_USD, ErrorClass, TokenMethod
from embedwatch.sdk import failures
from embedwatch.sdk.texts import MOST_TEXTS, Held, count, snapshot, whole

if TYPE_CHECKING:
    from embedwatch.sdk.monitor import Monitor

log = logging.getLogger("embedwatch.sdk")

#: Of one call. No request has more, and sums of a second stay within what the agents book.
MOST_TOKENS = 10**10
MOST_NANO_USD = 10**15  # a million USD
MOST_PHASES = 16

#: The innermost call that runs here, of any monitor. Tasks and `asyncio.to_thread` take it along.
_running: contextvars.ContextVar[CallContext | None] = contextvars.ContextVar("embedwatch_call", default=None)


class CallContext:
    """A call that begins with `with` (or `async with`) and is recorded at its end.

    A call within a call of the same monitor is not recorded: it hands on what it knows (tokens, cost, cache, model of
    the answer, server) to the outer one, which counts the texts and the time, as its caller saw them. So a wrapped
    LangChain over a wrapped OpenAI client is one call, with the tokens that OpenAI billed.
    """

    __slots__ = (
        "_begun", "_ended", "_generation", "_monitor", "_parent", "_source_texts", "_stopped", "_token", "asked_cache",
        "cache_hits", "chars", "contexts", "cost_nano_usd", "counted_by", "dimensions", "duplicates", "encoding_format",
        "error_class", "error_type", "held_texts", "held_tokens", "inner", "listed_nano_usd", "listed_source", "local",
        "model", "never_billed", "phase_seconds", "provider", "response_model", "seconds", "server_address",
        "server_port", "source", "start_seconds", "tenant", "text_count", "tokens", "tokens_saved",
    )  # fmt: skip

    def __init__(self, monitor: Monitor, texts: Any, model: Any, provider: Any, tenant: Any, source: Any) -> None:
        self._monitor = monitor
        self._source_texts = texts
        self._parent: CallContext | None = None
        self._token: contextvars.Token[CallContext | None] | None = None
        self._ended = False
        self._generation = 0
        self._begun = 0.0
        self._stopped: float | None = None
        self.start_seconds = 0.0
        self.seconds = 0.0
        self.tokens: int | None = None
        # What `count` would say, a step less. Who empties the list meanwhile would have to do it between two steps.
        if type(texts) is list and texts and type(texts[0]) is str:
            self.text_count: int | None = len(texts)
        else:
            self.text_count, self.tokens = count(texts)
        self.model, self.provider, self.tenant, self.source = model, provider, tenant, source
        self.counted_by: TokenMethod = "provider"  # of `tokens`
        self.cost_nano_usd: int | None = None
        self.listed_nano_usd: int | None = None
        self.listed_source: str | None = None
        self.local: bool | None = None  # None: as the monitor says
        self.cache_hits = 0
        self.asked_cache = False
        self.duplicates = 0
        self.tokens_saved: int | None = None
        self.phase_seconds: dict[str, float] | None = None
        self.dimensions: int | None = None
        self.encoding_format: str | None = None
        self.response_model: str | None = None
        self.server_address: str | None = None
        self.server_port: int | None = None
        self.error_class: ErrorClass | None = None
        self.error_type: str | None = None
        self.never_billed = False  # of a call that failed: nobody bills what failed so
        self.contexts: dict[str, Any] | None = None
        self.held_texts: tuple[Any, ...] | Held | None = None  # those to be counted, where nobody said the tokens
        self.held_tokens: tuple[int, TokenMethod] | None = None  # of `held_texts`, once they are counted
        self.chars: int | None = None
        self.inner: list[CallContext] | None = None

    # The beginning and the end.

    def __enter__(self) -> CallContext:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    async def __aenter__(self) -> CallContext:
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    def begin(self) -> None:
        """For adapters that cannot use `with`. Never raises; the second time it does nothing."""
        if self._begun or self._ended:
            return
        try:
            parent = _running.get()
            while parent is not None and parent._ended:  # kept, each would keep the one before it
                parent = parent._parent
            self._parent = parent
            self._token = _running.set(self)
            monitor = self._monitor
            self._generation = monitor._channel.generation
            if monitor._beginners:
                self.contexts = monitor._begin()
        except Exception as error:
            self._monitor._trouble("a call could not be begun", error)
        self._begun = perf_counter()

    def took(self, start_seconds: float, seconds: float) -> None:
        """In place of `begin`, for a call that was timed elsewhere: Unix time of its start, and how long it took.
        Never raises."""
        try:
            self.begin()
            if self._token is not None:
                self._leave(self._token)
            self._parent = None  # whatever runs here now is not around it
            self.start_seconds = start_seconds
            self._stopped = self._begun + max(seconds, 0.0)
        except Exception as error:
            self._monitor._trouble("a call could not be begun", error)

    def stop(self) -> None:
        """The time ends here; what is done until `end` is the adapter's own work."""
        self._stopped = perf_counter()

    def end(self, error: BaseException | None = None) -> None:
        """Hands the call on, once; `error` is what it failed with. Never raises."""
        now = perf_counter() if self._stopped is None else self._stopped
        if self._ended:
            return
        self._ended = True
        try:
            if self._begun:
                self.seconds = max(now - self._begun, 0.0)
            else:  # never begun: it took no time that anybody knows
                self._begun = now
                self._generation = self._monitor._channel.generation
            if error is not None:
                self.error_class, self.error_type = failures.classify(error), failures.name_of(error)
                self.never_billed = failures.never_billed(error)
            outer = None if self._parent is None else self._outer()
            token, texts = self._token, self._source_texts
            self._token = self._source_texts = None
            if token is not None:
                try:  # as `_leave` does, a step less
                    _running.reset(token)
                except (ValueError, RuntimeError):
                    self._left_elsewhere()
            if outer is not None:
                outer._take_in(self)
                return
            channel = self._monitor._channel
            if self._generation != channel.generation:
                return  # the process was forked within the call: its parent tells of it
            # What the hits and copies would have cost is told by their texts, too, where nobody says it.
            to_count = self.tokens is None or ((self.cache_hits or self.duplicates) and self.tokens_saved is None)
            if to_count and self.error_class is None and self.text_count:
                self.held_texts, self.chars = snapshot(texts, self.text_count, channel.chars_to_keep())
            channel.put(self)
        except Exception as trouble:
            self._monitor._trouble("a call could not be recorded", trouble)

    def step_out(self) -> None:
        """What runs here now is the caller's own, not within this call, until `step_in`. Never raises."""
        if self._token is not None and not self._ended:
            self._leave(self._token)

    def step_in(self) -> None:
        """What runs here now is within this call. Never raises."""
        if self._token is None and not self._ended:
            self._token = _running.set(self)

    def let_go(self) -> None:
        """When it is settled: whoever still holds the call holds no texts."""
        self.held_texts = self.inner = self._parent = None

    def place_in_time(self) -> None:
        """In the monitor's thread: when it began, by the clock on the wall, which the caller has not looked at."""
        if not self.start_seconds:
            self.start_seconds = time() - (perf_counter() - self._begun)

    def _outer(self) -> CallContext | None:
        """The call of the same monitor around this one that still runs. One that has ended (of which a task was left
        over) takes nothing in."""
        outer = self._parent
        while outer is not None and (outer._ended or outer._monitor is not self._monitor):
            outer = outer._parent
        return outer

    def _leave(self, token: contextvars.Token[CallContext | None]) -> None:
        self._token = None
        try:
            _running.reset(token)
        except (ValueError, RuntimeError):
            self._left_elsewhere()

    def _left_elsewhere(self) -> None:
        """In another thread or task than it began in, where its token says nothing."""
        if _running.get() is self:
            _running.set(self._parent)

    def _take_in(self, inner: CallContext) -> None:
        if self.inner is None:
            self.inner = []
        self.inner.append(inner)

    # What is said of it.

    def usage(self, tokens: int | None = None, *, cost_usd: Decimal | float | str | None = None) -> None:
        """What the provider said it read, and what it cost where it says so. Said again, it adds up."""
        if tokens is not None:
            self._add_tokens(tokens)
        if cost_usd is not None:
            cost = nano_usd(cost_usd)
            if cost is None:
                self._misused("cost_usd", cost_usd)
            else:
                self.cost_nano_usd = min((self.cost_nano_usd or 0) + cost, MOST_NANO_USD)

    def listed_cost(self, cost_usd: Decimal | float | str | None, source: str) -> None:
        """What another price list says it cost: counts only where the monitor knows no price."""
        cost = None if cost_usd is None else nano_usd(cost_usd)
        if cost is not None:
            self.listed_nano_usd, self.listed_source = cost, source

    def _add_tokens(self, tokens: Any) -> None:
        number = whole(tokens, MOST_TOKENS)
        if number is None:
            self._misused("tokens", tokens)
        else:
            self.tokens = min((self.tokens or 0) + number, MOST_TOKENS)

    def cache(self, hits: int = 0, duplicates: int = 0, tokens_saved: int | None = None) -> None:
        """How many of the texts the model need not read: found in a cache, or copies of another. Adds up.

        Say it also where none was found: else the call counts as one without a cache.
        """
        self.asked_cache = True
        for name, value in (("hits", hits), ("duplicates", duplicates), ("tokens_saved", tokens_saved)):
            number = whole(value, MOST_TOKENS)
            if number is None:
                if value is not None:
                    self._misused(name, value)
            elif name == "hits":
                self.cache_hits = min(self.cache_hits + number, MOST_TEXTS)
            elif name == "duplicates":
                self.duplicates = min(self.duplicates + number, MOST_TEXTS)
            else:
                self.tokens_saved = min((self.tokens_saved or 0) + number, MOST_TOKENS)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times a part of the call: `cache_lookup`, `embed`, ... (`events.PHASES`) or a name of your own.

        Phases that lie within each other count twice: time them one after the other.
        """
        begun = perf_counter()
        try:
            yield
        finally:
            self.add_phase(name, perf_counter() - begun)

    def add_phase(self, name: str, seconds: float) -> None:
        """The same for a part that was timed elsewhere. Adds up by name."""
        try:
            if not isinstance(name, str) or not math.isfinite(seconds) or seconds < 0:
                self._misused("phase", name)
                return
            if self.phase_seconds is None:
                self.phase_seconds = {}
            held = self.phase_seconds
            if name in held or len(held) < MOST_PHASES:
                held[name[:64]] = held.get(name[:64], 0.0) + float(seconds)
        except Exception:
            self._misused("phase", name)

    def response(
        self, model: str | None = None, dimensions: int | None = None, encoding_format: str | None = None
    ) -> None:
        """What the answer says of itself."""
        if model is not None:
            self.response_model = model
        if dimensions is not None:
            self.dimensions = dimensions
        if encoding_format is not None:
            self.encoding_format = encoding_format

    def server(self, address: str | None, port: int | None = None) -> None:
        """Who was asked."""
        self.server_address, self.server_port = address, port

    def texts(self, n: Any) -> None:
        """How many texts it is, where that was not known before: a number, or the texts themselves."""
        counted = count(n)
        if counted[0] is None:
            self._misused("texts", n)
            return
        self.text_count = counted[0]
        if type(n) is not int:
            self._source_texts = n
            if self.tokens is None:
                self.tokens = counted[1]

    def _misused(self, what: str, value: object) -> None:
        self._monitor._trouble(f"{what} of type {type(value).__name__} is not usable and was left out", None)


def nano_usd(cost_usd: Any) -> int | None:
    """Nano-USD of a sum in USD, rounded half to even; None for what is no sum. Never raises."""
    if isinstance(cost_usd, bool):
        return None
    try:
        # By way of its text: 0.1 is a tenth, and not the float next to it.
        amount = cost_usd if isinstance(cost_usd, Decimal) else Decimal(str(cost_usd))
        if not amount.is_finite() or amount < 0 or amount > MOST_NANO_USD // NANO_USD_PER_USD:
            return None
        return round(amount * NANO_USD_PER_USD)
    except Exception:
        return None
