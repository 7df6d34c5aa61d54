"""Energy per million tokens: counted once a GPU, over the tokens of all its workers, or None with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event as note
from hypothesis import given
from hypothesis import strategies as st

from embedwatch.events import GpuSample, HeartbeatEvent
from stream_agents.compute import energy
from stream_agents.compute.energy import (
    KEEP_SECONDS,
    MAX_AHEAD_SECONDS,
    MAX_GAP_SECONDS,
    MAX_PANES,
    MIN_COVERED_SECONDS,
    WINDOW_SECONDS,
    Energy,
    GpuEnergy,
)
from stream_agents.compute.world import World

NOW = 1_800_000_000.0
GPU, OTHER, SLICE = "GPU-1", "GPU-2", "MIG-1"
WATTS, RATE = 300.0, 1000.0  # of the GPU, and tokens a second of a worker: 300,000 joules a million tokens


def beat(
    ago: float, joules: float | None, tokens: float | None, worker: str = "w", *, uuid: str = GPU, run: str = "run",
    state: Any = "running", **more: Any,
) -> HeartbeatEvent:  # fmt: skip
    return HeartbeatEvent(
        event_id=f"{worker}-{run}:{ago}", time_seconds=NOW - ago, worker=worker, model="m", state=state,
        gpus=[GpuSample(uuid=uuid, name="H100", energy_joules=joules, **more)],
        tokens_embedded=None if tokens is None else int(tokens),
    )  # fmt: skip


def steady(
    worker: str = "w", *, first: float = 100.0, last: float = 0.0, every: float = 2.0, rate: float = RATE,
    joules: float = 5e6, **more: Any,
) -> list[HeartbeatEvent]:  # fmt: skip
    """Heartbeats of a worker that started `first` seconds ago, on a GPU whose counter is at `joules` now."""
    count = int((first - last) / every) + 1
    ages = [first - number * every for number in range(count)]
    return [beat(ago, joules - WATTS * ago, rate * (first - ago), worker, **more) for ago in ages]


def world_of(*beats: Iterable[HeartbeatEvent]) -> World:
    world = World(zone=ZoneInfo("UTC"), max_scopes=10, lag_group="g", lag_topic="t")
    for event in sorted((event for some in beats for event in some), key=lambda event: event.time_seconds):
        world.apply_heartbeat(event)
    return world


def rows(*beats: Iterable[HeartbeatEvent], now: float = NOW) -> list[GpuEnergy]:
    return world_of(*beats).energy.rows(now)


def row(*beats: Iterable[HeartbeatEvent], now: float = NOW) -> GpuEnergy:
    (found,) = rows(*beats, now=now)
    return found


def unknown(found: GpuEnergy) -> str:
    """The reason, where there is no number."""
    assert found.joules_per_million_tokens is None
    assert found.reason
    return found.reason


def test_it_is_the_joules_of_the_window_over_the_tokens_of_the_window() -> None:
    found = row(steady(first=1000.0))
    assert found == GpuEnergy(GPU, "H100", pytest.approx(300_000.0), None, pytest.approx(90_000.0), 300_000, 300.0, 1)


def test_a_worker_that_started_since_is_counted_from_its_start() -> None:
    found = row(steady(first=100.0))
    assert (found.joules_per_million_tokens, found.covered_seconds) == (pytest.approx(300_000.0), 100.0)
    assert (found.energy_joules, found.tokens_embedded) == (pytest.approx(30_000.0), 100_000)


def test_workers_that_share_a_gpu_share_its_energy() -> None:
    found = row(steady("a", first=200), steady("b", first=200, every=3), steady("c", first=200, rate=2000))
    assert found.joules_per_million_tokens == pytest.approx(75_000.0)
    assert found.energy_joules == pytest.approx(200 * WATTS, rel=0.02)
    assert found.tokens_embedded == pytest.approx(800_000, rel=0.02)
    assert found.workers == 3


def test_each_gpu_has_its_own_row() -> None:
    found = rows(steady("a"), steady("b", uuid=OTHER, rate=500))
    assert [(r.uuid, r.joules_per_million_tokens) for r in found] == [
        (GPU, pytest.approx(300_000.0)), (OTHER, pytest.approx(600_000.0)),
    ]  # fmt: skip


def test_the_energy_of_an_idle_worker_beside_a_busy_one_is_paid_by_the_busy_one() -> None:
    found = row(steady("a"), steady("b", rate=0))
    assert (found.joules_per_million_tokens, found.workers) == (pytest.approx(300_000.0), 2)


def test_without_tokens_it_is_unknown_and_never_zero() -> None:
    found = row(steady(rate=0))
    assert unknown(found) == "no token was embedded in 100 s"
    assert (found.tokens_embedded, found.energy_joules) == (0, pytest.approx(30_000.0))


def test_without_an_energy_counter_it_is_unknown_with_the_drivers_reason() -> None:
    beats = [beat(ago, None, 1000 - ago, missing={"energy_joules": "Not Supported"}) for ago in range(100, -1, -2)]
    assert unknown(row(beats)) == "Not Supported"
    gone = [beat(ago, None, 1000 - ago, unavailable="no driver") for ago in range(100, -1, -2)]
    assert unknown(row(gone)) == "no driver"
    assert unknown(row([beat(0, None, 1)])) == "the worker gives no energy counter"


@pytest.mark.parametrize("joules", [-1.0, float("inf"), float("nan")])
def test_a_counter_that_cannot_be_is_none(joules: float) -> None:
    assert unknown(row([beat(ago, joules, 1000 - ago) for ago in range(100, -1, -2)])) == (
        "the worker gives no energy counter"
    )


def test_a_counter_that_stands_still_is_not_free_energy() -> None:
    assert unknown(row([beat(ago, 5.0, 1000 - ago) for ago in range(100, -1, -2)])) == (
        "the energy counter of this GPU does not count"
    )


def test_a_driver_that_went_away_is_said_once_its_last_reading_is_old() -> None:
    before = steady(first=400, last=MAX_GAP_SECONDS + 2)
    away = [beat(ago, None, RATE * (400 - ago), unavailable="no driver") for ago in range(90, -1, -2)]
    assert unknown(row(before, away)) == "no driver"


@pytest.mark.parametrize("joules", [None, 7.0])
def test_a_slice_has_no_energy_even_where_a_sender_says_so(joules: float | None) -> None:
    found = row([beat(ago, joules, 1000 - ago, uuid=SLICE) for ago in range(100, -1, -2)])
    assert (found.uuid, unknown(found)) == (SLICE, "energy is measured for a whole GPU, not for a MIG slice of it")


def test_a_worker_of_an_older_version_on_the_gpu_makes_it_unknown() -> None:
    old = [beat(ago, 5e6 - WATTS * ago, None, "old") for ago in range(100, -1, -2)]
    assert "worker old does not count its tokens" in unknown(row(old))
    assert "worker old does not count its tokens" in unknown(row(old, steady("new")))
    known = row([event for event in old if event.time_seconds < NOW - 40], steady("new"))
    assert known.joules_per_million_tokens == pytest.approx(300_000.0)
    assert known.covered_seconds == pytest.approx(42.0)


def test_a_worker_on_two_gpus_makes_both_unknown() -> None:
    beats = steady()
    for event in beats:
        event.gpus.append(GpuSample(uuid=OTHER, energy_joules=event.gpus[0].energy_joules))
    assert {unknown(found) for found in rows(beats)} == {"worker w uses 2 GPUs, and its tokens cannot be told apart"}


def test_a_worker_without_a_gpu_has_no_row() -> None:
    cpu = HeartbeatEvent(
        event_id="e:1", time_seconds=NOW, worker="w", model="m", state="running", tokens_embedded=5,
        gpus=[GpuSample(unavailable="the model runs on cpu")],
    )  # fmt: skip
    assert rows([cpu]) == []


def test_a_few_seconds_are_not_enough() -> None:
    assert "only 20 s are known yet; 30 s are needed" in unknown(row(steady(first=20)))
    assert row(steady(first=MIN_COVERED_SECONDS)).joules_per_million_tokens is not None


def test_a_driver_that_was_loaded_again_begins_anew() -> None:
    after = [beat(ago, 10.0 + WATTS * (50 - ago), RATE * (200 - ago)) for ago in range(50, -1, -2)]
    found = row(steady(first=200, last=52), after)
    assert (found.joules_per_million_tokens, found.covered_seconds) == (pytest.approx(300_000.0), 50.0)
    soon = [event for event in after if event.time_seconds < NOW - 25]
    assert "are known yet" in unknown(row(steady(first=200, last=52), soon))


def test_two_readings_noted_in_the_wrong_order_are_no_new_beginning() -> None:
    beats = [event for event in steady(first=200.5, every=10) if event.time_seconds != NOW - 100.5]
    wrong = [beat(100.001, 5e6 - WATTS * 99, 0, "b"), beat(100.0, 5e6 - WATTS * 101, 0, "c")]
    world = world_of(beats, wrong)
    kept = [joules for _, joules in world.energy._gpus[GPU].joules.samples()]
    assert kept != sorted(kept), "both are kept"
    assert world.energy.rows(NOW)[0].covered_seconds == pytest.approx(200.0)


def test_a_long_silence_begins_anew() -> None:
    found = row([event for event in steady(first=290) if not NOW - 200 < event.time_seconds < NOW - 100])
    assert found.covered_seconds == 100.0
    assert found.joules_per_million_tokens == pytest.approx(300_000.0)


def test_a_worker_that_started_again_is_counted_as_two_and_loses_nothing() -> None:
    first = steady(first=200, last=102, run="1")
    found = row(first, steady(first=100, run="2"))
    assert found.covered_seconds == 200.0
    assert found.joules_per_million_tokens == pytest.approx(300_000.0, rel=0.02)
    assert found.workers == 2


def test_a_counter_of_tokens_that_falls_begins_anew() -> None:
    same = row(steady(first=200, last=102), steady(first=100))
    assert same.covered_seconds == 100.0
    assert same.joules_per_million_tokens == pytest.approx(300_000.0)


def test_tokens_from_before_a_process_was_heard_of_are_not_counted() -> None:
    joined = [event for event in steady("b", first=1000) if event.time_seconds >= NOW - 60]
    found = row(steady("a", first=200), joined)
    assert (found.covered_seconds, found.joules_per_million_tokens) == (60.0, pytest.approx(150_000.0))


def test_tokens_of_a_process_are_known_from_before_its_model_was_loaded() -> None:
    loading = HeartbeatEvent(
        event_id="b-run:1", time_seconds=NOW - 62, worker="b", model="m", state="starting", tokens_embedded=0
    )
    joined = [event for event in steady("b", first=62) if event.time_seconds >= NOW - 58]
    found = row(steady("a", first=200), [loading], joined)
    assert (found.covered_seconds, found.tokens_embedded) == (200.0, 262_000)
    other = HeartbeatEvent(
        event_id="b-before:1", time_seconds=NOW - 62, worker="b", model="m", state="running", tokens_embedded=0
    )
    assert row(steady("a", first=200), [other], joined).covered_seconds == 58.0


def test_a_worker_that_stopped_keeps_its_tokens_and_is_not_waited_for() -> None:
    gone = [*steady("b", first=200, last=52), beat(50, 5e6 - WATTS * 50, RATE * 150, "b", state="stopping")]
    found = row(steady("a", first=200), gone)
    assert (found.covered_seconds, found.tokens_embedded) == (200.0, 350_000)


def test_a_worker_that_is_silent_is_waited_for_and_then_not() -> None:
    assert row(steady("a", first=200), steady("b", first=200, last=60)).covered_seconds == 140.0
    assert row(steady("a", first=200), steady("b", first=200, last=100)).covered_seconds == 200.0


def test_a_gpu_of_which_nothing_is_heard_is_unknown_and_then_forgotten() -> None:
    world = world_of(steady())
    later = NOW + MAX_GAP_SECONDS + 1
    assert unknown(world.energy.rows(later)[0]) == "no heartbeat for 91 s"
    world.tidy(NOW + KEEP_SECONDS)
    assert len(world.energy.rows(NOW)) == 1
    world.tidy(NOW + KEEP_SECONDS + 1)
    assert world.energy.rows(NOW) == []


def test_a_sender_whose_clock_is_far_ahead_is_forgotten() -> None:
    world = world_of([beat(-MAX_AHEAD_SECONDS - 1, 1.0, 1)])
    world.tidy(NOW)
    assert world.energy.rows(NOW) == []


def test_memory_is_bounded_by_panes_and_what_is_old_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    follows = Energy()
    for number in range(20_000):
        event = beat(20_000 - number, number * WATTS, number * RATE, run=str(number // 2000))
        follows.add(event)
        if number % 500 == 0:
            follows.tidy(event.time_seconds)
    (gpu,) = follows._gpus.values()
    assert len(gpu.joules._panes) <= MAX_PANES
    assert all(len(process.tokens._panes) <= MAX_PANES for process in gpu.processes.values())
    assert len(gpu.processes) == 1
    assert follows.rows(NOW)[0].joules_per_million_tokens == pytest.approx(300_000.0)


def test_gpus_and_processes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "MAX_GPUS", 2)
    monkeypatch.setattr(energy, "MAX_PROCESSES", 3)
    follows = Energy()
    for number in range(5):
        follows.add(beat(1, 1.0, 1, uuid=f"GPU-{number}"))
        follows.add(beat(0, 1.0, 1, worker=f"w{number}", uuid="GPU-0"))
    assert list(follows._gpus) == ["GPU-0", "GPU-1"]
    assert sum(len(gpu.processes) for gpu in follows._gpus.values()) == 3
    assert unknown(follows.rows(NOW)[0]) == "more than 3 worker processes use GPUs"


def test_a_time_that_is_no_number_is_passed_over() -> None:
    follows = Energy()
    follows.add(beat(float("inf"), 1.0, 1))
    assert follows.rows(NOW) == []


def interleaved(draw: st.DrawFn, runs: list[list[HeartbeatEvent]]) -> list[HeartbeatEvent]:
    """In an order in which several partitions may deliver them: each worker's own heartbeats in order."""
    turns = draw(st.permutations([number for number, run in enumerate(runs) for _ in run]))
    waiting = [iter(run) for run in runs]
    return [next(waiting[number]) for number in turns]


