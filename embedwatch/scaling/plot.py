"""A run of the simulator as a picture: what arrived, how many worked, how long texts waited."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedwatch.errors import InputError
from embedwatch.scaling.simulator import Outcome
from embedwatch.scaling.traces import Array

POINTS = 2000


def draw(path: Path, title: str, step_seconds: float, runs: dict[str, Outcome]) -> None:
    """`runs` by what they are called; the first one's arrivals are drawn. The ending of `path` says which format.

    Raises `InputError` when it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    first = next(iter(runs.values()))
    hours = np.arange(len(first.arrivals)) * step_seconds / 3600.0
    every = max(len(hours) // POINTS, 1)
    top.plot(hours[::every], _smooth(first.arrivals / step_seconds, every), color="0.3", linewidth=1)
    top.set_ylabel("texts/s arriving")
    top.set_title(title)
    for name, run in runs.items():
        middle.plot(hours[::every], run.workers[::every], label=name, linewidth=1)
        bottom.plot(hours[::every], np.nan_to_num(run.waits[::every], nan=0.0), label=name, linewidth=1)
    middle.set_ylabel("workers")
    bottom.set_ylabel("wait, s")
    bottom.set_xlabel("hours")
    middle.legend(loc="upper left")
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {error}") from None


def _smooth(values: Array, every: int) -> Array:
    """The mean around each point drawn."""
    kernel = np.ones(every) / every
    out: Array = np.convolve(values, kernel, mode="same")[::every]
    return out
