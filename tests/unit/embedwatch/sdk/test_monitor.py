"""A monitor measures, tells its sinks, and is never felt by the code around it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import gc
import logging
import pickle
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch import Monitor
from embedwatch.errors import ConfigError
from embedwatch.sdk import Bounds, Call, LogSink, MemorySink
from tests.harness.calls import Watched
from tests.harness.sdk import BlockedSink, Client, RecordingSink, run_script, watched


def test_a_call_has_its_texts_tokens_and_cost() -> None:
    with watched() as (monitor, calls):
        with monitor.call(["some words", "more words"], tenant="search") as call:
            call.usage(8)
        assert monitor.flush()
    (one,) = calls
    assert (one.texts, one.misses, one.tokens, one.token_method) == (2, 2, 8, "provider")
    assert one.cost_nano_usd == 8 * 20
    assert (one.tenant, one.model) == ("search", "text-embedding-3-small")
    assert one.contexts == {"recording": {"begun": 1}}


def test_tokens_are_counted_where_the_provider_says_none() -> None:
    with watched() as (monitor, calls):
        monitor.track(lambda texts: None)(["<|endoftext|>", "words"])
        assert monitor.flush()
    assert calls[0].token_method == "tiktoken"
    assert calls[0].tokens is not None
    assert calls[0].tokens > 2


def test_a_model_without_a_price_costs_none_and_never_0() -> None:
    with watched("no-such-model") as (monitor, calls):
        monitor.track(lambda texts: None)(["words"])
        summary = monitor.summary()
        assert monitor.flush()
    assert calls[0].cost_nano_usd is None
    assert summary["total_cost_usd"] is None
    assert summary["unpriced_tokens"] == calls[0].tokens


def test_an_override_and_a_machine_by_the_hour_price_calls() -> None:
    with watched("mine", prices={"mine": "0.5"}) as (monitor, calls):
        with monitor.call(3) as call:
            call.usage(1000)
        monitor.flush()
        assert (calls[0].cost_nano_usd, calls[0].price_source) == (500_000, "override")
    with watched("local", gpu_usd_per_hour=3600, local=True) as (monitor, calls):
        with monitor.call(3) as call:
            call.usage(1000)
        monitor.flush()
        assert calls[0].cost_nano_usd == round(round(calls[0].seconds * 1e9) * 1.0)
        assert calls[0].price_source == "gpu-hour"


class Unusual(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (ValueError("a text"), "model_error"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("CUDA out of memory"), "out_of_memory"),
        (type("RateLimitError", (Exception,), {"status_code": 429})(), "rate_limited"),
        (type("NotFoundError", (Exception,), {"status_code": 404})(), "unknown_model"),
        (type("APITimeoutError", (Exception,), {})(), "timeout"),
        (type("APIConnectionError", (Exception,), {})(), "connection"),
        (Unusual(), "other"),
        (KeyboardInterrupt(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (SystemExit(429), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (concurrent.futures.CancelledError(), "cancelled"),
        (type("Cancelled", (BaseException,), {})(), "cancelled"),  # as trio's and anyio's
        (type("ClientClosedRequest", (Exception,), {"status_code": 499})(), "cancelled"),
    ],
)
def test_an_exception_is_counted_under_its_class_and_goes_on_unchanged(error: BaseException, error_class: str) -> None:
    def embed(texts: list[str]) -> None:
        raise error

    with watched() as (monitor, calls):
        with pytest.raises(type(error)) as raised:
            monitor.track(embed)(["a", "b"])
        assert raised.value is error
        assert monitor.flush()
    assert (calls[0].errors, calls[0].misses, calls[0].error_class) == (2, 0, error_class)
    assert calls[0].error_type == type(error).__name__
    refused = error_class in ("rate_limited", "unknown_model")
    assert calls[0].tokens == (0 if refused else None)


def test_a_call_that_was_given_up_is_counted_and_raises_no_error_rate() -> None:
    with watched() as (monitor, _):
        for error in (asyncio.CancelledError(), KeyboardInterrupt(), ValueError(), None):
            with contextlib.suppress(BaseException), monitor.call(["a", "b"]):
                if error is not None:
                    raise error
        summary = monitor.summary()
    assert (summary["total_calls"], summary["failed_calls"], summary["cancelled_calls"]) == (4, 1, 2)
    assert summary["error_rate_pct"] == summary["error_rate"] == 50.0
    assert summary["errors_by_class"] == {"cancelled": 2, "model_error": 1}
    assert summary["failed_texts"] == 6  # without a vector


def test_an_exception_that_breaks_when_it_is_looked_at_goes_on_too() -> None:
    class Nasty(Exception):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __str__(self) -> str:
            raise RuntimeError("no text")

    with watched() as (monitor, calls):
        with pytest.raises(Nasty), monitor.call("text"):
            raise Nasty
        assert monitor.flush()
    assert calls[0].error_class == "model_error"


def test_a_call_in_a_call_counts_once_with_what_the_inner_one_knows() -> None:
    with watched(None) as (monitor, calls):
        with monitor.call(["a", "b"]):
            for part in ("a", "b"):
                with monitor.call(part, model="text-embedding-3-small", provider="openai") as inner:
                    inner.usage(5)
                    inner.response("text-embedding-3-small-v1", dimensions=3)
                    inner.server("api.openai.com", 443)
        assert monitor.flush()
    (one,) = calls
    assert (one.texts, one.tokens, one.cost_nano_usd) == (2, 10, 200)
    assert (one.model, one.provider, one.server_address) == ("text-embedding-3-small", "openai", "api.openai.com")
    assert (one.response_model, one.dimensions) == ("text-embedding-3-small-v1", 3)


def test_a_try_that_failed_within_is_no_error_of_a_call_that_succeeded() -> None:
    with watched() as (monitor, calls):
        with monitor.call("a"):
            with contextlib.suppress(ValueError), monitor.call("a"):
                raise ValueError
            with monitor.call("a") as second:
                second.usage(3)
        assert monitor.flush()
    assert [(call.error_class, call.tokens) for call in calls] == [(None, 3)]


def test_a_result_that_cannot_be_counted_goes_on_unchanged() -> None:
    class Result:
        shape = None

    result = Result()
    with Watched() as watched:
        assert watched.monitor.track(lambda texts: result)(text for text in "ab") is result
        assert watched.call().texts == 1


def test_calls_of_two_monitors_are_counted_by_both() -> None:
    with watched() as (one, ones), watched() as (other, others):
        with one.call("a"), other.call("b"), one.call("c"):
            pass
        assert one.flush()
        assert other.flush()
    assert (len(ones), len(others)) == (1, 1)


def test_a_task_that_is_left_over_is_a_call_of_its_own() -> None:
    async def late(monitor: Monitor, go: asyncio.Event) -> None:
        await go.wait()
        async with monitor.call("late"):
            pass

    async def main(monitor: Monitor) -> None:
        go = asyncio.Event()
        async with monitor.call("first"):
            task = asyncio.create_task(late(monitor, go))
            await asyncio.sleep(0)
        go.set()
        await task

    with watched() as (monitor, calls):
        asyncio.run(main(monitor))
        assert monitor.flush()
    assert len(calls) == 2


def test_tasks_and_threads_at_once_are_all_counted() -> None:
    async def one(monitor: Monitor, number: int) -> None:
        async with monitor.call(number % 5):
            await asyncio.sleep(0)

    async def many(monitor: Monitor) -> None:
        await asyncio.gather(*(one(monitor, number) for number in range(50)))

    with watched() as (monitor, calls):
        threads = [threading.Thread(target=lambda: asyncio.run(many(monitor))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert monitor.flush()
        assert monitor.dropped_calls == 0
    assert len(calls) == 400
    assert sum(call.texts for call in calls) == 8 * 100


def test_a_generator_of_texts_is_handed_on_whole() -> None:
    seen: list[str] = []

    def embed(texts: Iterator[str]) -> list[int]:
        seen.extend(texts)
        return [0] * len(seen)

    with watched() as (monitor, calls):
        assert monitor.track(embed)(text for text in ("a", "b", "c")) == [0, 0, 0]
        assert monitor.flush()
    assert seen == ["a", "b", "c"]
    assert calls[0].texts == 3  # as many as there are vectors
    assert calls[0].tokens is None


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        ("one", 1), (Text("one"), 1), (["a", "b"], 2), (("a",), 1), ([], 0), (7, 7), (np.int64(3), 3), (None, 1),
        ([1, 2, 3], 1), ([[1, 2], [3]], 2), (b"bytes", 1),
        ({"a", "b"}, 2), ([None, 3, "a"], 3), (object(), 1), (True, 1), (-4, 1), (10**30, 1), ([Text("a")], 1),
        ({"a": 1}, 1), (["\ud800"], 1), (float("nan"), 1),
    ],
)  # fmt: skip
def test_whatever_the_texts_are_the_call_is_counted(texts: Any, count: int) -> None:
    with watched() as (monitor, calls):
        with monitor.call(texts):
            pass
        assert monitor.flush()
        assert monitor.sink_errors == {}
    assert calls[0].texts == count


def test_arrays_of_texts_are_counted() -> None:
    with watched() as (monitor, calls):
        for texts in (np.array(["a", "b", "c"]), np.array("a"), np.array(["a", "b"], dtype=object)):
            with monitor.call(texts):
                pass
        assert monitor.flush()
    assert [(call.texts, call.tokens) for call in calls] == [(3, 3), (1, 1), (2, 2)]


def test_tokens_given_as_texts_are_counted_as_they_are() -> None:
    with watched() as (monitor, calls):
        for texts in ([1, 2, 3], [[1, 2], [3]]):
            monitor.track(lambda texts: None)(texts)
        assert monitor.flush()
    assert [call.tokens for call in calls] == [3, 3]


class Broken:
    """Every attribute of it fails."""

    name = "broken"

    def begin(self) -> Any:
        raise RuntimeError("begin")

    def record(self, call: Call) -> None:
        raise RuntimeError("record")

    def flush(self, timeout_seconds: float) -> bool:
        raise RuntimeError("flush")

    def close(self, timeout_seconds: float) -> None:
        raise RuntimeError("close")

    def tick(self) -> None:
        raise RuntimeError("tick")

    def after_fork(self) -> None:
        raise RuntimeError("fork")


def test_a_broken_sink_is_counted_told_once_and_in_nobodys_way(caplog: pytest.LogCaptureFixture) -> None:
    sink = RecordingSink()
    monitor = Monitor("m", [Broken(), sink])
    for _ in range(3):
        with monitor.call("a"):
            pass
    assert not monitor.flush()
    assert len(sink.calls) == 3
    assert monitor.sink_errors["broken"] >= 7
    assert sum("broken failed" in record.message for record in caplog.records) == 1
    monitor.close()
    assert sink.closed == 1


ARGUMENTS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3),
    st.lists(st.one_of(st.text(max_size=3), st.integers(), st.none()), max_size=3), st.just(object()),
    st.just(np.float32(2.5)), st.just(np.array([1, 2])), st.decimals(),
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("usage"), ARGUMENTS, ARGUMENTS), st.tuples(st.just("cache"), ARGUMENTS, ARGUMENTS),
        st.tuples(st.just("phase"), ARGUMENTS, ARGUMENTS), st.tuples(st.just("response"), ARGUMENTS, ARGUMENTS),
        st.tuples(st.just("server"), ARGUMENTS, ARGUMENTS), st.tuples(st.just("texts"), ARGUMENTS, ARGUMENTS),
        st.tuples(st.just("end"), ARGUMENTS, ARGUMENTS), st.tuples(st.just("enter"), ARGUMENTS, ARGUMENTS),
        st.tuples(st.just("exit"), ARGUMENTS, ARGUMENTS),
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(texts=ARGUMENTS, labels=st.tuples(ARGUMENTS, ARGUMENTS, ARGUMENTS, ARGUMENTS), steps=STEPS)
def test_no_misuse_raises_and_the_parts_add_up(texts: Any, labels: Any, steps: Any) -> None:
    model, provider, tenant, source = labels
    with watched() as (monitor, calls):
        with monitor.call(texts, model=model, provider=provider, tenant=tenant, source=source) as call:
            for name, one, other in steps:
                if name == "usage":
                    call.usage(one, cost_usd=other)
                elif name == "cache":
                    call.cache(one, other, one)
                elif name == "phase":
                    with call.phase(one):
                        pass
                    call.add_phase(one, other)
                elif name == "response":
                    call.response(one, other, one)
                elif name == "server":
                    call.server(one, other)
                elif name == "texts":
                    call.texts(one)
                elif name == "end":
                    call.end()
                elif name == "enter":
                    call.__enter__()
                else:
                    call.__exit__(None, None, None)
        assert monitor.flush()
        assert monitor.sink_errors == {}
        assert monitor.dropped_calls == 0
    (one,) = calls
    assert one.texts == one.cache_hits + one.duplicates + one.misses + one.errors
    assert one.tokens is None or one.tokens >= 0
    assert one.cost_nano_usd is None or one.cost_nano_usd >= 0
    assert one.model


def test_a_full_queue_drops_and_counts_and_never_waits() -> None:
    sink = BlockedSink()
    monitor = Monitor("m", [sink], max_queued_calls=10)
    with monitor.call(1):
        pass
    assert sink.held.wait(30)  # it has taken the first, and is busy with it
    for _ in range(25):
        with monitor.call(1):
            pass
    assert monitor.dropped_calls == 15
    sink.go.set()
    assert monitor.flush()
    assert len(sink.calls) == 11
    monitor.close()


def test_a_summary_names_a_bounded_number_of_phases() -> None:
    with Monitor("m") as monitor:
        for number in range(60):
            with monitor.call(1) as call:
                call.add_phase(f"phase {number}", 0.0)
                call.add_phase("embed", 1.0)
        phase_ms = monitor.summary()["phase_ms"]
    assert len(phase_ms) == Bounds().max_phases + 1
    assert "other" in phase_ms
    assert phase_ms["embed"] == 60_000.0


def test_a_summary_waits_for_no_sink_that_is_slow_and_drops_nothing() -> None:
    sink = BlockedSink()
    with Monitor("m", [sink, MemorySink()], max_queued_calls=8) as monitor:
        with monitor.call(1):
            pass
        assert sink.held.wait(30)
        for texts in (2, 3):
            with monitor.call(texts):
                pass
            assert monitor.summary(60)["total_texts"] == sum(range(texts + 1))
        assert sink.calls == []
        # What a summary has taken waits for the slow sink, within the same bound.
        for _ in range(8):
            with monitor.call(100):
                pass
            monitor.summary()
        assert monitor.dropped_calls == 2
        sink.go.set()
        assert monitor.flush(30)
        assert [call.texts for call in sink.calls] == [1, 2, 3, *[100] * 6]


def test_summaries_and_calls_of_many_threads_lose_and_double_nothing() -> None:
    sink = RecordingSink()
    with Monitor("m", [sink]) as monitor:

        def work() -> None:
            for _ in range(50):
                with monitor.call(1):
                    pass
                monitor.summary()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert monitor.summary()["total_texts"] == 200
        assert monitor.flush(30)
        assert len(sink.calls) == 200
        assert monitor.sink_errors == {}


def test_calls_after_the_close_are_dropped_and_counted() -> None:
    sink = RecordingSink()
    with Monitor("m", [sink]) as monitor:
        pass
    with monitor.call(1):
        pass
    monitor.close()
    assert not monitor.flush(0.0) or sink.calls == []
    assert (monitor.dropped_calls, sink.closed) == (1, 1)


def test_a_flush_that_takes_too_long_says_so() -> None:
    go = threading.Event()

    class Slow(RecordingSink):
        def flush(self, timeout_seconds: float) -> bool:
            return go.wait(30)

    monitor = Monitor("m", [Slow()])
    with monitor.call(1):
        pass
    assert not monitor.flush(0.01)
    go.set()
    assert monitor.flush()
    monitor.close()


def test_a_monitor_nobody_has_any_more_ends_its_thread() -> None:
    sink = RecordingSink()
    monitor = Monitor("m", [sink])
    with monitor.call(1):
        pass
    thread = monitor._channel._thread
    gone = weakref.ref(monitor)
    del monitor
    assert thread is not None
    thread.join(30)
    gc.collect()
    assert gone() is None
    assert (len(sink.calls), sink.closed) == (1, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prices": {"m": "cheap"}}, r"prices\['m'\] is 'cheap'"),
        ({"prices": {"m": -1}}, "must be a sum in USD"),
        ({"gpu_usd_per_hour": "nan"}, "gpu_usd_per_hour"),
        ({"max_queued_calls": 0}, "max_queued_calls is 0"),
        ({"sinks": [RecordingSink(), RecordingSink()]}, "same name"),
        ({"sinks": [RecordingSink]}, "is a class"),
        ({"sinks": [object()]}, "no sink"),
        ({"sinks": 3}, "list of sinks"),
    ],
)
def test_a_monitor_that_cannot_be_is_refused_at_once(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Monitor("m", **options)


# Wrapping.


def test_a_wrapped_client_looks_like_itself() -> None:
    client = Client()
    with watched(None) as (monitor, calls):
        wrapped = monitor.wrap(client, tenant="t")
        assert isinstance(wrapped, Client)
        assert wrapped.embed_batch(["a", "b"]) == [[0.0] * 3] * 2
        assert asyncio.run(wrapped.encode(["a"])) == [[0.0] * 3]
        wrapped.dimensions = 1
        assert wrapped.embed_single("a") == [0.0]
        assert client.dimensions == 1
        assert type(copy.copy(wrapped)) is Client
        assert monitor.wrap(wrapped) is wrapped
        assert monitor.flush()
    assert [(call.texts, call.model, call.tenant) for call in calls] == [
        (2, Client.model, "t"), (1, Client.model, "t"), (1, Client.model, "t"),
    ]  # fmt: skip


def test_operators_of_a_client_work_through_the_wrapper() -> None:
    class Odd(Client):
        def __len__(self) -> int:
            return 5

        def __enter__(self) -> Odd:
            return self

        def __exit__(self, *error: object) -> None: ...

        def __call__(self, text: str) -> str:
            return text

        def __eq__(self, other: object) -> bool:
            return other == "odd"

        __hash__ = None  # type: ignore[assignment]

    with watched() as (monitor, _):
        wrapped = monitor.wrap(Odd())
        assert (len(wrapped), wrapped("a"), wrapped == "odd") == (5, "a", True)
        with wrapped as entered:
            assert entered is wrapped
        with pytest.raises(TypeError):
            hash(wrapped)
    plain = Client()
    with watched() as (monitor, _):
        assert hash(monitor.wrap(plain)) == hash(plain)
        assert bool(monitor.wrap(plain))


def test_a_pickle_of_a_wrapped_client_is_the_client() -> None:
    with watched() as (monitor, _):
        assert type(pickle.loads(pickle.dumps(monitor.wrap(Client())))) is Client  # noqa: S301


def test_a_client_with_nothing_to_measure_comes_back_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    class Weird:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    with watched() as (monitor, _):
        for client in (object(), Weird(), None, 3, "text"):
            assert monitor.wrap(client) is client
    assert "Monitor.track" in caplog.text


def test_an_adapter_that_fails_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from embedwatch.sdk import wrapping

    def fails(*arguments: Any, **labels: Any) -> Any:
        raise RuntimeError("an adapter")

    monkeypatch.setattr(wrapping, "adapters", [(fails, fails), (lambda client: True, fails)])
    with watched() as (monitor, calls):
        monitor.wrap(Client()).embed_single("a")
        assert monitor.flush()
    assert len(calls) == 1
    assert "an adapter" in caplog.text


def test_a_method_is_tracked_by_its_texts_and_a_function_by_name() -> None:
    with watched() as (monitor, calls):

        class Service:
            @monitor.track
            def embed(self, texts: list[str]) -> int:
                return len(texts)

            @monitor.track(model="other")
            async def later(self, texts: list[str]) -> int:
                return len(texts)

        assert Service().embed(["a", "b"]) == 2
        assert Service().embed(texts=["a", "b", "c"]) == 3
        assert asyncio.run(Service().later(["a"])) == 1
        assert Service.embed.__name__ == "embed"
        assert monitor.flush()
    assert [(call.texts, call.model) for call in calls] == [
        (2, "text-embedding-3-small"), (3, "text-embedding-3-small"), (1, "other"),
    ]  # fmt: skip


def test_generators_are_measured_until_they_are_used_up() -> None:
    with watched() as (monitor, calls):

        @monitor.track
        def embed(texts: list[str]) -> Iterator[int]:
            yield from range(len(texts))

        @monitor.track
        async def aembed(texts: list[str]) -> Any:
            for number in range(len(texts)):
                yield number

        async def main() -> list[int]:
            return [each async for each in aembed(["a", "b"])]

        assert list(embed(["a", "b", "c"])) == [0, 1, 2]
        assert asyncio.run(main()) == [0, 1]
        assert monitor.flush()
    assert [call.texts for call in calls] == [3, 2]


def test_a_function_that_returns_an_awaitable_is_measured_until_it_is_done() -> None:
    async def main(embed: Any) -> Any:
        return await embed(["a"])

    with watched() as (monitor, calls):
        embed = monitor.track(lambda texts: asyncio.sleep(0, result="vector"))
        assert asyncio.run(main(embed)) == "vector"
        assert monitor.flush()
    assert calls[0].texts == 1


# Processes.

FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
from embedwatch import Monitor
from embedwatch.sdk import MemorySink
monitor = Monitor("m")
for _ in range(3):
    with monitor.call(1): pass
{before}
read, write = os.pipe()
child = os.fork()
if child == 0:
    with monitor.call(10): pass
    os.write(write, repr((monitor.summary()["total_texts"], monitor.dropped_calls)).encode())
    os._exit(0)
os.waitpid(child, 0)
with monitor.call(100): pass
print(os.read(read, 100).decode(), monitor.summary()["total_texts"])
"""