@st.composite
def shared_gpus(draw: st.DrawFn) -> tuple[list[HeartbeatEvent], float]:
    """Workers on one GPU that embed evenly, each with a rate, an interval and a phase of its own; and the truth."""
    rates = draw(st.lists(st.integers(1, 100_000), min_size=1, max_size=5))
    runs = []
    for number, rate in enumerate(rates):
        every, phase = draw(st.sampled_from([7.0, 10.0, 25.0])), draw(st.floats(0, 5))
        runs.append(steady(f"w{number}", first=180 - phase, every=every, rate=rate * 1000.0))
    return interleaved(draw, runs), 1e6 * WATTS / (1000.0 * sum(rates))


@given(shared_gpus())
def test_energy_is_counted_once_whatever_the_number_of_workers(made: tuple[list[HeartbeatEvent], float]) -> None:
    beats, truth = made
    follows = World(zone=ZoneInfo("UTC"), max_scopes=10, lag_group="g", lag_topic="t")
    for event in beats:
        follows.apply_heartbeat(event)
    (found,) = follows.energy.rows(NOW)
    assert found.joules_per_million_tokens is not None
    # Whoever started a few seconds after the first of them is missing there: at most 5 s of the stretch.
    assert truth * (1 - 1e-6) <= found.joules_per_million_tokens <= truth * (1 + 6 / (found.covered_seconds or 0))


