"""`embedwatch report`: the text dashboard from live numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from embedwatch import options
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
            help="How far back performance and cache look: a multiple of 10 up to 3600.",
        ),
    ] = 300,
    scope: Annotated[
        str,
        typer.Option(
            "--scope", envvar="EMBEDWATCH_REPORT_SCOPE", help="Whose numbers: all, model=NAME, tenant=NAME, or both."
        ),
    ] = "all",
    as_json: options.AsJson = False,
) -> None:
    """Print performance, cache, cost and queue as the stream agents see them now.

    Exit code 4 when no agents answer.

    Examples: embedwatch report; embedwatch report --scope tenant=search --window-seconds 60;
    embedwatch report --json | jq .today.cost_nano_usd
    """
    import msgspec

    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.report import dashboard

    url = agents_url or default_url(load(config))
    with AgentsApi(url) as api:
        summary = api.summary(window_seconds, scope)
        ready, reasons = api.ready()
    if as_json:
        typer.echo(msgspec.json.encode({**summary, "ready": ready, "not_ready_reasons": reasons}).decode())
        return
    typer.echo(dashboard(summary))
    if not ready:
        typer.echo(f"embedwatch: the agents are not ready: {'; '.join(reasons)}; the numbers may be partial", err=True)
