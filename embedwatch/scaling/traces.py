"""Arrivals over time to try a policy on: texts in each step. Pure; the same seed gives the same texts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
DAY_SECONDS = 86_400


def _constant(hours: Array, mean: float) -> Array:
    return np.full_like(hours, mean)


def _ramp(hours: Array, mean: float) -> Array:
    """From a fifth of the mean to nine fifths of it, over the whole trace."""
    part = hours / max(float(hours[-1]), 1e-9)
    return mean * (0.2 + 1.6 * part)


def _wave(hours: Array, mean: float) -> Array:
    """A day of people: lowest at 4, highest at 16 o'clock."""
    return mean * (1.0 - 0.8 * np.cos(2 * np.pi * (hours - 4.0) / 24.0))


def _burst(hours: Array, mean: float) -> Array:
    """Quiet, and each 3 hours ten minutes of 12 times as much, as when somebody starts a job."""
    busy = (hours % 3.0 >= 1.0) & (hours % 3.0 < 1.0 + 1 / 6)
    # Ten of 180 minutes are busy: the mean is as said.
    quiet = mean / (1.0 + 11.0 * 10.0 / 180.0)
    return np.where(busy, 12.0 * quiet, quiet)


def _hundred_million(hours: Array, mean: float) -> Array:
    """A day's wave with a bulk job at night and bursts by day."""
    job = (hours >= 1.0) & (hours < 3.0)
    shaped = _wave(hours, 1.0) + np.where(job, 4.0, 0.0) + 0.5 * _burst(hours, 1.0)
    return mean * shaped / float(np.mean(shaped))


#: Name: texts a second at each hour (from 0), for a mean.
SHAPES: dict[str, Callable[[Array, float], Array]] = {
    "constant": _constant,
    "ramp": _ramp,
    "wave": _wave,
    "burst": _burst,
    "day-100m": _hundred_million,
}


def trace(name: str, *, texts_per_s: float, seconds: int, step_seconds: float, seed: int = 1) -> Array:
    """Texts that arrive in each step. Raises KeyError for a name that is not in `SHAPES`.

    They arrive by chance (Poisson) around a rate that wanders by a tenth within minutes, as real ones do.
    """
    rng = np.random.default_rng(seed)
    steps = round(seconds / step_seconds)
    hours: Array = np.arange(steps, dtype=np.float64) * (step_seconds / 3600.0)
    rate = SHAPES[name](hours, texts_per_s)
    minutes = rng.normal(0.0, 0.1, steps // max(round(120 / step_seconds), 1) + 2)
    wander = np.interp(np.arange(steps) * step_seconds / 120.0, np.arange(len(minutes)), minutes)
    texts: Array = rng.poisson(np.maximum(rate * (1.0 + wander), 0.0) * step_seconds).astype(np.float64)
    return texts
