"""The thread that reads: once a second, less often without an answer, and at once when something else is wanted."""

from __future__ import annotations

import queue
import threading

from console.model import Reading
from console.poller import News, Poller
from console.source import Wish
from embedwatch.errors import ConnectionFailed


class Clock:
    """Moves only when it is told to; who waits is woken by `Poller.ask`."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


class Agents:
    """Answers with what lies ready; what is asked is remembered."""

    url = "http://agents:6066"

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[Wish] = []
        self.hold: threading.Event | None = None
        self.entered = threading.Event()

    def read(self, wish: Wish) -> Reading:
        self.asked.append(wish)
        self.entered.set()
        if self.hold is not None:
            assert self.hold.wait(20)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return Reading({"scope": wish.scope, "window_seconds": wish.window_seconds}, ready=True)

    def scopes(self) -> list[str]:
        return ["all"]


def polled(agents: Agents) -> tuple[Poller, queue.Queue[News]]:
    heard: queue.Queue[News] = queue.Queue()
    poller = Poller(agents, Wish(), Clock(), heard.put)
    poller.start()
    return poller, heard


def test_a_reading_is_handed_on_with_the_connection() -> None:
    poller, heard = polled(Agents())
    news = heard.get(timeout=20)
    assert (news.wish, news.link.live, news.link.got_seconds) == (Wish(), True, 1000.0)
    assert news.view is not None
    assert news.view.scope == "all"
    poller.stop()
    poller.join(20)


def test_a_failure_of_any_kind_is_told_and_it_goes_on() -> None:
    agents = Agents(ConnectionFailed("no agents there"), KeyError("a bug"))
    poller, heard = polled(agents)
    first = heard.get(timeout=20)
    assert (first.view, first.link.failures, first.link.trouble) == (None, 1, "no agents there")
    poller.ask(Wish("model=a", 60))
    second = heard.get(timeout=20)
    assert second.link.trouble == "unexpected KeyError: 'a bug'"
    assert second.link.lost_seconds == 1000.0
    poller.ask(Wish("model=b", 60))
    third = heard.get(timeout=20)
    assert third.link.live
    assert third.view is not None
    assert third.view.scope == "model=b"
    poller.stop()
    poller.join(20)


def test_an_answer_to_what_nobody_wants_any_more_is_not_handed_on() -> None:
    agents = Agents()
    agents.hold = threading.Event()
    poller, heard = polled(agents)
    assert agents.entered.wait(20)
    poller.ask(Wish("tenant=acme", 300))
    agents.hold.set()
    assert heard.get(timeout=20).wish == Wish("tenant=acme", 300)
    assert agents.asked == [Wish(), Wish("tenant=acme", 300)]
    poller.stop()
    poller.join(20)


def test_a_pause_asks_nobody_until_it_is_over() -> None:
    agents = Agents()
    poller, heard = polled(agents)
    heard.get(timeout=20)
    poller.pause(True)
    poller.ask(Wish("model=a", 60))
    poller.pause(False)
    assert heard.get(timeout=20).wish == Wish("model=a", 60)
    poller.stop()
    poller.join(20)
    assert not heard.qsize()
