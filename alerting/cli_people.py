"""`embedwatch alerts show | ack | snooze | history`: what people look up about alerts, and what they do about them."""

from __future__ import annotations

import getpass
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from embedwatch import completing, options
from embedwatch.errors import ConfigError, DeliveryError, InputError
from embedwatch.settings import Settings, load

if TYPE_CHECKING:
    from alerting.states import AlertState
    from embedwatch.events import AlertAction

POLL_SECONDS = 0.3
SEND_TIMEOUT_SECONDS = 15.0
MAX_LABEL_CHARS = 256
MAX_SNOOZE_SECONDS = 30 * 86_400.0


def _option(command: str, flag: str, help: str, **more: Any) -> Any:
    name = flag.lstrip("-").replace("-", "_").upper()
    return typer.Option(flag, envvar=f"EMBEDWATCH_ALERTS_{command}_{name}", help=help, **more)


AlertId = Annotated[
    str,
    typer.Argument(
        envvar="EMBEDWATCH_ALERTS_ID",
        help="The alert as `alerts list` prints it, or a part that only it has.",
        autocompletion=completing.alerts,
    ),
]
_NOTE = "What others should know; shown with the alert."
_BY = "Who you are; the name of the user by default."
_WAIT = "How long to wait until alerting has taken it; 0: not at all."


def show(
    alert: AlertId,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    as_json: options.AsJson = False,
) -> None:
    """Everything that is known of one alert: value, who was told, who acknowledged it, and how it came to be so."""
    from alerting.showing import as_lines

    state = find(_states(_settings(config, bootstrap_servers, topic_prefix)), alert)
    if as_json:
        typer.echo(msgspec.json.encode(state).decode())
    else:
        typer.echo("\n".join(as_lines(state)))


def history(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    since: Annotated[
        str, _option("HISTORY", "--since", "From when on: 2026-11-25T08:00 (UTC), or 30m, 6h, 2d ago.")
    ] = "1d",
    as_json: options.AsJson = False,
) -> None:
    """What happened to all alerts, oldest first: each change, why, and who did it. Of each alert the last 20."""
    from alerting.showing import happened, history_table
    from embedwatch.commands.dlq import since_time

    from_seconds = since_time(since, datetime.now(UTC)).timestamp()
    states = _states(_settings(config, bootstrap_servers, topic_prefix))
    found = happened(states.values(), from_seconds)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
    elif not found:
        typer.echo(f"nothing happened since {since}")
    else:
        from embedwatch import tables

        tables.show(history_table(found))


def ack(
    alert: AlertId,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    note: Annotated[str | None, _option("ACK", "--note", _NOTE)] = None,
    by: Annotated[str | None, _option("ACK", "--by", _BY)] = None,
    wait_seconds: Annotated[float, _option("ACK", "--wait-seconds", _WAIT, min=0, max=600)] = 10.0,
    as_json: options.AsJson = False,
) -> None:
    """Acknowledge an alert that fires: no reminders until it fires anew or becomes more severe; its end is told."""
    settings = _settings(config, bootstrap_servers, topic_prefix)
    _ask(settings, alert, "acknowledge", by, note, None, wait_seconds, as_json)


def snooze(
    alert: AlertId,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    span: Annotated[str, _option("SNOOZE", "--for", "For how long: 30m, 1h, 2d.")] = "1h",
    note: Annotated[str | None, _option("SNOOZE", "--note", _NOTE)] = None,
    by: Annotated[str | None, _option("SNOOZE", "--by", _BY)] = None,
    wait_seconds: Annotated[float, _option("SNOOZE", "--wait-seconds", _WAIT, min=0, max=600)] = 10.0,
    as_json: options.AsJson = False,
) -> None:
    """Silence one alert for a time: what still fires then is told again; its end is told at once."""
    from embedwatch.rules import duration

    settings = _settings(config, bootstrap_servers, topic_prefix)
    try:
        seconds = duration(span, "--for")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not 1 <= seconds <= MAX_SNOOZE_SECONDS:
        raise ConfigError(f"--for is between 1s and 30d, is {span[:20]!r}")
    _ask(settings, alert, "snooze", by, note, seconds, wait_seconds, as_json)


