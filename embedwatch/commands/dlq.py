"""`embedwatch dlq`: what could not be embedded, why, and back to work with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from embedwatch import options
from embedwatch.errors import ConfigError, InputError
from embedwatch.events import ERROR_CLASSES
from embedwatch.report import counted
from embedwatch.settings import Settings, load

if TYPE_CHECKING:
    from embedwatch.dead_letters import Latest, Letter, Selection, Summary
    from embedwatch.offset_ranges import OffsetRanges
    from embedwatch.replaying import Plan, Sent

app = typer.Typer(help="Dead letters: texts that could not be embedded.", no_args_is_help=True)

SHOWN_CHARS = 2000
#: Below it a row of the list takes several lines.
WIDE = 120


def _option(name: str, help: str, *flags: str, **more: Any) -> Any:
    return typer.Option(
        *(flags or (f"--{name}",)), envvar=f"EMBEDWATCH_DLQ_{name.upper().replace('-', '_')}", help=help, **more
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
    latest: Annotated[int, _option("latest", "How many of the latest are shown.", min=0, max=10_000)] = 20,
    as_json: Annotated[bool, _option("json", "Print every letter in a JSON array instead, one a line.")] = False,
    out: Annotated[
        Path | None, _option("out", "Write the lines of JSON to this file; it appears when it is whole.")
    ] = None,
) -> None:
    """How many there are, of what kind, and the latest of them."""
    from embedwatch.dead_letters import Latest, Summary
    from embedwatch.offset_ranges import OffsetRanges
    from embedwatch.replaying import records
    from embedwatch.waiting_line import waiting

    settings = _settings(config, bootstrap_servers, topic_prefix)
    chosen = _selection(error_class, tenant, source, model, text_id, since)
    summary, newest, taken, sent = Summary(), Latest(latest), OffsetRanges(), OffsetRanges()
    every = 0
    prints = as_json and out is None
    opening = "["
    with _lines_to(out) as lines, waiting(f"reading {settings.topics.dead_letters}", prints) as tell:
        for found in records(settings, told=lambda done_pct: tell(done_pct=done_pct)):
            if isinstance(found, OffsetRanges):
                sent.update(found)
                continue
            every += 1
            if not chosen.takes(found):
                continue
            if prints:
                # As an array it is one document, also when it is empty; it is written as it is read.
                typer.echo(f"{opening}{json.dumps(found.as_json(), ensure_ascii=False)}", nl=False)
                opening = ",\n"
            elif out is not None:
                print(json.dumps(found.as_json(), ensure_ascii=False), file=lines)
            taken.add(found.partition, found.offset)
            summary.add(found)
            newest.add(found)
    if prints:
        typer.echo("]" if opening != "[" else "[]")
    elif out is not None:
        typer.echo(f"{out}: {counted(summary.letters, 'dead letter')}")
    else:
        _print_list(settings, summary, newest, every, len(taken) - len(taken.without(sent)), sent)


@app.command(
    epilog="Examples: embedwatch dlq show 0:17; embedwatch dlq show doc-42; embedwatch dlq show --raw 0:17 > text.bin"
)
def show(
    letter: Annotated[
        str,
        typer.Argument(
            envvar="EMBEDWATCH_DLQ_LETTER",
            help="PARTITION:OFFSET, as `dlq list` prints it, or the id of a text: then its latest letter.",
        ),
    ],
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    raw: Annotated[bool, _option("raw", "Print the bytes of the text, and nothing else.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Everything that is known of one letter, and its text. A text whose id looks like a place: `dlq list --id`."""
    from embedwatch.dead_letters import Selection, place_of
    from embedwatch.offset_ranges import OffsetRanges
    from embedwatch.replaying import records

    if raw and as_json:
        raise ConfigError("--raw and --json: a text is printed as its bytes, or in a document")
    settings = _settings(config, bootstrap_servers, topic_prefix)
    place = place_of(letter)
    chosen = Selection(text_id=letter) if place is None else Selection(places=frozenset([place]))
    shown: Letter | None = None
    others, sent = OffsetRanges(), OffsetRanges()
    for found in records(settings):
        if isinstance(found, OffsetRanges):
            sent.update(found)
        elif chosen.takes(found):
            if shown is not None:
                others.add(shown.partition, shown.offset)
            shown = found
            if raw and place is not None:
                break
    if shown is None:
        raise InputError(f"there is no dead letter {letter!r} (any more): see `embedwatch dlq list`")
    if raw:
        if shown.clipped_from_bytes is not None:
            typer.echo(f"embedwatch: note: clipped from {shown.clipped_from_bytes:,} bytes", err=True)
        sys.stdout.buffer.write(shown.value)
        sys.stdout.buffer.flush()
    elif as_json:
        facts = {
            **shown.as_json(),
            "sent_back": (shown.partition, shown.offset) in sent,
            "earlier_letters": [f"{partition}:{offset}" for partition, offset in others],
            "text": shown.value.decode("utf-8", "backslashreplace"),
        }
        typer.echo(json.dumps(facts, ensure_ascii=False))
    else:
        _print_letter(shown, others, (shown.partition, shown.offset) in sent)


