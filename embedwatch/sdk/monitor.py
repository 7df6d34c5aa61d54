"""The SDK's front: one object that measures calls of embedding models and tells sinks of them."""

from __future__ import annotations

import functools
import inspect
import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar, overload

from embedwatch.errors import ConfigError
from embedwatch.pricing import PriceBook
from embedwatch.sdk.call import Sink
from embedwatch.sdk.channel import MAX_QUEUED_CALLS, Channel
from embedwatch.sdk.context import CallContext
from embedwatch.sdk.money import as_usd
from embedwatch.sdk.settling import Settler
from embedwatch.tokens import counter_for

log = logging.getLogger("embedwatch.sdk")

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")


class Monitor:
    """Measures calls of embedding models: time, texts, tokens, cost, cache, errors.

        monitor = Monitor("text-embedding-3-small")
        client = monitor.wrap(client)

    The labels are defaults of every call. `prices` are USD per million tokens by model and come before the built-in
    list; `gpu_usd_per_hour` with `local=True` prices a machine of yours by its time. `worker` names this process
    (a forked child has its process id behind it).

    Only the constructor raises (`ConfigError`). After it nothing of the monitor's ever reaches your code: what cannot
    be counted is in `dropped_calls` (the queue of `max_queued_calls` was full) and `sink_errors` (by sink).
    """

    def __init__(
        self,
        model: str | None = None,
        sinks: Sequence[Sink] = (),
        *,
        provider: str | None = None,
        tenant: str | None = None,
        source: str | None = None,
        prices: Mapping[str, Decimal | float | str] | None = None,
        gpu_usd_per_hour: Decimal | float | str | None = None,
        local: bool = False,
        worker: str | None = None,
        max_queued_calls: int = MAX_QUEUED_CALLS,
    ) -> None:
        if isinstance(max_queued_calls, bool) or not isinstance(max_queued_calls, int) or max_queued_calls < 1:
            raise ConfigError(f"max_queued_calls is {max_queued_calls!r}; it must be a whole number from 1 on")
        book = PriceBook(
            {name: as_usd(f"prices[{name!r}]", price) for name, price in (prices or {}).items()},
            None if gpu_usd_per_hour is None else as_usd("gpu_usd_per_hour", gpu_usd_per_hour),
        )
        self.worker = worker
        self.sinks = _with_memory(sinks)
        for sink in self.sinks:
            attach = getattr(sink, "attach", None)
            if callable(attach):
                attach(worker=worker, model=model)
        settler = Settler(book, counter_for, model, provider, tenant, source, local)
        self.model, self.provider = model, provider
        self._channel = Channel(self.sinks, settler, max_queued_calls)
        # A sink that keeps nothing of the caller's context says `begins = False`, and is not asked.
        self._beginners = tuple((sink.name, sink.begin) for sink in self.sinks if getattr(sink, "begins", True))
        self._told: set[str] = set()
        weakref.finalize(self, self._channel.abandon).atexit = False

    # Calls.

    def call(
        self,
        texts: Sequence[str] | str | int | None,
        *,
        model: str | None = None,
        provider: str | None = None,
        tenant: str | None = None,
        source: str | None = None,
    ) -> CallContext:
        """A call, measured from `with` (or `async with`) to its end:

            with monitor.call(texts) as call:
                answer = client.embeddings.create(...)
                call.usage(answer.usage.total_tokens)

        An exception is counted under its class and goes on unchanged.
        """
        return CallContext(self, texts, model, provider, tenant, source)

    @overload
    def track(self, fn: F) -> F: ...
    @overload
    def track(
        self,
        fn: None = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        tenant: str | None = None,
        source: str | None = None,
    ) -> Callable[[F], F]: ...
    def track(
        self,
        fn: Any = None,
        *,
        model: str | None = None,
        provider: str | None = None,
        tenant: str | None = None,
        source: str | None = None,
    ) -> Any:
        """A decorator for functions and methods, sync or async, whose first argument is the texts."""
        from embedwatch.sdk.wrapping.measured import measured

        labels = {"model": model, "provider": provider, "tenant": tenant, "source": source}
        if fn is None:
            return functools.partial(self.track, **labels)
        return measured(self, fn, labels, bound=inspect.ismethod(fn))

    def wrap(
        self,
        client: C,
        *,
        model: str | None = None,
        provider: str | None = None,
        tenant: str | None = None,
        source: str | None = None,
    ) -> C:
        """The client, measured. Use what comes back in place of it.

        Known clients have an adapter (`embedwatch.sdk.wrapping.adapters`); of any other `embed_single`, `embed_batch`
        and `encode` are measured, sync or async. A client with none of these comes back as it is, and the log says so.
        """
        from embedwatch.sdk import wrapping

        labels = {"model": model, "provider": provider, "tenant": tenant, "source": source}
        wrapped: C = wrapping.wrap(self, client, labels)
        return wrapped

    # What came of them.

    def summary(self, timeout_seconds: float = 5.0) -> dict[str, Any]:
        """The numbers of all calls so far, of the memory sink (`EmbeddingMetrics.summary`), and what was dropped."""
        self._channel.deliver(timeout_seconds)
        lost = {"dropped_calls": self.dropped_calls, "dropped_events": self.dropped_events}
        return {**self._memory().summary(), **lost}

    def _memory(self) -> Any:
        return next(sink for sink in self.sinks if hasattr(sink, "summary"))

    def flush(self, timeout_seconds: float = 5.0) -> bool:
        """Whether everything so far has gone out within the time."""
        return self._channel.flush(timeout_seconds)

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Send what is left and end. Calls after it are counted as dropped. At the end of the process it is done for
        you."""
        self._channel.close(timeout_seconds)

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def dropped_calls(self) -> int:
        """Calls that no sink was told of: the queue was full, or the monitor closed."""
        return self._channel.dropped_calls

    @property
    def dropped_events(self) -> dict[str, dict[str, int]]:
        """By sink and by reason, what it was told and could not tell on (`KafkaSink.dropped`); only sinks that did."""
        found = {sink.name: dict(getattr(sink, "dropped", None) or {}) for sink in self.sinks}
        return {name: reasons for name, reasons in found.items() if reasons}

    @property
    def sink_errors(self) -> dict[str, int]:
        """By sink, how often it failed."""
        return dict(self._channel.sink_errors)

    # For contexts.

    def _begin(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = None
        for name, begin in self._beginners:
            try:
                kept = begin()
            except Exception as error:
                self._channel._count_error(name, error)
                continue
            if kept is not None:
                found = {} if found is None else found
                found[name] = kept
        return found

    def _trouble(self, what: str, error: BaseException | None) -> None:
        """Says each kind of trouble once."""
        if what in self._told or len(self._told) > 50:
            return
        self._told.add(what)
        log.warning("monitor: %s%s", what, "" if error is None else f": {type(error).__name__}: {str(error)[:200]}")


def _with_memory(sinks: Sequence[Sink]) -> tuple[Sink, ...]:
    from embedwatch.sdk.memory import MemorySink

    try:
        given = tuple(sinks)
    except TypeError:
        raise ConfigError(f"sinks must be a list of sinks, not {type(sinks).__name__}") from None
    for sink in given:
        for method in ("begin", "record", "flush", "close"):
            if isinstance(sink, type) or not callable(getattr(sink, method, None)):
                raise ConfigError(f"{sink!r} is no sink: it has no method {method}, or is a class and no object")
    names = [sink.name for sink in given]
    if len(set(names)) != len(names):
        raise ConfigError(f"two sinks have the same name: {', '.join(sorted(names))}. Give one of them another")
    return given if any(hasattr(sink, "summary") for sink in given) else (*given, MemorySink())
