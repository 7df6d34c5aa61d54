"""Closed windows: when they close, what is in them, what is late, and that nothing is lost on the way to the broker."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwatch.codec import decode_window, encode
from embedwatch.events import BatchEvent, WindowEvent, window_key
from embedwatch.sketch import Sketch
from stream_agents.compute.closing import CHUNK, MAX_RECENT, Closer, totals_of
from stream_agents.compute.scopes import ALL, OTHER
from stream_agents.compute.watermark import Watermark
from stream_agents.compute.windows import Totals, Windows
from tests.harness.agents_log import batch_event

START = 1_800_000_000.0  # the first second of an hour
GRACE = 30.0


@dataclass
class Line:
    """Windows and closer of one process, as the world holds them."""

    closer: Closer = field(default_factory=lambda: Closer((60,), grace_seconds=GRACE))
    windows: Windows = field(default_factory=lambda: Windows(max_scopes=100))
    out: list[WindowEvent] = field(default_factory=list)

    def event(self, at: float, now: float | None = None, partition: int = 0, **fields: Any) -> BatchEvent:
        """One that happened `at` and arrives at `now`, both in seconds since `START`."""
        event = batch_event(time_seconds=START + at, **fields)
        arrived = START + (at if now is None else now)
        self.closer.observe(partition, event.time_seconds, arrived)
        self.closer.add(event, self.windows.add(event, arrived), arrived)
        return event

    def tick(self, now: float) -> list[WindowEvent]:
        """What is published at that second, all of it taken by the broker."""
        published: list[WindowEvent] = []
        while (due := self.closer.due(self.windows, START + now)) or self.closer.busy:
            self.closer.said(due)
            published += due
        self.out += published
        return published


def whole(lengths: Sequence[int] = (60,), **fields: Any) -> Line:
    """A process that has run long enough to know everything."""
    line = Line(Closer(lengths, grace_seconds=GRACE, **fields))
    line.closer.assign({0}, START - 7200)
    for minute in range(120):
        line.closer.observe(0, START - 7200 + 60 * minute, START - 7200 + 60 * minute)
        line.tick(60 * minute - 7200)
    while line.tick(0):
        pass
    line.out.clear()
    return line


def rows(events: Sequence[WindowEvent], scope: str = "all") -> list[tuple[int, float, int, bool]]:
    """(length, start since START, events, partial)"""
    return [(e.window_seconds, e.start_seconds - START, e.events, e.partial) for e in events if e.scope == scope]


@pytest.mark.parametrize(
    ("arrivals", "ticks", "expected", "late"),
    [
        # (event time, arrival) ..., seconds at which it looks, windows of a minute expected, late events
        pytest.param([(5, 5), (59.9, 59.9)], [95], [(0, 2)], 0, id="on time"),
        pytest.param([(5, 5), (89, 89)], [89], [], 0, id="not before the grace is over"),
        pytest.param([(5, 5), (59, 85), (95, 95)], [95], [(0, 2)], 0, id="late within the grace"),
        pytest.param([(5, 5), (95, 95), "tick", (59, 96)], [95, 96], [(0, 1)], 1, id="too late"),
        pytest.param([(5, 5), (60, 60)], [130], [(0, 1)], 0, id="nothing comes: the clock closes it"),
        pytest.param([(5, 5), (200, 65)], [66], [], 0, id="a clock that runs ahead closes nothing early"),
        pytest.param([(5, 5), (200, 65)], [160], [(0, 1), (60, 1)], 0, id="and counts at its arrival"),
        pytest.param([(59.999, 60), (60, 60), (125, 125)], [160], [(0, 1), (60, 1)], 0, id="the end is not in it"),
        pytest.param([(-61, 5), (5, 5)], [95], [(0, 1)], 1, id="one of the minute before, too late"),
        pytest.param([(-3700, 5), (5, 5)], [95], [(0, 1)], 1, id="one too old for any pane"),
    ],
)
def test_when_a_minute_closes_and_what_is_in_it(
    arrivals: list[Any], ticks: list[float], expected: list[tuple[int, int]], late: int
) -> None:
    line = whole()
    ticks = list(ticks)
    for arrival in arrivals:
        if arrival == "tick":
            line.tick(ticks.pop(0))
        else:
            line.event(arrival[0], arrival[1])
    for at in ticks:
        line.tick(at)
    # Windows up to the start closed empty, by the grace a little later.
    found = [(start, events) for _, start, events, _ in rows(line.out) if start >= 0]
    assert found == [(float(start), events) for start, events in expected]
    assert line.closer.late_events == late
    assert not any(partial for *_, partial in rows(line.out))


def test_a_restart_in_the_middle_marks_what_it_did_not_see_whole() -> None:
    line = Line()
    line.closer.assign({0}, START + 70)
    line.event(20, 71)  # a backlog: what the process before did not get to
    line.event(75)
    line.event(130)
    line.event(250)
    line.tick(250)
    assert rows(line.out) == [(60, 0.0, 1, True), (60, 60.0, 1, True), (60, 120.0, 1, False)]
    partial, _, full = (event for event in line.out if event.scope == "all")
    assert partial.throughput_texts_per_s is None
    assert full.throughput_texts_per_s == pytest.approx(10 / 60)
    assert window_key(partial) == f"all|60|{START:.0f}|partial", "it never takes the place of a whole one"
    assert window_key(full) == f"all|60|{START + 120:.0f}"


def test_a_rebalance_that_changes_the_partitions_makes_open_windows_partial_and_one_that_does_not_leaves_them() -> None:
    same, other = whole(), whole()
    same.closer.assign({0}, START + 30)
    other.closer.assign({0, 1}, START + 30)
    for line in (same, other):
        line.event(40)
        line.event(100)
        line.tick(200)
    assert [partial for *_, partial in rows(same.out)][-2:] == [False, False]
    assert [partial for *_, partial in rows(other.out)][-2:] == [True, False]


def test_a_process_that_holds_some_partitions_says_that_its_windows_are_partial() -> None:
    line = Line()
    line.closer.all_partitions = 4
    line.closer.assign({0, 1}, START)
    line.event(500)
    line.tick(700)
    assert rows(line.out) == [(60, 480.0, 1, True)]
    line.closer.assign({0, 1, 2, 3}, START + 700)
    line.event(730)
    line.tick(900)
    assert rows(line.out)[1:3] == [(60, 720.0, 1, False), (60, 780.0, 0, False)]


def test_silence_is_said_for_everything_and_for_nothing_else() -> None:
    line = whole()
    line.event(5, model="m")
    for minute in range(1, 61):
        line.tick(60 * minute + GRACE)
    assert [events for _, start, events, _ in rows(line.out) if start >= 0] == [1, *[0] * 59]
    assert len(rows(line.out, "model=m")) == 1
    silent = line.out[-1]
    assert (silent.texts, silent.throughput_texts_per_s, totals_of(silent).latency.quantile(0.5)) == (0, 0.0, None)


def test_a_machine_that_slept_goes_on_with_the_present() -> None:
    line = whole((60, 300))
    line.event(5)
    line.tick(36_000)
    assert len(line.out) < 100
    assert all(partial for *_, partial in rows(line.out)), "it does not know what was then"
    line.event(36_070)
    line.tick(36_000 + 600)
    assert (60, 36_060.0, 1, False) in rows(line.out)


def test_several_lengths_close_each_at_its_end_and_agree() -> None:
    line = whole((60, 300, 3600))
    for second in range(0, 3600, 20):
        line.event(second, tenant="t" if second % 40 else None)
        line.tick(second)
    line.tick(3600 + GRACE)
    for scope in ("all", "model=m", "tenant=t", "model=m,tenant=t"):
        counted = {
            length: sum(events for size, start, events, _ in rows(line.out, scope) if size == length and start >= 0)
            for length in (60, 300, 3600)
        }
        assert set(counted.values()) == {180 if scope in ("all", "model=m") else 90}, scope
    assert [start for size, start, *_ in rows(line.out) if size == 300 and start >= 0] == [300.0 * n for n in range(12)]


def test_an_event_late_for_the_minute_is_in_time_for_the_hour() -> None:
    line = whole((60, 300, 3600))
    line.event(5)
    line.event(200)
    line.tick(200)
    line.event(10, 201, latency_sketch=Sketch.of([400.0] * 10).to_text())
    assert line.closer.late_events == 1
    for minute in range(4, 62):
        line.tick(60 * minute)
    found = {(size, start): events for size, start, events, _ in rows(line.out)}
    assert (found[60, 0.0], found[300, 0.0], found[3600, 0.0]) == (1, 3, 3)
    hour = next(event for event in line.out if event.window_seconds == 3600 and event.start_seconds == START)
    assert totals_of(hour).latency.maximum == 400.0


def test_lengths_that_do_not_divide_each_other() -> None:
    line = whole((40, 90))
    events = [line.event(second) for second in range(0, 360, 10)]
    line.tick(500)
    for length in (40, 90):
        mine = [(start, count) for size, start, count, _ in rows(line.out) if size == length and 0 <= start < 360]
        assert mine == [(float(start), length // 10) for start in range(0, 360, length)]
    assert line.closer.step_seconds == 10
    assert len(events) == 36


def test_a_backlog_in_one_partition_is_waited_for() -> None:
    line = Line()
    line.closer.assign({0, 1}, START - 600)
    line.event(100, partition=0)
    line.event(5, 101, partition=1)
    line.tick(101)
    assert [row for row in rows(line.out) if row[1] >= 0] == [], "partition 1 is still in the first minute"
    line.event(70, 102, partition=1)
    line.event(99, 103, partition=1)
    line.tick(103)
    assert [row for row in rows(line.out) if row[1] >= 0] == [(60, 0.0, 1, False)]
    assert line.closer.late_events == 0


def test_the_watermark() -> None:
    mark = Watermark(idle_seconds=30, behind_seconds=1000)
    assert mark.at(500) == 500, "no partitions: the clock"
    mark.assign({0, 1}, 500)
    assert mark.at(510) == 510 - 1000, "nothing was heard yet"
    mark.observe(0, 505, 511)
    mark.observe(1, 480, 511)
    mark.observe(7, 1, 511)  # not assigned
    assert mark.at(512) == 480
    mark.observe(1, 470, 512)
    assert mark.at(512) == 480, "it does not go back"
    mark.observe(0, 9999, 530)
    assert mark.at(541.5) == 480
    assert mark.at(542) == 530, "partition 1 is idle; the other's clock runs ahead"
    assert mark.at(560) == 560
    mark.observe(1, 520, 600)
    mark.observe(0, 598, 600)
    assert mark.at(600) == 520


def test_what_the_broker_does_not_take_stays_due_in_order_and_within_bounds() -> None:
    line = whole(max_unsent=5)
    line.event(5)
    first = line.closer.due(line.windows, START + 500)
    assert first == line.closer.due(line.windows, START + 500), "not said, so due again"
    line.closer.said(first[:1])
    assert line.closer.due(line.windows, START + 500)[: len(first) - 1] == first[1:]
    line.closer.said(first)
    for minute in range(10, 40):
        line.closer.due(line.windows, START + 60 * minute)
    kept = line.closer.due(line.windows, START + 60 * 40)
    assert len(kept) == 5
    assert line.closer.dropped_windows > 20
    line.closer.said(kept)
    assert line.closer.due(line.windows, START + 60 * 40) == []


def test_recent_and_open_windows_of_a_scope() -> None:
    line = whole((60, 300))
    for second in (5, 65, 125, 140):
        line.event(second)
    line.tick(140)
    recent = line.closer.recent(ALL, 60, 2)
    assert [event.start_seconds - START for event in recent] == [0, -60]
    now = START + 140
    unclosed = line.closer.unclosed(line.windows, ALL, 60, now)
    assert [(start - START, totals.events) for start, totals in unclosed] == [(120, 2), (60, 1)]
    assert [totals.events for _, totals in line.closer.unclosed(line.windows, ALL, 300, now)] == [4]
    assert line.closer.recent((("model", "never"),), 60, 10) == []


def test_a_window_is_small_enough_and_the_same_after_the_wire() -> None:
    line = whole()
    rng = np.random.default_rng(3)
    line.event(5, texts=5000, latency_sketch=Sketch.of(rng.lognormal(3, 2, 5000)).to_text(), errors={"timeout": 2})
    (window,) = [w for w in line.tick(200) if w.scope == "all" and w.events]
    assert decode_window(encode(window)) == window


def held_bytes(root: object) -> int:
    """Memory of everything that can be reached, arrays included, classes and code left out."""
    seen: set[int] = set()
    waiting, size = [root], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        waiting += gc.get_referents(one)
    return size


def test_memory_is_bounded_whatever_the_number_of_scopes() -> None:
    """Ten thousand models with a cap of twenty scopes: the rest is `other`, and costs as much as one more."""

    line = Line(Closer((60, 300), grace_seconds=GRACE), Windows(max_scopes=20))
    line.closer.assign({0}, START - 1000)
    sizes = []
    for number in range(10_000):
        line.event(number * 120 / 10_000, model=f"m{number}", tenant=f"t{number}")
        if number % 5000 == 4999:
            line.windows.scopes()  # what was added up aside goes into the panes
            sizes.append(held_bytes(line))
    assert sizes[1] < 1.5 * sizes[0], "twice the time, and so twice the panes, of the scopes within the cap at most"
    assert sizes[1] < 2_000_000
    assert len(line.windows.scopes()) <= 21
    closed = [event for event in line.tick(300) if event.window_seconds == 60]
    assert len({event.scope for event in closed}) <= 21
    assert sum(event.events for event in closed if event.scope == "all") == 10_000
    # Each event is whole in one scope of its own or in `other`: nothing goes uncounted.
    named = sum(e.events for e in closed if e.scope.startswith("model=") and "," not in e.scope)
    assert named + sum(e.events for e in closed if e.scope == "scope=other") == 10_000
    assert line.windows.overflow_events == 10_000 - named
    assert line.windows.window(OTHER, 3600, START + 120).events > 9_000


def test_hand_outs_and_memories_are_bounded() -> None:
    line = Line(Closer((10,), grace_seconds=GRACE), Windows(max_scopes=1000))
    line.closer.assign({0}, START - 1000)
    for number in range(400):
        for second in range(0, 60, 10):
            line.event(second, model=f"m{number}")
    first = line.closer.due(line.windows, START + 300)
    while line.closer.busy:
        first = line.closer.due(line.windows, START + 300)
    assert len(first) == CHUNK
    line.tick(300)
    assert sum(len(line.closer.recent((("model", f"m{n}"),), 10, 10_000)) for n in range(400)) <= MAX_RECENT


def test_as_many_closed_windows_as_may_be_are_remembered_and_with_one_more_the_oldest_goes() -> None:
    line = Line(Closer((10,), grace_seconds=GRACE))
    line.closer.assign({0}, START - 10)
    seconds = 0
    while len(line.closer.recent(ALL, 10, 2 * MAX_RECENT)) < MAX_RECENT:
        seconds += 10
        line.tick(seconds)
    full = [window.start_seconds for window in line.closer.recent(ALL, 10, 2 * MAX_RECENT)]
    line.tick(seconds + 10)
    after = [window.start_seconds for window in line.closer.recent(ALL, 10, 2 * MAX_RECENT)]
    assert full[-1] == line.out[0].start_seconds, "the first is there still"
    assert after == [full[0] + 10, *full[:-1]], "the newest stands first, and the oldest has gone"


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 900),  # event time
        st.floats(0, GRACE + 60),  # how much later it arrives
        st.sampled_from(["m", "n"]),
        st.sampled_from([None, "t"]),
        st.lists(st.floats(0.01, 1e5), min_size=1, max_size=8),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(arrivals=EVENTS, lengths=st.sampled_from([(60,), (60, 300), (10, 30), (30, 60, 900), (40, 90)]))
def test_closed_windows_add_up_to_what_was_in_time(arrivals: list[Any], lengths: tuple[int, ...]) -> None:
    """Whatever comes when: for every length, each event is in one closed window, or it was late for it."""
    line = whole(lengths)
    in_time: dict[int, list[BatchEvent]] = {length: [] for length in lengths}
    late = 0
    for at, delay, model, tenant, values in sorted(arrivals, key=lambda a: a[0] + a[1]):
        now = at + delay
        line.tick(now)
        published = {(w.window_seconds, w.start_seconds) for w in line.out if w.scope == "all"}
        event = line.event(at, now, model=model, tenant=tenant, texts=len(values), cost_nano_usd=int(at * 1e6),
                           latency_sketch=Sketch.of(values).to_text())  # fmt: skip
        missed = False
        for length in lengths:
            if (length, event.time_seconds // length * length) in published:
                missed = True
            else:
                in_time[length].append(event)
        late += missed
    line.tick(2000 + GRACE)
    for length in lengths:
        closed = [w for w in line.out if (w.window_seconds, w.scope) == (length, "all")]
        assert len({window_key(w) for w in closed}) == len(closed), "each once"
        total = Totals()
        for window in closed:
            total.merge(totals_of(window))
        expected = in_time[length]
        assert total.events == len(expected)
        assert total.cost_nano_usd == sum(e.cost_nano_usd for e in expected)
        whole_sketch = Sketch.merged(Sketch.from_text(e.latency_sketch) for e in expected)
        assert [total.latency.quantile(q / 10) for q in range(11)] == [whole_sketch.quantile(q / 10) for q in range(11)]
        tenants = [w for w in line.out if (w.window_seconds, w.scope) == (length, "tenant=t")]
        assert sum(w.texts for w in tenants) == sum(e.texts for e in expected if e.tenant == "t")
    if lengths[0] == line.closer.step_seconds:
        assert line.closer.late_events == late
