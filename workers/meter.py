"""From what a cycle did to batch events: counts, tokens, money, times. Pure arithmetic; `now` is an argument.

One event for each (tenant, source) of the cycle. Times that belong to the whole cycle are shared out, so that the
events of a cycle add up to its wall time, and their tokens and texts to the truth. A batch with texts of several says
in all events but the first that it is told already.
"""

from __future__ import annotations

import itertools
import secrets
from collections import Counter
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from embedwatch.events import BatchEvent, ErrorClass, PhaseSeconds, TokenMethod
from embedwatch.pricing import Price
from embedwatch.sketch import Sketch
from workers.decode import label
from workers.failures import may_be_billed
from workers.work import DUPLICATE, ERROR, HIT, MISS, Work


class Identity:
    """Who writes events: a worker's name, and an incarnation that is new at every start of the process."""

    def __init__(self, worker: str) -> None:
        self.worker = worker[:256]
        self.incarnation = f"{worker[:200]}-{secrets.token_hex(6)}"
        self._sequence = itertools.count(1)

    def next_event_id(self) -> str:
        """Unique. Safe from any thread: a step of `count` is one operation of the interpreter."""
        return f"{self.incarnation}:{next(self._sequence)}"


class Meter:
    """Prices and counts cycles. Holds what has been spent so far: a machine paid by the hour has no price per token
    but the measured one."""

    def __init__(
        self, identity: Identity, *, model: str, token_method: TokenMethod, price: Price, local: bool = True
    ) -> None:
        self._identity = identity
        self._model = model[:256]
        self._token_method = token_method
        self._price = price
        self._local = local  # else somebody else computes, and bills it
        self._spent_nano_usd = 0
        self._spent_tokens = 0
        self.texts = 0
        self.cache_hits = 0
        self.duplicates = 0
        self.errors: Counter[str] = Counter()
        self.tokens_embedded = 0
        self.busy_seconds = 0.0

    def event_id_of(self, work: Work, index: int) -> str:
        """Of the event that will count this text, so that what is said of it before can be found by it."""
        item = work.items[index]
        key = (label(item.tenant), label(item.source))
        if key not in work.event_ids:
            work.event_ids[key] = self._identity.next_event_id()
        return work.event_ids[key]

    def events(self, work: Work, now: float) -> list[BatchEvent]:
        """The events of one finished cycle."""
        groups: dict[tuple[str | None, str | None], list[int]] = {}
        for index, item in enumerate(work.items):
            groups.setdefault((label(item.tenant), label(item.source)), []).append(index)
        shares = _Shares(work)
        latency_ms = work.latency_seconds() * 1000
        wait_ms = work.queue_wait_seconds() * 1000
        costs = self._costs(work, groups)
        batches = _Batches(work)
        return [
            self._event(work, np.array(indices), key, shares, batches, latency_ms, wait_ms, costs[key], now)
            for key, indices in groups.items()
        ]

    def _costs(self, work: Work, groups: dict[Any, list[int]]) -> dict[Any, int | None]:
        """Nano-USD by group. The whole cycle is spent before any saving is valued: the order of groups is no matter."""
        costs = {}
        for key, indices in groups.items():
            embedded = [i for i in indices if work.outcome[i] == MISS]
            tokens = int(work.tokens[embedded].sum())
            # A failed forward pass kept the machine busy too: it is paid for by the text that failed.
            busy = float(work.embed_share_seconds[indices].sum())
            costs[key] = self._price.cost(tokens, busy)
            self._spent_nano_usd += costs[key] or 0
            self._spent_tokens += tokens
        return costs

    def _event(
        self,
        work: Work,
        indices: Any,
        key: tuple[str | None, str | None],
        shares: _Shares,
        batches: _Batches,
        latency_ms: Any,
        wait_ms: Any,
        cost: int | None,
        now: float,
    ) -> BatchEvent:
        outcome = work.outcome[indices]
        counts = {kind: int((outcome == kind).sum()) for kind in (HIT, DUPLICATE, MISS, ERROR)}
        done, missed = indices[outcome != ERROR], indices[outcome == MISS]
        saved_tokens = int(work.tokens[indices[(outcome == HIT) | (outcome == DUPLICATE)]].sum())
        duplicate_tokens = int(work.tokens[indices[outcome == DUPLICATE]].sum())
        embedded_tokens = int(work.tokens[missed].sum())
        failed = indices[outcome == ERROR].tolist()
        errors: dict[ErrorClass, int] = dict(Counter(work.failures[i].error_class for i in failed))
        waits = wait_ms[done][~np.isnan(wait_ms[done])]
        saved = self._saved(saved_tokens)
        busy = float(work.embed_share_seconds[indices].sum())
        # The tokens of what failed are in no cost; the time of a machine is.
        wasted = self._price.cost(0, float(work.embed_share_seconds[indices[outcome == ERROR]].sum()))
        told = batches.tell(missed, key[0])
        self.texts += len(indices)
        self.cache_hits += counts[HIT]
        self.duplicates += counts[DUPLICATE]
        self.errors.update(errors)
        self.tokens_embedded += embedded_tokens
        self.busy_seconds += busy
        return BatchEvent(
            event_id=work.event_ids.get(key) or self._identity.next_event_id(),
            time_seconds=now,
            worker=self._identity.worker,
            model=self._model,
            texts=len(indices),
            cache_hits=counts[HIT],
            duplicates=counts[DUPLICATE],
            misses=counts[MISS],
            batches=told.batches,
            tokens_received=int(work.full_tokens[indices].sum()),
            tokens_embedded=embedded_tokens,
            tokens_saved=saved_tokens,
            truncated_texts=int((work.full_tokens[done] > work.tokens[done]).sum()),
            token_method=self._token_method,
            padding_tokens=int(work.padding[missed].sum()),
            cost_nano_usd=cost or 0,
            saved_nano_usd=saved or 0,
            price_source=self._price.source,
            phase_seconds=shares.phases(indices, float(waits.mean()) / 1000 if waits.size else 0.0),
            latency_sketch=Sketch.of(latency_ms[done]).to_text(),
            queue_wait_sketch=Sketch.of(waits).to_text(),
            unpriced_tokens=embedded_tokens if cost is None else 0,
            errors=errors,
            cache_errors=int(work.cache_errors[indices].sum()),
            busy_seconds=busy,
            tenant=key[0],
            source=key[1],
            repeated_batches=told.repeated,
            tenant_repeated_batches=told.tenant_repeated,
            batch_share=told.share,
            unpriced_saved_tokens=saved_tokens if saved is None else 0,
            duplicate_tokens=duplicate_tokens,
            wasted_nano_usd=min(wasted or 0, cost or 0),
            unsettled_texts=0 if self._local else sum(may_be_billed(work.failures[i]) for i in failed),
        )

    def _saved(self, tokens: int) -> int | None:
        """Nano-USD that embedding these tokens would have cost; None when that is not known.

        At a price by the hour: at what a token has cost on average since the process started, and not known until one
        has.
        """
        if self._price.nano_usd_per_token is not None:
            return round(self._price.nano_usd_per_token * tokens)
        if self._price.nano_usd_per_second is not None and self._spent_tokens:
            return round(Fraction(self._spent_nano_usd, self._spent_tokens) * tokens)
        return None


