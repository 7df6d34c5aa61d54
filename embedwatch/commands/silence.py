"""`embedwatch silence`: alerts that nobody wants to hear of for a time, such as during maintenance."""

from __future__ import annotations

import contextlib
import getpass
import re
import secrets
import time
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer

from embedwatch import options
from embedwatch.errors import ConfigError, ConnectionFailed, InputError
from embedwatch.events import Silence
from embedwatch.settings import Settings, load

app = typer.Typer(
    help="Silences: alerts that nobody is told of for a time. What they say is kept: an alert that still fires when "
    "the silence ends is told then, and whoever was told of an alert hears its end in any case.",
    no_args_is_help=True,
)

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: How long silences that are over are listed.
LISTED_SECONDS = 86_400.0
_SPAN = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")


def _option(name: str, help: str, *flags: str, **more: Any) -> Any:
    variable = f"EMBEDWATCH_SILENCE_{name.upper().replace('-', '_')}"
    return typer.Option(*(flags or (f"--{name}",)), envvar=variable, help=help, **more)


Timezone = Annotated[
    str | None, options.setting("budget", "timezone", "--timezone", help="IANA zone of --start, --until and --at")
]


@app.command(
    epilog="Examples: embedwatch silence add --match model=minilm --for 2h --note 'new GPU'; "
    "embedwatch silence add --match 'alert_type=LOW_*' --weekdays sun --at 02:00 --for 2h"
)
def add(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    match: Annotated[
        list[str] | None,
        _option(
            "match",
            "LABEL=PATTERN, a shell pattern; more than once: all have to fit. Labels: alert_type, severity, rule, "
            "model, tenant, worker.",
        ),
    ] = None,
    every: Annotated[bool, _option("all", "Every alert, in place of --match.", "--all")] = False,
    for_: Annotated[str | None, _option("for", "How long: 30m, 2h, 1d12h.")] = None,
    start: Annotated[str | None, _option("start", "When it begins: 2026-11-28T22:00. Now by default.")] = None,
    until: Annotated[str | None, _option("until", "When it ends for good: 2026-11-29T06:00.")] = None,
    weekdays: Annotated[
        str | None, _option("weekdays", "It comes again on these days, at --at for --for: mon,wed or mon-fri.")
    ] = None,
    at: Annotated[str | None, _option("at", "With --weekdays: the time of day at which it begins, 02:00.")] = None,
    timezone: Timezone = None,
    note: Annotated[str, _option("note", "Why, for others.")] = "",
    by: Annotated[str | None, _option("by", "Who asks for it; by default the user's name on this machine.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell nobody of some alerts, once or every week. Prints the id of the silence."""
    from embedwatch.silencing import write

    settings = _settings(config, bootstrap_servers, topic_prefix, timezone)
    silence = made(
        match or [],
        every,
        for_,
        start,
        until,
        weekdays,
        at,
        zone=settings.budget.timezone,
        note=note,
        by=by or _user(),
        now=time.time(),
        silence_id=secrets.token_hex(4),
    )
    write(settings, silence)
    _forget(settings, silence.created_seconds)
    typer.echo(msgspec.json.encode(silence).decode() if as_json else f"{silence.silence_id}: {_says(silence)}")


@app.command("list", epilog="Example: embedwatch silence list")
def list_(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    timezone: Timezone = None,
    as_json: options.AsJson = False,
) -> None:
    """Silences that hold, that will, and that ended within the last day."""
    from rich.markup import escape
    from rich.table import Table

    from embedwatch import tables
    from embedwatch.silences import is_over
    from embedwatch.silencing import read

    settings = _settings(config, bootstrap_servers, topic_prefix, timezone)
    now = time.time()
    found = [s for s in read(settings).values() if not is_over(s, now) or _ended(s) >= now - LISTED_SECONDS]
    found.sort(key=lambda s: (is_over(s, now), s.starts_seconds, s.silence_id))
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    if not found:
        typer.echo("there is no silence")
        return
    table = Table()
    for name in ("id", "state", "alerts", "by", "note"):
        table.add_column(name)
    zone = ZoneInfo(settings.budget.timezone)
    for silence in found:
        cells = (silence.silence_id, state(silence, now, zone), _matched(silence), silence.by, silence.note)
        table.add_row(*(escape(_printable(cell)) for cell in cells))
    tables.show(table)


@app.command(epilog="Example: embedwatch silence end 3f9a1c04")
def end(
    silence_id: Annotated[
        str, typer.Argument(envvar="EMBEDWATCH_SILENCE_ID", help="The id, as `silence list` shows it.")
    ],
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    as_json: options.AsJson = False,
) -> None:
    """End a silence now. What still fires is told."""
    from embedwatch.silences import is_over
    from embedwatch.silencing import read, write

    settings = _settings(config, bootstrap_servers, topic_prefix, None)
    silence = read(settings).get(silence_id)
    if silence is None:
        raise InputError(f"there is no silence {_printable(silence_id)!r}; `embedwatch silence list` shows them")
    now = time.time()
    if is_over(silence, now):
        typer.echo(msgspec.json.encode(silence).decode() if as_json else f"{silence_id} was over already")
        return
    ended = msgspec.structs.replace(silence, starts_seconds=min(silence.starts_seconds, now), ends_seconds=now)
    write(settings, ended)
    _forget(settings, now)
    typer.echo(msgspec.json.encode(ended).decode() if as_json else f"{silence_id} has ended")


def _forget(settings: Settings, now: float) -> None:
    """What was asked for is done: that old silences stay a while longer is no failure of it."""
    from embedwatch.silencing import forget

    with contextlib.suppress(ConnectionFailed):
        forget(settings, now)


def made(
    match: list[str],
    every: bool,
    for_: str | None,
    start: str | None,
    until: str | None,
    weekdays: str | None,
    at: str | None,
    *,
    zone: str,
    note: str,
    by: str,
    now: float,
    silence_id: str,
) -> Silence:
    """The silence that is asked for. Raises `ConfigError` for what is missing or cannot be."""
    from embedwatch.silences import mistake

    pairs = [_pattern(each) for each in match]
    patterns = dict(pairs)
    if len(patterns) < len(pairs):
        twice = next(label for label in patterns if sum(each == label for each, _ in pairs) > 1)
        raise ConfigError(f"--match {twice}=... is given twice: an alert has one {twice}; make a silence for each")
    if bool(patterns) == every:
        raise ConfigError("say which alerts: --match LABEL=PATTERN, or --all for every alert, and not both")
    starts = now if start is None else _moment("--start", start, zone)
    ends = None if until is None else _moment("--until", until, zone)
    seconds = 0.0 if for_ is None else _span(for_)
    days = () if weekdays is None else _weekdays(weekdays)
    if days and (at is None or not seconds):
        raise ConfigError("--weekdays needs --at, the time of day, and --for, how long")
    if not days:
        if at is not None:
            raise ConfigError("--at goes with --weekdays; a silence that comes once begins at --start")
        if (until is None) == (for_ is None):
            raise ConfigError("say how long: either --for 2h or --until 2026-11-29T06:00")
        ends = starts + seconds if ends is None else ends
    if ends is not None and ends <= now:
        raise ConfigError("the silence would be over already: look at --start, --until and the time zone")
    if at is not None and re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", at) is None:
        raise ConfigError(f"--at: {_printable(at)!r} is no time of day such as 02:00")
    silence = Silence(
        silence_id=silence_id,
        created_seconds=now,
        by=_short("--by", by),
        match=patterns,
        starts_seconds=starts,
        ends_seconds=ends,
        note=_short("--note", note),
        weekdays=days,
        at=at,
        for_seconds=seconds if days else 0.0,
        timezone=zone,
    )
    if (wrong := mistake(silence)) is not None:
        raise ConfigError(f"such a silence cannot be: {wrong}")
    return silence


def state(silence: Silence, now: float, zone: ZoneInfo) -> str:
    """`holds until ...`, `begins ...` or `over`, for people."""
    from embedwatch.silences import next_start, quiet_until

    if (until := quiet_until(silence, now)) is not None:
        return f"holds until {_when(until, zone)}"
    if (begins := next_start(silence, now)) is not None:
        return f"begins {_when(begins, zone)}"
    return "over"


def _says(silence: Silence) -> str:
    now = silence.created_seconds
    return f"{_matched(silence)}: {state(silence, now, ZoneInfo(silence.timezone))}"


def _matched(silence: Silence) -> str:
    parts = [f"{name}={pattern}" for name, pattern in silence.match.items()]
    which = ", ".join(parts) or "every alert"
    if not silence.weekdays:
        return which
    days = ",".join(WEEKDAYS[day] for day in silence.weekdays)
    return f"{which} ({days} {silence.at} for {silence.for_seconds / 3600:g} h, {silence.timezone})"


def _ended(silence: Silence) -> float:
    return silence.ends_seconds if silence.ends_seconds is not None else 0.0


def _when(seconds: float, zone: ZoneInfo) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC).astimezone(zone):%Y-%m-%d %H:%M %Z}"
    except (OverflowError, ValueError, OSError):
        return "unknown"


def _pattern(text: str) -> tuple[str, str]:
    name, equals, pattern = text.partition("=")
    if not equals or not name or not pattern:
        raise ConfigError(f"--match: {_printable(text)!r} is not LABEL=PATTERN, such as model=minilm")
    return _short("--match", name), _short("--match", pattern)


def _span(text: str) -> float:
    found = _SPAN.fullmatch(text.strip())
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0, 0)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if not total:
        raise ConfigError(f"--for: {_printable(text)!r} is no length of time such as 30m, 2h or 1d12h")
    return float(total)


def _moment(option: str, text: str, zone: str) -> float:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(f"{option}: {_printable(text)!r} is no time such as 2026-11-28T22:00") from None


def _weekdays(text: str) -> tuple[int, ...]:
    """`mon,wed` or `mon-fri`; 0 is Monday."""
    days: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = part.strip().partition("-")
        if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
            raise ConfigError(f"--weekdays: {_printable(part)!r} is none of {', '.join(WEEKDAYS)}, nor mon-fri")
        day, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days |= {d % 7 for d in range(day, end + 1 if end >= day else end + 8)}
    return tuple(sorted(days))


def _short(option: str, text: str) -> str:
    if len(text) > 256:
        raise ConfigError(f"{option}: at most 256 characters are kept, these are {len(text)}")
    return text


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _user() -> str:
    try:
        return getpass.getuser()[:256]
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"


def _settings(config: Any, bootstrap_servers: str | None, topic_prefix: str | None, timezone: str | None) -> Settings:
    given = {
        "kafka.bootstrap_servers": bootstrap_servers,
        "kafka.topic_prefix": topic_prefix,
        "budget.timezone": timezone,
    }
    return load(config, given)
