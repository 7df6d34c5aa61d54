"""`embedwatch alerts` that is killed, as by kill -9, at one step of the first message to Slack.

    python -m tests.harness.dying_alerts before_storing|marked_sent|stands_still alerts ...

`before_storing`: it is decided that an alert fires, and nothing of it is stored. `marked_sent`: Slack has taken the
message and that is stored, and the verdict's offset is not committed, as never before. `stands_still` is not killed but
stopped, as by SIGSTOP, when Slack has refused a message: it has asked the group, and what it is about to write is in
its hand. Only then is the command run, as a user would.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from alerting.digest_books import Books
from alerting.membership import Membership
from alerting.states import AlertState
from alerting.store import DeadLetter, Store
from embedwatch.cli import main


def die(when: str) -> None:
    save = Store.save
    stood: list[bool] = []

    def save_and_die(
        self: Store,
        states: Mapping[str, AlertState | None],
        letters: Sequence[DeadLetter] = (),
        books: Mapping[str, Books | None] = MappingProxyType({}),
    ) -> None:
        known = [state for state in states.values() if state is not None]
        if when == "before_storing" and any(state.owed for state in known):
            os.kill(os.getpid(), signal.SIGKILL)
        if when == "stands_still" and any("slack" in state.troubles for state in known) and not stood:
            stood.append(True)
            os.kill(os.getpid(), signal.SIGSTOP)
        save(self, states, letters, books)
        if when == "marked_sent" and any("slack" in state.told for state in known):
            os.kill(os.getpid(), signal.SIGKILL)

    def commit_nothing(self: Membership, client: Any) -> None:
        """The time for it has not come."""

    Store.save = save_and_die  # type: ignore[method-assign]
    if when == "marked_sent":
        Membership.commit = commit_nothing  # type: ignore[method-assign]


if __name__ == "__main__":
    die(sys.argv.pop(1))
    main()
