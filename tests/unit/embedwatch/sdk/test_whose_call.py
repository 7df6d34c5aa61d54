"""What runs while a call waits for its caller is the caller's: nothing is swallowed, kept or changed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from embedwatch.sdk import BudgetMonitor, CostTracker
from embedwatch.sdk.coalescing import Coalescer, Identity
from embedwatch.sdk.context import CallContext
from embedwatch.sdk.log import in_words
from embedwatch.sdk.texts import Held, snapshot
from tests.harness.calls import Watched, call


@pytest.fixture
def watched():
    with Watched("text-embedding-3-small") as running:
        yield running


def test_calls_that_wait_side_by_side_each_count(watched):
    async def later(texts, ends_at, gate):
        await gate[ends_at].wait()
        if ends_at:
            gate[ends_at - 1].set()
        return [[0.0]] * len(texts)

    def embed_batch(texts, ends_at, gate):  # plain, and gives an awaitable
        return later(texts, ends_at, gate)

    embed = watched.monitor.track(embed_batch)

    async def story():
        gate = [asyncio.Event() for _ in range(10)]
        gate[9].set()  # the last ends first
        await asyncio.gather(*(embed(["a", "b"], place, gate) for place in range(10)))
        held = embed(["held"], 0, gate)
        for _ in range(2):
            with watched.monitor.call(["one"]):
                pass
        await held

    asyncio.run(story())
    assert sorted(told.texts for told in watched.calls()) == [1, 1, 1, *[2] * 10]


def test_calls_in_the_loop_over_a_tracked_generator_count_by_themselves(watched):
    @watched.monitor.track
    def stream(texts):
        for text in texts:
            sent = yield [float(len(text))]
            assert sent in (None, 7)

    for _ in stream(["a", "b", "c"]):
        with watched.monitor.call(["x", "y"]):
            pass
    assert sorted(told.texts for told in watched.calls()) == [2, 2, 2, 3]


def test_a_call_within_a_step_of_a_generator_is_within_its_call(watched):
    @watched.monitor.track
    def stream(texts):
        for text in texts:
            with watched.monitor.call([text]) as inner:
                inner.usage(5)
            yield text

    assert list(stream(["a", "b"])) == ["a", "b"]
    assert (watched.call().texts, watched.call().tokens) == (2, 10)


def test_a_generator_that_is_left_early_did_not_fail(watched):
    @watched.monitor.track
    def stream(texts):
        yield from texts

    reading = stream(["a", "b"])
    next(reading)
    reading.close()
    assert watched.call().error_class is None


def test_an_async_generator_takes_what_is_sent_thrown_and_closed(watched):
    told = []

    @watched.monitor.track
    async def stream(texts):
        try:
            for text in texts:
                try:
                    told.append((yield text))
                except KeyError:
                    told.append("thrown")
        finally:
            told.append("closed")

    async def story():
        reading = stream(["a", "b", "c"])
        assert await anext(reading) == "a"
        assert await reading.asend(7) == "b"
        assert await reading.athrow(KeyError("x")) == "c"
        await reading.aclose()
        assert told == [7, "thrown", "closed"]
        assert [text async for text in stream(["a", "b"])] == ["a", "b"]

    asyncio.run(story())
    assert [each.error_class for each in watched.calls()] == [None, None]


def test_a_call_that_is_over_keeps_no_call_and_no_text(watched):
    async def story():
        refs = []
        for _ in range(3):
            made = CallContext(watched.monitor, ["a text"], None, None, None, None)
            made.begin()  # in this task's context, where the next one begins
            made.end()
            refs.append(made)
        return refs

    made = asyncio.run(story())
    watched.calls()
    assert [(each._parent, each.held_texts, each.inner) for each in made] == [(None, None, None)] * 3


def test_what_a_cache_saved_is_told_by_the_texts_where_the_provider_says_what_was_read(watched):
    with watched.monitor.call(["one two three", "four five six"]) as made:
        made.usage(3)
        made.cache(hits=1)
    told = watched.call()
    assert told.tokens == 3
    assert told.tokens_saved > 0
    assert told.saved_nano_usd == told.tokens_saved * 20


def test_a_saving_that_nobody_knows_is_unpriced_and_not_nothing():
    coalescer = Coalescer(Identity("w"))
    coalescer.add(call(texts=3, misses=1, cache_hits=2, duplicates=0, tokens=5, tokens_saved=0, saved_nano_usd=None))
    (event,) = coalescer.take(2e9)
    assert (event.tokens_saved, event.unpriced_saved_tokens, event.saved_nano_usd) == (2, 2, 0)
    assert event.misfit() is None


def test_numbers_are_not_listed_in_the_callers_thread():
    class Tensor:
        dtype = np.dtype("float32")

        def __len__(self):
            return 2

        def tolist(self):
            raise AssertionError("a tensor was listed")

    assert snapshot(Tensor(), 2, 1000) == (None, None)
    assert snapshot(np.array(["ab", "c"]), 2, 1000) == (("ab", "c"), 3)


def test_a_large_budget_is_not_none():
    monitor = BudgetMonitor(2_000_000, on_threshold=lambda *told: pytest.fail(f"told {told}"))
    monitor.record_cost("0.01")
    assert monitor.remaining_budget() == pytest.approx(1_999_999.99)
    with pytest.raises(ValueError, match="less than 0"):
        CostTracker("text-embedding-3-small").record_tokens(-100)


@pytest.mark.parametrize(("nano_usd", "words"), [(0, "$0)"), (10**9, "$1)"), (20, "$0.00000002)")])
def test_money_in_a_line_ends_in_a_digit(nano_usd, words):
    assert words in in_words(call(cost_nano_usd=nano_usd, cache_hits=0, duplicates=0))


def test_a_script_that_ends_at_once_has_told_its_call():
    code = (
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from embedwatch import Monitor\nfrom embedwatch.sdk import LogSink\n"
        "@Monitor('text-embedding-3-small', [LogSink()]).track\n"
        "def embed(texts): return [[0.0]] * len(texts)\n"
        "embed(['one', 'two'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "embedded 2 texts" in done.stderr, done.stderr
    assert "failed with" not in done.stderr


def test_a_kafka_sink_has_imported_what_it_needs_before_anybody_forks():
    code = (
        "import sys\nfrom embedwatch.sdk import KafkaSink\nKafkaSink('127.0.0.1:1')\n"
        "assert {'embedwatch.kafka', 'encodings.idna'} <= set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


class Looked(str):
    """Counts who asks for its length."""

    times = 0

    def __len__(self) -> int:
        Looked.times += 1
        return super().__len__()


def test_of_many_texts_the_callers_thread_looks_at_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [Looked("word " * (1 + number % 7)) for number in range(2048)]
    monkeypatch.setattr(Looked, "times", 0)
    held, chars = snapshot(texts, 2048, 10**7)
    assert Looked.times < 40
    assert isinstance(held, Held)
    assert held.texts(2048) == tuple(texts)
    assert chars == pytest.approx(sum(map(len, texts)), rel=0.25)


def test_a_small_list_is_copied() -> None:
    texts = ["one", "two"]
    found = snapshot(texts, 2, 10**7)
    texts.clear()
    assert found == (("one", "two"), 6)


def _emptied(texts: list[str]) -> None:
    texts.clear()


def _filled_anew(texts: list[str]) -> None:
    texts[:] = [f"other {number}" for number in range(len(texts))]


def _turned(texts: list[str]) -> None:
    texts.reverse()


@pytest.mark.parametrize("change", [_emptied, _filled_anew, _turned])
def test_a_large_list_that_its_caller_changes_before_it_is_counted_is_estimated(
    change: Callable[[list[str]], None],
) -> None:
    """It is not copied: that costs the caller more than the call. So the numbers are of the sample, and say so."""
    texts = [f"word {number}" for number in range(2048)]
    with Watched("text-embedding-3-small") as watched:
        with watched.monitor._channel._settling:  # the monitor's thread does not come to it yet
            with watched.monitor.call(texts):
                pass
            change(texts)
        (told,) = watched.calls()
    chars = sum(len(f"word {number}") for number in range(2048))
    assert (told.texts, told.token_method) == (2048, "estimated")
    assert told.tokens == pytest.approx(chars / 4.1, rel=0.05)


def test_many_texts_that_may_be_too_many_to_keep_are_looked_at_more_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [Looked("a" * 100)] * 2048
    whole = 100 * 2048
    for kept, most_chars in (
        (True, whole * 2),
        (True, whole * 5 // 4),
        (False, whole * 5 // 4 - 1),
        (False, whole - 1),
    ):
        monkeypatch.setattr(Looked, "times", 0)
        held, chars = snapshot(texts, 2048, most_chars)
        assert (held is not None, chars) == (kept, whole)
        assert Looked.times <= 16 + 64, "a queue that is full costs the caller no more than another"
        if isinstance(held, Held):
            assert held.texts(2048) == tuple(texts)
    assert snapshot([b"a" * 100] * 2048, 2048, 10) == (None, None)


def test_many_texts_of_which_one_is_none_are_not_counted() -> None:
    with Watched("text-embedding-3-small") as watched:
        with watched.monitor.call([*["word"] * 2047, b"bytes"]):
            pass
        with watched.monitor.call(["two words"] * 2048):
            pass
        calls = watched.calls()
    assert [(call.texts, call.tokens) for call in calls] == [(2048, None), (2048, 4096)]
