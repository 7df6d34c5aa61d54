"""From calls to batch events: one a second for each model, tenant and source. Pure arithmetic; `now` is an argument.

Sums of the events are the sums of the calls, and every event passes `BatchEvent.misfit`.
"""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass, field
from typing import Any

from embedwatch.events import PHASES, BatchEvent, ErrorClass, PhaseSeconds, TokenMethod
from embedwatch.sdk.call import Call
from embedwatch.sketch import Sketch

#: No sum of an event comes near the largest that the agents book (2**53): a call adds at most 10**15 to it.
LARGEST_SUM = 2**52
#: Combinations of model, tenant, source, price and method at once. More are told early, not kept.
MOST_GROUPS = 500
_SUMS = (
    "texts", "cache_hits", "duplicates", "misses", "batches", "tokens", "tokens_saved", "duplicate_tokens",
    "cost_nano_usd", "saved_nano_usd", "unpriced_tokens", "unpriced_saved_tokens",
    "unsettled_texts", "uncounted_texts", "uncached_texts", "wasted_nano_usd",
)  # fmt: skip


class Identity:
    """Who writes events: a name, and an incarnation that is new at every start of a process and after every fork."""

    def __init__(self, worker: str) -> None:
        self.worker = worker[:256]
        self.incarnation = f"{worker[:200]}-{secrets.token_hex(6)}"
        self._sequence = itertools.count(1)

    def next_event_id(self) -> str:
        return f"{self.incarnation}:{next(self._sequence)}"


@dataclass(slots=True)
class _Group:
    """What the calls of one event add up to."""

    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_SUMS, 0))
    errors: dict[ErrorClass, int] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    latency: Sketch = field(default_factory=Sketch)
    queue_wait: Sketch = field(default_factory=Sketch)
    ended_seconds: float = 0.0

    def fits(self, more: dict[str, int]) -> bool:
        return all(self.sums[name] + value <= LARGEST_SUM for name, value in more.items())

    def add(self, call: Call, more: dict[str, int]) -> None:
        for name, value in more.items():
            self.sums[name] += value
        done = call.texts - call.errors
        if call.errors:
            error_class = call.error_class or "other"
            self.errors[error_class] = self.errors.get(error_class, 0) + call.errors
        for name, seconds in call.phase_seconds.items():
            if name == "queue_wait":
                self.queue_wait.add_repeated(seconds * 1000, done)
            else:  # a phase of the caller's own has no place of its own in an event
                place = name if name in PHASES else "embed"
                self.phases[place] = self.phases.get(place, 0.0) + seconds
        self.latency.add_repeated(call.seconds * 1000, done)
        self.ended_seconds = max(self.ended_seconds, call.start_seconds + call.seconds)


class Coalescer:
    """`add` calls, and `take` the events of them."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._groups: dict[tuple[Any, ...], _Group] = {}
        self._full: list[tuple[tuple[Any, ...], _Group]] = []
        self.tokens_embedded = 0

    def __bool__(self) -> bool:
        return bool(self._groups or self._full)

    def add(self, call: Call) -> None:
        method: TokenMethod = call.token_method or "estimated"
        key = (call.model, call.tenant, call.source, call.price_source, method)
        more = _sums(call)
        group = self._groups.get(key)
        if group is not None and not group.fits(more):
            self._full.append((key, self._groups.pop(key)))
            group = None
        if group is None:
            if len(self._groups) >= MOST_GROUPS:
                self._full.extend(self._groups.items())
                self._groups = {}
            group = self._groups[key] = _Group()
        group.add(call, more)
        self.tokens_embedded += more["tokens"]

    def take(self, now: float) -> list[BatchEvent]:
        """The events of all calls since the last time, with the time at which their last call ended."""
        groups = [*self._full, *self._groups.items()]
        self._full, self._groups = [], {}
        return [self._event(key, group, now) for key, group in groups]

    def _event(self, key: tuple[Any, ...], group: _Group, now: float) -> BatchEvent:
        model, tenant, source, price_source, method = key
        sums = group.sums
        phases = {name: group.phases.get(name, 0.0) for name in PHASES}
        phases["queue_wait"] = (group.queue_wait.mean() or 0.0) / 1000
        return BatchEvent(
            event_id=self._identity.next_event_id(),
            time_seconds=min(group.ended_seconds, now),
            worker=self._identity.worker,
            model=model,
            texts=sums["texts"],
            cache_hits=sums["cache_hits"],
            duplicates=sums["duplicates"],
            misses=sums["misses"],
            batches=sums["batches"],
            tokens_received=sums["tokens"] + sums["tokens_saved"],
            tokens_embedded=sums["tokens"],
            tokens_saved=sums["tokens_saved"],
            truncated_texts=0,
            token_method=method,
            padding_tokens=0,
            cost_nano_usd=sums["cost_nano_usd"],
            saved_nano_usd=sums["saved_nano_usd"],
            price_source=price_source,
            phase_seconds=PhaseSeconds(**phases),
            latency_sketch=group.latency.to_text(),
            queue_wait_sketch=group.queue_wait.to_text(),
            unpriced_tokens=sums["unpriced_tokens"],
            errors=group.errors,
            busy_seconds=phases["embed"],
            tenant=tenant,
            source=source,
            batch_share=float(sums["batches"]),
            unpriced_saved_tokens=sums["unpriced_saved_tokens"],
            duplicate_tokens=sums["duplicate_tokens"],
            unsettled_texts=sums["unsettled_texts"],
            uncounted_texts=sums["uncounted_texts"],
            uncached_texts=sums["uncached_texts"],
            wasted_nano_usd=sums["wasted_nano_usd"],
        )


def _sums(call: Call) -> dict[str, int]:
    # Tokens that nobody knows are one a text at least where they have no cost: they show as unpriced, where none would
    # show as free. Beside a cost they would only make the price of a token wrong.
    uncounted = call.misses if call.tokens is None and call.cost_nano_usd is not None else 0
    tokens = call.misses - uncounted if call.tokens is None else call.tokens
    copied = call.cache_hits + call.duplicates
    # Likewise of what was saved.
    saved = copied if call.saved_nano_usd is None and not call.tokens_saved else call.tokens_saved
    return {
        "texts": call.texts,
        "cache_hits": call.cache_hits,
        "duplicates": call.duplicates,
        "misses": call.misses,
        "batches": int(call.misses > 0),
        "tokens": tokens,
        "tokens_saved": saved,
        "duplicate_tokens": saved * call.duplicates // copied if copied else 0,
        "cost_nano_usd": call.cost_nano_usd or 0,
        "saved_nano_usd": call.saved_nano_usd or 0,
        "unpriced_tokens": tokens if call.cost_nano_usd is None else 0,
        "unpriced_saved_tokens": saved if call.saved_nano_usd is None else 0,
        "unsettled_texts": call.texts if call.unsettled else 0,
        "uncounted_texts": uncounted,
        "uncached_texts": call.uncached_texts,
        "wasted_nano_usd": (call.cost_nano_usd or 0) if call.errors else 0,  # a call fails as a whole
    }
