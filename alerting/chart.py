"""A picture of the last hour of the number an alert is about, with its limit. Pure: points in, PNG out.

It is made to be read on a phone: few marks, large letters, what was beyond the limit in red.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from io import BytesIO
from itertools import pairwise
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from alerting.wording import quantity

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 120, 30, 64, 48
TITLE_SIZE, LABEL_SIZE = 24, 18
PAPER, INK, QUIET, GRID = (255, 255, 255), (29, 28, 29), (97, 96, 97), (225, 225, 225)
LINE, BEYOND, LIMIT = (18, 100, 163), (224, 30, 90), (232, 145, 45)
LINE_WIDTH = 4
DASH = 12
ROWS = 4
TITLE_CHARS = 70
HOUR_SECONDS = 3600.0
#: Values of a window as the agents' API tells them, by metric.
_FIELDS: dict[str, tuple[str, ...]] = {
    "latency_p50_ms": ("performance", "latency_ms", "p50"),
    "latency_p95_ms": ("performance", "latency_ms", "p95"),
    "latency_p99_ms": ("performance", "latency_ms", "p99"),
    "latency_avg_ms": ("performance", "latency_ms", "avg"),
    "latency_max_ms": ("performance", "latency_ms", "max"),
    "error_rate_pct": ("performance", "error_rate_pct"),
    "queue_failing_pct": ("performance", "error_rate_pct"),
    "throughput_texts_per_s": ("performance", "throughput_texts_per_s"),
    "throughput_tokens_per_s": ("performance", "throughput_tokens_per_s"),
    "cache_hit_rate_pct": ("cache_hit_rate_pct",),
    "unpriced_tokens": ("unpriced_tokens",),
}
METRICS = frozenset(_FIELDS)


@dataclass(frozen=True, slots=True)
class Point:
    """`value` is None where there was nothing to measure."""

    at_seconds: float
    value: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """`above`: values above the limit are bad, else those below. Values and limit are in `unit`."""

    title: str
    points: Sequence[Point]
    threshold: float
    above: bool
    unit: str


def points(metric: str, windows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """From the rows of `/api/v1/windows`, the newest first there, the oldest first here: at most an hour of them."""
    path = _FIELDS.get(metric, ())
    found = []
    for window in reversed(windows):
        value: Any = window
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        known = isinstance(value, int | float) and math.isfinite(value) and bool(path)
        end = window.get("end_seconds")
        if isinstance(end, int | float) and math.isfinite(end):
            found.append(Point(float(end), float(value) if known else None))
    return [point for point in found if point.at_seconds > found[-1].at_seconds - HOUR_SECONDS]


def draw(chart: Chart, zone: tzinfo) -> bytes | None:
    """A PNG; times on the clock of `zone`. None where fewer than two values are known: there is nothing to see."""
    known = [p for p in chart.points if p.value is not None]
    if len(known) < 2 or known[0].at_seconds >= known[-1].at_seconds:
        return None
    frame = _Frame.around([p.value for p in known if p.value is not None], chart)
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    title, label = ImageFont.load_default(TITLE_SIZE), ImageFont.load_default(LABEL_SIZE)
    pen.text((LEFT, 16), chart.title[:TITLE_CHARS], font=title, fill=INK)
    for value in _round_values(frame.low, frame.high):
        y = frame.y(value)
        pen.line([(LEFT, y), (WIDTH - RIGHT, y)], fill=GRID)
        pen.text((LEFT - 10, y), quantity(value, chart.unit), font=label, fill=QUIET, anchor="rm")
    for at in _quarters(frame.start, frame.end):
        x = frame.x(at)
        pen.line([(x, TOP), (x, HEIGHT - BOTTOM)], fill=GRID)
        pen.text((x, HEIGHT - BOTTOM + 10), f"{datetime.fromtimestamp(at, zone):%H:%M}", font=label, fill=QUIET,
                 anchor="mt")  # fmt: skip
    y = frame.y(chart.threshold)
    for x in range(LEFT, WIDTH - RIGHT, 2 * DASH):
        pen.line([(x, y), (min(x + DASH, WIDTH - RIGHT), y)], fill=LIMIT, width=3)
    words = f"{'limit' if chart.above else 'minimum'} {quantity(chart.threshold, chart.unit)}"
    pen.text((WIDTH - RIGHT, y - 4), words, font=label, fill=LIMIT, anchor="rb")
    for first, second in pairwise(chart.points):
        _segment(pen, frame, first, second, chart)
    last = known[-1]
    _dot(pen, frame, last, chart)
    out = BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a time and a value stand in the picture."""

    start: float
    end: float
    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float], chart: Chart) -> _Frame:
        """Values and limit, and 0 where all are positive, with some room."""
        seen = [*values, chart.threshold]
        low, high = min(0.0, *seen), max(seen)
        room = (high - low) * 0.12 or abs(high) * 0.12 or 1.0
        return cls(chart.points[0].at_seconds, chart.points[-1].at_seconds, low, high + room)

    def x(self, at: float) -> float:
        return LEFT + (at - self.start) / (self.end - self.start) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _segment(pen: ImageDraw.ImageDraw, frame: _Frame, first: Point, second: Point, chart: Chart) -> None:
    """Nothing is drawn over a gap: what was not measured is not known."""
    if first.value is None or second.value is None:
        for point in (first, second):
            if point.value is not None:
                _dot(pen, frame, point, chart, 2)
        return
    start, end = (frame.x(first.at_seconds), frame.y(first.value)), (frame.x(second.at_seconds), frame.y(second.value))
    beyond = [_beyond(value, chart) for value in (first.value, second.value)]
    if beyond[0] == beyond[1]:
        pen.line([start, end], fill=BEYOND if beyond[0] else LINE, width=LINE_WIDTH)
        return
    share = (chart.threshold - first.value) / (second.value - first.value)
    middle = (start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1]))
    pen.line([start, middle], fill=BEYOND if beyond[0] else LINE, width=LINE_WIDTH)
    pen.line([middle, end], fill=BEYOND if beyond[1] else LINE, width=LINE_WIDTH)


def _dot(pen: ImageDraw.ImageDraw, frame: _Frame, point: Point, chart: Chart, radius: int = 6) -> None:
    if point.value is not None:
        x, y = frame.x(point.at_seconds), frame.y(point.value)
        fill = BEYOND if _beyond(point.value, chart) else LINE
        pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)


def _beyond(value: float, chart: Chart) -> bool:
    return value > chart.threshold if chart.above else value < chart.threshold


def _round_values(low: float, high: float) -> Iterator[float]:
    """About `ROWS` values that people would choose: multiples of 1, 2 or 5 and a power of ten."""
    rough = (high - low) / ROWS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((each * power for each in (1, 2, 5) if each * power >= rough), 10 * power)
    for count in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield count * step


def _quarters(start: float, end: float) -> Iterator[float]:
    """Each quarter of an hour of Unix time, or fewer where the picture is of a longer time."""
    step = 900 * max(1, math.ceil((end - start) / 900 / 8))
    at = math.ceil(start / step) * step
    while at <= end:
        yield float(at)
        at += step