@st.composite
def two_orders(draw: st.DrawFn) -> tuple[list[HeartbeatEvent], list[HeartbeatEvent]]:
    """Workers that join, fall silent, start again, cannot read a counter and go; a driver that may be loaded again.

    In two of the orders in which all that may arrive.
    """
    runs = []
    reloaded = draw(st.none() | st.integers(0, 400))
    seldom = st.sampled_from([False] * 49 + [True])
    for number in range(draw(st.integers(1, 4))):
        ages = sorted(draw(st.sets(st.integers(0, 400), min_size=10, max_size=25)), reverse=True)
        run, tokens, beats = 0, 0, []
        for ago in ages:
            if draw(seldom):
                run, tokens = run + 1, 0
            tokens += draw(st.integers(0, 5000))
            joules = 50.0 * (400 - ago) ** 1.5
            if reloaded is not None and ago <= reloaded:
                joules -= 50.0 * (400 - reloaded) ** 1.5
            state = "stopping" if draw(seldom) else "running"
            told = (None if draw(seldom) else joules, None if draw(seldom) else tokens)
            beats.append(beat(ago, *told, f"w{number}", run=str(run), uuid=OTHER if number == 3 else GPU, state=state))
        runs.append(beats)
    return interleaved(draw, runs), interleaved(draw, runs)


@given(two_orders())
def test_the_order_of_heartbeats_between_workers_does_not_matter(
    orders: tuple[list[HeartbeatEvent], list[HeartbeatEvent]],
) -> None:
    found = []
    for beats in orders:
        world = World(zone=ZoneInfo("UTC"), max_scopes=10, lag_group="g", lag_topic="t")
        for event in beats:
            world.apply_heartbeat(event)
        found.append(world.energy.rows(NOW))
    assert found[0] == found[1]
    for one in found[0]:
        assert (one.joules_per_million_tokens is None) == (one.reason is not None)
        assert one.joules_per_million_tokens is None or one.joules_per_million_tokens > 0
        note("a number" if one.reason is None else "a reason")
        assert one.covered_seconds is None or MIN_COVERED_SECONDS <= one.covered_seconds <= WINDOW_SECONDS
