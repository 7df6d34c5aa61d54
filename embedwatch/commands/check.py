"""`embedwatch check`: configuration and connections, before something depends on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedwatch import options
from embedwatch.settings import load

if TYPE_CHECKING:
    from embedwatch.checks import Check

_STYLE = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def check(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    cache_url: options.CacheUrl = None,
    rules: Annotated[Path | None, options.setting("agents", "rules", "--rules", "-r")] = None,
    model: Annotated[str | None, options.setting("worker", "model", "--model", "-m")] = None,
    show_settings: Annotated[
        bool,
        typer.Option(
            "--show-settings",
            envvar="EMBEDWATCH_CHECK_SHOW_SETTINGS",
            help="Only print every setting with its environment variable and its value (secrets hidden).",
        ),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Check settings, rules, scaling, broker, topics, cache, disk, model, receivers and agents, and say what to do.

    Nothing is changed or sent. What failed or will hurt has the command or setting that mends it below.

    Exit codes: 0 nothing failed, 2 a mistake in settings or rules, 4 something that does not answer, 6 no such model.
    Of several it is the lowest.

    Examples: embedwatch check; embedwatch check -c embedwatch.yaml --json; embedwatch check --show-settings
    """
    overrides = {
        "kafka.bootstrap_servers": bootstrap_servers,
        "kafka.topic_prefix": topic_prefix,
        "cache.url": cache_url,
        "agents.rules": rules,
        "worker.model": model,
    }
    import logging

    import msgspec

    from embedwatch.checks import Check, run_all
    from embedwatch.waiting_line import waiting

    if show_settings:
        _list_settings(config, overrides, as_json)
        return
    settings = load(config, overrides)
    # Clients tell each attempt; one line says what came of it.
    logging.basicConfig(level=logging.CRITICAL)
    where = f"read from {config}" if config else "no --config file: environment and defaults"
    found = [Check("settings", "ok", where)]
    if not as_json:
        _show(found[0])
    results = run_all(settings)
    while True:
        # The line goes before a result is printed: it stands on the other stream, but on the same screen.
        with waiting("checking", as_json):
            result = next(results, None)
        if result is None:
            break
        found.append(result)
        if not as_json:
            _show(result)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    # The lowest: a mistake of ours is mended first, and what does not answer may be its consequence.
    code = min((result.exit_code for result in found if result.exit_code), default=0)
    if code:
        raise typer.Exit(code)


def _list_settings(config: Path | None, overrides: dict[str, Any], as_json: bool) -> None:
    import msgspec

    from embedwatch.errors import ConfigError
    from embedwatch.settings import Settings, listed

    trouble: ConfigError | None = None
    try:
        settings = load(config, overrides)
    except ConfigError as error:
        # Who mistyped a name comes here to look it up.
        settings, trouble = Settings(), error
    rows = listed(settings)
    if as_json:
        typer.echo(msgspec.json.encode([{"env": env, "value": value} for env, value, _ in rows]).decode())
    else:
        for env, value, meaning in rows:
            typer.echo(f"{env}={value}" + (f"  # {meaning}" if meaning else ""))
    if trouble is not None:
        raise trouble


def _show(result: Check) -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((f"{result.state:8}", _STYLE[result.state]), f" {result.name:13} {result.detail}")
    Console(soft_wrap=True).print(line)
    if result.fix:
        Console(soft_wrap=True).print(Text(f"{'':22} -> {result.fix}"))
