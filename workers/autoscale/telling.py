"""A decision in words, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workers.autoscale.steering import Decision, Moves, Place
from workers.slots import Slot


def words(decision: Decision) -> str:
    """In one line: from, to and why."""
    if decision.before == decision.after:
        return f"workers: {decision.after} stay: {decision.reason}"
    return f"workers: {decision.before} -> {decision.after}: {decision.reason}"


def document(decision: Decision, todo: Moves, *, now: float, dry_run: bool) -> dict[str, Any]:
    """For programs. `held`: nothing is known, so nothing changes; then what the agents ask for is null."""
    wish = decision.wish
    return {
        "time_seconds": now,
        "dry_run": dry_run,
        "from_workers": decision.before,
        "to_workers": decision.after,
        "held": decision.held,
        "reason": decision.reason,
        "limited_by": decision.limited_by,
        "agents": None if wish is None else {
            "desired_workers": wish.desired,
            "wanted_workers": wish.wanted,
            "cause": wish.cause,
            "limited_by": wish.limited_by,
        },
        "start": list(todo.start),
        "stop": list(todo.stop),
    }  # fmt: skip


def table(slots: Sequence[Slot], places: Sequence[Place], todo: Moves) -> list[str]:
    """Every place that has a worker or is to have one, and what is done with it."""
    rows = [("place", "device", "CPU threads", "what is done")]
    for slot, place in zip(slots, places, strict=True):
        what = (
            "start" if slot.name in todo.start
            else "stop" if slot.name in todo.stop
            else "keep" if place.state == "up" else ""
        )  # fmt: skip
        if what:
            rows.append((slot.name, slot.gpu or slot.device, str(slot.threads), what))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
