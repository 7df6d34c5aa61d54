"""`embedwatch autoscale --dry-run`: each decision as it would be, and nothing is started."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from pydantic import SecretStr

from embedwatch.clock import Clock
from workers.autoscale import asking, telling
from workers.autoscale.hands import Ear
from workers.autoscale.steering import Bounds, Helm, Moves, Place, moves
from workers.slots import Slot


class DryRun:
    """The places as they would be had everything been done at once; workers of this machine are not looked for."""

    def __init__(self, slots: Sequence[Slot], bounds: Bounds, ear: Ear, clock: Clock, *, as_json: bool) -> None:
        self._slots = slots
        self._helm = Helm(bounds)
        self._ear = ear
        self._clock = clock
        self._as_json = as_json
        self._places = [Place(slot.name) for slot in slots]
        self._starts = 0

    def look(self, ask: Callable[[], dict[str, object]]) -> list[str]:
        """Ask once; the lines to print."""
        self._ear.hear(json.dumps(ask()).encode())
        decision = self._helm.turn(self._ear.heard())
        todo = moves(self._helm.target, self._places, self._helm.bounds)
        now = self._clock.now()
        if self._as_json:
            lines = [json.dumps(telling.document(decision, todo, now=now, dry_run=True))]
        else:
            lines = [telling.words(decision)]
            if todo.start or todo.stop:
                lines += [f"  {row}" for row in telling.table(self._slots, self._places, todo)]
        self._do(todo)
        return lines

    def _do(self, todo: Moves) -> None:
        for index, place in enumerate(self._places):
            if place.name in todo.start:
                self._starts += 1
                self._places[index] = Place(place.name, "up", self._starts)
            elif place.name in todo.stop:
                self._places[index] = Place(place.name)


def run(
    dry: DryRun, url: str, interval_seconds: float, say: Callable[[str], None], token: SecretStr | None = None
) -> None:
    """Until SIGTERM or Ctrl-C."""
    import time

    from embedwatch.agents_api import AgentsApi
    from embedwatch.processes import stop_on_signals

    with stop_on_signals() as stop, AgentsApi(url, token=token, timeout_seconds=asking.TIMEOUT_SECONDS) as api:
        while stop.signum is None:
            for line in dry.look(lambda: asking.ask(api)):
                say(line)
            due = time.monotonic() + interval_seconds
            while stop.signum is None and (left := due - time.monotonic()) > 0:
                time.sleep(min(left, 0.2))
