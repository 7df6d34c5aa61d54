"""`embedwatch agents`: run the stream agents until stopped; `embedwatch agents rebuild`: prove their ledger."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from embedwatch import logs, options
from embedwatch.rules import load_rules
from embedwatch.settings import Settings, load

log = logging.getLogger("agents")


app = typer.Typer()
AppId = Annotated[str | None, options.setting("agents", "app_id", help="consumer group and name of the state")]


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
    app_id: AppId = None,
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
    app_id: AppId = None,
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


@app.command(epilog="Example: embedwatch agents save state.jsonl.gz -b broker:9092")
def save(
    file: Annotated[Path, typer.Argument(envvar="EMBEDWATCH_AGENTS_SAVE_FILE", help="what to write; replaced whole")],
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    app_id: AppId = None,
    as_json: options.AsJson = False,
) -> None:
    """Write what agents and alerting know to a file: sums of the days kept, closed days and windows, alerts, silences.

    They may run meanwhile. `agents restore` brings it back.
    """
    settings = _settings(config, bootstrap_servers, topic_prefix, app_id)

    from embedwatch.clock import SystemClock
    from embedwatch.waiting_line import waiting
    from stream_agents.saving import save as write

    with waiting("reading what is known", as_json) as say:
        found = write(settings, file, SystemClock().now(), say)
    if as_json:
        typer.echo(msgspec.json.encode({"file": str(file), "records": found}).decode())
        return
    typer.echo(f"{file}: {', '.join(f'{count:,} of {topic}' for topic, count in found.items())}")


@app.command(epilog="Example: embedwatch agents restore state.jsonl.gz -b broker:9092")
def restore(
    file: Annotated[Path, typer.Argument(envvar="EMBEDWATCH_AGENTS_RESTORE_FILE", help="what `agents save` wrote")],
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    app_id: AppId = None,
    log_is: Annotated[
        Literal["same", "new"] | None,
        typer.Option(
            "--log",
            envvar="EMBEDWATCH_AGENTS_RESTORE_LOG",
            help="whether the metrics topic is the one that was counted; looked up without it",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Bring back what `agents save` wrote, before agents and alerting are started. A topic that has records is left as
    it is, and a state is never mixed with another one.

    Where the metrics topic is the same, what came since is counted from it. Where it is a new one, as on another
    cluster, all of it is counted on top of what the file says: copies of old events must not be in it.
    """
    settings = _settings(config, bootstrap_servers, topic_prefix, app_id)

    from embedwatch.waiting_line import waiting
    from stream_agents.saving import restore as bring_back

    with waiting("bringing back what was known", as_json) as say:
        found, left, decided = bring_back(settings, file, log_is, say)
    if as_json:
        typer.echo(msgspec.json.encode({"records": found, "left": left, "log": decided}).decode())
        return
    typer.echo(f"brought back: {', '.join(f'{count:,} of {topic}' for topic, count in found.items())}")
    for topic in left:
        typer.echo(f"left as it is, since it has records: {topic}")
    typer.echo(
        "the metrics topic is the one that was counted: agents go on where they were"
        if decided == "same"
        else "the metrics topic is a new one: agents count all of it on top"
    )


def _settings(
    config: Path | None, bootstrap_servers: str | None, topic_prefix: str | None, app_id: str | None
) -> Settings:
    return load(
        config,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.topic_prefix": topic_prefix,
            "agents.app_id": app_id,
        },
    )
