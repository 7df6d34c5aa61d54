"""Smooth pacing to a rate. Pure: `now` is an argument."""

from __future__ import annotations


class Pacer:
    """Texts at `per_second`, evenly. In any span of t seconds at most `per_second * (t + burst_seconds) + 1` pass.

    Time lost (a slow source, a broker that holds us up) is made up for no further than `burst_seconds`: a rate that
    is promised to a model must not be broken by a flood after a pause.
    """

    def __init__(self, per_second: float, now: float, *, burst_seconds: float = 0.05) -> None:
        if not 0 < per_second < float("inf"):
            raise ValueError(f"a rate above 0 is needed, not {per_second}")
        self._step_seconds = 1.0 / per_second
        self._burst_seconds = burst_seconds
        self._next = now

    def wait_seconds(self, now: float) -> float:
        """How long until the next text may go; 0 when it may go now."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """Counts one text that goes now."""
        self._next = max(self._next, now - self._burst_seconds) + self._step_seconds