@pytest.mark.parametrize("before", ["", "monitor.flush()"])
def test_a_forked_child_counts_its_own_calls_and_none_of_its_parent(before: str) -> None:
    assert run_script(FORK.format(before=before)).strip() == "(10, 0) 103"


def test_a_call_around_a_fork_is_told_by_the_parent_alone() -> None:
    script = """
import os, warnings
warnings.simplefilter("ignore")
from embedwatch import Monitor
monitor = Monitor("m")
with monitor.call(7):
    child = os.fork()
if child == 0:
    os._exit(monitor.summary()["total_texts"])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), monitor.summary()["total_texts"])
"""
    assert run_script(script).split() == ["0", "7"]


def test_the_end_of_the_process_sends_what_is_left() -> None:
    script = """
from embedwatch import Monitor
from tests.harness.sdk import RecordingSink
import threading
class Printing(RecordingSink):
    def record(self, call): print("call", call.texts, flush=True)
    def close(self, timeout_seconds): print("closed", flush=True)
monitor = Monitor("m", [Printing()])
def late():
    threading.main_thread().join()
    with monitor.call(2): pass
threading.Thread(target=late).start()
with monitor.call(1): pass
"""
    assert run_script(script).split("\n")[:3] == ["call 1", "call 2", "closed"]


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = """
import sys, embedwatch
print(*sorted({name.split(".")[0] for name in sys.modules} & {"numpy", "msgspec", "tiktoken", "pydantic", "kafka"}))
from embedwatch import Monitor
Monitor()
print(*sorted({name.split(".")[0] for name in sys.modules} & {"tiktoken", "pydantic", "kafka", "genai_prices"}))
"""
    assert run_script(script) == "\n\n"


