from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch import wire
from embedwatch.events import BatchEvent
from embedwatch.pricing import Price, PriceBook
from embedwatch.sketch import Sketch
from workers.cache_entry import normalised
from workers.decode import MAX_LABEL_CHARS
from workers.meter import Identity, Meter
from workers.work import MISS

MAX_TOKENS = 6  # of the moody model
texts = st.lists(st.sampled_from(["one", "two", "three", "poison", "choke", ""]), max_size=9).map(" ".join)
polls = st.lists(
    st.lists(st.tuples(texts, st.sampled_from([None, "a", "b"]), st.sampled_from([None, "s"])), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
)
HOURLY = PriceBook(gpu_usd_per_hour=Decimal("3.60")).quote("moody", local=True)  # 0.001 USD a second


def token_price(usd_per_million: str) -> Price:
    return PriceBook({"moody": Decimal(usd_per_million)}).quote("moody")


def total(events: list[BatchEvent], field: str) -> Any:
    return sum(getattr(event, field) for event in events)


@settings(max_examples=100, deadline=None)
@given(polls=polls)
def test_texts_tokens_and_money_of_all_events_add_up_to_the_truth(make_rig: Callable[..., Any], polls: Any) -> None:
    rig = make_rig(token_price("0.02"))
    every: list[tuple[str, str | None, str | None]] = []
    holders: list[set[str | None]] = []
    for poll in polls:
        batch = []
        for body, tenant, source in poll:
            headers = {name: value for name, value in (("tenant", tenant), ("source", source)) if value}
            batch.append(rig.single(f"id-{len(every)}", body, **headers))
            every.append((body, tenant, source))
        work = rig.pipeline.run(batch)
        for number in range(work.batches):
            (held,) = np.nonzero((work.batch == number) & (work.outcome == MISS))
            holders.append({work.items[index].tenant for index in held.tolist()})
    events = rig.events()
    passes = sum(bool(held) for held in holders)  # with a text that got its vector

    embeddable = [normalised(t) for t, _, _ in every if t.strip() and "choke" not in t]
    kept = [text.split()[:MAX_TOKENS] for text in embeddable]
    good = [words for words in kept if "poison" not in words]
    once = {" ".join(text.split(" ")) for text in embeddable if "poison" not in text.split()[:MAX_TOKENS]}

    assert total(events, "texts") == len(every)
    assert [event.misfit() for event in events] == [None] * len(events)
    for event in events:
        assert event.texts == event.cache_hits + event.duplicates + event.misses + sum(event.errors.values())
    # Each different text is embedded once, whatever the number of polls and tenants it came in.
    assert total(events, "misses") == len(once)
    embedded = sum(min(len(text.split()), MAX_TOKENS) for text in once)
    assert total(events, "tokens_embedded") == embedded
    assert total(events, "tokens_embedded") + total(events, "tokens_saved") == sum(map(len, good))
    assert total(events, "tokens_received") == sum(len(text.split()) for text in embeddable)
    assert total(events, "cost_nano_usd") == 20 * embedded
    assert total(events, "saved_nano_usd") == 20 * total(events, "tokens_saved")
    assert total(events, "unpriced_tokens") == 0
    for key in {(tenant, source) for _, tenant, source in every}:
        mine = [event for event in events if (event.tenant, event.source) == key]
        assert total(mine, "texts") == sum((tenant, source) == key for _, tenant, source in every)
    assert len({event.event_id for event in events}) == len(events)
    # Each pass of the model is one batch, of everything as of each tenant.
    assert total(events, "batches") - total(events, "repeated_batches") == passes
    assert total(events, "batch_share") == pytest.approx(passes)
    for tenant in (None, "a", "b"):
        mine = [event for event in events if event.tenant == tenant]
        told = total(mine, "batches") - total(mine, "tenant_repeated_batches")
        assert told == sum(tenant in held for held in holders)
    for event in events:
        assert event.batches >= event.repeated_batches >= event.tenant_repeated_batches >= 0
        assert event.batch_share is not None
        assert 0 <= event.batch_share <= event.batches
        done = event.texts - sum(event.errors.values())
        assert Sketch.from_text(event.latency_sketch).count == done
        assert Sketch.from_text(event.queue_wait_sketch).count == done


@settings(max_examples=50, deadline=None)
@given(polls=polls, step=st.sampled_from([0.0, 0.001, 0.5]))
def test_the_phases_of_a_cycles_events_add_up_to_its_time(
    make_rig: Callable[..., Any], polls: Any, step: float
) -> None:
    rig = make_rig()
    rig.model.seconds_per_batch, rig.model.seconds_to_tokenise = 1.0, 0.25
    rig.clock.step_seconds = step
    for poll in polls:
        batch = [rig.single(f"{n}", body, **({"tenant": t} if t else {})) for n, (body, t, _) in enumerate(poll)]
        before = len(rig.events())
        work = rig.pipeline.run(batch)
        phases = [event.phase_seconds for event in rig.events()[before:]]
        assert sum(p.cache_lookup for p in phases) == pytest.approx(work.decode_seconds + work.cache_lookup_seconds)
        assert sum(p.tokenise for p in phases) == pytest.approx(work.tokenise_seconds)
        assert sum(p.embed for p in phases) == pytest.approx(work.embed_loop_seconds)
        assert sum(p.cache_write for p in phases) == pytest.approx(work.cache_write_seconds)
        assert sum(p.publish for p in phases) == pytest.approx(work.publish_seconds)
        busy = sum(event.busy_seconds for event in rig.events()[before:])
        assert busy == pytest.approx(work.embed_share_seconds.sum())


def test_truncated_texts_and_padding_are_counted(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([("a", "one"), ("b", "a b c d e f g h"), ("c", "a b c d e f g h")])])
    (event,) = rig.events()
    assert event.truncated_texts == 2  # the copy is as short as its original
    assert event.padding_tokens == 5  # "one" beside six tokens
    assert (event.tokens_received, event.tokens_embedded, event.tokens_saved) == (17, 7, 6)


