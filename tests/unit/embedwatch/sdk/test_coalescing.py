"""What Kafka is told is what was called: sums of events are sums of calls, whatever the calls were."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.codec import decode_metric, encode
from embedwatch.events import BatchEvent
from embedwatch.pricing import PriceBook
from embedwatch.sdk import Call, Monitor
from embedwatch.sdk.coalescing import LARGEST_SUM, MOST_GROUPS, Coalescer, Identity
from embedwatch.sdk.context import MOST_NANO_USD, CallContext
from embedwatch.sdk.settling import Settler
from embedwatch.sketch import Sketch
from embedwatch.tokens import EstimateCounter

NOW = 1_800_000_000.0
ERRORS = st.sampled_from([None, None, None, TimeoutError(), ValueError(), MemoryError()])


@st.composite
def calls(draw: Any) -> Call:
    """As a monitor makes them of what a caller says, which need not make sense."""
    monitor = Monitor("text-embedding-3-small")
    context = CallContext(
        monitor,
        draw(st.one_of(st.none(), st.integers(0, 10**9), st.lists(st.text(max_size=20), max_size=5))),
        draw(st.sampled_from([None, "text-embedding-3-small", "unheard-of", "x" * 300, "\ud800", "\x00"])),
        draw(st.sampled_from([None, "openai", "nobody"])),
        draw(st.sampled_from([None, "a", "b", ""])),
        draw(st.sampled_from([None, "s"])),
    )
    context.begin()
    context.usage(draw(st.one_of(st.none(), st.integers(0, 10**11))))
    context.usage(cost_usd=draw(st.one_of(st.none(), st.decimals(0, 10**6, places=9))))
    context.cache(
        draw(st.integers(0, 10**9)), draw(st.integers(0, 10)), draw(st.one_of(st.none(), st.integers(0, 10**11)))
    )
    for name in draw(st.lists(st.sampled_from(["queue_wait", "cache_lookup", "embed", "network", "publish"]))):
        context.add_phase(name, draw(st.floats(0, 100)))
    context._monitor._channel._closed = True  # nobody is to take it but this test
    context.end(draw(ERRORS))
    context.start_seconds = NOW - 10
    context.seconds = draw(st.floats(0, 1000))
    book = PriceBook({"unheard-of": Decimal("0.1")} if draw(st.booleans()) else {}, Decimal(3600))
    return Settler(book, lambda model: EstimateCounter(), "m", local=draw(st.booleans())).settle(context)


@settings(max_examples=200, deadline=None)
@given(st.lists(calls(), max_size=12), st.integers(1, 5))
def test_sums_of_events_are_sums_of_calls_and_no_reader_refuses_one(made: list[Call], each: int) -> None:
    coalescer = Coalescer(Identity("w"))
    events: list[BatchEvent] = []
    for number, call in enumerate(made):
        coalescer.add(call)
        if number % each == 0:
            events += coalescer.take(NOW)
    events += coalescer.take(NOW)
    assert not coalescer
    assert coalescer.take(NOW) == []
    for event in events:
        assert event.misfit() is None
        assert decode_metric(encode(event)) is not None
        assert event.time_seconds <= NOW
        done = event.texts - sum(event.errors.values())
        assert Sketch.from_text(event.latency_sketch).count == done
    for name in ("texts", "cache_hits", "duplicates", "misses"):
        assert sum(getattr(event, name) for event in events) == sum(getattr(call, name) for call in made), name
    for name in ("cost_nano_usd", "saved_nano_usd"):
        assert sum(getattr(event, name) for event in events) == sum(getattr(call, name) or 0 for call in made), name
    uncounted = [call for call in made if call.tokens is None and call.cost_nano_usd is not None]
    assert sum(event.uncounted_texts for event in events) == sum(call.misses for call in uncounted)
    assert sum(event.tokens_embedded for event in events) == sum(
        call.misses if call.tokens is None else call.tokens for call in made if call not in uncounted
    )
    assert sum(event.unsettled_texts for event in events) == sum(call.texts for call in made if call.unsettled)
    errors: Counter[str] = Counter()
    for event in events:
        errors.update(event.errors)
    assert errors == Counter({c: n for c in {call.error_class for call in made} if c is not None
                              and (n := sum(call.errors for call in made if call.error_class == c))})  # fmt: skip
    # What has no price is never told as free, nor a saving that nobody knows as none.
    for known in (True, False):
        saved = sum(
            call.tokens_saved or (0 if known else call.cache_hits + call.duplicates)
            for call in made if (call.saved_nano_usd is not None) is known
        )  # fmt: skip
        told = sum(
            event.tokens_saved - event.unpriced_saved_tokens if known else event.unpriced_saved_tokens
            for event in events
        )  # fmt: skip
        assert told == saved
    unpriced = sum(call.misses if call.tokens is None else call.tokens for call in made if call.cost_nano_usd is None)
    assert sum(event.unpriced_tokens for event in events) == unpriced
    assert len({event.event_id for event in events}) == len(events)


def call(**fields: Any) -> Call:
    return Call(**{"start_seconds": NOW - 2, "seconds": 1.5, "model": "m", "texts": 1, "misses": 1, "tokens": 5,
                   "cost_nano_usd": 7, "saved_nano_usd": 0, **fields})  # fmt: skip


def test_calls_of_a_kind_become_one_event_and_others_their_own() -> None:
    coalescer = Coalescer(Identity("w"))
    for tenant in ("a", "b", "a", None, "a"):
        coalescer.add(call(tenant=tenant))
    events = {event.tenant: event for event in coalescer.take(NOW)}
    assert {tenant: event.texts for tenant, event in events.items()} == {"a": 3, "b": 1, None: 1}
    assert events["a"].batches == 3
    assert events["a"].time_seconds == NOW - 0.5  # when the last of its calls ended
    assert events["a"].event_id.startswith("w-")


def test_no_sum_becomes_larger_than_the_agents_book() -> None:
    coalescer = Coalescer(Identity("w"))
    for _ in range(20):
        coalescer.add(call(cost_nano_usd=MOST_NANO_USD))
    events = coalescer.take(NOW)
    assert len(events) > 1
    assert sum(event.cost_nano_usd for event in events) == 20 * MOST_NANO_USD
    assert max(event.cost_nano_usd for event in events) <= LARGEST_SUM


def test_labels_that_are_made_up_do_not_fill_the_memory() -> None:
    coalescer = Coalescer(Identity("w"))
    for number in range(3 * MOST_GROUPS):
        coalescer.add(call(tenant=str(number)))
        assert len(coalescer._groups) <= MOST_GROUPS
    assert sum(event.texts for event in coalescer.take(NOW)) == 3 * MOST_GROUPS


def test_a_phase_of_the_callers_own_counts_as_embedding_and_waiting_is_a_mean() -> None:
    coalescer = Coalescer(Identity("w"))
    coalescer.add(call(phase_seconds={"network": 1.0, "embed": 0.5, "queue_wait": 2.0}))
    coalescer.add(call(phase_seconds={"cache_lookup": 0.25, "embed": 1.0, "queue_wait": 4.0}))
    (event,) = coalescer.take(NOW)
    assert event.phase_seconds.embed == 2.5
    assert event.phase_seconds.cache_lookup == 0.25
    assert abs(event.phase_seconds.queue_wait - 3.0) < 1e-9
