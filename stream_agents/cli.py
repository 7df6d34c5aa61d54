"""`embedwatch agents`: run the stream agents until stopped; `embedwatch agents rebuild`: prove their ledger."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from embedwatch import logs, options
from embedwatch.rules import load_rules
from embedwatch.settings import load

log = logging.getLogger("agents")


app = typer.Typer()


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    rules: Annotated[Path | None, options.setting("agents", "rules", "--rules", "-r")] = None,
    web_host: Annotated[str | None, options.setting("agents", "web_host", help="address the HTTP API binds to")] = None,
    web_port: Annotated[int | None, options.setting("agents", "web_port", help="port of the HTTP API")] = None,
    timezone: Annotated[str | None, options.setting("budget", "timezone", "--timezone", "--tz")] = None,
    app_id: Annotated[
        str | None, options.setting("agents", "app_id", help="consumer group and name of the state")
    ] = None,
) -> None:
    """Turn metric events into windows, budgets and verdicts (Faust).

    Example: embedwatch agents -b broker:9092 --rules rules.yaml --timezone Europe/Berlin

    Serves the numbers at http://HOST:PORT/api/v1/summary and /metrics. Stops cleanly on Ctrl-C and SIGTERM; what was
    counted is in the state topic, and a restart goes on exactly there. Where Kafka does not answer, a stop takes 15 s
    at most, and a second signal ends it at once: what was not written is read again.
    """
    if context.invoked_subcommand is not None:
        return
    settings = load(
        config,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.topic_prefix": topic_prefix,
            "agents.rules": rules,
            "agents.web_host": web_host,
            "agents.web_port": web_port,
            "agents.app_id": app_id,
            "budget.timezone": timezone,
        },
    )
    logs.configure()
    judged = load_rules(settings.agents.rules)

    from stream_agents.serve import serve

    serve(settings, judged)


@app.command(epilog="Example: embedwatch agents rebuild -b broker:9092")
def rebuild(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    timezone: Annotated[str | None, options.setting("budget", "timezone", "--timezone", "--tz")] = None,
    app_id: Annotated[
        str | None, options.setting("agents", "app_id", help="consumer group and name of the state")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Replay the metric events into a fresh ledger, and compare it with the one that the agents keep.

    Agents may run meanwhile; nothing is changed. Days are those of the time zone that the agents run with. Ends with
    0 when every number of every day is the same, with 1 when one differs, with 3 when none differs but not all could
    be compared: events are no longer kept, or a state is missing.
    """
    settings = load(
        config,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.topic_prefix": topic_prefix,
            "agents.app_id": app_id,
            "budget.timezone": timezone,
        },
    )
    logs.configure()

    from embedwatch.clock import SystemClock
    from embedwatch.waiting_line import waiting
    from stream_agents.rebuilding import compare, what_is_missing

    with waiting("replaying the metric events", as_json) as tell:
        found = compare(settings, SystemClock().now(), lambda done_pct: tell(done_pct=done_pct))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        typer.echo(
            f"{found.events:,} events replayed, up to the offsets of {len(found.next_offsets)} partitions' states"
        )
        for day in found.days:
            wrong = [each for each in found.differences if each.day == day]
            typer.echo(f"{day}: {f'{len(wrong)} numbers differ' if wrong else 'the same'}")
            for each in wrong[:20]:
                typer.echo(f"  {each.scope} {each.number}: kept {each.kept}, rebuilt {each.rebuilt}")
        for line in what_is_missing(found, settings.topics.metrics):
            typer.echo(line)
    if found.differences:
        raise typer.Exit(1)
    if not found.saw_everything:
        raise typer.Exit(3)