def test_tokens_of_copies_are_told_apart_from_those_of_hits(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([("a", "one two three")])])
    again = [("b", "one two three"), ("c", "one two three"), ("d", "four five"), ("e", "four five")]
    rig.pipeline.run([rig.chunk(again)])
    event = rig.events()[-1]
    assert (event.cache_hits, event.duplicates, event.misses) == (1, 2, 1)
    assert (event.tokens_saved, event.duplicate_tokens, event.tokens_embedded) == (8, 5, 2)


def test_an_unknown_price_books_nothing_and_counts_the_tokens(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([("a", "one two"), ("b", "one two")])])
    (event,) = rig.events()
    assert (event.price_source, event.cost_nano_usd, event.saved_nano_usd) == ("unknown", 0, 0)
    assert (event.unpriced_tokens, event.unpriced_saved_tokens) == (2, 2)


def test_a_machine_by_the_hour_costs_its_busy_seconds(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(HOURLY)
    rig.model.seconds_per_batch = 2.0
    rig.pipeline.run([rig.chunk([("a", "one two"), ("b", "three four")], tenant="x"), rig.single("c", "five six")])
    events = rig.events()
    assert total(events, "cost_nano_usd") == 2_000_000
    assert [event.cost_nano_usd for event in events] == [1_333_333, 666_667]
    assert {event.price_source for event in events} == {"gpu-hour"}


def test_what_a_hit_saves_at_a_price_by_the_hour_is_what_a_token_has_cost_so_far(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(HOURLY)
    rig.model.seconds_per_batch = 1.0
    rig.pipeline.run([rig.single("a", "one two")])  # 2 tokens for 1,000,000 nano-USD
    rig.model.seconds_per_batch = 4.0
    rig.pipeline.run([rig.single("b", "three four")])  # 4 tokens for 5,000,000
    rig.pipeline.run([rig.single("c", "one two")])
    assert rig.events()[-1].saved_nano_usd == round(Fraction(5_000_000, 4) * 2)
    assert rig.events()[-1].unpriced_saved_tokens == 0


def test_before_a_token_has_cost_anything_a_saving_by_the_hour_is_not_known(make_rig: Callable[..., Any]) -> None:
    first = make_rig(HOURLY)
    first.pipeline.run([first.single("a", "one two")])
    rig = make_rig(HOURLY)
    rig.store.items = first.store.items
    rig.pipeline.run([rig.single("a", "one two")])
    (event,) = rig.events()
    assert (event.cache_hits, event.tokens_saved, event.saved_nano_usd) == (1, 2, 0)
    assert event.unpriced_saved_tokens == 2


def test_the_time_of_a_failed_pass_is_paid_for_by_the_texts_in_it(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(HOURLY)
    rig.model.seconds_per_batch = 1.0
    rig.pipeline.run([rig.single("a", "one", tenant="good"), rig.single("b", "poison", tenant="bad")])
    costs = {event.tenant: event.cost_nano_usd for event in rig.events()}
    assert costs == {"good": 1_500_000, "bad": 1_500_000}
    wasted = {event.tenant: event.wasted_nano_usd for event in rig.events()}
    assert wasted == {"good": 0, "bad": 1_500_000}


def test_an_answer_of_no_use_may_have_been_billed_by_who_gave_it(rig: Any) -> None:
    texts = [("a", "one"), ("b", "nan here"), ("c", "poison")]
    rig.pipeline.run([rig.chunk(texts)])
    (event,) = rig.events()
    assert (event.unsettled_texts, sum(event.errors.values())) == (0, 2), "our own machine bills nothing"
    rig.meter._local = False
    rig.pipeline.run([rig.chunk(texts)])
    # What was refused is not billed.
    assert rig.events()[-1].unsettled_texts == rig.events()[-1].errors["not_finite"] == 1


def test_labels_that_are_too_long_are_clipped_so_that_the_event_can_be_read(rig: Any) -> None:
    """The model of an event is the worker's; a text that asks for another becomes a dead letter, with what it asked."""
    longest = "l" * (MAX_LABEL_CHARS - 1) + "!"
    for name in (longest, longest + "x"):
        rig.meter = Meter(Identity("w"), model=name, token_method="model", price=HOURLY)
        rig.build()
        rig.pipeline.run([rig.single("a", "text", tenant=name, source=name)])
        rig.pipeline.run([rig.single("b", "text", model=name)])
        event = rig.events()[-2]
        assert (event.model, event.tenant, event.source) == (longest, longest, longest)
        letter = rig.publisher.on(rig.topics.dead_letters)[-1]
        assert wire.header(letter[2], "asked_model") == longest
    letter = rig.publisher.on(rig.topics.dead_letters)[0]
    assert wire.header(letter[2], "error_class") == "unknown_model"


def test_an_incarnation_is_new_at_every_start_and_ids_never_repeat() -> None:
    one, two = Identity("w"), Identity("w")
    assert one.incarnation != two.incarnation
    assert [one.next_event_id() for _ in range(2)] == [f"{one.incarnation}:1", f"{one.incarnation}:2"]


def test_the_meter_remembers_what_it_has_counted(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([("a", "one"), ("b", "one"), ("c", "poison")])])
    rig.pipeline.run([rig.single("d", "one")])
    meter = rig.meter
    assert (meter.texts, meter.cache_hits, meter.duplicates, meter.tokens_embedded) == (4, 1, 1, 1)
    assert meter.errors == {"model_error": 1}
