"""Arrivals as they were: from lag samples of the metrics topic, or from a file. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from embedwatch.errors import InputError
from embedwatch.events import LagEvent, ScalingEvent
from embedwatch.scaling.traces import Array

MAX_SECONDS = 31 * 86_400.0
#: Of a file: what is larger counts nothing that there is.
LARGEST = 1e12


class Recorder:
    """Ends of the log by partition, sample by sample, and the texts of a message."""

    def __init__(self, group: str, topic: str) -> None:
        self._group, self._topic = group, topic
        self._ends: dict[int, list[tuple[float, int]]] = {}
        self._texts = self._messages = 0
        #: Texts a second of one busy worker, as decisions about workers went by it last; None: none told.
        self.capacity_texts_per_s: float | None = None

    @property
    def partitions(self) -> int:
        return len(self._ends)

    def add(self, event: LagEvent | ScalingEvent) -> None:
        if isinstance(event, ScalingEvent):
            if (event.group, event.topic) == (self._group, self._topic) and event.capacity_texts_per_s:
                self.capacity_texts_per_s = event.capacity_texts_per_s
            return
        if (event.group, event.topic) != (self._group, self._topic) or event.log_end_offset is None:
            return
        self._ends.setdefault(event.partition, []).append((event.time_seconds, event.log_end_offset))
        if event.lag_texts and event.lag_messages:
            self._texts, self._messages = self._texts + event.lag_texts, self._messages + event.lag_messages

    def arrivals(self, step_seconds: float) -> Array:
        """Texts in each step from the first sample to the last. Raises `InputError` when there are too few samples."""
        each = self._texts / self._messages if self._messages else 1.0
        times = [at for samples in self._ends.values() for at, _ in samples]
        if not times or max(times) - min(times) < 10 * step_seconds:
            raise InputError(
                f"there are no lag samples of {self._topic} and {self._group} over {10 * step_seconds:g} s or more; "
                "stream agents write them while they run"
            )
        days = (max(times) - min(times)) / 86_400
        if days * 86_400 > MAX_SECONDS:
            raise InputError(f"the lag samples span {days:,.0f} days; at most 31 are read")
        edges = np.arange(min(times), max(times), step_seconds)
        total = np.zeros(len(edges) - 1)
        for samples in self._ends.values():
            samples.sort()
            at, ends = np.array([t for t, _ in samples]), np.array([float(end) for _, end in samples])
            # A topic made anew begins at 0: what went before stays before.
            total += np.maximum(np.diff(np.interp(edges, at, ends)), 0.0)
        return total * each


def from_rows(rows: Iterable[Mapping[str, str]], step_seconds: float, name: str) -> Array:
    """Rows with `seconds` and `texts` (that arrived at that moment). Raises `InputError` with the line."""
    at: list[float] = []
    texts: list[float] = []
    for number, row in enumerate(rows, 2):
        seconds, count = _number(row.get("seconds")), _number(row.get("texts"))
        if seconds is None or count is None or count < 0:
            raise InputError(f"{name}, line {number}: needs the columns `seconds` and `texts`, both numbers")
        at.append(seconds)
        texts.append(count)
    if not at:
        raise InputError(f"{name}: there is no row in it")
    begin = min(at)
    if max(at) - begin > MAX_SECONDS:
        raise InputError(f"{name}: it spans {(max(at) - begin) / 86_400:,.0f} days; at most 31 are simulated")
    steps = int((max(at) - begin) // step_seconds) + 1
    if not sum(texts):
        raise InputError(f"{name}: no text arrives in it")
    out: Array = np.bincount(
        np.array([int((one - begin) // step_seconds) for one in at]), weights=np.array(texts), minlength=steps
    ).astype(np.float64)
    return out


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if abs(number) <= LARGEST else None
