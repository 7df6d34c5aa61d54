"""Where the time of a window went, and how often each kind of error came.

Events carry sums by phase, so that there is a mean by phase and no percentile.
"""

from __future__ import annotations

from embedwatch.events import PHASES, WORKING_PHASES
from stream_agents.compute.windows import Totals


def phase_rows(totals: Totals) -> dict[str, dict[str, float | None]]:
    """By phase: seconds in all, mean milliseconds a batch and a text, share of the working time; None: nothing to tell.

    A batch is a whole one, also where only some of its texts are of the scope: the seconds are their part of it, and so
    is what they are divided by. Waiting in the queue is no work (`WORKING_PHASES`) and has no share; its mean a text is
    over the texts that tell how long they waited.
    """
    working = sum(totals.phase_seconds[phase] for phase in WORKING_PHASES)
    rows: dict[str, dict[str, float | None]] = {}
    for phase in PHASES:
        seconds = totals.phase_seconds[phase]
        if phase not in WORKING_PHASES:
            rows[phase] = {
                "seconds": seconds, "per_batch_ms": None, "per_text_ms": totals.queue_wait.mean(), "share_pct": None,
            }  # fmt: skip
            continue
        rows[phase] = {
            "seconds": seconds,
            "per_batch_ms": 1000.0 * seconds / totals.batch_share if totals.batch_share else None,
            "per_text_ms": 1000.0 * seconds / totals.texts if totals.texts else None,
            "share_pct": 100.0 * seconds / working if working else None,
        }
    return rows


def error_rates_pct(totals: Totals) -> dict[str, float]:
    """Texts without a vector, by class of error, of all texts; only the classes that came. All but `cancelled` add up
    to the error rate."""
    if not totals.texts:
        return {}
    return {name: 100.0 * count / totals.texts for name, count in sorted(totals.errors.items())}
