from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch import wire
from embedwatch.errors import DeliveryError, FailureBudgetExceeded
from embedwatch.sketch import Sketch
from workers.batching import TokenBudget
from workers.cache_entry import cache_key, normalised
from workers.failures import FailureBudget
from workers.pipeline import MAX_VECTORS_BYTES, Abandoned

WORDS = ["alpha", "beta", "gamma", "delta", "poison", "nan", "choke", "cafe\u0301", "caf\u00e9", "日本", "\ud800", ""]
texts = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
messages = st.lists(
    st.tuples(st.booleans(), st.lists(texts, min_size=1, max_size=8), st.sampled_from([None, "a", "b"])), max_size=6
)


def encodable(text: str) -> str:
    """A single text is bytes, which hold no lone surrogate."""
    return text.encode("utf-8", "replace").decode()


def test_a_text_that_fails_is_found_by_the_event_that_counts_it(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, on its dead letter, and on the event itself."""
    rig.pipeline.run([rig.single("a", b"\xff", tenant="t"), rig.single("b", "fine"), rig.single("c", b"\xfe")])
    by_tenant = {event.tenant: event for event in rig.events()}
    assert sorted(event.event_id for event in rig.events()) == sorted({event.event_id for event in rig.events()})
    letters = {
        (key or b"").decode(): wire.header(headers, "event_id")
        for key, _, headers in rig.publisher.on(rig.topics.dead_letters)
    }
    assert letters == {"a": by_tenant["t"].event_id, "c": by_tenant[None].event_id}
    told = [record for record in caplog.records if "dead letter" in record.getMessage()]
    assert [(record.event_id, record.topic, record.partition, record.offset, record.reason) for record in told] == [
        (letters["a"], rig.topics.texts, 0, 1, "invalid_utf8"), (letters["c"], rig.topics.texts, 0, 3, "invalid_utf8"),
    ]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    cycles=st.lists(messages, min_size=1, max_size=3),
    memory_tokens=st.integers(1, 60),
    dtype=st.sampled_from(["float32", "float16"]),
    outages=st.lists(st.booleans(), min_size=3, max_size=3),
    local_max_bytes=st.sampled_from([0, 1500, 10**6]),
)
def test_every_text_gets_its_own_vector_or_a_dead_letter(
    make_rig: Callable[..., Any],
    cycles: list[list[tuple[bool, list[str], str | None]]],
    memory_tokens: int,
    dtype: str,
    outages: list[bool],
    local_max_bytes: int,
) -> None:
    """Whatever mix of copies, cache hits, truncation, retries, outages and poison there is."""
    rig = make_rig(dtype=dtype, local_max_bytes=local_max_bytes)
    rig.model.memory_tokens = memory_tokens
    by_id: dict[str, str] = {}
    for cycle, down in zip(cycles, outages, strict=False):
        rig.store.down = down
        batch = []
        for is_chunk, bodies, tenant in cycle:
            headers = {"tenant": tenant} if tenant else {}
            pairs = [(f"id-{len(by_id) + n}", body) for n, body in enumerate(bodies)]
            if is_chunk:
                by_id.update(pairs)
                batch.append(rig.chunk(pairs, **headers))
            else:
                pairs = [(text_id, encodable(body)) for text_id, body in pairs]
                by_id.update(pairs)
                batch += [rig.single(text_id, body, **headers) for text_id, body in pairs]
        rig.pipeline.run(batch)
        rig.clock.pass_by(60)

    vectors, dead = rig.vectors(), rig.dead()
    assert len(vectors) == len(dict(vectors)), "an id got two vectors"
    assert set(dict(vectors)) | set(dead) == set(by_id)
    assert not set(dict(vectors)) & set(dead)
    for text_id, vector in vectors:
        expected = rig.model.vector(normalised(by_id[text_id]))
        # A hit went through float16, whose steps below 1 are at most 2**-11.
        assert np.allclose(vector.astype(np.float32), expected, atol=6e-4), by_id[text_id]
        assert vector.dtype.name == dtype
    for text_id, error_class in dead.items():
        assert error_class == expected_class(by_id[text_id], memory_tokens), by_id[text_id]
    for event in rig.events():
        assert event.texts == event.cache_hits + event.duplicates + event.misses + sum(event.errors.values())
    assert sum(event.texts for event in rig.events()) == len(by_id)
    for key, value in rig.store.items.items():
        assert key.startswith(b"emb:1:")
        assert len(value) == 16 + 2 * rig.model.dims


def expected_class(text: str, memory_tokens: int) -> str:
    """What the moody model does to a text alone, in the order in which it does it."""
    kept = normalised(text).split()[:6]
    if "\ud800" in text:
        return "invalid_utf8"
    if not text.strip():
        return "empty_text"
    if "choke" in text:
        return "model_error"
    if len(kept) > memory_tokens:
        return "out_of_memory"
    if "poison" in kept:
        return "model_error"
    assert "nan" in kept, f"{text!r} should have got a vector"
    return "not_finite"


def test_a_chunk_gives_a_chunk_and_a_single_text_a_single_vector_keyed_like_the_input(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([("a", "one"), ("b", "two")]), rig.single("c", "three")])
    (chunk, single) = rig.publisher.on(rig.topics.vectors)
    assert (chunk[0], wire.header(chunk[2], "format")) == (b"a", "vectors.v1")
    assert (single[0], wire.header(single[2], "format")) == (b"c", None)
    assert wire.header(single[2], "model") == "moody"
    assert wire.header(single[2], "fingerprint") == rig.model.fingerprint
    assert [text_id for text_id, _ in rig.vectors()] == ["a", "b", "c"]


def test_a_message_whose_texts_all_fail_gives_no_vector(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([("a", " "), ("b", "poison")])])
    assert rig.vectors() == []
    assert rig.dead() == {"a": "empty_text", "b": "model_error"}


def test_a_chunk_of_vectors_too_large_for_a_message_goes_out_as_several(rig: Any) -> None:
    rig.model.__init__(rig.clock, dims=2048)  # type: ignore[misc]
    rig.cache._dims = 2048
    rig.build()
    rig.pipeline.run([rig.chunk([(str(i), f"text {i}") for i in range(256)])])
    sent = rig.publisher.on(rig.topics.vectors)
    assert len(sent) > 1
    assert all(len(value) <= MAX_VECTORS_BYTES for _, value, _ in sent)
    assert {key for key, _, _ in sent} == {b"0"}
    assert [text_id for text_id, _ in rig.vectors()] == [str(i) for i in range(256)]


@pytest.mark.parametrize("more", [0, 1])
def test_vectors_of_as_many_bytes_as_a_message_may_have_are_one_and_one_byte_more_are_two(rig: Any, more: int) -> None:
    count = 105
    rig.model.__init__(rig.clock, dims=2048)  # type: ignore[misc]
    rig.cache._dims = 2048
    rig.build()
    empty = len(wire.encode_vectors([""] * count, np.zeros((count, 2048), np.float32)))
    each, rest = divmod(MAX_VECTORS_BYTES - empty + more, count)
    ids = [f"{number}-".ljust(each + (number < rest), "i") for number in range(count)]
    rig.pipeline.run([rig.chunk([(text_id, f"text {text_id}") for text_id in ids])])
    sizes = [len(value) for _, value, _ in rig.publisher.on(rig.topics.vectors)]
    assert len(sizes) == 1 + more
    assert sizes == [MAX_VECTORS_BYTES] or max(sizes) < MAX_VECTORS_BYTES
    assert [text_id for text_id, _ in rig.vectors()] == ids


@pytest.mark.parametrize("letter", ["日", "\x07", "a"])
def test_a_chunk_with_ids_that_are_long_in_bytes_goes_out_as_several(rig: Any, letter: str) -> None:
    pairs = [(f"{n:04}{letter * 500}", f"text {n}") for n in range(700)]
    rig.pipeline.run([rig.chunk(pairs)])
    sizes = [len(value) for _, value, _ in rig.publisher.on(rig.topics.vectors)]
    assert max(sizes) <= MAX_VECTORS_BYTES + 1000
    assert sum(sizes) > MAX_VECTORS_BYTES or len(sizes) == 1
    assert len(rig.vectors()) == 700


def test_a_key_too_large_for_the_topic_of_vectors_gives_way_to_the_id(rig: Any) -> None:
    rig.pipeline.run([rig.single("k" * 1_200_000, "one"), rig.single("short", "two")])
    keys = [key for key, _, _ in rig.publisher.on(rig.topics.vectors)]
    assert keys == [b"k" * wire.MAX_TEXT_ID_CHARS, b"short"]


def test_copies_are_embedded_once_and_a_second_poll_comes_from_the_cache(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([("a", "same"), ("b", "same"), ("c", "other")])])
    assert rig.model.tokenised == [["same", "other"]]
    rig.pipeline.run([rig.chunk([("d", "same"), ("e", "same")])])
    assert len(rig.model.tokenised) == 1
    first, second = rig.events()
    assert (first.misses, first.duplicates, first.cache_hits) == (2, 1, 0)
    assert (second.misses, second.duplicates, second.cache_hits) == (0, 1, 1)


def test_a_text_repeated_while_the_first_is_under_way_is_embedded_once(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(local_max_bytes=10**6)
    first = rig.pipeline.begin([rig.single("a", "alpha beta"), rig.single("b", "gamma")])
    second = rig.pipeline.begin([rig.single("c", "alpha beta"), rig.single("d", "delta")])
    for step in (rig.pipeline.prepare, rig.pipeline.embed):
        step(first)  # as the line does it: both are looked up before the first is delivered
        step(second)
    rig.pipeline.deliver(first)
    rig.pipeline.deliver(second)
    assert [(event.misses, event.cache_hits) for event in rig.events()] == [(2, 0), (1, 1)]
    assert dict(rig.vectors())["c"] == pytest.approx(rig.model.vector("alpha beta"), abs=6e-4)
    assert rig.model.batches == [2, 1]


def test_one_poisoned_text_costs_its_neighbours_nothing(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([(str(i), "poison" if i == 11 else f"text {i}") for i in range(20)])])
    assert rig.dead() == {"11": "model_error"}
    assert len(rig.vectors()) == 19
    (letter,) = rig.publisher.on(rig.topics.dead_letters)
    assert wire.header(letter[2], "message") == "ValueError: a text I cannot stand"


def test_a_text_that_chokes_the_tokenizer_is_found_and_the_rest_goes_on(rig: Any) -> None:
    rig.pipeline.run([rig.chunk([(str(i), "choke" if i in (0, 7) else f"text {i}") for i in range(10)])])
    assert rig.dead() == {"0": "model_error", "7": "model_error"}
    assert len(rig.vectors()) == 8
    assert wire.header(rig.publisher.on(rig.topics.dead_letters)[0][2], "stage") == "tokenise"


def test_out_of_memory_halves_the_budget_once_and_not_once_a_batch(rig: Any) -> None:
    rig.model.memory_tokens = 16
    rig.pipeline.run([rig.chunk([(str(i), f"two words{i}") for i in range(128)])])
    assert rig.budget.tokens == 16  # from 64: two halvings, then every batch fits
    assert not rig.dead()
    assert set(rig.model.batches) == {8}


def test_a_wrong_number_of_dimensions_is_a_bad_response(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.model, "embed", lambda payloads: np.zeros((len(payloads), 3), np.float32))
    rig.pipeline.run([rig.single("a", "text")])
    assert rig.dead() == {"a": "bad_response"}


def test_a_vector_too_large_for_float16_is_a_dead_letter(make_rig: Callable[..., Any]) -> None:
    rig = make_rig(dtype="float16")
    rig.model.scale = 1e6
    rig.pipeline.run([rig.chunk([("a", "text"), ("b", "text")])])
    assert rig.dead() == {"a": "not_finite", "b": "not_finite"}


def test_when_too_much_fails_nothing_of_the_poll_is_published(rig: Any) -> None:
    rig.failures = FailureBudget(50.0, 4)
    rig.build()
    rig.pipeline.run([rig.chunk([(str(i), "fine" if i < 2 else "poison") for i in range(4)])])
    before = len(rig.publisher.sent)
    with pytest.raises(FailureBudgetExceeded, match="model_error"):
        rig.pipeline.run([rig.chunk([("x", "poison"), ("y", " "), ("z", "poison"), ("w", "fine")])])
    assert len(rig.publisher.sent) == before


def test_what_the_broker_does_not_acknowledge_is_not_done(rig: Any) -> None:
    def refuse() -> None:
        raise DeliveryError("no broker", delivered=0)

    rig.publisher.on_flush = refuse
    with pytest.raises(DeliveryError):
        rig.pipeline.run([rig.single("a", "text")])
    assert rig.events() == []
    assert rig.store.items == {}


def test_vectors_are_acknowledged_before_their_event_is_sent_and_the_event_before_the_end(rig: Any) -> None:
    seen: list[tuple[int, int]] = []
    rig.publisher.on_flush = lambda: seen.append((len(rig.vectors()), len(rig.events())))
    rig.pipeline.run([rig.single("a", "text")])
    assert seen == [(1, 0), (1, 1)]


def test_a_cycle_out_of_time_is_abandoned_between_batches(rig: Any) -> None:
    rig.out_of_time = True
    with pytest.raises(Abandoned):
        rig.pipeline.run([rig.single("a", "text")])
    assert rig.publisher.sent == []


def test_a_cache_that_is_down_is_counted_by_text_and_stops_nobody(rig: Any) -> None:
    rig.store.down = True
    rig.pipeline.run([rig.chunk([("a", "one"), ("b", "two"), ("c", "one")])])
    assert len(rig.vectors()) == 3
    rig.pipeline.run([rig.single("d", "one"), rig.single("e", "three")])
    first, second = rig.events()
    assert first.cache_errors == 2  # two texts asked for in vain
    assert second.cache_errors == 2 + 2  # these, too; and the two before were not written


def test_texts_of_a_cycle_that_was_given_up_cost_again_when_they_come_back(rig: Any) -> None:
    """Its events are told nobody: found in a cache, the texts would have been embedded for nothing."""
    rig.publisher.ours = False
    message = rig.chunk([("a", "one"), ("b", "two")])
    assert rig.pipeline.run([message]).cancelled
    assert rig.store.items == {}
    rig.publisher.ours = True
    rig.pipeline.run([message])
    event = rig.events()[-1]
    assert (event.misses, event.cache_hits, event.tokens_embedded) == (2, 0, 2)
    assert len(rig.store.items) == 2


def test_what_is_not_told_yet_is_in_no_cache_for_others(rig: Any) -> None:
    seen: list[tuple[int, int]] = []
    rig.publisher.on_flush = lambda: seen.append((len(rig.events()), len(rig.store.items)))
    rig.pipeline.run([rig.single("a", "text")])
    assert seen == [(0, 0), (1, 0)]
    assert len(rig.store.items) == 1


def test_an_entry_under_the_right_key_that_is_not_ours_is_embedded_anew(rig: Any) -> None:
    key = cache_key(rig.model.fingerprint.encode(), "text")
    rig.store.items[key] = b"foreign"
    rig.pipeline.run([rig.single("a", "text")])
    (event,) = rig.events()
    assert (event.misses, event.cache_errors) == (1, 1)
    assert len(rig.store.items[key]) == 24


def test_latency_counts_what_is_done_for_a_text_and_waiting_behind_others_is_queue_wait(rig: Any) -> None:
    rig.budget.tokens = rig.budget.limit_tokens = 1  # each text is a batch
    rig.model.seconds_per_batch, rig.model.seconds_to_tokenise = 1.0, 0.25
    rig.publisher.on_flush = lambda: rig.clock.pass_by(0.5)
    record_time = int(rig.clock.now() * 1000)
    message = rig.decode(
        rig.record(
            b"k",
            wire.encode_chunk(["a", "b", "c"], ["one", "two", "one"]),
            [("format", wire.TEXTS_FORMAT)],
            record_time,
        )
    )
    rig.clock.pass_by(10.0)
    rig.pipeline.run([message])
    (event,) = rig.events()
    latency, wait = Sketch.from_text(event.latency_sketch), Sketch.from_text(event.queue_wait_sketch)
    assert (latency.count, latency.minimum, latency.maximum) == (3, 1750.0, 1750.0)
    assert wait.minimum == pytest.approx(10_250)
    assert wait.maximum == pytest.approx(11_250)
    assert event.phase_seconds.queue_wait == pytest.approx((10.25 + 11.25 + 10.25) / 3)
    assert (event.phase_seconds.tokenise, event.phase_seconds.embed, event.phase_seconds.publish) == (0.25, 2.0, 0.5)
    assert event.busy_seconds == pytest.approx(2.0)


def test_a_hit_waits_until_the_poll_starts_and_costs_only_lookup_and_publishing(rig: Any) -> None:
    rig.pipeline.run([rig.single("a", "text")])
    rig.model.seconds_per_batch = 1.0
    rig.publisher.on_flush = lambda: rig.clock.pass_by(0.5)
    message = rig.single("b", "text")
    rig.clock.pass_by(3.0)
    rig.pipeline.run([message, rig.single("c", "new text")])
    event = rig.events()[-1]
    assert Sketch.from_text(event.latency_sketch).minimum == 500.0
    assert Sketch.from_text(event.latency_sketch).maximum == 1500.0
    assert Sketch.from_text(event.queue_wait_sketch).maximum == pytest.approx(5000.0)


def test_a_producer_whose_clock_is_ahead_gives_no_negative_wait_and_none_gives_none(rig: Any) -> None:
    ahead = rig.record(b"a", b"text", timestamp=int((rig.clock.now() + 60) * 1000))
    without = rig.record(b"b", b"other", timestamp=-1)
    rig.pipeline.run([rig.decode(ahead), rig.decode(without)])
    wait = Sketch.from_text(rig.events()[0].queue_wait_sketch)
    assert (wait.count, wait.maximum) == (1, 0.0)


def test_a_retried_text_waited_through_every_attempt(rig: Any) -> None:
    rig.model.seconds_per_batch = 1.0
    rig.pipeline.run([rig.chunk([("a", "one"), ("b", "poison")])])
    (event,) = rig.events()
    assert Sketch.from_text(event.latency_sketch).maximum == pytest.approx(2000.0)
    assert event.busy_seconds == pytest.approx(3.0)  # together, then each alone


def test_the_budget_given_is_the_one_used(rig: Any) -> None:
    rig.budget = TokenBudget(4)
    rig.build()
    rig.pipeline.run([rig.chunk([(str(i), f"two words{i}") for i in range(7)])])
    assert sorted(rig.model.batches) == [1, 2, 2, 2]


def test_a_cycle_ends_with_the_offsets_after_its_messages_and_the_generation_they_were_read_in(rig: Any) -> None:
    messages = [rig.single("a", "one"), rig.chunk([("b", "two")])]
    work = rig.pipeline.begin(messages, "generation 7")
    for step in (rig.pipeline.prepare, rig.pipeline.embed, rig.pipeline.deliver):
        step(work)
    last = messages[-1]
    assert rig.publisher.finished == [({(last.topic, 0): last.offset + 1}, "generation 7")]
    assert not work.cancelled


def test_a_cycle_whose_partitions_went_to_another_worker_counts_as_given_up(rig: Any) -> None:
    rig.publisher.ours = False
    assert rig.pipeline.run([rig.single("a", "text")]).cancelled


def test_a_cycle_given_up_before_its_end_sends_nothing(rig: Any) -> None:
    for steps_before in range(3):
        work = rig.pipeline.begin([rig.single(f"text-{steps_before}", f"text {steps_before}")])
        steps = (rig.pipeline.prepare, rig.pipeline.embed, rig.pipeline.deliver)
        for number, step in enumerate(steps):
            work.cancelled = number >= steps_before
            step(work)
    assert rig.publisher.sent == []


def test_the_phases_of_a_cycle_and_its_waiting_add_up_to_its_wall_time(rig: Any) -> None:
    rig.model.seconds_per_batch, rig.model.seconds_to_tokenise = 1.0, 0.25
    flushes = iter([0.5, 0.0])
    rig.publisher.on_flush = lambda: rig.clock.pass_by(next(flushes))
    begun = rig.clock.monotonic()
    work = rig.pipeline.begin([rig.chunk([("a", "one"), ("b", "two two")]), rig.single("c", "three", tenant="acme")])
    rig.pipeline.prepare(work)
    rig.clock.pass_by(2.0)  # behind the batches of another cycle
    rig.pipeline.embed(work)
    rig.pipeline.deliver(work)
    wall = rig.clock.monotonic() - begun
    phases = [event.phase_seconds for event in rig.events()]
    names = ("cache_lookup", "tokenise", "embed", "cache_write", "publish")
    total = sum(getattr(phase, name) for phase in phases for name in names)
    assert total + work.waited_seconds == pytest.approx(wall, rel=0.02)


@pytest.mark.parametrize(("pads", "padding"), [(True, 3), (False, 0)])
def test_padding_is_counted_where_the_model_computes_it(rig: Any, pads: bool, padding: int) -> None:
    rig.model.pads = pads
    work = rig.pipeline.run([rig.chunk([("a", "one two three four"), ("b", "one")])])
    assert work.padding.sum() == padding
