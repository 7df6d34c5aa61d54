"""`embedwatch collect`: the vectors of the topic as a file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from embedwatch import options
from embedwatch.errors import ConfigError, InputError, InvalidEvent
from embedwatch.settings import Settings, load

if TYPE_CHECKING:
    from embedwatch.collecting import Block, Kind
    from embedwatch.processes import StopRequest
    from embedwatch.vector_files import Out

EXAMPLE = "Examples: embedwatch collect vectors.parquet --since 1d; embedwatch collect vectors.npy --texts 10000"
PROGRESS_SECONDS = 0.2


def _option(name: str, help: str, **more: Any) -> Any:
    envvar = f"EMBEDWATCH_COLLECT_{name.upper().replace('-', '_')}"
    return typer.Option(f"--{name}", envvar=envvar, help=help, **more)


def collect(
    out: Annotated[
        Path,
        typer.Argument(
            envvar="EMBEDWATCH_COLLECT_OUT",
            help="A file, whose ending .parquet or .npy says the form; or a folder, for a file of each fingerprint.",
        ),
    ],
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    model: Annotated[str | None, _option("model", "Only vectors of this model.")] = None,
    fingerprint: Annotated[str | None, _option("fingerprint", "Only vectors of this fingerprint.")] = None,
    split: Annotated[bool, _option("split", "A file for each fingerprint: OUT.FINGERPRINT.parquet.")] = False,
    format: Annotated[Literal["parquet", "npy"], _option("format", "Form of the files in a folder.")] = "parquet",
    since: Annotated[
        str | None, _option("since", "Only vectors since then: 2026-11-25T08:00 (UTC), or 30m, 6h, 2d ago.")
    ] = None,
    from_offsets: Annotated[
        str | None,
        _option("from-offsets", "Begin there: PARTITION:OFFSET,...; other partitions begin at their earliest."),
    ] = None,
    texts: Annotated[int | None, _option("texts", "Stop after so many texts.", min=1)] = None,
    follow: Annotated[bool, _option("follow", "Go on with what comes, until Ctrl-C.")] = False,
    idle_exit_seconds: Annotated[
        float | None, _option("idle-exit-seconds", "With --follow: stop after so long without a new vector.", min=0.1)
    ] = None,
    keep: Annotated[
        Literal["last", "first", "all"],
        _option("keep", "Of several vectors of one text. last and first take some 80 bytes of memory a vector."),
    ] = "last",
    force: Annotated[bool, _option("force", "Overwrite files.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the vectors that are in the topic now to a file.

    Only committed ones, from the earliest that the topic still has. Parquet has the columns id, vector, model,
    fingerprint, partition, offset and time; .npy is a matrix, with the ids of its rows in NAME.ids.jsonl. Rows come as
    they are read: those of one partition in its order. A file appears when it is whole; Ctrl-C writes what has been
    read, a second one nothing. Exit codes: 0 done, 2 wrong option or OUT, 3 nothing to write, or vectors that do not
    belong together, 4 no broker, 130 and 143 stopped (with --follow: 0).
    """
    from embedwatch.collecting import Copies, Kinds, Limit
    from embedwatch.commands.dlq import since_time
    from embedwatch.processes import stop_on_signals

    if idle_exit_seconds is not None and not follow:
        raise ConfigError("--idle-exit-seconds goes with --follow: without it, collect ends where the topic ends now")
    settings = load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})
    since_ms = None if since is None else since_time(since, datetime.now(UTC)).timestamp() * 1000
    starts = _starts(from_offsets)
    target = _target(out, split, format, force)
    copies = None if keep == "all" else Copies()
    run = _Run(target, Kinds(target.split), copies, keep, texts, Limit(texts, copies), model, fingerprint, since_ms)
    done = False
    try:
        with stop_on_signals() as stop:
            run.read(settings, starts, follow, idle_exit_seconds, stop, as_json)
            if not run.outs and stop.signum is None:
                raise InputError(f"{settings.topics.vectors} {run.nothing()}; nothing was written")
            written = run.finish()
        done = True
    finally:
        if not done:
            run.discard()
    _tell(run, written, stop, as_json)
    if stop.signum is not None and not follow:
        raise typer.Exit(128 + stop.signum)


