"""What is imported or loaded when it is first needed, perhaps in a thread of ours: a fork waits until it is done.

A child that is forked meanwhile would wait for ever for the locks of what was being imported: no thread of its own
holds them.
"""

from __future__ import annotations

import os
import threading

#: Held around each of these. Reentrant: one may lead to another.
loading = threading.RLock()
FORK_WAITS_SECONDS = 30.0


class _Forking(threading.local):
    waited = False


_forking = _Forking()


def _before_fork() -> None:
    _forking.waited = loading.acquire(timeout=FORK_WAITS_SECONDS)


def _after_fork() -> None:
    if _forking.waited:
        _forking.waited = False
        loading.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
