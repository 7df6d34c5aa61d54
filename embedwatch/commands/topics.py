"""`embedwatch topics`: create and list what the flow needs."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.table import Table

from embedwatch import options, tables
from embedwatch.settings import load

app = typer.Typer(help="Create and list the topics of the flow.", no_args_is_help=True)


@app.command(epilog="Example: embedwatch topics create -b broker:9092 --partitions 24 --replication-factor 3")
def create(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    partitions: Annotated[int | None, options.setting("kafka", "partitions")] = None,
    replication_factor: Annotated[int | None, options.setting("kafka", "replication_factor")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Create the topics that are missing; those that exist stay as they are."""
    from embedwatch.kafka import create_topics

    settings = load(
        config,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.topic_prefix": topic_prefix,
            "kafka.partitions": partitions,
            "kafka.replication_factor": replication_factor,
        },
    )
    done = create_topics(settings.kafka, settings.topics.specs())
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    for name, state in done.items():
        typer.echo(f"{state:8} {name}")


@app.command("list")
def list_(
    config: options.ConfigFile = None, topic_prefix: options.TopicPrefix = None, as_json: options.AsJson = False
) -> None:
    """The topics that embedwatch defines: what each holds, who writes it and how long it is to be kept.

    Asks no broker, so it does not say which of them exist: `embedwatch check` holds the broker's topics against these,
    with their partitions and configuration.
    """
    settings = load(config, {"kafka.topic_prefix": topic_prefix})
    if as_json:
        rows = [
            {**msgspec.to_builtins(spec), "partitions": spec.partitions or settings.kafka.partitions}
            for spec in settings.topics.specs()
        ]
        typer.echo(msgspec.json.encode(rows).decode())
        return
    table = Table("topic", "key", "value", "written by", "cleanup", "kept")
    for spec in settings.topics.specs():
        table.add_row(spec.name, spec.key, spec.value, spec.written_by, spec.cleanup_policy, spec.kept())
    tables.show(table)
