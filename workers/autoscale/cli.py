"""`embedwatch autoscale`."""

from __future__ import annotations

import contextlib
import inspect
from dataclasses import replace
from typing import Annotated, Any

import typer

from embedwatch import options
from embedwatch.errors import ConfigError
from embedwatch.settings import Settings
from embedwatch.settings_metrics import ALLOWED_HELP, HOST_HELP, PORT_HELP, of_options
from workers import cli as worker_cli

_PANEL = "How many"
#: Options of this command in place of a worker's own.
_OWN = ("metrics_port", "metrics_host", "metrics_allowed_hosts")
#: Options of a worker that say how many there are, or when they end: here the agents do.
_DECIDED = ("processes", "max_texts", "idle_exit_seconds")
MAX_SLOTS = 1024


def _option(*flags: str, help: str, **more: Any) -> Any:
    name = flags[0].removeprefix("--").replace("-", "_").upper()
    return typer.Option(
        *flags, envvar=f"EMBEDWATCH_AUTOSCALE_{name}", help=help, rich_help_panel=_PANEL, show_default=False, **more
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def app(
    agents_url: Annotated[
        str | None,
        _option("--agents-url", help="Where the stream agents serve. Without it: agents.web_host and agents.web_port."),
    ] = None,
    least: Annotated[
        int | None,
        _option(
            "--min", min=0, max=MAX_SLOTS, help="Never fewer workers here. (default: scaling.min_workers, which is 1)"
        ),
    ] = None,
    most: Annotated[
        int | None, _option("--max", min=1, max=MAX_SLOTS, help="Never more workers. (default: the slots)")
    ] = None,
    slots: Annotated[
        int | None,
        _option(
            "--slots",
            min=1,
            max=MAX_SLOTS,
            help="Places for workers here. (default: those of --processes-per-gpu; else --max; else one a CPU)",
        ),
    ] = None,
    interval: Annotated[str, _option("--interval", help="How often the agents are asked. (default: 5s)")] = "5s",
    dry_run: Annotated[bool, _option("--dry-run", help="Print what would be done and why, and start nothing.")] = False,
    metrics_port: Annotated[
        int | None,
        _option(
            "--metrics-port",
            min=0,
            max=65535,
            help=f"{_capital(PORT_HELP)}. Those of workers: "
            "EMBEDWATCH_WORKER_METRICS_PORT, and one after the other from it.",
        ),
    ] = None,
    metrics_host: Annotated[
        str | None, _option("--metrics-host", help=f"{_capital(HOST_HELP)}. (default: 127.0.0.1)")
    ] = None,
    metrics_allowed_hosts: Annotated[
        str | None, _option("--metrics-allowed-hosts", help=f"{_capital(ALLOWED_HELP)}.")
    ] = None,
    as_json: options.AsJson = False,
    **worker: Any,
) -> None:
    """Run as many workers on this machine as the stream agents ask for.

    The agents say how many workers the queue needs (/api/v1/scaling); this command starts and stops worker processes to
    have them, within --min, --max and the slots of this machine. Without an answer, or without a number in it, all
    stays as it is. A worker that is stopped finishes what is in flight, the newest first; one that crashed starts
    again. It takes the options of `embedwatch worker`, and hands them on.

    One such command for a consumer group: two would each start all that is asked for. A second one on this machine is
    refused; workers that the agents hear of and that are not of this command are told.

    Exit codes: 0 stopped by SIGTERM or Ctrl-C, and all have drained, 2 wrong option; when no worker keeps running, that
    of the worker, as 4 no broker, 6 no model.

    Examples: embedwatch autoscale --max 8 --agents-url http://agents:6066;
    embedwatch autoscale --processes-per-gpu 1 --min 0; embedwatch autoscale --dry-run --json
    """
    import sys

    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.clock import SystemClock
    from embedwatch.rules import duration
    from workers.autoscale.hands import Ear
    from workers.autoscale.steering import Bounds
    from workers.members import pool

    try:
        interval_seconds = duration(interval, "--interval")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not 0.1 <= interval_seconds <= 3600:
        raise ConfigError(f"--interval {interval}: it is from 100ms to 1h")
    own = of_options(metrics_port, metrics_host, metrics_allowed_hosts)
    settings = worker_cli.read({**worker, **dict.fromkeys(_OWN)})
    _refuse_what_is_decided(settings)
    url = agents_url or default_url(settings)
    AgentsApi(url).close()  # a wrong address is told now
    if slots is None and settings.worker.processes_per_gpu is None:
        slots = most
    places = pool(settings, slots)
    bounds = Bounds(least or 0, len(places) if most is None else most, len(places))
    if least is None:  # that of the whole, of which this machine may be a part
        bounds = replace(bounds, least=min(settings.scaling.min_workers, bounds.cap))
    elif least > bounds.cap:
        what = f"--max {most}" if most is not None and most <= len(places) else f"the slots there are, {len(places)}"
        raise ConfigError(f"--min {least} is above {what}")
    clock = SystemClock()
    ear = Ear(group=settings.worker.group, topic=settings.topics.texts, interval_seconds=interval_seconds, clock=clock)
    if dry_run:
        from workers.autoscale import dry

        trial = dry.DryRun([slot for slot, _ in places], bounds, ear, clock, as_json=as_json)
        token = settings.agents.web_token
        dry.run(trial, url, interval_seconds, lambda line: print(line, file=sys.stdout, flush=True), token)
        return
    from workers.autoscale import asking
    from workers.autoscale.hands import Hands
    from workers.autoscale.only_one import lock_path, only_one
    from workers.autoscale.reporting import Reporter
    from workers.crew import supervise

    drain_seconds = settings.worker.drain_seconds
    asker = asking.member(url, interval_seconds, ear.hear, settings.agents.web_token)
    whose = (settings.kafka.bootstrap_servers, settings.worker.group)
    reporter = None if own.metrics_port is None else Reporter(lock_path(*whose).with_suffix(".json"), own)
    hands = Hands(
        [member for _, member in places], asker, bounds, ear, drain_seconds=drain_seconds, tell=_teller(as_json),
        clock=clock, reporter=reporter,
    )  # fmt: skip
    with only_one(*whose), contextlib.closing(reporter) if reporter else contextlib.nullcontext():
        code = supervise([], drain_seconds=drain_seconds, clock=clock, manage=hands)
    raise typer.Exit(code)


def _refuse_what_is_decided(settings: Settings) -> None:
    """They may stand in a file or a variable that is meant for `embedwatch worker`."""
    defaults = type(settings.worker)()
    for field in _DECIDED:
        if getattr(settings.worker, field) != getattr(defaults, field):
            raise ConfigError(
                f"worker.{field} is set, but under `embedwatch autoscale` the agents say how many workers there are "
                "and when one ends; take it out (--min, --max and --slots are the limits)"
            )


def _teller(as_json: bool) -> Any:
    """On the log in words; with `as_json` also on standard output."""
    import json
    import logging
    import time

    from workers.autoscale import telling
    from workers.autoscale.steering import Decision, Moves
    from workers.stopping import write_bounded

    log = logging.getLogger("workers.autoscale")

    def tell(decision: Decision, todo: Moves) -> None:
        quiet = decision.before != decision.after or not decision.held
        log.log(logging.INFO if quiet else logging.WARNING, "%s", telling.words(decision))
        if as_json:
            # Whoever reads it may have stopped reading: the workers are looked after all the same.
            line = json.dumps(telling.document(decision, todo, now=time.time(), dry_run=False))
            write_bounded(1, line.encode() + b"\n", 0.5)

    return tell


def _with_options_of_a_worker() -> None:
    """The signature that the command line is made from: our own options, then those of `embedwatch worker`."""
    own = inspect.signature(app, eval_str=True).parameters.values()
    theirs = inspect.signature(worker_cli.app, eval_str=True).parameters
    parameters = [each for each in own if each.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters += [each for name, each in theirs.items() if name not in (*_DECIDED, *_OWN)]
    app.__dict__["__signature__"] = inspect.Signature(parameters, return_annotation=None)
    app.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}


_with_options_of_a_worker()
