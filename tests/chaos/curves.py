"""Whether a curve is flat, and its picture. What computes here is pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: A straight line through fewer samples than this says nothing.
LEAST_SAMPLES = 10
#: Over the second half it may grow by so much of what it is, or by an amount that the caller allows.
MAX_GROWTH_PCT = 5.0


@dataclass(frozen=True, slots=True)
class Growth:
    """By the straight line of least squares through the second half: from `start` to `end` over `seconds`."""

    name: str
    start: float
    end: float
    seconds: float

    @property
    def pct(self) -> float:
        return 100.0 * (self.end - self.start) / self.start if self.start else 0.0

    def flat(self, allowed: float) -> bool:
        """It did not grow by more than `allowed`, nor by more than the share that is allowed to all."""
        return self.end - self.start <= max(allowed, self.start * MAX_GROWTH_PCT / 100.0)

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name, "start": round(self.start), "end": round(self.end), "pct": round(self.pct, 2),
            "seconds": round(self.seconds),
        }  # fmt: skip

    def __str__(self) -> str:
        return f"{self.name}: {self.start:,.0f} to {self.end:,.0f} ({self.pct:+.1f} %) in {self.seconds:.0f} s"


def growth(name: str, samples: Sequence[tuple[float, float]]) -> Growth | None:
    """Of (seconds, value) in order; None when there are too few."""
    half = samples[len(samples) // 2 :]
    if len(half) < LEAST_SAMPLES:
        return None
    times = np.array([at for at, _ in half])
    values = np.array([value for _, value in half])
    slope, offset = np.polyfit(times - times[0], values, 1)
    seconds = float(times[-1] - times[0])
    return Growth(name, float(offset), float(offset + slope * seconds), seconds)


def draw(path: Path, document: dict[str, Any]) -> None:
    """Memory, handles and texts behind, over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    samples = document["samples"]
    figure = Figure(figsize=(11, 9), layout="constrained")
    FigureCanvasAgg(figure)
    memory, handles, behind = figure.subplots(3, 1, sharex=True)
    names = sorted({name for sample in samples for name in sample["rss_bytes"]})
    for name in names:
        there = [sample for sample in samples if name in sample["rss_bytes"]]
        seconds = [sample["seconds"] for sample in there]
        memory.plot(seconds, [sample["rss_bytes"][name] / 2**20 for sample in there], label=name, linewidth=1)
        handles.plot(seconds, [sample["handles"][name] for sample in there], label=name, linewidth=1)
    seconds = [sample["seconds"] for sample in samples]
    behind.plot(seconds, [sample["behind"] for sample in samples], color="0.3", linewidth=1)
    memory.set_ylabel("memory (RSS), MiB")
    memory.legend(loc="center", fontsize=8, ncols=3)
    handles.set_ylabel("open handles")
    handles.set_yscale("log")
    behind.set_ylabel("texts sent and not counted")
    behind.set_xlabel("seconds")
    memory.set_title(f"{document['texts']:,} texts at {document['texts_per_s']:,.0f}/s through the whole flow")
    figure.savefig(path)
