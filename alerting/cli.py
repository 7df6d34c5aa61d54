"""`embedwatch alerts`: run the service, try the receivers, list the alerts; more commands are in `cli_people`."""

from __future__ import annotations

import contextlib
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from alerting import cli_people
from embedwatch import logs, options
from embedwatch.errors import ConfigError, DeliveryError
from embedwatch.settings import Settings, load

app = typer.Typer(invoke_without_command=True)

_Channel = Annotated[str | None, options.setting("alerts", "slack_channel")]
_ApiUrl = Annotated[str | None, options.setting("alerts", "slack_api_url")]
_Console = Annotated[bool | None, options.setting("alerts", "console", "--console/--no-console")]
_Dashboard = Annotated[str | None, options.setting("alerts", "dashboard_url")]
_SendTimeout = Annotated[float | None, options.setting("alerts", "send_timeout_seconds")]


@app.callback(epilog="Example: EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN=xoxb-... embedwatch alerts --slack-channel '#on-call'")
def run(
    context: typer.Context,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    group: Annotated[str | None, options.setting("alerts", "group", help="consumer group of the service")] = None,
    slack_channel: _Channel = None,
    slack_api_url: _ApiUrl = None,
    console: _Console = None,
    dashboard_url: _Dashboard = None,
    repeat_interval_seconds: Annotated[float | None, options.setting("alerts", "repeat_interval_seconds")] = None,
    no_data_grace_seconds: Annotated[float | None, options.setting("alerts", "no_data_grace_seconds")] = None,
    no_data_resolve_seconds: Annotated[float | None, options.setting("alerts", "no_data_resolve_seconds")] = None,
    forget_after_seconds: Annotated[float | None, options.setting("alerts", "forget_after_seconds")] = None,
    bundle_from: Annotated[int | None, options.setting("alerts", "bundle_from")] = None,
    cap_posts: Annotated[int | None, options.setting("alerts", "cap_posts")] = None,
    cap_seconds: Annotated[float | None, options.setting("alerts", "cap_seconds")] = None,
    slack_charts: Annotated[
        bool | None, options.setting("alerts", "slack_charts", "--slack-charts/--no-slack-charts")
    ] = None,
    agents_url: Annotated[str | None, options.setting("alerts", "agents_url")] = None,
    timezone: Annotated[
        str | None,
        options.setting("budget", "timezone", "--timezone", "--tz", help="IANA zone of the digest and of tomorrow"),
    ] = None,
    send_timeout_seconds: _SendTimeout = None,
    metrics_port: Annotated[int | None, options.setting("alerts", "metrics_port")] = None,
    metrics_host: Annotated[str | None, options.setting("alerts", "metrics_host")] = None,
    metrics_allowed_hosts: Annotated[str | None, options.setting("alerts", "metrics_allowed_hosts")] = None,
    drain_seconds: Annotated[float | None, options.setting("alerts", "drain_seconds")] = None,
) -> None:
    """Turn verdicts into alerts and tell Slack: one message per problem, and when it is over.

    Without a command it runs until SIGTERM or Ctrl-C.

    The bot token (EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN) and the webhook address (EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL) are
    taken from the environment or the --config file only: a command line can be read by others. A bot token edits its
    message in place and answers in its thread; a webhook can only post.
    """
    given = dict(locals())
    if given.pop("context").invoked_subcommand is not None:
        if given.pop("config") is not None or any(value is not None for value in given.values()):
            raise ConfigError("options stand after the command: embedwatch alerts list --config FILE")
        return
    settings = _settings(given)
    logs.configure()
    from alerting.wiring import run as run_service

    run_service(settings)


@app.command("test", epilog="Example: embedwatch alerts test --receiver slack")
def try_receivers(
    config: options.ConfigFile = None,
    slack_channel: _Channel = None,
    slack_api_url: _ApiUrl = None,
    console: _Console = None,
    send_timeout_seconds: _SendTimeout = None,
    receiver: Annotated[
        list[str] | None,
        typer.Option(
            "--receiver", "-r", help="Only this receiver; may be given again.", envvar="EMBEDWATCH_ALERTS_TEST_RECEIVER"
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Send a marked test message through each receiver, and say in words what failed. Needs no Kafka."""
    from alerting.parcels import SendFailed, trial
    from alerting.sending import bug
    from alerting.wiring import receivers

    given = dict(locals())
    wanted = receiver or []
    settings = _settings({name: given[name] for name in _TEST_OPTIONS})
    logs.configure()
    found = receivers(settings)
    unknown = sorted(set(wanted) - {r.name for r in found})
    if unknown:
        raise ConfigError(f"no receiver {', '.join(unknown)} is configured; there are: {', '.join(_names(found))}")
    chosen = [r for r in found if not wanted or r.name in wanted]
    failures: list[str] = []
    outcomes: list[dict[str, Any]] = []
    number = secrets.token_hex(8)
    for each in chosen:
        failure = None
        try:
            # With JSON on standard output, what the console prints goes beside it.
            with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
                each.send(trial(each.name, number))
        except SendFailed as error:
            failure = error
        except Exception as error:  # of one must not keep the others from being tried
            failure = bug(error)
        why = None if failure is None else failure.reason
        outcomes.append({"receiver": each.name, "address": each.address, "delivered": why is None, "reason": why})
        if failure is None:
            if not as_json:
                typer.echo(f"{each.name}: delivered to {each.address}")
        else:
            failures.append(f"{each.name}: not delivered to {each.address}: {failure.reason}")
    if as_json:
        typer.echo(msgspec.json.encode(outcomes).decode())
    if failures:
        raise DeliveryError("\n".join(failures), delivered=len(chosen) - len(failures))


@app.command("list", epilog="Example: embedwatch alerts list --json | jq '.[] | select(.status == \"firing\")'")
def list_(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    as_json: options.AsJson = False,
) -> None:
    """Alerts as they stand: what fires, since when, and messages that could not be delivered yet."""
    settings = _settings({"config": config, "bootstrap_servers": bootstrap_servers, "topic_prefix": topic_prefix})
    from alerting import store
    from alerting.listing import as_table, in_order

    store.require_topics(settings)
    states = in_order(store.load(settings).values())
    if as_json:
        typer.echo(msgspec.json.encode(states).decode())
    elif not states:
        typer.echo("no alert is known")
    else:
        from embedwatch import tables

        tables.show(as_table(states))


app.command("show", epilog="Example: embedwatch alerts show latency_p95_ms")(cli_people.show)
app.command("ack", epilog="Example: embedwatch alerts ack latency_p95_ms --note 'a deploy, looking'")(cli_people.ack)
app.command("snooze", epilog="Example: embedwatch alerts snooze queue_depth --for 2h")(cli_people.snooze)
app.command("history", epilog="Example: embedwatch alerts history --since 6h")(cli_people.history)

_TEST_OPTIONS = ("config", "slack_channel", "slack_api_url", "console", "send_timeout_seconds")
_KAFKA = ("bootstrap_servers", "topic_prefix")


def _settings(given: dict[str, Any]) -> Settings:
    config: Path | None = given.pop("config")
    sections = {name: ("kafka" if name in _KAFKA else "alerts") for name in given}
    return load(config, {f"{sections[name]}.{name}": value for name, value in given.items()})


def _names(found: list[Any]) -> list[str]:
    return [receiver.name for receiver in found]
