"""Run the Faust worker in this process, with our logging and our exit codes."""

from __future__ import annotations

import logging
import sys

import faust

from embedwatch.rules import Rule
from embedwatch.settings import Settings
from stream_agents.app import build

log = logging.getLogger("agents")


def serve(settings: Settings, rules: tuple[Rule, ...]) -> None:
    """Until SIGTERM or Ctrl-C. Raises `ConnectionFailed` before the start, ends the process after it."""
    app, runtime, sampler = build(settings, rules)
    log.info("agents: starting with %d rules; joining the group takes some seconds", len(rules))
    sampler.start()
    worker = faust.Worker(app, quiet=True, loglevel="warn", redirect_stdouts=False, override_logging=False)
    code = 0
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sampler.stop()
    log.info("agents: stopped after %d flushes", runtime.flushes)
    sys.exit(code)
