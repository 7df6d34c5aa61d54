"""`embedwatch lag`: how far a consumer group is behind, by partition."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from embedwatch import options
from embedwatch.errors import ConfigError, ConnectionFailed, InputError
from embedwatch.settings import Settings, load

if TYPE_CHECKING:
    from embedwatch.lag.reader import LagReader, Reading
    from embedwatch.lag.tracker import GroupTracker, Lag, Place, Total
    from embedwatch.processes import StopRequest

EXAMPLE = (
    "Examples: embedwatch lag; embedwatch lag --group billing --topic orders --json; "
    "embedwatch lag --follow --every-seconds 5"
)
#: Rows of the table; all of them with --json.
ROWS = 100
#: Reasons told, at most.
REASONS = 5
STEP_SECONDS = 0.1


def _option(name: str, help: str, *flags: str, **more: Any) -> Any:
    envvar = f"EMBEDWATCH_LAG_{name.upper().replace('-', '_')}"
    return typer.Option(*(flags or (f"--{name}",)), envvar=envvar, help=help, **more)


def lag(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    group: Annotated[
        str | None, _option("group", "Any consumer group; that of the workers by default.", "--group", "-g")
    ] = None,
    topic: Annotated[
        list[str] | None,
        _option(
            "topic",
            "Any topic; more than once for several. By default that of the texts, or, with --group, those in which the "
            "group has committed.",
            "--topic",
            "-t",
        ),
    ] = None,
    look_seconds: Annotated[
        float,
        _option(
            "look-seconds", "How long to look before answering: 0 gives no rates, 60 finds stalls.", min=0, max=600
        ),
    ] = 2.0,
    follow: Annotated[bool, _option("follow", "Go on, a line a reading, until Ctrl-C.", "--follow", "-f")] = False,
    every_seconds: Annotated[
        float, _option("every-seconds", "With --follow: how often to read.", min=0.2, max=600)
    ] = 2.0,
    uncommitted: Annotated[
        bool, _option("uncommitted", "The group also reads what a Kafka transaction has not committed.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """How far a consumer group is behind: messages, texts and seconds, by partition and in total.

    Any group and topic, whoever reads it. The age is that of the oldest message not done. A status is never a guess:
    OK; STALLED: no commit for 60 s while something waits; STOPPED: something waits and the group has no members;
    REWOUND: its commit went back, is gone or lies beyond the log; UNKNOWN: it could not be read. Marks of transactions,
    aborted and compacted records are no lag. Exit codes: 0 done, 2 wrong option, 3 no such topic, or a group that has
    committed nowhere, 4 no broker, 130 and 143 stopped (with --follow: 0).
    """
    from embedwatch.clock import SystemClock
    from embedwatch.lag.reader import LagReader
    from embedwatch.lag.tracker import GroupTracker
    from embedwatch.logs import quieten_kafka
    from embedwatch.processes import stop_on_signals
    from embedwatch.waiting_line import waiting

    settings = load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})
    topics = _topics(settings, group, topic or [])
    quieten_kafka()
    name = group or settings.worker.group
    with (
        stop_on_signals() as stop,
        LagReader(settings.kafka, name, topics, SystemClock(), read_committed=not uncommitted) as reader,
    ):
        looking = _Looking(name, reader, GroupTracker(), stop)
        first = looking.read()
        _refuse(settings, name, topics, first)
        if follow:
            _follow(looking, every_seconds, as_json)
            return
        with waiting(f"looking at {name} for {look_seconds:g} s", as_json):
            looking.go_on(look_seconds)
        if stop.signum is not None:
            raise typer.Exit(128 + stop.signum)
        if looking.reading.trouble is not None:
            raise _gone(settings, looking.reading)
        if all(each.status == "UNKNOWN" for each in looking.lags.values()):
            raise ConnectionFailed(f"no partition could be read: {looking.total().reason}")
        if as_json:
            typer.echo(msgspec.json.encode(looking.json()).decode())
        else:
            _print(looking)


@dataclass(slots=True)
class _Looking:
    """Readings of one group, one after another."""

    group: str
    reader: LagReader
    tracker: GroupTracker
    stop: StopRequest
    first_seconds: float | None = None
    reading: Reading = field(init=False)
    lags: dict[Place, Lag] = field(default_factory=dict)

    def read(self) -> Reading:
        self.reading = self.reader.read()
        self.lags = self.tracker.observe(self.reading.samples)
        if self.first_seconds is None:
            self.first_seconds = self.reading.time_seconds
        return self.reading

    def go_on(self, look_seconds: float) -> None:
        """Until so long has been looked at, with a reading every 2 s at least."""
        deadline = time.monotonic() + look_seconds
        while (left := deadline - time.monotonic()) > 0 and self.wait(min(left, 2.0)):
            self.read()

    def wait(self, seconds: float) -> bool:
        """False when asked to stop."""
        deadline = time.monotonic() + seconds
        while self.stop.signum is None and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, STEP_SECONDS))
        return self.stop.signum is None

    @property
    def looked_seconds(self) -> float:
        return self.reading.time_seconds - (self.first_seconds or self.reading.time_seconds)

    def total(self) -> Total:
        from embedwatch.lag.tracker import total

        return total(self.lags.values())

    def json(self) -> dict[str, Any]:
        from embedwatch.lag.words import as_json

        reading = self.reading
        total = self.total()
        return as_json(self.group, reading.members, reading.time_seconds, self.lags, total, reading.trouble)


def _topics(settings: Settings, group: str | None, named: list[str]) -> list[str] | None:
    for topic in named:
        if re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic) is None:
            shown = "".join(char if char.isprintable() else "?" for char in topic[:80])
            raise ConfigError(f"--topic: {shown!r} is no name of a topic: letters, digits, `.`, `_` and `-`, up to 249")
    if group is not None and not group:
        raise ConfigError("--group: the name of a group is not empty")
    if named:
        return named
    return None if group is not None and group != settings.worker.group else [settings.topics.texts]


def _refuse(settings: Settings, group: str, topics: list[str] | None, reading: Reading) -> None:
    """What is not there. Raises `ConnectionFailed` or `InputError`."""
    if reading.trouble is not None:
        raise _gone(settings, reading)
    if reading.topics_missing:
        names = ", ".join(reading.topics_missing)
        own = names == settings.topics.texts
        raise InputError(f"no such topic: {names}" + ("; `embedwatch topics create` makes it" if own else ""))
    if topics is None and not reading.samples:
        raise InputError(f"group {group!r} has committed nothing in any topic, or is not there; name a --topic")


def _gone(settings: Settings, reading: Reading) -> ConnectionFailed:
    told = reading.trouble or ""
    server = f"Kafka at {settings.kafka.bootstrap_servers}"
    where = told if told.startswith(server) else f"{server}: {told}"
    return ConnectionFailed(f"{where}. Is the broker running? Set --bootstrap-servers")


def _follow(looking: _Looking, every_seconds: float, as_json: bool) -> None:
    while True:
        if as_json:
            typer.echo(msgspec.json.encode(looking.json()).decode())
        else:
            _print_line(looking)
        if not looking.wait(every_seconds):
            return
        looking.read()


def _print_line(looking: _Looking) -> None:
    from embedwatch.lag.words import line, reasons

    reading = looking.reading
    when = datetime.fromtimestamp(reading.time_seconds).astimezone().strftime("%H:%M:%S")
    if reading.trouble is not None:
        typer.echo(f"{when} UNKNOWN: {reading.trouble}")
        return
    typer.echo(f"{when} {line(looking.total())}")
    for text in reasons(looking.lags, REASONS):
        typer.echo(f"         {text}")


def _print(looking: _Looking) -> None:
    from rich.table import Table
    from rich.text import Text

    from embedwatch import tables
    from embedwatch.lag.words import COLUMNS, cells, head, reasons, worst_first

    topics = {place.topic for place in looking.lags}
    reading = looking.reading
    for text in head(looking.group, reading.members, topics, looking.total(), looking.looked_seconds):
        typer.echo(text)
    shown, more = worst_first(looking.lags, ROWS)
    table = Table()
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number < 2 else "right", no_wrap=number == 1)
    for place, each in shown:
        table.add_row(*(Text(cell) for cell in cells(place, each, len(topics) > 1)))
    tables.show(table)
    if more:
        typer.echo(f"and {more:,} more partitions, which wait less: --json has all")
    for text in reasons(looking.lags, REASONS):
        typer.echo(text)
    _warn_unknown(looking.lags)


def _warn_unknown(lags: Mapping[Place, Lag]) -> None:
    unknown = sum(lag.status == "UNKNOWN" for lag in lags.values())
    if unknown:
        typer.echo(f"embedwatch: {unknown} of {len(lags)} partitions could not be read: no total is known", err=True)
