from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from embedwatch.errors import DeliveryError
from workers.flow import HAND_OVER_SECONDS, Flow
from workers.own_metrics import Counts


class FakeSource:
    def __init__(self) -> None:
        self.revocations = 0
        self.waiting: list[Any] = []
        self.committed: list[str] = []
        self.served = 0
        self.due = self.refuses = False
        self.on_poll: Any = lambda: None

    def take(self, idle_seconds: float) -> list[Any]:
        self.on_poll()
        return [self.waiting.pop(0)] if self.waiting else []

    def serve(self, seconds: float) -> None:
        self.served += 1
        self.on_poll()

    def rebalance_due(self) -> bool:
        return self.due

    def membership(self) -> object:
        return self.revocations

    def commit(self, messages: Sequence[Any]) -> bool:
        self.committed += messages
        return not self.refuses


class FakeLine:
    """Items wait in it until the test lets them out with `release`; each wait for one passes its time."""

    limit = 3

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.items: list[Any] = []
        self.ready = 0
        self.error: Exception | None = None
        self.waits: Any = lambda: None

    @property
    def busy(self) -> int:
        return len(self.items)

    @property
    def full(self) -> bool:
        return self.busy >= self.limit

    def put(self, item: Any) -> None:
        self.items.append(item)

    def release(self, count: int = 1) -> None:
        self.ready += count

    def finished(self, timeout_seconds: float = 0.0) -> list[Any]:
        if timeout_seconds:
            self.waits()
        done, self.items = self.items[: self.ready], self.items[self.ready :]
        self.ready = 0
        if not done and self.error is not None:
            raise self.error
        if not done:
            self.clock.pass_by(timeout_seconds)
        return done


class FakeWork:
    def __init__(self, messages: Sequence[Any], membership: object) -> None:
        self.messages = messages
        self.membership = membership
        self.cancelled = self.delivered = False

    def __len__(self) -> int:
        return 10 * len(self.messages)

    def offsets(self) -> dict[tuple[str, int], int]:
        return {(message.topic, message.partition): message.offset + 1 for message in self.messages}


def message(offset: int) -> Any:
    return SimpleNamespace(topic="texts", partition=0, offset=offset)


class Rig:
    def __init__(self, clock: Any, *, commits: bool = True) -> None:
        self.clock = clock
        self.source, self.line = FakeSource(), FakeLine(clock)
        self.told: list[Any] = []
        self.ready = True
        self.counts = Counts()
        line: Any = self.line
        begin: Any = FakeWork
        self.flow = Flow(
            self.source, line, begin=begin, finished=self.told.append, clock=clock, ready=lambda: self.ready,
            counts=self.counts, commits=commits,
        )  # fmt: skip


@pytest.fixture
def flow_rig(clock: Any) -> Rig:
    return Rig(clock)


def test_cycles_overlap_and_each_is_committed_when_it_came_out(flow_rig: Rig) -> None:
    flow_rig.source.waiting = ["a", "b"]
    assert flow_rig.flow.step()
    assert flow_rig.flow.step()
    assert (flow_rig.line.busy, flow_rig.source.committed, flow_rig.flow.inside_texts) == (2, [], 20)
    flow_rig.line.release()
    assert not flow_rig.flow.step()
    assert (flow_rig.source.committed, flow_rig.flow.inside_texts, len(flow_rig.told)) == (["a"], 10, 1)


def test_a_full_line_takes_no_more_and_stays_in_the_group(flow_rig: Rig) -> None:
    flow_rig.source.waiting = list("abcd")
    for _ in range(5):
        flow_rig.flow.step()
    assert (flow_rig.line.busy, flow_rig.source.waiting, flow_rig.source.served) == (3, ["d"], 2)
    flow_rig.line.release()
    flow_rig.flow.step()
    assert flow_rig.source.waiting == []


def test_the_second_cycle_waits_until_it_is_known_how_large_it_may_be(flow_rig: Rig) -> None:
    flow_rig.source.waiting, flow_rig.ready = list("abc"), False
    for _ in range(3):
        flow_rig.flow.step()
    assert (flow_rig.line.busy, flow_rig.source.served) == (1, 2)
    flow_rig.line.release()  # it came out, and still nobody knows: all of it was undone, say
    for _ in range(3):
        flow_rig.flow.step()
    assert (flow_rig.line.busy, flow_rig.source.waiting) == (1, ["c"])
    flow_rig.ready = True
    flow_rig.flow.step()
    assert (flow_rig.line.busy, flow_rig.source.waiting) == (2, [])


def test_a_line_that_stays_full_for_long_is_busy_and_not_idle(flow_rig: Rig) -> None:
    flow_rig.source.waiting = list("abcd")
    for _ in range(3):
        flow_rig.flow.step()
    flow_rig.clock.pass_by(100.0)
    now = flow_rig.clock.monotonic()
    flow_rig.flow.step()
    assert flow_rig.flow.last_busy >= now


def test_before_the_group_shares_out_anew_what_is_inside_is_finished_and_committed(flow_rig: Rig) -> None:
    flow_rig.source.waiting = ["a", "b"]
    flow_rig.flow.step()
    flow_rig.flow.step()
    flow_rig.source.due = True
    flow_rig.line.waits = flow_rig.line.release
    at_poll: list[list[str]] = []
    flow_rig.source.on_poll = lambda: at_poll.append(list(flow_rig.source.committed))
    flow_rig.flow.step()
    assert at_poll == [["a", "b"]]


def test_others_are_not_kept_waiting_for_ever(flow_rig: Rig) -> None:
    flow_rig.source.waiting = ["a"]
    flow_rig.flow.step()
    flow_rig.source.due = True
    begun = flow_rig.clock.monotonic()
    flow_rig.flow.step()
    assert HAND_OVER_SECONDS <= flow_rig.clock.monotonic() - begun < HAND_OVER_SECONDS + 1