@dataclass(slots=True)
class _Target:
    """Where files go. `taken` are the names given so far."""

    out: Path
    folder: bool
    split: bool
    suffix: str
    force: bool
    taken: list[str] = field(default_factory=list)

    def path(self, kind: Kind) -> Path:
        """Raises `ConfigError` when it is there already."""
        from embedwatch.collecting import file_stem

        if not self.split:
            return self.out
        stem = file_stem(kind, self.taken)
        self.taken.append(stem)
        path = self.out / f"{stem}{self.suffix}" if self.folder else self.out.with_suffix(f".{stem}{self.suffix}")
        self.check(path)
        return path

    def check(self, path: Path) -> None:
        from embedwatch.vector_files import paths_of

        for each in paths_of(path):
            if each.is_dir():
                raise ConfigError(f"{each} is a folder")
            if each.exists() and not self.force:
                raise ConfigError(f"{each} is there already; --force overwrites it")


@dataclass(slots=True)
class _Written:
    path: Path
    kind: Kind
    texts: int


@dataclass(slots=True)
class _Run:
    """What is read and what becomes of it."""

    target: _Target
    kinds: Any
    copies: Any
    keep: Literal["last", "first", "all"]
    texts: int | None
    limit: Any
    model: str | None
    fingerprint: str | None
    since_ms: float | None
    outs: list[Out] = field(default_factory=list)
    rows: int = 0
    messages: int = 0
    unreadable: int = 0
    copies_left_out: int = 0

    def read(
        self,
        settings: Settings,
        starts: dict[int, int],
        follow: bool,
        idle_exit_seconds: float | None,
        stop: StopRequest,
        as_json: bool,
    ) -> None:
        from embedwatch.reading import TopicReader

        progress = _Progress(as_json)
        heard = time.monotonic()
        with TopicReader(settings.kafka, settings.topics.vectors, starts=starts, follow=follow) as reader, progress:
            for batch in reader.batches():
                before = self.rows
                for record in batch:
                    self._take(record)
                    if self.limit.reached(self.rows):
                        return
                now = time.monotonic()
                heard = now if self.rows > before else heard
                if stop.signum is not None or (idle_exit_seconds is not None and now - heard >= idle_exit_seconds):
                    return
                progress.update(self.rows, reader.done_pct)

    def finish(self) -> list[_Written]:
        """All files whole, then all named: one that cannot be made whole leaves none."""
        masks: list[Any] = [None] * len(self.outs)
        if self.copies is not None and self.outs:
            rows = self.copies.count if self.texts is None else self.copies.rows_with(self.texts)
            kept, kinds = self.copies.kept(self.keep, rows), self.copies.kinds()
            self.copies_left_out = rows - int(kept.sum())
            kept.resize(self.copies.count, refcheck=False)  # what came after the last one that was wanted is left out
            masks = [kept[kinds == number] for number in range(len(self.outs))]
        for file, mask in zip(self.outs, masks, strict=True):
            with _writing(file.path):
                file.close(mask)
        for file in self.outs:
            with _writing(file.path):
                file.publish()
        counts = [file.rows if mask is None else int(mask.sum()) for file, mask in zip(self.outs, masks, strict=True)]
        return [
            _Written(file.path, kind, count)
            for file, kind, count in zip(self.outs, self.kinds.seen, counts, strict=True)
        ]

    def discard(self) -> None:
        for file in self.outs:
            file.discard()

    def nothing(self) -> str:
        if not self.messages:
            return "is empty, or begins later"
        if self.unreadable:
            return f"holds no vectors that are meant; {self.unreadable} messages are no vectors at all"
        return "holds no vectors that are meant"

    def _take(self, record: Any) -> None:
        from embedwatch.collecting import block_of
        from embedwatch.wire import header

        self.messages += 1
        if self.since_ms is not None and (record.timestamp is None or record.timestamp < self.since_ms):
            return
        for wanted, name in ((self.model, "model"), (self.fingerprint, "fingerprint")):
            if wanted is not None and header(record.headers, name) != wanted:
                return
        try:
            block = block_of(
                record.key, record.value, record.headers, partition=record.partition, offset=record.offset,
                timestamp_ms=record.timestamp,
            )  # fmt: skip
        except InvalidEvent:
            self.unreadable += 1
            return
        if block is not None:
            self._add(block)

    def _add(self, block: Block) -> None:
        from embedwatch.vector_files import open_out

        if self.copies is None and self.texts is not None:
            room = self.texts - self.rows
            block = replace(block, ids=block.ids[:room], matrix=block.matrix[:room])
        number = self.kinds.number(block.kind)
        if number == len(self.outs):
            path = self.target.path(block.kind)
            with _writing(path):
                self.outs.append(open_out(path, block.kind))
        file = self.outs[number]
        with _writing(file.path):
            file.add(block)
        if self.copies is not None:
            self.copies.add(number, block)
        self.rows += len(block.ids)


