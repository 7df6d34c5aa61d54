"""What the person in front of the screen chose: order, cursor, pause. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from console.model import Alert, Worker
from console.spark import BLOCKS, Glyphs

#: Windows that the key goes through, in seconds.
WINDOWS = (10, 60, 300, 900, 3600)
ListName = Literal["alerts", "workers"]
#: Orders by list; the first is the one at the start.
ORDERS: dict[ListName, tuple[str, ...]] = {
    "alerts": ("worst first", "newest first", "by name"),
    "workers": ("by name", "busiest GPU first", "longest silent first"),
}

_STATUS = ("firing", "breached", "no_data", "acknowledged", "snoozed", "pending", "resolved")
_SEVERITY = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Look:
    """`cursors`: the row that is chosen, by list; it names an alert or a worker, so that it stays when rows move."""

    glyphs: Glyphs = BLOCKS
    focus: ListName = "alerts"
    alerts_order: str = ORDERS["alerts"][0]
    workers_order: str = ORDERS["workers"][0]
    alert: str | None = None
    worker: str | None = None
    paused: bool = False
    note: str = ""
    interactive: bool = True

    def order(self, name: ListName) -> str:
        return self.alerts_order if name == "alerts" else self.workers_order

    def next_order(self) -> Look:
        orders = ORDERS[self.focus]
        after = orders[(orders.index(self.order(self.focus)) + 1) % len(orders)]
        return replace(self, alerts_order=after) if self.focus == "alerts" else replace(self, workers_order=after)

    def other_list(self) -> Look:
        return replace(self, focus="workers" if self.focus == "alerts" else "alerts")

    def chosen(self, name: ListName) -> str | None:
        return self.alert if name == "alerts" else self.worker

    def at(self, name: ListName, names: list[str]) -> str | None:
        """The row of a list that the cursor is on; `names` are its rows in order.

        The first until one was chosen. When the chosen one has gone it is none: what a key does to a row would else be
        done to another than the one that was looked at.
        """
        now = self.chosen(name)
        if now is None:
            return names[0] if names else None
        return now if now in names else None

    def on(self, name: ListName, row: str) -> Look:
        """With the cursor of a list on this row, wherever that goes."""
        return replace(self, alert=row) if name == "alerts" else replace(self, worker=row)

    def moved(self, names: list[str], by: int) -> Look:
        """The cursor of the list in focus, `by` rows on; `names` are its rows in order."""
        if not names:
            return self
        now = self.at(self.focus, names)
        # From a row that has gone to the first.
        at = 0 if now is None else min(max(names.index(now) + by, 0), len(names) - 1)
        return self.on(self.focus, names[at])


def next_window(seconds: int) -> int:
    """The next longer one, after the longest the shortest."""
    return next((length for length in WINDOWS if length > seconds), WINDOWS[0])


def alerts_in_order(rows: Iterable[Alert], order: str) -> list[Alert]:
    def rank(known: tuple[str, ...], word: str) -> int:
        return known.index(word) if word in known else len(known)

    def newest(row: Alert) -> float:
        return -(row.since_seconds or 0.0)

    if order == "by name":
        return sorted(rows, key=lambda row: (row.title, row.scope, row.alert_id))
    if order == "newest first":
        return sorted(rows, key=lambda row: (newest(row), row.alert_id))
    return sorted(
        rows,
        key=lambda row: (rank(_STATUS, row.status), rank(_SEVERITY, row.severity), newest(row), row.alert_id),
    )


def workers_in_order(rows: Iterable[Worker], order: str) -> list[Worker]:
    if order == "busiest GPU first":
        return sorted(rows, key=lambda row: (-_busiest(row), row.name))
    if order == "longest silent first":
        return sorted(rows, key=lambda row: (-(row.silent_seconds or 0.0), row.name))
    return sorted(rows, key=lambda row: row.name)


def _busiest(row: Worker) -> float:
    """One whose use is not known comes last."""
    return max((gpu.utilization_pct for gpu in row.gpus if gpu.utilization_pct is not None), default=-1.0)
