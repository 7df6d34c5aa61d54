"""All of torch's work in one thread: what comes back, what is raised, and who waits."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from workers.backends.one_thread import OneThread, torch_thread


@pytest.fixture
def one() -> OneThread:
    return OneThread("one")


def test_everything_runs_in_the_same_thread_whoever_asks(one: OneThread) -> None:
    with ThreadPoolExecutor(4) as callers:
        ran_in = set(callers.map(lambda _: one.run(threading.get_ident), range(100)))
    assert len(ran_in | {one.run(threading.get_ident)}) == 1
    assert ran_in != {threading.get_ident()}


def test_each_caller_gets_its_own_answer(one: OneThread) -> None:
    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(lambda n: one.run(lambda: n * n), range(500))) == [n * n for n in range(500)]


def test_what_the_work_raises_reaches_the_caller_and_the_thread_lives_on(one: OneThread) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        one.run(fail)
    with pytest.raises(SystemExit):
        one.run(sys.exit)
    assert one.run(lambda: 3) == 3


def test_work_may_ask_for_more_work(one: OneThread) -> None:
    assert one.run(lambda: one.run(lambda: 4)) == 4


def test_nothing_is_kept_of_what_was_done(one: OneThread) -> None:
    class Large:
        pass

    given, back = Large(), one.run(Large)
    kept = weakref.ref(given), weakref.ref(back)
    one.run(lambda given=given: None)  # type: ignore[misc]
    del given, back
    one.run(lambda: None)
    gc.collect()
    assert [ref() for ref in kept] == [None, None]


def test_a_second_caller_waits_for_the_work_before_its_own(one: OneThread) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        if go_on.wait(30):
            done.set()

    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(one.run, first)
        assert begun.wait(30)
        threading.Timer(0.0, go_on.set).start()
        assert one.run(done.is_set)
        answer.result(30)


def test_it_tells_whether_it_is_done(one: OneThread) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)

    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(one.run, work)
        assert begun.wait(30)
        assert not one.settle(0.01)
        go_on.set()
        assert one.settle(30)
        answer.result(30)


def test_the_models_thread_is_a_daemon_so_that_a_hung_driver_cannot_hold_the_process() -> None:
    assert torch_thread.run(lambda: threading.current_thread().daemon)
    assert torch_thread.run(lambda: threading.current_thread().name) == "embedwatch-torch"
