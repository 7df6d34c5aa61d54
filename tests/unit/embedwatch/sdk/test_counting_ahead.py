"""Tokens of many calls are counted at once: as many as one by one, in order, and in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from embedwatch import Monitor
from embedwatch.events import TokenMethod
from embedwatch.sdk import Call, channel, settling
from embedwatch.tokens import CHARS_AT_ONCE
from tests.harness.sdk import BlockedSink, Client, RecordingSink, run_script, watched


class Counter:
    """A token a letter. Remembers what it was asked for at once."""

    method: TokenMethod = "tiktoken"

    def __init__(self, *, fails_for_more_than: int | None = None) -> None:
        self.asked: list[int] = []
        self._most = fails_for_more_than

    def count(self, texts: Sequence[str]) -> list[int]:
        self.asked.append(len(texts))
        if self._most is not None and len(texts) > self._most:
            raise RuntimeError("too many")
        return [len(text) for text in texts]


def together(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, made: Any, **options: Any
) -> tuple[Monitor, BlockedSink]:
    """A monitor that found all of what `made` calls waiting, and has told its sink of it."""
    monkeypatch.setattr("embedwatch.sdk.monitor.counter_for", lambda model: counter)
    gate = BlockedSink()
    monitor = Monitor("m", [gate])
    monitor.call(["first"]).end()
    assert gate.held.wait(30)
    counter.asked.clear()
    made(monitor)
    gate.go.set()
    assert monitor.flush(30)
    return monitor, gate


def test_what_waits_together_is_counted_at_once_and_each_call_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    batches = [["a" * size, "b"] for size in range(1, 21)]

    def made(monitor: Monitor) -> None:
        run = monitor.wrap(Client()).embed_batch
        for texts in batches:
            run(texts)

    monitor, gate = together(counter, monkeypatch, made)
    assert counter.asked == [40]
    assert [call.tokens for call in gate.calls[1:]] == [size + 1 for size in range(1, 21)]
    assert {call.token_method for call in gate.calls} == {"tiktoken"}
    monitor.close()


def test_no_more_is_counted_at_once_than_the_bounds_say(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()

    def calls(monitor: Monitor) -> None:
        for _ in range(channel.COUNTED_CALLS * 2):
            monitor.call(["word"]).end()

    monitor, _ = together(counter, monkeypatch, calls)
    assert counter.asked == [channel.COUNTED_CALLS] * 2
    monitor.close()

    def large(monitor: Monitor) -> None:
        for _ in range(3):
            monitor.call(["x" * (CHARS_AT_ONCE // 2)]).end()
        monitor.call(["x" * (CHARS_AT_ONCE * 2)]).end()

    monitor, gate = together(counter, monkeypatch, large)
    assert counter.asked == [2, 1, 1]
    assert [call.tokens for call in gate.calls[1:]] == [50_000] * 3 + [200_000]
    monitor.close()


def test_what_is_known_or_cannot_be_counted_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()

    def made(monitor: Monitor) -> None:
        with monitor.call(["told"]) as call:
            call.usage(7)
        with monitor.call(["outer", "texts"]), monitor.call(["inner"]) as inner:
            inner.usage(9)
        monitor.call(["a text", None]).end()
        monitor.call(["counted"]).end()
        monitor.call(3).end()
        failed = monitor.call(["failed"])
        failed.begin()
        failed.end(ValueError("no"))

    monitor, gate = together(counter, monkeypatch, made)
    assert counter.asked == [1]
    assert [call.tokens for call in gate.calls[1:]] == [7, 9, None, 7, None, None]
    assert monitor.sink_errors == {}
    monitor.close()


def test_models_with_other_tokens_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    counter, other = Counter(), Counter()

    def made(monitor: Monitor) -> None:
        monkeypatch.setattr(settler_of(monitor), "counter_for", {"m": counter, "n": other}.__getitem__)
        for number in range(6):
            monitor.call(["x" * (number + 1)], model="mn"[number % 2]).end()

    monitor, gate = together(counter, monkeypatch, made)
    assert (counter.asked, other.asked) == ([3], [3])
    assert [(call.model, call.tokens) for call in gate.calls[1:]] == [("mn"[n % 2], n + 1) for n in range(6)]
    monitor.close()


def settler_of(monitor: Monitor) -> settling.Settler:
    settler = monitor._channel._settler
    assert isinstance(settler, settling.Settler)
    return settler


def test_where_many_cannot_be_counted_at_once_each_is_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(fails_for_more_than=2)

    def made(monitor: Monitor) -> None:
        for size in (3, 4, 5):
            monitor.call(["x" * size, "y"]).end()

    monitor, gate = together(counter, monkeypatch, made)
    assert counter.asked == [6, 2, 2, 2]
    assert [call.tokens for call in gate.calls[1:]] == [4, 5, 6]
    assert monitor.sink_errors == {"counting": 1}
    monitor.close()


def test_a_summary_counts_what_waits_at_once_and_the_thread_does_not_count_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counter = Counter()

    def made(monitor: Monitor) -> None:
        for size in range(1, 6):
            monitor.call(["x" * size]).end()
        assert monitor.summary(30)["total_tokens"] == len("first") + 15
        for size in range(6, 9):
            monitor.call(["x" * size]).end()

    monitor, gate = together(counter, monkeypatch, made)
    assert counter.asked == [5, 3]
    assert [call.tokens for call in gate.calls] == [5, *range(1, 9)]
    monitor.close()


def test_no_more_texts_wait_than_may_be_held_and_the_rest_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter()
    monkeypatch.setattr(channel, "HELD_CHARS", 1000)
    waiting: list[int] = []

    def made(monitor: Monitor) -> None:
        for size in (400, 600, 1, 410):
            monitor.call(["x" * size]).end()
            waiting.append(monitor._channel._held_chars)
        monitor.summary(30)
        assert monitor._channel._held_chars == 0
        monitor.call(["x" * 1000]).end()
        waiting.append(monitor._channel._held_chars)

    monitor, gate = together(counter, monkeypatch, made)
    assert waiting == [400, 1000, 1000, 1000, 1000]
    assert [(call.tokens, call.token_method) for call in gate.calls[1:]] == [
        (400, "tiktoken"), (600, "tiktoken"), (1, "estimated"), (100, "estimated"), (1000, "tiktoken")
    ]  # fmt: skip
    assert monitor._channel._held_chars == 0
    monitor.close()


def test_what_comes_while_a_sink_is_told_is_left_to_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a caller that never rests the thread must not take each call as it comes."""
    taken: list[int] = []
    take_all = channel.Channel._take_all

    def counted(self: channel.Channel) -> bool:
        taken.append(len(self._queue))
        return take_all(self)

    monkeypatch.setattr(channel.Channel, "_take_all", counted)
    more = 20

    class Calling(RecordingSink):
        """As a caller that makes a call in the time in which one is told."""

        def record(self, call: Call) -> None:
            super().record(call)
            if len(self.calls) <= more:
                monitor.call(1).end()
            else:
                done.set()

    done = threading.Event()
    monkeypatch.setattr(channel, "GATHER_SECONDS", 0.001)
    sink = Calling()
    monitor = Monitor("m", [sink])
    monitor.call(1).end()
    assert done.wait(60)
    assert monitor.flush(30)
    assert len(sink.calls) == more + 1
    assert [size for size in taken if size][: more + 1] == [1] * (more + 1)
    monitor.close()