@app.command(
    epilog="Examples: embedwatch dlq replay --class unknown_model --dry-run; embedwatch dlq replay 0:17 0:18 --yes"
)
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
    max_replays: Annotated[int, _option("max-replays", "Leave out texts that came back so often already.", min=1)] = 3,
    again: Annotated[bool, _option("again", "Also letters that an earlier replay has sent.")] = False,
    dry_run: Annotated[bool, _option("dry-run", "Only say what would be sent.")] = False,
    yes: Annotated[bool, _option("yes", "Do not ask.", "--yes", "-y")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Send letters back to the topic of texts, with their bytes, ids, models, tenants and sources as they were.

    No letter goes twice: what the broker has acknowledged is noted in the topic of dead letters itself, with or without
    a filter, and left out by the next run (--again sends it again). After Ctrl-C or trouble, run it again. Only a crash
    between acknowledgement and note, or two replays at the same time, can send up to 500 letters twice. A text that was
    clipped is fetched from where it came from, if it is still there. Mend the cause first: a text that fails again
    comes back. Exit codes: 0 done, 2 wrong option, 3 no such letter, 4 no broker, 5 not delivered, 130 and 143 stopped.
    """
    from embedwatch.processes import stop_on_signals
    from embedwatch.replaying import make_plan, send
    from embedwatch.waiting_line import waiting

    settings = _settings(config, bootstrap_servers, topic_prefix)
    chosen = _selection(error_class, tenant, source, model, text_id, since, only or ())
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigError(
            "dlq replay asks before it sends, and there is no terminal to answer: give --yes or --dry-run"
        )
    with waiting(f"reading {settings.topics.dead_letters}", as_json) as tell:
        plan = make_plan(
            settings, chosen, max_replays=max_replays, again=again, told=lambda done_pct: tell(done_pct=done_pct)
        )
    if missing := sorted(chosen.places - plan.found):
        places = ", ".join(f"{partition}:{offset}" for partition, offset in missing[:5])
        raise InputError(f"no dead letter at {places} that is meant; nothing was sent (see `embedwatch dlq list`)")
    if not as_json:
        _print_plan(settings, plan, dry_run)
    if dry_run or not plan.letters:
        if as_json:
            _print_replay_json(settings, plan, None)
        return
    if not yes:
        typer.confirm("send them?", abort=True, err=True)
    with stop_on_signals() as stop, waiting(f"sending {counted(plan.letters, 'dead letter')}", as_json) as tell:
        outcome = send(settings, plan, stop, lambda done_pct: tell(done_pct=done_pct))
    if as_json:
        _print_replay_json(settings, plan, outcome)
    else:
        _print_sent(plan, outcome)
    if stop.signum is not None:
        raise typer.Exit(128 + stop.signum)


def _print_list(
    settings: Settings, summary: Summary, newest: Latest, every: int, sent_back: int, sent: OffsetRanges
) -> None:
    from rich.table import Table
    from rich.text import Text

    from embedwatch import tables
    from embedwatch.dead_letters import printable

    topic = settings.topics.dead_letters
    if not summary.letters:
        typer.echo(
            f"{topic} has {counted(every, 'dead letter')}, none of which is meant" if every else f"{topic} is empty"
        )
        return
    typer.echo(f"{counted(summary.letters, 'dead letter')} in {topic}")
    typer.echo(f"  first {_when(summary.first_seconds)}, last {_when(summary.last_seconds)}")
    if sent_back:
        typer.echo(f"  {sent_back} of them were sent back by `dlq replay`")
    for kind in ("class", "stage", "model", "tenant", "source"):
        counts = summary.by[kind].most_common()
        if kind in ("class", "stage") or len(counts) > 1:
            shown = ", ".join(f"{printable(name, 40)} {count}" for name, count in counts[:8])
            typer.echo(f"  by {kind + ':':8} {shown}{f' and {len(counts) - 8} more' if len(counts) > 8 else ''}")
    letters = newest.newest_first()
    if not letters:
        return
    wide = tables.width() >= WIDE
    columns = ("place", "when (UTC)", "class", "stage", "text", "model", "why")
    table = Table(
        *(columns if wide else ("place", "when (UTC)", "class, stage", "text, model", "why")),
        title=f"the latest {len(letters)}", title_justify="left",
    )  # fmt: skip
    for index in (0, 1):
        table.columns[index].no_wrap = True
    for letter in letters:
        why = printable(letter.message, 160 if wide else 90)
        if letter.replays:
            why += f" (replayed {letter.replays} x)"
        if (letter.partition, letter.offset) in sent:
            why += " (sent back)"
        when = _when(letter.time_seconds, "%m-%d %H:%M:%S" if wide else "%m-%d %H:%M")
        what = [printable(letter.error_class, 40), printable(letter.stage, 40)]
        which = [printable(letter.text_id, 256), printable(letter.model or "-", 40)]
        cells = [*what, *which] if wide else ["\n".join(what), "\n".join(which)]
        # As Text: square brackets in what people wrote are no markup.
        table.add_row(*(Text(cell) for cell in (letter.place, when, *cells, why)))
    tables.show(table)


def _print_letter(letter: Letter, others: OffsetRanges, sent_back: bool) -> None:
    from embedwatch.dead_letters import printable

    facts = letter.as_json()
    facts["time"] = _when(facts.pop("time_seconds"))
    facts["sent_back"] = "yes" if sent_back else "no"
    if len(others):
        listed = [f"{partition}:{offset}" for partition, offset in list(others)[-10:]]
        facts["earlier_letters"] = f"{len(others)}, the latest of them {', '.join(reversed(listed))}"
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"{name.replace('_', ' ') + ':':20} {printable(str(value))}")
    text = letter.value.decode("utf-8", "backslashreplace")
    typer.echo("text:")
    typer.echo("\n".join(printable(line) for line in text[:SHOWN_CHARS].split("\n")))
    if len(text) > SHOWN_CHARS:
        typer.echo(f"... and {len(text) - SHOWN_CHARS:,} more characters: --raw prints all")


def _print_plan(settings: Settings, plan: Plan, dry_run: bool) -> None:
    from embedwatch.dead_letters import printable

    for reason, left_out in sorted(plan.refused.items()):
        partition, offset = next(iter(left_out))
        typer.echo(f"left out: {len(left_out)}, {printable(reason, 200)}; e.g. {partition}:{offset}", err=True)
    if plan.already_sent:
        typer.echo(f"left out: {plan.already_sent}, sent by an earlier replay (--again sends them again)", err=True)
    kinds = sorted(((len(letters), name) for name, letters in plan.sendable.items()), reverse=True)
    named = ", ".join(f"{printable(name, 40)} {count}" for count, name in kinds[:8])
    verb = "would be" if dry_run else "to be"
    typer.echo(
        f"{counted(plan.letters, 'dead letter')} {verb} sent to {settings.topics.texts}{f' ({named})' if named else ''}"
    )
    if len(plan.clipped):
        typer.echo(f"{len(plan.clipped)} of them are clipped: their texts are fetched from where they came from")


def _print_replay_json(settings: Settings, plan: Plan, outcome: Sent | None) -> None:
    """`sent` is null where nothing was to be sent, or only to be said."""
    told = {
        "topic": settings.topics.texts,
        "letters": plan.letters,
        "by_class": {name: len(letters) for name, letters in plan.sendable.items()},
        "clipped": len(plan.clipped),
        "left_out": {reason: len(letters) for reason, letters in plan.refused.items()},
        "already_sent": plan.already_sent,
        "sent": None if outcome is None else outcome.letters,
        "not_sent": {} if outcome is None else dict(outcome.refused),
    }
    typer.echo(json.dumps(told, ensure_ascii=False))


def _print_sent(plan: Plan, outcome: Sent) -> None:
    for reason, count in outcome.refused.items():
        typer.echo(f"not sent: {count}, {reason}; e.g. {outcome.example}", err=True)
    left = plan.letters - outcome.letters - outcome.refused.total()
    rest = f"; {left} were not sent, the next replay goes on with them" if left else ""
    typer.echo(f"{outcome.letters} sent and acknowledged{rest}")


@contextmanager
def _lines_to(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that gets its name when all is written."""
    if out is None:
        yield sys.stdout
        return
    part = out.with_name(out.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _when(seconds: float | None, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    try:
        return "unknown" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime(form)
    except (ValueError, OverflowError, OSError):
        return "unknown"


def _settings(config: Path | None, bootstrap_servers: str | None, topic_prefix: str | None) -> Settings:
    return load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})


def _selection(
    error_class: str | None, tenant: str | None, source: str | None, model: str | None, text_id: str | None,
    since: str | None, only: Any = (),
) -> Selection:  # fmt: skip
    from embedwatch.dead_letters import Selection, places

    since_seconds = None if since is None else since_time(since, datetime.now(UTC)).timestamp()
    if error_class is not None and error_class not in ERROR_CLASSES:
        raise ConfigError(f"--class: unknown error class {error_class!r}; it is one of {', '.join(ERROR_CLASSES)}")
    return Selection(error_class, tenant, source, model, text_id, since_seconds, places(only))


def since_time(text: str, now: datetime) -> datetime:
    """`30m`, `6h`, `2d` before now, or a time in ISO form, in UTC unless it says otherwise. Raises `ConfigError`."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdecimal() and text[-1] in units:
        try:
            return now - timedelta(**{units[text[-1]]: int(text[:-1])})
        except (OverflowError, ValueError):  # longer ago than there are dates
            return datetime.min.replace(tzinfo=UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--since: {text!r} is neither a time like 2026-11-25T08:00 nor a span like 30m, 6h or 2d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
