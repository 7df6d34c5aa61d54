"""Energy per million tokens of each GPU: what its driver counted, over what all workers on it embedded. Pure.

Each heartbeat brings two counters read at once: the joules of the GPU since its driver was loaded, and the tokens of
the process since it started. The joules of a GPU are one counter, whoever reads it, so that workers that share the GPU
count it once; their tokens are added up. Both are taken over the same stretch of time, between heartbeats along a
straight line, because workers do not send theirs at the same moment.

The joules are those of the whole GPU, idle or busy, whoever uses it. What is not known is None with a reason.

Nothing of this is written down: after a restart of the agents it takes `MIN_COVERED_SECONDS` until there is a number
again, and the window is full after five minutes. Heartbeats that come again after a rebalance change nothing.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

from embedwatch.events import GpuSample, HeartbeatEvent

WINDOW_SECONDS = 300.0
#: Less than this says more about when batches end than about the GPU.
MIN_COVERED_SECONDS = 30.0
#: Heartbeats come at least once a minute (`worker.heartbeat_seconds`). After a longer silence counting starts anew,
#: and a worker that has been silent so long is not waited for.
MAX_GAP_SECONDS = 90.0
#: Two workers may note their readings of one counter in the wrong order, a moment apart. A counter that starts again
#: falls by more than this.
JITTER_JOULES = 1000.0
#: One sample for so many seconds is kept, and the newest: memory does not depend on how often workers send.
PANE_SECONDS = 10.0
#: The window, and the sample before it from which its beginning is read, after the longest wait for a worker.
KEEP_SECONDS = WINDOW_SECONDS + 2 * MAX_GAP_SECONDS
MAX_PANES = int(KEEP_SECONDS / PANE_SECONDS) + 2
#: A GPU whose samples are so far in the future was heard of through a clock that is wrong.
MAX_AHEAD_SECONDS = 3600.0
MAX_GPUS = 1000
MAX_PROCESSES = 4000
LONGEST_INCARNATION = 64

Sample = tuple[float, float]


@dataclass(frozen=True, slots=True)
class GpuEnergy:
    """One GPU or MIG slice. `reason` says why `joules_per_million_tokens` is None; the rest is over
    `covered_seconds`, None where there is no such stretch."""

    uuid: str
    name: str | None
    joules_per_million_tokens: float | None
    reason: str | None
    energy_joules: float | None = None
    tokens_embedded: int | None = None
    covered_seconds: float | None = None
    workers: int | None = None


class _Series:
    """A counter over time. What is kept does not depend on the order in which samples come."""

    __slots__ = ("_newest", "_panes")

    def __init__(self) -> None:
        self._panes: dict[int, Sample] = {}
        self._newest: Sample | None = None

    def add(self, time_seconds: float, value: float) -> None:
        sample, pane = (time_seconds, value), int(time_seconds // PANE_SECONDS)
        kept = self._panes.get(pane)
        if kept is None or sample < kept:
            self._panes[pane] = sample
        if self._newest is None or sample > self._newest:
            self._newest = sample
        if len(self._panes) > MAX_PANES:
            del self._panes[min(self._panes)]

    def samples(self) -> list[Sample]:
        """By time."""
        return sorted({*self._panes.values(), *(() if self._newest is None else (self._newest,))})

    @property
    def newest_seconds(self) -> float:
        return -math.inf if self._newest is None else self._newest[0]

    def prune(self, before_seconds: float) -> None:
        for pane in [pane for pane in self._panes if (pane + 1) * PANE_SECONDS <= before_seconds]:
            del self._panes[pane]


@dataclass(slots=True)
class _Process:
    """One run of a worker process on one GPU: its tokens, and whether it said goodbye."""

    tokens: _Series = field(default_factory=_Series)
    ended: bool = False


@dataclass(slots=True)
class _Gpu:
    name: str | None = None
    joules: _Series = field(default_factory=_Series)
    processes: dict[tuple[str, str], _Process] = field(default_factory=dict)
    heard_seconds: float = -math.inf
    #: The last heartbeat without the counter of joules, or without one of tokens, and why.
    no_joules: tuple[float, str] = (-math.inf, "")
    no_tokens: tuple[float, str] = (-math.inf, "")


class Energy:
    """Follows every GPU that heartbeats name."""

    def __init__(self) -> None:
        self._gpus: dict[str, _Gpu] = {}

    def add(self, event: HeartbeatEvent, before: HeartbeatEvent | None = None) -> None:
        """Take in a heartbeat. `before` is the one of the same worker before it: a process counts tokens from its
        start, and knows its GPU only when its model is loaded."""
        if not math.isfinite(event.time_seconds):
            return
        named = {gpu.uuid: gpu for gpu in event.gpus if gpu.uuid is not None}
        for uuid, sample in named.items():
            gpu = self._gpus.get(uuid)
            if gpu is None:
                if len(self._gpus) >= MAX_GPUS:
                    continue
                gpu = self._gpus[uuid] = _Gpu()
            gpu.heard_seconds = max(gpu.heard_seconds, event.time_seconds)
            gpu.name = sample.name or gpu.name
            self._add_joules(gpu, sample, event.time_seconds)
            self._add_tokens(gpu, event, before, len(named))

    def _add_joules(self, gpu: _Gpu, sample: GpuSample, time_seconds: float) -> None:
        joules = sample.energy_joules
        if _is_slice(sample.uuid or ""):
            # Whatever a sender says: a counter of the whole GPU is not a slice's.
            reason = "energy is measured for a whole GPU, not for a MIG slice of it"
        elif joules is None or not (math.isfinite(joules) and joules >= 0):
            reason = sample.missing.get("energy_joules") or sample.unavailable or "the worker gives no energy counter"
        else:
            gpu.joules.add(time_seconds, joules)
            return
        gpu.no_joules = max(gpu.no_joules, (time_seconds, reason))

    def _add_tokens(self, gpu: _Gpu, event: HeartbeatEvent, before: HeartbeatEvent | None, gpus: int) -> None:
        key, at = (event.worker, _incarnation(event)), event.time_seconds
        process = gpu.processes.get(key)
        if event.tokens_embedded is None:
            reason = f"worker {event.worker} does not count its tokens in heartbeats: it is of an older version"
        elif gpus > 1:
            reason = f"worker {event.worker} uses {gpus} GPUs, and its tokens cannot be told apart"
        elif process is None and sum(len(one.processes) for one in self._gpus.values()) >= MAX_PROCESSES:
            reason = f"more than {MAX_PROCESSES} worker processes use GPUs"
        else:
            if process is None:
                process = gpu.processes[key] = _Process()
                if before is not None and before.tokens_embedded is not None and _incarnation(before) == key[1]:
                    process.tokens.add(before.time_seconds, before.tokens_embedded)
            process.tokens.add(at, event.tokens_embedded)
            process.ended |= event.state == "stopping"
            return
        gpu.no_tokens = max(gpu.no_tokens, (at, reason))

    def tidy(self, now: float) -> None:
        """Forget what is older than any question."""
        for uuid, gpu in list(self._gpus.items()):
            if not now - KEEP_SECONDS <= gpu.heard_seconds <= now + MAX_AHEAD_SECONDS:
                del self._gpus[uuid]
                continue
            # By the senders' clock, which may not be ours.
            before = gpu.heard_seconds - KEEP_SECONDS
            gpu.joules.prune(before)
            for key, process in list(gpu.processes.items()):
                process.tokens.prune(before)
                if process.tokens.newest_seconds < before:
                    del gpu.processes[key]

    def rows(self, now: float) -> list[GpuEnergy]:
        """Every GPU, by its UUID."""
        return [_row(uuid, gpu, now) for uuid, gpu in sorted(self._gpus.items())]


def _row(uuid: str, gpu: _Gpu, now: float) -> GpuEnergy:
    joules = gpu.joules.samples()
    if now - gpu.heard_seconds > MAX_GAP_SECONDS:
        return GpuEnergy(uuid, gpu.name, None, f"no heartbeat for {now - gpu.heard_seconds:.0f} s")
    if not joules or gpu.no_joules[0] - joules[-1][0] > MAX_GAP_SECONDS:
        return GpuEnergy(uuid, gpu.name, None, gpu.no_joules[1])
    tokens = [process.tokens.samples() for process in gpu.processes.values()]
    start, end = _stretch(gpu, joules, tokens)
    covered = end - start
    if covered < MIN_COVERED_SECONDS:
        told = f"only {max(covered, 0.0):.0f} s are known yet; {MIN_COVERED_SECONDS:.0f} s are needed"
        recently = gpu.no_tokens[0] > end - MIN_COVERED_SECONDS
        return GpuEnergy(uuid, gpu.name, None, gpu.no_tokens[1] if recently else told)
    used = _value(joules, end) - _value(joules, start)
    # Exact, so that the order in which workers were first heard of does not show.
    embedded = math.fsum(_value(samples, end) - _value(samples, start) for samples in tokens)
    quotient = 1e6 * used / embedded if embedded >= 1 else None
    if embedded < 1:
        reason: str | None = f"no token was embedded in {covered:.0f} s"
    elif used <= 0 or quotient is None or not math.isfinite(quotient):
        quotient, reason = None, "the energy counter of this GPU does not count"
    else:
        reason = None
    return GpuEnergy(
        uuid,
        gpu.name,
        quotient,
        reason,
        energy_joules=used if math.isfinite(used) else None,
        tokens_embedded=round(embedded),
        covered_seconds=covered,
        workers=sum(samples[-1][0] >= start for samples in tokens),
    )


def _stretch(gpu: _Gpu, joules: list[Sample], tokens: list[list[Sample]]) -> tuple[float, float]:
    """First and last second of what is known of the GPU and of every worker on it; at most the window."""
    latest = joules[-1][0]
    # To where all have told their tokens. Who stopped, or is silent for too long, is not waited for.
    told = [
        process.tokens.newest_seconds
        for process in gpu.processes.values()
        if not process.ended and process.tokens.newest_seconds >= latest - MAX_GAP_SECONDS
    ]
    end = min([latest, *told])
    starts = [end - WINDOW_SECONDS, joules[0][0], gpu.no_tokens[0]]
    starts += [
        later for (earlier, before), (later, after) in pairwise(joules)
        if after < before - JITTER_JOULES or later - earlier > MAX_GAP_SECONDS
    ]  # fmt: skip
    for samples in tokens:
        first, embedded = samples[0]
        if embedded > 0:
            starts.append(first)  # how much of that was embedded before, and when, is not known
        starts += [later for (_, before), (later, after) in pairwise(samples) if after < before]
    return max(starts), end


def _value(samples: list[Sample], at: float) -> float:
    """The counter at a time: on a straight line between two samples, and as it was at the first or last beyond them."""
    index = bisect_right(samples, (at, math.inf))
    if index == 0:
        return samples[0][1]
    if index == len(samples):
        return samples[-1][1]
    (earlier, before), (later, after) = samples[index - 1], samples[index]
    return before + (after - before) * (at - earlier) / (later - earlier)


def _is_slice(uuid: str) -> bool:
    return uuid.startswith("MIG-")


def _incarnation(event: HeartbeatEvent) -> str:
    return event.event_id.rpartition(":")[0][-LONGEST_INCARNATION:]
