"""Run the Faust worker in this process, with our logging and our exit codes."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys

from embedwatch.clock import SystemClock
from embedwatch.errors import ConfigError, EmbedwatchError
from embedwatch.hosts import is_loopback
from embedwatch.rules import Rule
from embedwatch.settings import Settings
from stream_agents.app import build
from stream_agents.quiet import calm_libraries
from stream_agents.stopping import BoundedStop, StoppableWorker

log = logging.getLogger("agents")


def serve(settings: Settings, rules: tuple[Rule, ...]) -> None:
    """Until SIGTERM or Ctrl-C, which is obeyed within `stopping.STOP_SECONDS`; ends the process after it.

    Raises `ConfigError` or `ConnectionFailed` before the start, `EmbedwatchError` when the state cannot be used.
    """
    port = bindable_port(settings.agents.web_host, settings.agents.web_port)
    settings = settings.model_copy(update={"agents": settings.agents.model_copy(update={"web_port": port})})
    with contextlib.ExitStack() as ending:
        _serve(settings, rules, ending)


def _serve(settings: Settings, rules: tuple[Rule, ...], ending: contextlib.ExitStack) -> None:
    app, runtime, sampler = build(settings, rules, ending)
    # Faust logs every service of ours under our module's name, as it starts and stops.
    logging.getLogger("stream_agents.transport").setLevel(max(logging.WARNING, logging.getLogger().level))
    calm_libraries(SystemClock())
    if settings.agents.web_token is None and not is_loopback(settings.agents.web_host):
        log.warning(
            "agents: whoever reaches %s:%d may ask everything: EMBEDWATCH_AGENTS_WEB_TOKEN is not set",
            settings.agents.web_host, settings.agents.web_port,
        )  # fmt: skip
    log.info("agents: starting with %d rules; joining the group takes some seconds", len(rules))
    sampler.start()
    worker = StoppableWorker(app, quiet=True, loglevel="warn", redirect_stdouts=False, override_logging=False)

    def leave(code: int) -> None:
        """At once: of all that a process does at its end, only this."""
        try:
            ending.close()
        finally:
            os._exit(code)

    worker.stop_within = BoundedStop(lambda: runtime.pending_records, SystemClock(), leave=leave)
    worker.spinner = None  # it writes terminal codes into files, too
    code = 0
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sampler.stop()
    if runtime.failure is not None:
        raise EmbedwatchError(runtime.failure)
    log.info("agents: stopped after %d flushes", runtime.flushes)
    sys.exit(code)


def bindable_port(host: str, port: int) -> int:
    """The port, or a free one for 0. Raises `ConfigError` when it cannot be had: Faust would end in a stack trace."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port just left is free
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise ConfigError(
            f"the HTTP API cannot listen at {host}:{port}: {error.strerror or error}; "
            "choose others with --web-host and --web-port"
        ) from None
