"""`embedwatch agents` that is killed, as by kill -9, around the first corrections of closed days that it publishes, or
around the first closed days with an event.

    python -m tests.harness.dying_agents before|after|before-day|after-day agents ...

`before`: the state that holds them is written, and the topic has none of them. `after`: the topic has them, and no
state says so. Only then is the command run, as a user would.
"""

from __future__ import annotations

import os
import signal
import sys

from embedwatch.cli import main
from embedwatch.events import CorrectionEvent, DayEvent
from stream_agents.app import FaustEdges


def die(when: str) -> None:
    if when.endswith("-day"):
        die_at_days(when)
        return
    publish = FaustEdges.publish_corrections

    async def publish_and_die(self: FaustEdges, corrections: list[CorrectionEvent]) -> None:
        if when == "after":
            await publish(self, corrections)
        os.kill(os.getpid(), signal.SIGKILL)

    FaustEdges.publish_corrections = publish_and_die  # type: ignore[method-assign]


def die_at_days(when: str) -> None:
    publish = FaustEdges.publish_days

    async def publish_and_die(self: FaustEdges, days: list[DayEvent]) -> None:
        if when == "after-day" or not any(day.scopes for day in days):
            await publish(self, days)
        if any(day.scopes for day in days):
            os.kill(os.getpid(), signal.SIGKILL)

    FaustEdges.publish_days = publish_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    die(sys.argv.pop(1))
    main()
