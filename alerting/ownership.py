"""Which partitions of the verdicts topic, and so which alerts, are ours at this moment."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from kafka import ConsumerRebalanceListener


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes what the group decides. kafka-python calls it from a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._settled = False
        self._changed = False

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        with self._lock:
            self._settled, self._changed = False, True

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        with self._lock:
            self._settled, self._changed = True, True

    def changed(self) -> bool:
        """Something changed that `take` has not told yet. Nothing may be stored then: it may be another's by now."""
        with self._lock:
            return self._changed

    def take(self) -> bool:
        """Whether the group has settled who has what; False while it is being rearranged."""
        with self._lock:
            self._changed = False
            return self._settled

    def again(self) -> None:
        """What was taken could not be acted on: it is news once more."""
        with self._lock:
            self._changed = True