class _Told(NamedTuple):
    """Of the batches of an event: how many, how many an earlier one of the cycle has told, or one of the same tenant,
    and how much of them its texts are."""

    batches: int
    repeated: int
    tenant_repeated: int
    share: float


class _Batches:
    """Who has told of which batch, and how much of it each event is, by tokens as its time is."""

    def __init__(self, work: Work) -> None:
        self._batch = work.batch
        self._weights = np.maximum(work.tokens, 1)
        missed = work.outcome == MISS
        self._whole = np.bincount(work.batch[missed], self._weights[missed], minlength=1)
        self._told: set[int] = set()
        self._told_of_tenant: dict[str | None, set[int]] = {}

    def tell(self, missed: Any, tenant: str | None) -> _Told:
        """`missed` are the texts of the event that the model embedded."""
        mine = set(self._batch[missed].tolist())
        of_tenant = self._told_of_tenant.setdefault(tenant, set())
        share = float((self._weights[missed] / self._whole[self._batch[missed]]).sum())
        # Rounding must not make more of it than there is.
        told = _Told(len(mine), len(mine & self._told), len(mine & of_tenant), min(share, len(mine)))
        self._told |= mine
        of_tenant |= mine
        return told


class _Shares:
    """Shares a cycle's phase times out over its texts: each by what drives it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        originals = work.original == np.arange(len(work))
        missed = work.outcome == MISS
        tokenised = originals & (work.tokens > 0) & (work.outcome != HIT)
        self._weights = {
            "cache_lookup": np.ones(len(work)),
            "tokenise": work.full_tokens * tokenised,
            "embed": work.embed_share_seconds,
            "cache_write": missed.astype(float),
            "publish": np.ones(len(work)),
        }
        self._totals = {
            "cache_lookup": work.decode_seconds + work.cache_lookup_seconds,
            "tokenise": work.tokenise_seconds,
            "embed": work.embed_loop_seconds,
            "cache_write": work.cache_write_seconds,
            "publish": work.publish_seconds,
        }

    def phases(self, indices: Any, queue_wait_seconds: float) -> PhaseSeconds:
        return PhaseSeconds(queue_wait=queue_wait_seconds, **{name: self._of(name, indices) for name in self._totals})

    def _of(self, name: str, indices: Any) -> float:
        weights = self._weights[name]
        whole = float(weights.sum())
        # Nothing drove it (say, tokenising failed for every text): then evenly.
        part = float(weights[indices].sum()) / whole if whole > 0 else len(indices) / len(self._work)
        return self._totals[name] * part
