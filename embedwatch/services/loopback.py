"""What the embedded services have in common: a child process on one port of the loopback interface."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from embedwatch.errors import ConfigError, ConnectionFailed, EmbedwatchError
from embedwatch.processes import Child, free_port, port_answers

HOST = "127.0.0.1"
#: Between finding a free port and its use another program may take it.
_ATTEMPTS = 5


class PortInUse(ConnectionFailed):
    """The port the caller asked for is taken."""


class LoopbackService(ABC):
    """Start it with `start` or as a context manager, from the main thread; it ends when this process does.

    `folder` takes its log. Without `port` a free one is chosen, and another if that one was taken in between.
    What it holds is gone after `stop`.
    """

    name: str

    def __init__(self, folder: Path, *, port: int | None = None, start_timeout_seconds: float = 20.0) -> None:
        self.folder = folder
        self._fixed_port = port
        self._start_timeout_seconds = start_timeout_seconds
        self._port = port
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name.replace(' ', '-')}.log"

    @property
    def port(self) -> int:
        """It stays the same over `stop` and `start`. Raises `ConnectionFailed` while it is not known yet."""
        if self._port is None:
            raise ConnectionFailed(f"the {self.name} was not started")
        return self._port

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    def running(self) -> bool:
        return self._child is not None and self._child.running()

    def start(self) -> None:
        """Until it answers; does nothing while it runs.

        Raises `ConfigError` if it is not installed, `PortInUse`, or `ConnectionFailed` with its last words if it does
        not come up in time.
        """
        if self.running():
            return
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._start_timeout_seconds
        trouble: Exception | None = None
        for _ in range(_ATTEMPTS):
            port = self._fixed_port or free_port()
            if port_answers(port, HOST):
                if self._fixed_port:
                    raise PortInUse(
                        f"the {self.name} cannot start: port {port} of {HOST} is in use; choose another, or stop what "
                        "listens there"
                    )
                continue
            try:
                self._child = Child(self.name, self.command(port), self.log, self.environ(), cwd=self.folder)
                self.wait_until_ready(self._child, port, deadline - time.monotonic())
            except ConfigError:
                raise  # not installed: another port does not help
            except (EmbedwatchError, OSError) as error:  # OSError: a program for another kind of machine
                self.stop()
                trouble = error
                if self._fixed_port or not port_answers(port, HOST):
                    break  # it was not the port
            except BaseException:  # Ctrl-C while it starts: `__exit__` is not called then
                self.stop()
                raise
            else:
                self._port = self._fixed_port = port
                return
        why = str(trouble) if trouble else f"no free port of {HOST} found in {_ATTEMPTS} attempts"
        raise ConnectionFailed(f"the {self.name} does not start (log: {self.log}): {why}")

    def stop(self) -> None:
        """Ends it and everything it holds. Safe to call twice."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """The argument list that serves on this port."""

    def environ(self) -> dict[str, str | None]:
        """Changes to our own environment for the child; None removes a variable."""
        return {}

    @abstractmethod
    def wait_until_ready(self, child: Child, port: int, timeout_seconds: float) -> None:
        """Until the service, and nobody else on that port, answers. Raises `EmbedwatchError`."""
