"""`embedwatch report`: the text dashboard from live numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from embedwatch import completing, options
from embedwatch.settings import load


def report(
    config: options.ConfigFile = None,
    agents_url: Annotated[
        str | None,
        typer.Option(
            "--agents-url",
            envvar="EMBEDWATCH_REPORT_AGENTS_URL",
            help="Where the stream agents serve. Without it: from agents.web_host and agents.web_port.",
        ),
    ] = None,
    window_seconds: Annotated[
        int,
        typer.Option(
            "--window-seconds",
            envvar="EMBEDWATCH_REPORT_WINDOW_SECONDS",
            help="How far back performance and cache look: a multiple of 10 from 10 to 3600.",
        ),
    ] = 300,
    scope: Annotated[
        str,
        typer.Option(
            "--scope",
            envvar="EMBEDWATCH_REPORT_SCOPE",
            help="Whose numbers: all, model=NAME, tenant=NAME, or both.",
            autocompletion=completing.scopes,
        ),
    ] = "all",
    day: Annotated[
        str | None,
        typer.Option(
            "--day",
            envvar="EMBEDWATCH_REPORT_DAY",
            help="Print the ledger of a day instead: today, yesterday or a date such as 2026-07-14.",
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(
            "--timezone",
            "--tz",
            envvar="EMBEDWATCH_REPORT_TIMEZONE",
            help="With --day: the zone whose day is meant. It must be the one that the agents book in.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Print performance, cache, cost and queue as the stream agents see them now, or one day of the ledger.

    Exit codes: 0 done, 2 wrong option, 3 a day or scope of which nothing is known, 4 no agents.

    Examples: embedwatch report; embedwatch report --scope tenant=search --window-seconds 60;
    embedwatch report --json | jq .today.cost_nano_usd; embedwatch report --day yesterday --tz Europe/Berlin --json
    """
    import msgspec

    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.errors import ConfigError, InputError
    from embedwatch.report import check_day, check_zone, dashboard, day_page, holds_texts, ledger_row
    from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
    from embedwatch.scopes import scope_option, unknown_scope

    if window_seconds % PANE_SECONDS or not PANE_SECONDS <= window_seconds <= MAX_WINDOW_SECONDS:
        raise ConfigError(
            f"--window-seconds is a multiple of {PANE_SECONDS} from {PANE_SECONDS} to {MAX_WINDOW_SECONDS}, is "
            f"{window_seconds}"
        )
    key = scope_option(scope)
    if day is not None:
        check_day(day)
    if timezone is not None:
        check_zone(timezone)
    url = agents_url or default_url(load(config))
    live = day is None and timezone is None
    with AgentsApi(url) as api:
        found = api.summary(window_seconds, key) if live else ledger_row(api.ledger(key), day or "today", timezone)
        ready, reasons = api.ready()
        # A page of zeros would look like a scope in which nothing happened.
        if key != "all" and not holds_texts(found):
            known = api.scopes()
            if known is not None and key not in known:
                raise InputError(unknown_scope(key, known))
    if as_json:
        typer.echo(msgspec.json.encode({**found, "ready": ready, "not_ready_reasons": reasons}).decode())
        return
    typer.echo(dashboard(found) if live else day_page(found))
    if not ready:
        typer.echo(f"embedwatch: the agents are not ready: {'; '.join(reasons)}; the numbers may be partial", err=True)
