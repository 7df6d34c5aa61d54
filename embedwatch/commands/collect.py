"""`embedwatch collect`: the vectors of the topic as a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from embedwatch import options
from embedwatch.errors import InputError, InvalidEvent
from embedwatch.settings import Settings, load

if TYPE_CHECKING:
    from embedwatch.collecting import Kind, Row

EXAMPLE = "Example: embedwatch collect vectors.parquet --since 1d; embedwatch collect vectors.npy --texts 10000"


def _option(name: str, help: str) -> Any:
    return typer.Option(f"--{name}", envvar=f"EMBEDWATCH_COLLECT_{name.upper()}", help=help)


class _Kept:
    """Which vectors go into the file, and what was left out."""

    def __init__(self, model: str | None, fingerprint: str | None, keep: str, limit: int | None) -> None:
        self.model, self.fingerprint, self.keep, self.limit = model, fingerprint, keep, limit
        self.kind: Kind | None = None
        self.texts = self.copies = self.unreadable = 0
        self._seen: set[str] = set()

    @property
    def enough(self) -> bool:
        return self.limit is not None and self.texts >= self.limit

    def rows(self, record: Any) -> Iterator[Row]:
        """Raises `InputError` for vectors that do not belong together."""
        from embedwatch.collecting import Kind, Row
        from embedwatch.wire import header, read_vectors

        model, fingerprint = (header(record.headers, name) or "" for name in ("model", "fingerprint"))
        if (self.model or model) != model or (self.fingerprint or fingerprint) != fingerprint:
            return
        try:
            pairs = list(read_vectors(record.key, record.value, record.headers))
        except InvalidEvent:
            self.unreadable += 1
            return
        for text_id, vector in pairs:
            kind = Kind(vector.shape[0], vector.dtype.name, model, fingerprint)
            if self.kind is None:
                self.kind = kind
            elif kind != self.kind:
                raise InputError(
                    f"the topic holds vectors that do not belong together: {_words(self.kind)}, and {_words(kind)}. "
                    f"Choose with --fingerprint {self.kind.fingerprint} or --fingerprint {kind.fingerprint}"
                )
            if self.enough:
                return
            if self.keep == "first":
                if text_id in self._seen:
                    self.copies += 1
                    continue
                self._seen.add(text_id)
            self.texts += 1
            time_ms = record.timestamp if record.timestamp is not None and record.timestamp >= 0 else None
            yield Row(text_id, vector, record.partition, record.offset, time_ms)


def collect(
    out: Annotated[
        Path,
        typer.Argument(envvar="EMBEDWATCH_COLLECT_OUT", help="The file: its ending, .parquet or .npy, says the form."),
    ],
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    model: Annotated[str | None, _option("model", "Only vectors of this model.")] = None,
    fingerprint: Annotated[str | None, _option("fingerprint", "Only vectors of this fingerprint.")] = None,
    since: Annotated[
        str | None, _option("since", "Only vectors since then: 2026-11-25T08:00, or 30m, 6h, 2d ago.")
    ] = None,
    texts: Annotated[int | None, _option("texts", "Stop after so many texts.")] = None,
    keep: Annotated[
        Literal["first", "all"],
        _option("keep", "Of several vectors of one text: first, or all. first holds all ids in memory."),
    ] = "first",
    force: Annotated[bool, _option("force", "Overwrite the file.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the vectors that are in the topic now to a file.

    Only committed ones, from the earliest that the topic still has. Parquet has the columns id, vector, partition,
    offset and time; .npy is a matrix, with the ids of its rows in NAME.ids.jsonl. Rows of one partition keep their
    order. The file appears when it is whole; Ctrl-C writes what has been read.
    """
    from embedwatch.collecting import SUFFIXES, open_out
    from embedwatch.commands.dlq import since_time

    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: the file's ending says what is written; it is one of {', '.join(SUFFIXES)}")
    if out.exists() and not force:
        raise InputError(f"{out} is there already; --force overwrites it")
    if not out.absolute().parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}")
    settings = load(config, {"kafka.bootstrap_servers": bootstrap_servers, "kafka.topic_prefix": topic_prefix})
    since_seconds = None if since is None else since_time(since, datetime.now(UTC)).timestamp()
    kept = _Kept(model, fingerprint, keep, texts)
    file: Any = None
    interrupted = False
    try:
        for rows in _batches(settings, kept, since_seconds):
            if file is None and kept.kind is not None:
                file = open_out(out, kept.kind)
            file.add(rows)
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        if file is not None:
            file.discard()
        raise
    if file is None or kept.kind is None:
        raise InputError(f"{settings.topics.vectors} holds no vectors, or none that are meant; nothing written")
    file.finish()
    facts = {
        "file": str(out), "texts": kept.texts, "dims": kept.kind.dims, "dtype": kept.kind.dtype,
        "model": kept.kind.model, "fingerprint": kept.kind.fingerprint, "copies_left_out": kept.copies,
        "unreadable_messages": kept.unreadable, "interrupted": interrupted,
    }  # fmt: skip
    if as_json:
        typer.echo(msgspec.json.encode(facts).decode())
    else:
        left = f"; {kept.copies} copies left out" if kept.copies else ""
        bad = f"; {kept.unreadable} messages are no vectors" if kept.unreadable else ""
        typer.echo(f"{out}: {kept.texts} vectors, {_words(kept.kind)}{left}{bad}")
    if interrupted:
        raise KeyboardInterrupt


def _batches(settings: Settings, kept: _Kept, since_seconds: float | None) -> Iterator[list[Row]]:
    from embedwatch.reading import read_to_end

    for record in read_to_end(settings.kafka, settings.topics.vectors, since_seconds=since_seconds):
        if rows := list(kept.rows(record)):
            yield rows
        if kept.enough:
            return


def _words(kind: Kind) -> str:
    return f"{kind.model} in {kind.dims} dimensions of {kind.dtype} ({kind.fingerprint})"
