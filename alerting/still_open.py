"""What a receiver was told that fires and is not over. Some forget what is not said again; they are told here.

This is no news: it is owed to nobody, stored nowhere, and an attempt that fails is made up for by the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from alerting.engine import Engine
from alerting.message import compose
from alerting.parcels import Parcel, pack
from alerting.states import AlertState, Facts, Kind, Owed


@runtime_checkable
class Forgetful(Protocol):
    """A receiver that has to be told again. Both are called from the service's thread and never wait."""

    @property
    def name(self) -> str:
        """As in `Receiver`."""

    def due(self, monotonic: float) -> bool:
        """Whether it is time."""

    def keep_open(self, parcels: Sequence[Parcel], monotonic: float) -> None:
        """All that fires now. What is told to it afterwards is newer."""


class StillOpen:
    """Those of the receivers that forget."""

    def __init__(self, receivers: Iterable[object]) -> None:
        self._forgetful = [each for each in receivers if isinstance(each, Forgetful)]

    def tick(self, engine: Engine, monotonic: float, dashboard_url: str | None) -> None:
        """Only while the engine's alerts are settled, and before anything that it has decided is sent."""
        for receiver in self._forgetful:
            if receiver.due(monotonic):
                receiver.keep_open(still_open(engine.mine(), receiver.name, dashboard_url), monotonic)


def still_open(states: Mapping[str, AlertState], receiver: str, dashboard_url: str | None = None) -> list[Parcel]:
    """A parcel for each alert of which `receiver` believes rightly that it fires. Pure."""
    found = []
    for alert_id, state in states.items():
        told = state.told.get(receiver)
        if not state.active or told is None or not told.open or told.episode != state.episode:
            continue
        kind: Kind = "no_data" if state.status == "no_data" else "repeat"
        owed = Owed(0, receiver, kind, state.episode, state.changed_at_seconds, _facts(state))
        found.append(pack(alert_id, owed, compose(owed, dashboard_url), None))
    return found


def _facts(state: AlertState) -> Facts:
    fired = state.changed_at_seconds if state.fired_at_seconds is None else state.fired_at_seconds
    return Facts(
        breach=state.breach or state.verdict,
        since_seconds=fired if state.breached_since_seconds is None else state.breached_since_seconds,
        fired_at_seconds=fired,
        latest_value=state.verdict.value if state.verdict.judgement in ("ok", "breached") else None,
        worst_value=state.worst_value,
        reason=state.reason,
        act=state.act,
    )