def find(states: dict[str, AlertState], wanted: str) -> AlertState:
    """By the whole id, or by a part of it that no other has. Raises `InputError`."""
    if wanted in states:
        return states[wanted]
    from alerting.wording import clean

    found = sorted(alert_id for alert_id in states if wanted and wanted in alert_id)
    if len(found) == 1:
        return states[found[0]]
    if not found:
        raise InputError(f"no alert {clean(wanted, 200)} is known; `embedwatch alerts list` shows those that are")
    names = ", ".join(clean(name, 100) for name in found[:5])
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    raise InputError(f"{clean(wanted, 200)} is a part of several alerts: {names}{more}; name one of them")


def _ask(
    settings: Settings, alert: str, do: Any, by: str | None, note: str | None, seconds: float | None, wait: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Outcomes for programs: `asked` (nobody was waited for, or nobody has taken it yet), `taken`, `taken_before`."""

    from alerting.wording import clean
    from embedwatch.events import AlertAction

    who = (by or _user()).strip()
    for flag, text in (("--by", who), ("--note", note or "")):
        if len(text) > MAX_LABEL_CHARS:
            raise ConfigError(f"{flag} has at most {MAX_LABEL_CHARS} characters, has {len(text)}")
    if not who:
        raise ConfigError("--by is empty: say who you are")
    state = find(_states(settings), alert)
    name = clean(state.alert_id, 200)
    if not state.active:
        raise InputError(f"{name} does not fire, it is {state.status}: nothing to {do}")
    now = time.time()
    until = None if seconds is None else now + seconds
    asked = AlertAction(uuid.uuid4().hex, now, state.alert_id, state.episode, do, who, "command", until, note or None)
    _publish(settings, asked)

    def tell(outcome: str, status: str, whose: str, words: str) -> None:
        told = {"alert_id": state.alert_id, "action": do, "outcome": outcome, "status": status, "by": whose}
        typer.echo(msgspec.json.encode({**told, "until_seconds": until}).decode() if as_json else words)

    if wait == 0:
        tell("asked", state.status, who, f"{name}: asked to {do}")
        return
    after = _until_taken(settings, asked, wait)
    mine = after is not None and after.act is not None and after.act.at_seconds == asked.time_seconds
    if after is not None and after.act is not None and not mine:
        # The first who takes it on has it; a snooze takes its place.
        by = clean(after.act.by, 100)
        words = f"{name}: {after.status} by {by} already; nothing changed, and your note is not kept"
        tell("taken_before", after.status, after.act.by, words)
    elif after is not None:
        tell("taken", after.status, who, f"{name}: {after.status} by {clean(who, 100)}")
    else:
        words = (
            f"{name}: asked to {do}, and not taken within {wait:g} s: it counts when `embedwatch alerts` runs, unless "
            "the alert is over by then"
        )
        tell("asked", state.status, who, words)


def _publish(settings: Settings, action: AlertAction) -> None:
    from kafka.errors import KafkaError

    from alerting import store
    from embedwatch.codec import encode
    from embedwatch.kafka import describe_error, drop_producer, producer

    store.make_topics(settings)
    client = producer(settings.kafka, "embedwatch-alerts-act", linger_ms=0)
    try:
        record = client.send(settings.topics.alert_actions, key=action.alert_id.encode(), value=encode(action))
        record.get(SEND_TIMEOUT_SECONDS)
    except KafkaError as error:
        raise DeliveryError(
            f"Kafka at {settings.kafka.bootstrap_servers}: it could not be asked for: {describe_error(error)}; "
            "try again",
            delivered=0,
        ) from None
    finally:
        drop_producer(client, 2)


def _until_taken(settings: Settings, action: AlertAction, wait_seconds: float) -> AlertState | None:
    """The alert once the act is part of it; None when the time is up or the alert went on without it."""
    from alerting import store

    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline:
        state = store.load(settings).get(action.alert_id)
        if state is None or state.episode != action.episode:
            return None
        if action.action_id in state.applied:
            return state
        time.sleep(POLL_SECONDS)
    return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user without a name
        return "somebody"


def _states(settings: Settings) -> dict[str, AlertState]:
    from alerting import store

    store.require_topics(settings)
    return store.load(settings)


def _settings(config: Path | None, bootstrap_servers: str | None, topic_prefix: str | None) -> Settings:
    return load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})