@pytest.mark.parametrize("full", [False, True])
def test_what_was_inside_when_the_partitions_went_is_not_committed(flow_rig: Rig, full: bool) -> None:
    flow_rig.source.waiting = ["a", "b", "c"] if full else ["a"]
    for _ in range(3):
        flow_rig.flow.step()

    def taken_away() -> None:
        flow_rig.source.revocations += 1
        flow_rig.source.on_poll = lambda: None

    flow_rig.source.on_poll = taken_away
    if not full:
        flow_rig.source.waiting = ["new"]  # read after the rebalance
    flow_rig.flow.step()
    assert [work.cancelled for work in flow_rig.line.items] == ([True] * 3 if full else [True, False])
    flow_rig.line.release(3)
    flow_rig.flow.step()
    assert flow_rig.source.committed == ([] if full else ["new"])
    assert len(flow_rig.told) == len(flow_rig.source.committed)


def test_what_was_done_before_an_error_is_committed(flow_rig: Rig) -> None:
    flow_rig.source.waiting = ["a", "b"]
    flow_rig.flow.step()
    flow_rig.flow.step()
    flow_rig.line.release()
    flow_rig.line.error = DeliveryError("no broker", delivered=0)
    with pytest.raises(DeliveryError):
        flow_rig.flow.drain(lambda: False)
    assert flow_rig.source.committed == ["a"]


def test_at_the_end_what_is_done_in_time_is_committed_and_the_rest_is_not(flow_rig: Rig) -> None:
    flow_rig.source.waiting = ["a", "b"]
    flow_rig.flow.step()
    flow_rig.flow.step()
    flow_rig.line.release()
    assert not flow_rig.flow.drain(lambda: True)
    assert (flow_rig.source.committed, flow_rig.flow.inside_texts) == (["a"], 10)
    flow_rig.line.release()
    assert flow_rig.flow.drain(lambda: False)


def test_it_is_busy_as_long_as_something_is_inside(flow_rig: Rig) -> None:
    flow_rig.source.waiting = ["a"]
    flow_rig.flow.step()
    flow_rig.clock.pass_by(5)
    flow_rig.flow.step()
    assert flow_rig.flow.last_busy == flow_rig.clock.monotonic()
    flow_rig.line.release()
    flow_rig.flow.step()
    done_at = flow_rig.clock.monotonic()
    flow_rig.clock.pass_by(5)
    flow_rig.flow.step()
    assert flow_rig.flow.last_busy <= done_at + 0.1


def test_what_is_taken_and_committed_is_counted(flow_rig: Rig) -> None:
    counts = flow_rig.counts
    flow_rig.source.waiting = ["a", "b"]
    flow_rig.flow.step()
    flow_rig.flow.step()
    assert (counts.taken_messages, counts.taken_texts, counts.commits) == (2, 20, 0)
    flow_rig.line.release()
    flow_rig.flow.step()
    assert (counts.commits, counts.refused_commits) == (1, 0)
    flow_rig.source.refuses = True
    flow_rig.line.release()
    flow_rig.flow.step()
    assert (counts.commits, counts.refused_commits) == (1, 1)


def joined_anew(rig: Rig) -> None:
    """At the next poll the partitions go and come back at once, in the same membership."""

    def away_and_back() -> None:
        rig.source.revocations += 1
        rig.source.on_poll = lambda: None

    rig.source.on_poll = away_and_back


@pytest.mark.parametrize("delivered", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_what_was_inside_when_the_partitions_went_and_came_back_is_done_once(
    clock: Any, delivered: bool, held: bool
) -> None:
    """Its transaction may be committed after its message was read once more."""
    rig = Rig(clock, commits=False)
    rig.source.waiting = [message(7)]
    rig.flow.step()
    (work,) = rig.line.items
    rig.source.membership = lambda: "the same"
    again = [message(7), message(8)] if held else []
    rig.source.waiting = [*again]
    joined_anew(rig)
    assert rig.flow.step() is False
    assert (work.cancelled, rig.line.busy) == (True, 1)  # nothing more is begun until it is known
    rig.source.waiting += [] if held else [message(7), message(8)]
    rig.flow.step()
    assert rig.line.busy == 1
    work.delivered = delivered
    rig.line.release()
    for _ in range(4):
        rig.flow.step()
    begun = [each.offset for item in rig.line.items for each in item.messages]
    assert begun == ([8] if delivered else [7, 8])
    assert rig.told == ([work] if delivered else [])
    assert rig.counts.commits == delivered


def test_what_was_done_before_the_partitions_went_once_more_is_not_held_against_what_comes(clock: Any) -> None:
    """Offsets may have been set back meanwhile, on purpose."""
    rig = Rig(clock, commits=False)
    rig.source.waiting = [message(7)]
    rig.flow.step()
    joined_anew(rig)
    rig.flow.step()
    rig.line.items[0].delivered = True
    rig.line.release()
    rig.flow.step()
    joined_anew(rig)
    rig.source.waiting = [message(3)]
    rig.flow.step()
    assert [item.messages[0].offset for item in rig.line.items] == [3]


def test_what_was_taken_in_a_membership_that_has_ended_is_dropped_before_it_is_begun(clock: Any) -> None:
    rig = Rig(clock, commits=False)
    rig.source.waiting = [message(7)]
    rig.flow.step()
    joined_anew(rig)
    rig.source.waiting = [message(7)]
    rig.flow.step()
    joined_anew(rig)  # while it is waited for the first
    rig.flow.step()
    rig.line.release()
    rig.source.waiting = [message(9)]
    for _ in range(2):
        rig.flow.step()
    assert [item.messages[0].offset for item in rig.line.items] == [9]