def test_the_thread_is_woken_once_for_calls_in_a_row_and_again_when_it_has_slept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To be woken costs the caller; to miss a call that comes while it falls asleep would lose it for a while."""
    roused: list[int] = []
    asleep, told = threading.Event(), threading.Semaphore(0)
    rouse, take_all = channel.Channel._rouse, channel.Channel._take_all

    def counted(self: channel.Channel) -> None:
        roused.append(1)
        rouse(self)

    def turn(self: channel.Channel) -> bool:
        if not self._awake:
            if len(sink.calls) == 2:
                monitor.call(1).end()  # comes when it has said that it sleeps, and has not looked yet
            asleep.set()
        return take_all(self)

    class Telling(RecordingSink):
        def record(self, call: Call) -> None:
            super().record(call)
            told.release()

    monkeypatch.setattr(channel, "GATHER_SECONDS", 0.02)
    monkeypatch.setattr(channel, "TURNS_AWAKE", 10**6)
    monkeypatch.setattr(channel.Channel, "_rouse", counted)
    monkeypatch.setattr(channel.Channel, "_take_all", turn)
    sink = Telling()
    monitor = Monitor("m", [sink])
    for _ in range(2):
        monitor.call(1).end()
        assert told.acquire(timeout=30)
    assert len(roused) == 1
    monkeypatch.setattr(channel, "TURNS_AWAKE", 3)
    assert asleep.wait(30)
    assert told.acquire(timeout=30)
    assert len(roused) == 2
    monitor.call(1).end()
    assert told.acquire(timeout=30)
    assert monitor.flush(30)
    assert len(sink.calls) == 4
    monitor.close()


@pytest.mark.parametrize("together_with", [0, 8])
def test_a_text_that_nobody_can_count_is_estimated_and_its_neighbours_are_not(together_with: int) -> None:
    spaces = " " * 1_100_000 + "a"
    with watched() as (monitor, calls):
        monitor.call(["some words"]).end()
        monitor.call(["word"] * together_with + [spaces]).end()
        monitor.call(["some words"]).end()
        assert monitor.flush(60)
        assert monitor._channel._held_chars == 0
        assert monitor.sink_errors == {}
    assert [(call.tokens, call.token_method) for call in calls[::2]] == [(2, "tiktoken")] * 2
    assert calls[1].token_method == "estimated"
    assert calls[1].tokens == pytest.approx(len(spaces) / 4.1, rel=0.01)


def test_a_short_queue_drops_nothing_that_a_quick_thread_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half full, it does not wait for more."""
    monkeypatch.setattr(channel, "GATHER_SECONDS", 3600.0)
    told = threading.Semaphore(0)

    class Telling(RecordingSink):
        def record(self, call: Call) -> None:
            super().record(call)
            told.release()

    sink = Telling()
    monitor = Monitor("m", [sink], max_queued_calls=10)
    for _ in range(20):
        for _ in range(6):
            monitor.call(1).end()
        for _ in range(6):
            assert told.acquire(timeout=30)
    assert monitor.dropped_calls == 0
    assert len(sink.calls) == 120
    monitor.close()


