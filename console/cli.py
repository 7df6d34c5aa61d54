"""`embedwatch top`: the numbers of the stream agents in a terminal."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from typing import Annotated, Any

import msgspec
import typer

from embedwatch import options
from embedwatch.errors import ConfigError, InputError
from embedwatch.settings import Settings, load

MAX_LABEL_CHARS = 256
#: Of `--once`, where no terminal says how wide it is.
PLAIN_WIDTH = 80
#: Somebody sits there and waits for the key that was pressed.
CONNECT_SECONDS = 3.0
#: Terminals that have no colours but can place the cursor.
MONOCHROME = ("vt52", "vt100", "vt102", "vt220", "vt320", "ansi-mono", "xterm-mono")


def _option(flag: str, help: str, **more: Any) -> Any:
    name = flag.lstrip("-").replace("-", "_").upper()
    return typer.Option(flag, envvar=f"EMBEDWATCH_TOP_{name}", help=help, **more)


def app(
    config: options.ConfigFile = None,
    agents_url: Annotated[
        str | None,
        _option("--agents-url", "Where the stream agents serve. Without it: from agents.web_host and agents.web_port."),
    ] = None,
    scope: Annotated[str, _option("--scope", "Whose numbers: all, model=NAME, tenant=NAME, or both.")] = "all",
    window_seconds: Annotated[
        int, _option("--window-seconds", "How far back speed and cache look: a multiple of 10 from 10 to 3600.")
    ] = 300,
    once: Annotated[bool, _option("--once", "Print one frame as text and end.")] = False,
    as_json: options.AsJson = False,
    plain: Annotated[bool, _option("--ascii", "Draw with ASCII characters only.")] = False,
    by: Annotated[str | None, _option("--by", "Who acknowledges and snoozes; the name of the user by default.")] = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
) -> None:
    """Watch latency, cost, queue, workers and alerts in the terminal, once a second.

    It asks the stream agents over HTTP; only acknowledge and snooze need Kafka, and the view goes on without it. `?`
    shows the keys. NO_COLOR is heeded; what colours say is also said in words.

    Exit codes: 0 done, also after Ctrl-C and SIGTERM, 2 wrong option, no terminal or a missing package, 3 a scope of
    which nothing is known, 4 no agents.

    Examples: embedwatch top; embedwatch top --scope tenant=search --window-seconds 60; embedwatch top --once;
    embedwatch top --json | jq .latency_ms.p95
    """
    from console.frame import frame, text
    from console.link import Link
    from console.look import Look
    from console.model import view
    from console.source import ApiSource, Wish
    from console.spark import ASCII, BLOCKS
    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.clock import SystemClock
    from embedwatch.report import holds_texts
    from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
    from embedwatch.scopes import scope_option, unknown_scope

    if window_seconds % PANE_SECONDS or not PANE_SECONDS <= window_seconds <= MAX_WINDOW_SECONDS:
        raise ConfigError(
            f"--window-seconds is a multiple of {PANE_SECONDS} from {PANE_SECONDS} to {MAX_WINDOW_SECONDS}, is "
            f"{window_seconds}"
        )
    wish = Wish(scope_option(scope), window_seconds)
    who = _who(by)
    settings = load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})
    url = agents_url or default_url(settings)
    clock = SystemClock()
    live = not once and not as_json
    with AgentsApi(url, token=settings.agents.web_token) as api:
        if live:
            _need_terminal()
            import textual  # noqa: F401  (before the agents are asked: a missing package is told first)
        source = ApiSource(api, clock)
        reading = source.read(wish)
        if wish.scope != "all" and not holds_texts(dict(reading.summary)):
            known = api.scopes()
            if known is not None and wish.scope not in known:
                raise InputError(unknown_scope(wish.scope, known))
        found, link = view(api.url, reading), Link().answered(clock.now())
        look = Look(glyphs=ASCII if plain else BLOCKS, interactive=live)
        if as_json:
            typer.echo(msgspec.json.encode(found).decode())
        elif once:
            width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
            typer.echo(text(frame(found, api.url, link, look, clock.now(), width, None)))
        else:
            raise typer.Exit(_watch(settings, url, source, wish, who, look, (link, found)))


def _watch(settings: Settings, url: str, source: Any, wish: Any, who: str, look: Any, first: Any) -> int:
    from console.acting import Acts
    from console.app import TopApp, run
    from console.source import ApiSource
    from embedwatch.agents_api import AgentsApi
    from embedwatch.clock import SystemClock
    from embedwatch.logs import quieten_kafka

    quieten_kafka()

    def acts(told: Any) -> Acts:
        from embedwatch.acts import ActWriter  # kafka-python takes a while to import

        hasty = settings.kafka.model_copy(update={"connect_timeout_seconds": CONNECT_SECONDS})
        return Acts(ActWriter(settings.model_copy(update={"kafka": hasty}), client_id="embedwatch-top"), told)

    clock = SystemClock()
    with AgentsApi(url, token=settings.agents.web_token) as second:
        shown = TopApp(source, ApiSource(second, clock), acts, who, wish, clock, look, first)
        return run(shown, no_colour=bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "") in MONOCHROME)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _need_terminal() -> None:
    """Raises `ConfigError` where nothing can be drawn."""
    term = os.environ.get("TERM", "")
    if not _is_terminal():
        raise ConfigError("this is no terminal to draw on: `embedwatch top --once` prints one frame, --json the values")
    if term in ("", "dumb", "unknown"):
        raise ConfigError(
            f"TERM is {term!r}: such a terminal cannot place the cursor. `embedwatch top --once` prints one frame; or "
            "set TERM to what the terminal is, such as xterm or vt100"
        )


def _who(by: str | None) -> str:
    try:
        who = (getpass.getuser() if by is None else by).strip()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        who = "somebody"
    if not who:
        raise ConfigError("--by is empty: say who you are")
    if len(who) > MAX_LABEL_CHARS:
        raise ConfigError(f"--by has at most {MAX_LABEL_CHARS} characters, has {len(who)}")
    return who
