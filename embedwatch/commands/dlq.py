"""`embedwatch dlq`: what could not be embedded, why, and back to work with it."""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedwatch import options
from embedwatch.errors import InputError
from embedwatch.settings import Settings, load

if TYPE_CHECKING:
    from embedwatch.dead_letters import Letter, Selection

app = typer.Typer(help="Dead letters: texts that could not be embedded.", no_args_is_help=True)

#: Consumer group that remembers how far `replay` without a filter has come.
REPLAY_GROUP = "embedwatch-dlq-replay"
SHOWN_CHARS = 2000
SEND_SECONDS = 60.0


def _option(name: str, help: str, *flags: str) -> Any:
    return typer.Option(
        *(flags or (f"--{name}",)), envvar=f"EMBEDWATCH_DLQ_{name.upper().replace('-', '_')}", help=help
    )


ErrorClass = Annotated[str | None, _option("class", "Only letters of this error class, e.g. invalid_utf8.")]
Tenant = Annotated[str | None, _option("tenant", "Only letters of this tenant.")]
Source = Annotated[str | None, _option("source", "Only letters of this source.")]
Model = Annotated[str | None, _option("model", "Only letters for this model.")]
TextId = Annotated[str | None, _option("id", "Only letters of this text.")]
Since = Annotated[str | None, _option("since", "Only letters since then: 2026-11-25T08:00 (UTC), or 30m, 6h, 2d ago.")]


@app.command("list", epilog="Example: embedwatch dlq list --class invalid_utf8 --since 6h")
def list_(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    error_class: ErrorClass = None,
    tenant: Tenant = None,
    source: Source = None,
    model: Model = None,
    text_id: TextId = None,
    since: Since = None,
    latest: Annotated[int, _option("latest", "How many of the latest are shown.")] = 20,
    as_json: Annotated[bool, _option("json", "Print every letter as a line of JSON instead.")] = False,
) -> None:
    """How many there are, of what kind, and the latest of them."""
    from embedwatch.dead_letters import Summary

    settings = _settings(config, bootstrap_servers, topic_prefix)
    chosen = _selection(error_class, tenant, source, model, text_id, since)
    summary, newest = Summary(), []  # type: ignore[var-annotated]
    for number, letter in enumerate(_letters(settings, chosen)):
        if as_json:
            typer.echo(json.dumps(letter.as_json(), ensure_ascii=False))
            continue
        summary.add(letter)
        heapq.heappush(newest, (letter.time_seconds or 0.0, number, letter))
        if len(newest) > max(0, latest):
            heapq.heappop(newest)
    if not as_json:
        _print_list(settings, summary, [letter for _, _, letter in sorted(newest, reverse=True)])


@app.command(epilog="Example: embedwatch dlq show 0:17; embedwatch dlq show --raw 0:17 > text.bin")
def show(
    place: Annotated[
        str,
        typer.Argument(envvar="EMBEDWATCH_DLQ_PLACE", help="The letter: PARTITION:OFFSET, as `dlq list` prints it."),
    ],
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    raw: Annotated[bool, _option("raw", "Print the bytes of the text, and nothing else.")] = False,
) -> None:
    """Everything that is known of one letter, and its text."""
    from embedwatch.dead_letters import Selection, places

    settings = _settings(config, bootstrap_servers, topic_prefix)
    wanted = places([place])
    ((partition, offset),) = wanted
    for letter in _letters(settings, Selection(places=wanted), {partition: offset}):
        if raw:
            sys.stdout.buffer.write(letter.value)
            return
        for name, value in letter.as_json().items():
            if value is not None:
                typer.echo(f"{name + ':':20} {_when(value) if name == 'time_seconds' else value}")
        text = letter.value.decode("utf-8", "backslashreplace")
        typer.echo("text:")
        typer.echo("".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text[:SHOWN_CHARS]))
        if len(text) > SHOWN_CHARS:
            typer.echo(f"... and {len(text) - SHOWN_CHARS:,} more characters: --raw prints all")
        return
    raise InputError(f"there is no dead letter {place} (any more): see `embedwatch dlq list`")


