"""Closing in slices: whatever comes between two of them, the windows are those of closing a step in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.codec import encode
from embedwatch.events import BatchEvent, window_key
from embedwatch.sketch import Sketch
from stream_agents.compute import closing
from stream_agents.compute.merger import Merger
from stream_agents.compute.partials import pane_records
from stream_agents.compute.scopes import ALL
from stream_agents.compute.shared_windows import PartitionPanes
from stream_agents.compute.windows import pane_start
from stream_agents.compute.world import World
from tests.harness.agents_cluster import APP_ID, new_world
from tests.harness.agents_log import NOW, batch_event


class Process:
    """A world that publishes what it closes."""

    def __init__(self) -> None:
        self.world: World = new_world()
        self.merger = Merger(self.world, APP_ID, 2)
        self.merger.owned = frozenset({0})
        self.merger.unpack(NOW)
        self.world.closer.assign({0}, NOW - 100)
        self.out: dict[str, bytes] = {}
        self.offset = 0

    def event(self, event: BatchEvent, now: float) -> None:
        self.world.closer.observe(0, event.time_seconds, now)
        self.world.apply_batch(event, now, 0, self.offset)
        self.offset += 1

    def published(self, now: float) -> None:
        windows = [*self.world.closer._unsent]
        for window in windows:
            assert window_key(window) not in self.out, "each once"
            self.out[window_key(window)] = encode(window)
        self.world.closer.said(windows)

    def slice(self, now: float) -> None:
        self.world.closer.due(self.world.windows, now)
        self.published(now)

    def follow(self, other: Process, now: float) -> None:
        """Close in one go the steps that the other one has begun to close."""
        closer = self.world.closer
        while closer._next is not None and other.world.closer._next is not None:
            if closer._next >= other.world.closer._next:
                break
            closer._begin_step(self.world.windows, closer._next, now)
            closer._finish_step(self.world.windows)
        self.published(now)

    def settle(self, now: float, follower: Process | None = None) -> None:
        self.world.closer.busy = True
        while self.world.closer.busy:
            self.slice(now)
            if follower is not None:
                follower.follow(self, now)

    def state(self, now: float) -> Any:
        closer, windows = self.world.closer, self.world.windows
        unclosed = {
            (scope, length): [(start, t.events, t.cost_nano_usd, t.latency.to_text()) for start, t in
                              closer.unclosed(windows, scope, length, now)]
            for scope in windows.scopes() for length in closer.lengths
        }  # fmt: skip
        return unclosed, closer.late_events


@contextmanager
def slices_of(units: int) -> Iterator[None]:
    before, closing.SLICE = closing.SLICE, units
    try:
        yield
    finally:
        closing.SLICE = before


events = st.tuples(st.just("event"), st.integers(0, 120), st.sampled_from("mn"), st.sampled_from([None, "a", "b"]))
panes = st.tuples(st.just("pane"), st.integers(0, 120), st.sampled_from("mn"), st.sampled_from([None, "a", "c"]))
looks = st.tuples(st.sampled_from(["slice", "slice", "slice", "look", "tidy"]), st.none(), st.none(), st.none())
waits = st.tuples(st.just("wait"), st.sampled_from([1, 7, 35, 70, 400]), st.none(), st.none())


@settings(max_examples=150, deadline=None)
@given(plan=st.lists(st.one_of(events, panes, looks, looks, waits), max_size=80), units=st.sampled_from([1, 3, 8]))
def test_slices_change_nothing(plan: list[tuple[str, Any, Any, Any]], units: int) -> None:
    with slices_of(units):
        sliced, whole, foreign = Process(), Process(), PartitionPanes(max_scopes=1000)
        for process in (sliced, whole):
            process.settle(NOW)
        now = NOW
        for number, (what, one, model, tenant) in enumerate(plan):
            if what in ("event", "pane"):
                sketch = Sketch.of([float(number + 1)] * 3).to_text()
                event = batch_event(number, time_seconds=now - one, model=model, tenant=tenant, latency_sketch=sketch,
                                    cost_nano_usd=3 ** (number % 33))  # fmt: skip
                if what == "event":
                    sliced.event(event, now)
                    whole.event(event, now)
                    continue
                foreign.count(event, now, number)
                start = pane_start(event.time_seconds)
                for key, value in pane_records(APP_ID, 1, start, number + 1, foreign.pane(start)):
                    sliced.merger.take_partial(key, value, now)
                    whole.merger.take_partial(key, value, now)
            elif what == "slice":
                sliced.slice(now)
                whole.follow(sliced, now)
            elif what == "tidy":
                sliced.world.tidy(now)
                whole.world.tidy(now)
            elif what == "look":
                assert sliced.state(now) == whole.state(now)
            else:
                now = min(now + one, NOW + 1800)  # nobody sleeps for as long as panes are kept
        sliced.settle(now, whole)
        assert sliced.state(now) == whole.state(now)
        assert sliced.out == whole.out


def test_a_slice_is_bounded_and_says_that_there_is_more() -> None:
    with slices_of(10):
        one = Process()
        for number in range(30):
            one.event(batch_event(number, time_seconds=NOW + 5, model=f"m{number}"), NOW + 5)
        closer, counts = one.world.closer, []
        while True:
            before = len(one.out)
            one.slice(NOW + 95)
            counts.append(len(one.out) - before)
            if not closer.busy:
                break
        assert sum(counts) >= 31
        assert max(counts) <= 10
        assert closer.published_until == NOW + 60


def test_nothing_is_said_to_be_out_while_a_step_is_being_closed() -> None:
    with slices_of(1):
        one = Process()
        for number in range(5):
            one.event(batch_event(number, time_seconds=NOW + 5, model=f"m{number}"), NOW + 5)
        until = set()
        while sum(key.endswith(f"|60|{NOW:.0f}") for key in one.out) < 6:
            until.add(one.world.closer.published_until)
            one.slice(NOW + 95)
        assert max(moment for moment in until if moment is not None) == NOW
        one.slice(NOW + 95)
        assert one.world.closer.published_until == NOW + 60
        assert one.world.closer.recent(ALL, 60, 1)[0].events == 5


def test_panes_that_are_forgotten_are_closed_before() -> None:
    with slices_of(1):
        one = Process()
        one.settle(NOW)
        for number in range(5):
            one.event(batch_event(number, time_seconds=NOW + 5, model=f"m{number}"), NOW + 5)
        one.settle(NOW + 40)
        one.slice(NOW + 95)
        assert one.world.closer.busy
        one.world.tidy(NOW + 4000)  # the machine slept between two slices
        one.published(NOW + 4000)
        assert sum(key.endswith(f"|60|{NOW:.0f}") for key in one.out) == 6
        one.settle(NOW + 4000)
        assert one.world.closer.published_until is not None
        assert one.world.closer.published_until > NOW + 3600


def test_a_pane_that_comes_between_two_slices_is_late_for_every_scope() -> None:
    with slices_of(1):
        one, foreign = Process(), PartitionPanes(max_scopes=1000)
        for number in range(5):
            one.event(batch_event(number, time_seconds=NOW + 5, model=f"m{number}"), NOW + 5)
            foreign.count(batch_event(number, time_seconds=NOW + 5, model=f"m{number}"), NOW + 95, number)
        one.settle(NOW + 40)
        one.slice(NOW + 95)
        assert one.world.closer.busy
        for key, value in pane_records(APP_ID, 1, int(NOW), 5, foreign.pane(int(NOW))):
            one.merger.take_partial(key, value, NOW + 95)
        one.settle(NOW + 95)
        minutes = [window for window in one.world.closer._recent[60] if window.start_seconds == NOW]
        assert sorted(window.events for window in minutes) == [1, 1, 1, 1, 1, 5]
        assert one.world.closer.late_events == 5
        (hour,) = (t for _, t in one.world.closer.unclosed(one.world.windows, ALL, 3600, NOW + 95))
        assert hour.events == 10
