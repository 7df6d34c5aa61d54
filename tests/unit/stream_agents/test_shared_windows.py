"""Panes of partitions: whoever knows more events of one replaces it, and the sum over partitions follows."""

from __future__ import annotations

import pytest

from embedwatch.errors import InvalidEvent
from stream_agents.compute.shared_windows import MAX_PANE_AHEAD_SECONDS, PartitionPanes, SharedWindows
from stream_agents.compute.windows import Totals, pane_start
from tests.harness.agents_cluster import new_world
from tests.harness.agents_log import NOW, batch_event

START = pane_start(NOW)


def pane(texts: int) -> Totals:
    return Totals(texts=texts, events=1, first_seconds=NOW)


def texts(windows: SharedWindows, seconds: int = 60) -> int:
    return windows.window((), seconds, NOW).texts


def test_an_offset_counts_once_and_partitions_are_added_up() -> None:
    windows = SharedWindows(max_scopes=10)
    for partition, offset in ((0, 5), (0, 5), (0, 4), (1, 5), (0, 6)):
        windows.count(batch_event(), NOW, partition, offset)
    assert texts(windows) == 30
    assert windows.window((("model", "m"),), 60, NOW).texts == 30
    assert set(windows.scopes()) == {(), (("model", "m"),)}


def test_a_sum_follows_every_change_and_the_panes_below_it_are_left_alone() -> None:
    windows = SharedWindows(max_scopes=10)
    windows.count(batch_event(), NOW, 0, 0)
    windows.count(batch_event(), NOW, 1, 0)
    for number in range(1, 4):
        assert texts(windows) == 10 + 10 * number
        windows.count(batch_event(), NOW, 0, number)
    assert windows.part(1).pane(START)[()].texts == 10


def test_a_pane_that_knows_more_replaces_and_one_that_knows_less_does_not() -> None:
    part = PartitionPanes(max_scopes=10)
    part.count(batch_event(), NOW, 7)
    assert not part.wants(START, 8, NOW), "as much as is known here"
    assert part.wants(START, 9, NOW)
    part.replace(START, 9, {(): pane(25)})
    assert part.pane(START) == {(): part.pane_of((), START)}, "the model's share went with the pane it was in"
    assert not part.wants(START, 9, NOW)
    assert part.wants(START - 10, 9, NOW), "each pane has an offset of its own"
    part.count(batch_event(), NOW, 8)
    assert part.window((), 60, NOW).texts == 25, "the event at 8 is in the pane that came"
    part.count(batch_event(), NOW, 9)
    assert part.window((), 60, NOW).texts == 35


def test_a_checkpoint_says_that_what_is_here_is_complete() -> None:
    part = PartitionPanes(max_scopes=10)
    part.replace(START, 9, {(): pane(25)})
    part.complete_to(20)
    part.complete_to(3)
    assert not part.wants(START, 20, NOW)
    part.count(batch_event(), NOW, 19)
    assert part.window((), 60, NOW).texts == 25


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        (START - 3590, True),
        (START - 3600, False),
        (START + 3, False),
        (pane_start(NOW + MAX_PANE_AHEAD_SECONDS), True),
        (pane_start(NOW + MAX_PANE_AHEAD_SECONDS) + 10, False),
    ],
)
def test_a_pane_out_of_range_is_refused(start: int, wanted: bool) -> None:
    assert PartitionPanes(max_scopes=10).wants(start, 1, NOW) is wanted


def test_scopes_of_others_are_bounded_too() -> None:
    part = PartitionPanes(max_scopes=3)
    part.replace(START, 9, {(): pane(9), **{(("model", f"m{n}"),): pane(1) for n in range(8)}})
    assert len(part.scopes()) == 4
    assert part.window((("scope", "other"),), 60, NOW).texts == 6


def test_an_event_that_does_not_decode_changes_nothing() -> None:
    part = PartitionPanes(max_scopes=10)
    with pytest.raises(InvalidEvent):
        part.count(batch_event(latency_sketch="!"), NOW, 0)
    assert (part.next_offset, part.changed, part.scopes()) == (0, set(), [()])


def test_late_events_of_all_partitions_are_told_and_old_panes_are_forgotten() -> None:
    windows = SharedWindows(max_scopes=10)
    for partition in (0, 1):
        windows.count(batch_event(time_seconds=NOW - 4000), NOW, partition, 0)
        windows.count(batch_event(), NOW, partition, 1)
    assert windows.late_events == 2
    assert texts(windows) == 20
    windows.prune(NOW + 3700)
    assert windows.window((), 3600, NOW + 3700).texts == 0
    assert windows.scopes() == [()]
    assert windows.part(0).changed == set()


def test_a_sum_that_was_kept_of_older_panes_follows_what_comes_for_them() -> None:
    windows = SharedWindows(max_scopes=10)
    for number in range(3):
        windows.count(batch_event(time_seconds=NOW - 200), NOW, number % 2, number)
        assert texts(windows, 300) == 10 * (number + 1)
    old = pane_start(NOW - 200)
    windows.part(1).replace(old, 9, {(): pane(100)})
    windows.note(old)
    assert texts(windows, 300) == 120


def test_an_event_that_is_in_the_pane_of_another_process_is_not_counted_here_again() -> None:
    world = new_world()
    world.closer.assign({0}, NOW - 7200)
    world.windows.part(0).replace(START, 9, {(): pane(25)})
    world.windows.note(START)
    world.apply_batch(batch_event(), NOW, 0, 8)
    assert (texts(world.windows), world.counters.series, world.closer.late_events) == (25, {}, 0)
    world.apply_batch(batch_event(), NOW, 0, 9)
    assert (texts(world.windows), len(world.counters.series)) == (35, 1)