def test_ctrl_c_while_a_summary_counts_loses_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Counter):
        def count(self, texts: Sequence[str]) -> list[int]:
            found = super().count(texts)
            if len(self.asked) == 1:
                raise KeyboardInterrupt
            return found

    counter = Interrupted()
    monkeypatch.setattr("embedwatch.sdk.monitor.counter_for", lambda model: counter)
    monkeypatch.setattr(channel, "GATHER_SECONDS", 3600.0)
    sink = RecordingSink()
    monitor = Monitor("m", [sink])
    for size in (1, 2, 3):
        monitor.call(["x" * size]).end()
    with pytest.raises(KeyboardInterrupt):
        monitor.summary()
    assert monitor.flush(30)
    assert [call.tokens for call in sink.calls] == [1, 2, 3]
    assert monitor._channel._held_chars == 0
    monitor.close()


def test_a_call_that_comes_behind_the_end_is_counted_as_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = RecordingSink()
    monitor = Monitor("m", [sink])
    own = monitor._channel
    answer = own._answer

    def late(request: Any) -> None:
        answer(request)
        own._closed = False  # as a caller saw it that looked before the end was asked for
        monitor.call(1).end()
        own._closed = True

    monkeypatch.setattr(own, "_answer", late)
    monitor.call(1).end()
    thread = own._thread
    assert thread is not None
    monitor.close()
    thread.join(30)
    assert (len(sink.calls), monitor.dropped_calls) == (1, 1)


def test_a_flush_in_a_signal_handler_within_a_flush_comes_back() -> None:
    """The signal comes while the thread is hurried, whatever that takes."""
    run_script(
        """
import faulthandler, random, signal
from embedwatch import Monitor

faulthandler.dump_traceback_later(60, exit=True)
monitor = Monitor("m")
monitor.call(1).end()
monitor.flush(5)
handled = 0

def handler(*_):
    global handled
    handled += 1
    assert monitor.flush(30)
    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.0004))

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001)
for _ in range(3000):
    assert monitor.flush(30)
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert handled
"""
    )


@pytest.mark.parametrize("after_seconds", [0.0, 0.15, 0.4])
def test_a_child_forked_while_the_monitor_loads_what_it_needs_does_not_wait_for_ever(after_seconds: float) -> None:
    run_script(
        f"""
import faulthandler, os, threading, time
from embedwatch import Monitor

monitor = Monitor("text-embedding-3-small")
monitor.call(["a text"]).end()
loading = threading.Thread(target=monitor.flush)
loading.start()
time.sleep({after_seconds})
child = os.fork()
if not child:
    faulthandler.dump_traceback_later(30, exit=True)
    monitor.call(["a text"]).end()
    os._exit(0 if monitor.summary(20)["total_tokens"] == 2 else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    )


def test_a_flush_during_a_turn_is_answered() -> None:
    with watched() as (monitor, calls):
        for number in range(1, 40):
            monitor.call(["a text"]).end()
            assert monitor.flush(30)
            assert len(calls) == number
