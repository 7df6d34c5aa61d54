"""One `embedwatch autoscale` of a consumer group on a machine: two would each start all that is asked for.

The kernel keeps the lock and gives it back when its process ends, also by a kill -9: nothing is ever left to clean up.
Commands on other machines do not see it; whoever works without being of this command is noticed by `Others`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from embedwatch.errors import ConfigError

log = logging.getLogger("workers.autoscale")

#: Workers that were just stopped are counted for `scaling.silent_seconds` more, and those that drain work on.
PATIENCE_SECONDS = 120.0


def lock_path(servers: str, group: str, folder: Path | None = None) -> Path:
    """The same for all who would have workers in this group of this broker."""
    digest = hashlib.sha256(f"{servers}\0{group}".encode()).hexdigest()[:16]
    return (folder or Path(tempfile.gettempdir())) / f"embedwatch-autoscale-{os.getuid()}-{digest}.lock"


@contextlib.contextmanager
def only_one(servers: str, group: str, folder: Path | None = None) -> Iterator[None]:
    """Raises `ConfigError` while another one of the same group is alive here.

    Where no lock can be had at all (a folder that is not ours to write), it is said and gone on without.
    """
    path = lock_path(servers, group, folder)
    try:
        # Not followed: in a folder for everybody a link may lead anywhere.
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.warning("%s cannot be locked (%s): see that there is one autoscale of a group", path, error.strerror)
        yield
        return
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(held, 20).decode(errors="replace").strip()
            raise ConfigError(
                f"another `embedwatch autoscale` of group {group} runs here{f' (process {owner})' if owner else ''}: "
                "two would each start all that is asked for. Stop it, or give this one another --group"
            ) from None
        os.ftruncate(held, 0)
        os.pwrite(held, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(held)


class Others:
    """Workers that the agents hear of and that this command has not started. Pure; `now` is of a monotonic clock."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told = False

    def seen(self, heard_workers: int | None, here: int, now: float) -> int | None:
        """How many there are, once, when they have been there for long enough; None: nothing to tell."""
        if heard_workers is None:
            return None
        others = heard_workers - here
        if others <= 0:
            self._since, self._told = None, False
            return None
        self._since = now if self._since is None else self._since
        if self._told or now - self._since < PATIENCE_SECONDS:
            return None
        self._told = True
        return others