class _Progress:
    """How many vectors so far: on a terminal a line that changes; in a pipe nothing."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        from embedwatch.waiting_line import shows_progress

        self._status = Console(stderr=True).status("reading the topic") if shows_progress(as_json) else None
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> _Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def update(self, rows: int, done_pct: float | None) -> None:
        now = time.monotonic()
        if self._status is None or now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        share = "" if done_pct is None else f" ({done_pct:.0f} %)"
        self._status.update(f"{rows:,} vectors{share}, {rows / (now - self._begun):,.0f}/s")


def _target(out: Path, split: bool, format: str, force: bool) -> _Target:
    """What is wrong with OUT is said before anything is read."""
    from embedwatch.vector_files import SUFFIXES

    suffix = out.suffix.lower()
    folder = out.is_dir() or suffix not in SUFFIXES
    if folder and suffix and not out.is_dir():
        raise ConfigError(
            f"{out}: the file's ending says what is written; it is one of {', '.join(SUFFIXES)}, or none for a folder"
        )
    target = _Target(out, folder, split or folder, f".{format}" if folder else out.suffix, force)
    if folder:
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
    elif not out.absolute().parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}")
    elif not split:
        target.check(out)
    if target.suffix.lower() == ".parquet":
        import pyarrow.parquet  # noqa: F401  # missing: said now, not after the topic is read
    return target


def _starts(text: str | None) -> dict[int, int]:
    from embedwatch.dead_letters import place_of

    starts = {}
    for part in (text or "").split(","):
        place = place_of(part)
        if place is None and (part.strip() or text):
            raise ConfigError(f"--from-offsets: {part!r} is no PARTITION:OFFSET; it looks like 0:1200,1:1180")
        if place is not None:
            starts[place[0]] = place[1]
    return starts


def _tell(run: _Run, written: list[_Written], stop: StopRequest, as_json: bool) -> None:
    if as_json:
        facts = {
            "files": [
                {"file": str(each.path), "texts": each.texts, **msgspec.to_builtins(each.kind)} for each in written
            ],
            "texts": sum(each.texts for each in written),
            "copies_left_out": run.copies_left_out,
            "unreadable_messages": run.unreadable,
            "interrupted": stop.signum is not None,
        }
        typer.echo(msgspec.json.encode(facts).decode())
        return
    if stop.signum is not None:
        typer.echo(
            f"embedwatch: stopped; {'this was read until then' if written else 'nothing was read yet'}", err=True
        )
    for each in written:
        typer.echo(f"{each.path}: {each.texts} vectors, {each.kind}")
    if run.copies_left_out:
        typer.echo(f"{run.copies_left_out} copies left out")
    if run.unreadable:
        typer.echo(f"embedwatch: note: {run.unreadable} messages of the topic are no vectors", err=True)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; nothing is left of it") from None