def test_a_log_sink_says_one_line_a_call_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "embedwatch.calls")
    monitor = Monitor("text-embedding-3-small", [LogSink(), LogSink(as_json=True, name="json"), MemorySink()])
    with monitor.call(["secret words"]) as call:
        call.usage(2)
        call.cache(hits=1)
    with pytest.raises(ValueError), monitor.call("secret"):
        raise ValueError("secret")
    monitor.close()
    assert len(caplog.records) == 4
    assert "secret" not in caplog.text
    assert "embedded 1 text in" in caplog.text
    assert "2 tokens, $0.00000004, 1 from the cache" in caplog.text
    assert '"error_class": "model_error"' in caplog.text


def test_where_no_cache_is_asked_nothing_is_missed_in_one() -> None:
    with watched() as (monitor, calls):
        with monitor.call(["a", "b"]):
            pass
        assert monitor.summary()["cache_hit_rate"] is None
        with monitor.call(["a", "b"]) as call:
            call.cache(0)
        with monitor.call(["a", "b", "c", "d"]) as call, call.phase("cache_lookup"):
            pass
        summary = monitor.summary()
        assert (summary["cache_hit_rate"], summary["cache_misses"]) == (0.0, 8)
        with monitor.call(["a", "b"]) as call:
            call.cache(hits=2)
        assert monitor.summary()["cache_hit_rate"] == 25.0
    assert [call.uncached_texts for call in calls] == [2, 0, 0, 0]