@app.command(epilog="Example: embedwatch dlq replay --class unknown_model --dry-run")
def replay(
    only: Annotated[
        list[str] | None,
        typer.Argument(envvar="EMBEDWATCH_DLQ_PLACES", help="Letters by PARTITION:OFFSET; all that are meant without."),
    ] = None,
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    error_class: ErrorClass = None,
    tenant: Tenant = None,
    source: Source = None,
    model: Model = None,
    text_id: TextId = None,
    since: Since = None,
    max_replays: Annotated[int, _option("max-replays", "Leave out texts that came back so often already.")] = 3,
    again: Annotated[bool, _option("again", "Also what an earlier replay without a filter has sent.")] = False,
    dry_run: Annotated[bool, _option("dry-run", "Only say what would be sent.")] = False,
    yes: Annotated[bool, _option("yes", "Do not ask.", "--yes", "-y")] = False,
) -> None:
    """Send letters back to the texts topic, with their bytes and ids as they were.

    Without a filter it remembers how far it came, and the next run goes on from there. With one it does not: the same
    letters are sent again by the next run. Mend the cause first: a text that fails again comes back.
    """
    from embedwatch import dead_letters, kafka

    settings = _settings(config, bootstrap_servers, topic_prefix)
    chosen = _selection(error_class, tenant, source, model, text_id, since, only or ())
    unfiltered = chosen == dead_letters.Selection()
    starts = _replayed(settings) if unfiltered and not again else {}
    sendable, left_out, ends = [], {"clipped": 0, "too often": 0}, dict(starts)
    for letter in _letters(settings, chosen, starts):
        ends[letter.partition] = letter.offset + 1
        if letter.clipped_from_bytes is not None:
            left_out["clipped"] += 1
        elif letter.replays >= max_replays:
            left_out["too often"] += 1
        else:
            sendable.append((letter.partition, letter.offset))
    if left_out["clipped"]:
        typer.echo(f"left out: {left_out['clipped']} whose text is clipped; its source offset has all of it", err=True)
    if left_out["too often"]:
        typer.echo(f"left out: {left_out['too often']} that came back {max_replays} times or more", err=True)
    typer.echo(f"{len(sendable)} dead letters {'would be' if dry_run else 'to be'} sent to {settings.topics.texts}")
    if dry_run or not sendable:
        return
    if not yes:
        typer.confirm("send them?", abort=True)
    meant, sent = set(sendable), 0
    client = kafka.producer(settings.kafka, "embedwatch-dlq-replay")
    try:
        waiting = []
        for letter in _letters(settings, chosen, starts):
            if (letter.partition, letter.offset) in meant:
                key, headers = dead_letters.replay(letter)
                waiting.append(client.send(settings.topics.texts, key=key, value=letter.value, headers=headers))
            if len(waiting) >= 500:
                sent += _acknowledged(client, waiting)
        sent += _acknowledged(client, waiting)
    except KeyboardInterrupt:
        typer.echo(f"stopped: {sent} sent and acknowledged, at most {len(waiting)} more on their way", err=True)
        raise
    finally:
        kafka.close_producer(client, 5.0)
    if unfiltered:
        _remember(settings, ends)
    typer.echo(f"{sent} sent and acknowledged")


def _acknowledged(client: Any, waiting: list[Any]) -> int:
    client.flush(SEND_SECONDS)
    for future in waiting:
        future.get(SEND_SECONDS)
    count = len(waiting)
    waiting.clear()
    return count


def _letters(settings: Settings, chosen: Selection, starts: dict[int, int] | None = None) -> Iterator[Letter]:
    from embedwatch.dead_letters import letter_of
    from embedwatch.reading import read_to_end

    for record in read_to_end(settings.kafka, settings.topics.dead_letters, starts=starts):
        letter = letter_of(record.partition, record.offset, record.key, record.value, record.headers)
        if chosen.takes(letter):
            yield letter


def _replayed(settings: Settings) -> dict[int, int]:
    """Offsets from which an unfiltered replay goes on."""
    from embedwatch import kafka

    admin = kafka.admin_client(settings.kafka)
    try:
        found = admin.list_group_offsets([REPLAY_GROUP]).get(REPLAY_GROUP, {})
    finally:
        admin.close()
    topic = settings.topics.dead_letters
    return {log.partition: entry.offset for log, entry in found.items() if log.topic == topic and entry.offset >= 0}


def _remember(settings: Settings, ends: dict[int, int]) -> None:
    from kafka.structs import OffsetAndMetadata

    from embedwatch import kafka

    client = kafka.consumer(settings.kafka, "embedwatch-dlq-replay", group=REPLAY_GROUP)
    try:
        logs = {kafka.TopicPartition(settings.topics.dead_letters, p): end for p, end in ends.items()}
        client.assign(list(logs))
        client.commit({log: OffsetAndMetadata(end, "", -1) for log, end in logs.items()}, timeout_ms=30_000)
    finally:
        client.close(autocommit=False)


def _print_list(settings: Settings, summary: Any, newest: list[Letter]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not summary.letters:
        typer.echo(f"no dead letters in {settings.topics.dead_letters}, or none that are meant")
        return
    typer.echo(
        f"{summary.letters} dead letters in {settings.topics.dead_letters}, "
        f"{_when(summary.first_seconds)} to {_when(summary.last_seconds)}"
    )
    for kind in ("class", "stage", "model", "tenant", "source"):
        counts = summary.by[kind].most_common()
        if kind in ("class", "stage") or len(counts) > 1:
            shown = ", ".join(f"{name} {count}" for name, count in counts[:8])
            typer.echo(f"  by {kind + ':':8} {shown}{f' and {len(counts) - 8} more' if len(counts) > 8 else ''}")
    table = Table("place", "text", "class", "why", title=f"the latest {len(newest)}", title_justify="left")
    for letter in newest:
        why = escape(letter.message[:120]) + (f" (replayed {letter.replays} x)" if letter.replays else "")
        table.add_row(letter.place, escape(letter.text_id[:60]), letter.error_class, why)
    Console().print(table)


def _when(seconds: float | None) -> str:
    return "unknown time" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _settings(config: Path | None, bootstrap_servers: str | None, topic_prefix: str | None) -> Settings:
    return load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})


def _selection(
    error_class: str | None, tenant: str | None, source: str | None, model: str | None, text_id: str | None,
    since: str | None, only: Any = (),
) -> Selection:  # fmt: skip
    from embedwatch.dead_letters import Selection, places

    since_seconds = None if since is None else since_time(since, datetime.now(UTC)).timestamp()
    return Selection(error_class, tenant, source, model, text_id, since_seconds, places(only))


def since_time(text: str, now: datetime) -> datetime:
    """`30m`, `6h`, `2d` before now, or a time in ISO form, in UTC unless it says otherwise. Raises `InputError`."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdecimal() and text[-1] in units:
        return now - timedelta(**{units[text[-1]]: min(int(text[:-1]), 10**6)})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"--since: {text!r} is neither a time like 2026-11-25T08:00 nor a span like 30m, 6h or 2d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
