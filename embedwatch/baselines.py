"""Baselines: what a pipeline measured over a window, kept to compare with. One JSON file each, readable by people.

    {"format": "embedwatch-baseline", "version": 1, "name": "before-upgrade", "saved_at": "2026-11-25T10:00:00+00:00",
     "time_seconds": 1795600800.0, "window_seconds": 3600,
     "scopes": {"all": {"texts": 81234, ..., "latency_sketch": "AQ...", "for_people": {"latency_p95_ms": 212.5, ...}}}}

Counts are exact and stand as they were measured; rates are made from them when they are asked for. `for_people` shows
those rates to who reads the file; it is not read back. Sketches are the wire form of `embedwatch.sketch`, base64.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from embedwatch.errors import ConfigError, InputError, InvalidEvent
from embedwatch.events import NANO_USD_PER_USD, WORKING_PHASES, Count, Label, Seconds
from embedwatch.regression import Sample
from embedwatch.sketch import Sketch

FORMAT = "embedwatch-baseline"
VERSION = 1
FOLDER = "baselines"
SUFFIX = ".json"
#: A thousand scopes take some 4 MB. This also stops a wrong path (a data file) from being read whole.
MAX_FILE_BYTES = 32 * 1024 * 1024
#: Fewer texts do not say where the p95 is: 25 of 500 lie above it.
MIN_TEXTS = 500
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Numbers(Struct, frozen=True, kw_only=True):
    """What is kept of one scope, as in the file and in the agents' answer. Sums over the window."""

    texts: Count
    errors: Count
    batches: Count
    effective_batches: Seconds
    cache_hits: Count
    cache_misses: Count
    tokens_received: Count
    tokens_embedded: Count
    unpriced_tokens: Count
    cost_nano_usd: Count
    covered_seconds: Seconds  # how long the window had been looking
    phase_seconds: dict[str, Seconds]
    latency_sketch: str
    queue_wait_sketch: str
    models: list[Label] = []
    price_sources: list[Label] = []
    batch_share: Seconds | None = None  # as in the batch event; None where it was saved by an older version


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One scope of a baseline, its sketches decoded. Rates are None where there is nothing to divide by."""

    numbers: Numbers
    latency: Sketch
    queue_wait: Sketch

    @property
    def texts(self) -> int:
        """Texts with a vector, whose latency is known: the number that every command shows, and that decides.

        Those that failed are in `numbers.errors`, and with them it is `numbers.texts`.
        """
        return self.latency.count

    @property
    def sample(self) -> Sample:
        return Sample(self.latency, self.numbers.effective_batches)

    @property
    def throughput_texts_per_s(self) -> float | None:
        return _divided(self.numbers.texts, self.numbers.covered_seconds)

    @property
    def throughput_tokens_per_s(self) -> float | None:
        return _divided(self.numbers.tokens_embedded, self.numbers.covered_seconds)

    @property
    def cost_per_million_tokens_usd(self) -> float | None:
        """Of embedded tokens with a known price."""
        priced = self.numbers.tokens_embedded - self.numbers.unpriced_tokens
        return _divided(self.numbers.cost_nano_usd / NANO_USD_PER_USD * 1e6, priced)

    @property
    def cache_hit_rate_pct(self) -> float | None:
        return _divided(100.0 * self.numbers.cache_hits, self.numbers.cache_hits + self.numbers.cache_misses)

    @property
    def error_rate_pct(self) -> float | None:
        return _divided(100.0 * self.numbers.errors, self.numbers.texts)

    def phase_ms_per_batch(self) -> dict[str, float]:
        """Mean milliseconds a batch by working phase; empty without a batch. Queue wait is no work and left out."""
        numbers = self.numbers
        batches = numbers.batches if numbers.batch_share is None else numbers.batch_share
        if not batches:
            return {}
        return {p: 1000.0 * numbers.phase_seconds.get(p, 0.0) / batches for p in WORKING_PHASES}

    def for_people(self) -> dict[str, float | None]:
        return {
            "latency_p50_ms": self.latency.quantile(0.50),
            "latency_p95_ms": self.latency.quantile(0.95),
            "latency_p99_ms": self.latency.quantile(0.99),
            "queue_wait_p95_ms": self.queue_wait.quantile(0.95),
            "throughput_texts_per_s": self.throughput_texts_per_s,
            "throughput_tokens_per_s": self.throughput_tokens_per_s,
            "cost_per_million_tokens_usd": self.cost_per_million_tokens_usd,
            "cache_hit_rate_pct": self.cache_hit_rate_pct,
            "error_rate_pct": self.error_rate_pct,
        }


def _divided(amount: float, by: float) -> float | None:
    return amount / by if by > 0 else None


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What was measured, by scope (`all`, `model=a`, `tenant=b`, `model=a,tenant=b`)."""

    name: str
    time_seconds: float  # when the window ended
    window_seconds: int
    scopes: Mapping[str, Measured]

    @property
    def saved_at(self) -> str:
        """ISO 8601 in UTC, whole seconds."""
        return datetime.fromtimestamp(self.time_seconds, UTC).isoformat(timespec="seconds")


class _Answer(Struct, frozen=True, kw_only=True):
    """What both the agents' answer and a file hold."""

    time_seconds: Annotated[float, Meta(ge=0, le=1e11)]
    window_seconds: Annotated[int, Meta(ge=1)]
    scopes: dict[str, Numbers]


class _Document(_Answer, frozen=True, kw_only=True):
    name: Label


class _Head(Struct, frozen=True):
    format: str = ""
    version: int = 0


def measured(numbers: Numbers) -> Measured:
    """Decode its sketches. Raises `InvalidEvent` for one that does not decode."""
    return Measured(numbers, Sketch.from_text(numbers.latency_sketch), Sketch.from_text(numbers.queue_wait_sketch))


def from_answer(answer: Mapping[str, Any], name: str = "now") -> Baseline:
    """What the agents answered. Raises `InputError` when it is no answer of theirs."""
    try:
        data = msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise InputError(f"the agents answered with a baseline that cannot be read: {error}") from None
    return _baseline(data, name, "the agents' answer")


def _baseline(data: _Answer, name: str, where: str) -> Baseline:
    scopes: dict[str, Measured] = {}
    for scope, numbers in data.scopes.items():
        try:
            scopes[scope] = measured(numbers)
        except InvalidEvent as error:
            raise InputError(f"{where}: scope {scope!r}: {error.detail}") from None
    return Baseline(name, data.time_seconds, data.window_seconds, scopes)


def to_json(baseline: Baseline) -> bytes:
    """The file's content."""
    scopes = {
        key: {**msgspec.to_builtins(each.numbers), "for_people": each.for_people()}
        for key, each in baseline.scopes.items()
    }
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": baseline.name,
        "saved_at": baseline.saved_at,
        "time_seconds": baseline.time_seconds,
        "window_seconds": baseline.window_seconds,
        "scopes": scopes,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def from_json(data: bytes, where: str) -> Baseline:
    """Pure part of `read`; `where` names the file in errors. Raises `InputError`."""
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.format != FORMAT:
            raise InputError(f"{where} is JSON, but no baseline: make one with `embedwatch baseline save`")
        if head.version != VERSION:
            raise InputError(
                f"{where} is a baseline of version {head.version}; this embedwatch reads version {VERSION}"
            )
        document = msgspec.json.decode(data, type=_Document)
    except msgspec.ValidationError as error:
        raise InputError(f"{where} is not a baseline as `embedwatch baseline save` writes it: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"{where} is not a baseline: it is not JSON ({error})") from None
    return _baseline(document, document.name, where)


def path_of(name: str, folder: Path) -> Path:
    """Where `embedwatch baseline save NAME` writes, always with .json at its end. Raises `ConfigError`.

    NAME with a `/`, or with .json at its end, is a path; any other is a name in the folder.
    """
    if _is_path(name):
        path = Path(name if name.endswith(SUFFIX) else f"{name}{SUFFIX}")
        if path.name == SUFFIX or not path.name.isprintable():
            raise ConfigError(
                f"{name[:120]!r} is no file that a baseline can be written to; it looks like ci/main.json"
            )
        return path
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name[:120]!r} is no name of a baseline: letters, digits, `.`, `_` and `-`, at most 100, a letter or "
            "digit first"
        )
    return folder / f"{name}{SUFFIX}"


def places_of(name: str, folder: Path, here: Path = Path()) -> tuple[Path, ...]:
    """Where a baseline to be read is looked for: first where `save` writes it, then the other of `here` and folder.

    A relative path, and a file named without a path, are of `here`.
    """
    given = here / name
    suffixed = given if name.endswith(SUFFIX) else here / f"{name}{SUFFIX}"
    in_folder = folder / suffixed.name
    order: tuple[Path, ...]
    if "/" in name or os.sep in name:
        order = (suffixed, given)
    elif name.endswith(SUFFIX):
        order = (given, in_folder)
    else:
        order = (in_folder, given, suffixed)
    return tuple(dict.fromkeys(order))


def _is_path(name: str) -> bool:
    return "/" in name or os.sep in name or name.endswith(SUFFIX)


def find(name: str, folder: Path, here: Path = Path()) -> Baseline:
    """The baseline in the first of its places where there is a file. Raises `InputError` with all of them for none."""
    places = places_of(name, folder, here)
    for path in places:
        # A folder of that name is no baseline; whatever else is there is read, a pipe too.
        if os.path.exists(path) and not os.path.isdir(path):
            return read(path)
    looked = " and ".join(filter(None, (", ".join(map(str, places[:-1])), str(places[-1]))))
    raise InputError(
        f"there is no baseline {name[:120]!r}: looked for {looked}; `embedwatch baseline list` shows what there is"
    )


def read(path: Path) -> Baseline:
    """Raises `InputError` when there is none, or it cannot be used."""
    where = f"baseline {path}"
    data = _content(path, where)
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{where} is larger than {MAX_FILE_BYTES:,} bytes: it is no baseline")
    return from_json(data, where)


def is_baseline(path: Path) -> bool:
    """Whether the file says that it is one, of whatever version. Raises `InputError` when it cannot be read."""
    data = _content(path, str(path))
    if len(data) > MAX_FILE_BYTES:
        return False
    try:
        return msgspec.json.decode(data, type=_Head).format == FORMAT
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False


def _content(path: Path, where: str) -> bytes:
    """One byte more than allowed where there are too many."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        hint = "; `embedwatch baseline list` shows what there is" if isinstance(error, FileNotFoundError) else ""
        raise InputError(f"{where}: {error.strerror or error}{hint}") from None
    except ValueError as error:  # a name with a null byte
        raise InputError(f"{where!r}: {error}") from None


def check_target(path: Path, *, force: bool) -> None:
    """Whether a baseline may be written there: over an older one only with `force`, over anything else never.

    Raises `ConfigError`, or `InputError` when what is there cannot be read.
    """
    if os.path.isdir(path):
        raise ConfigError(f"{path} is a folder: name a file in it, or give it as --dir")
    if not os.path.lexists(path):
        return
    # Only what is a regular file is read: a pipe would wait for somebody who writes.
    if not os.path.isfile(path) or not is_baseline(path):
        raise ConfigError(f"{path} is there already and is no baseline: it is not overwritten; choose another name")
    if not force:
        raise ConfigError(f"{path} is there already: choose another name, or overwrite it with --force")


def write(baseline: Baseline, path: Path) -> None:
    """The file appears whole or not at all, in place of an older one. Raises `InputError` when it cannot be written."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(to_json(baseline))
        new.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise InputError(f"baseline {path} cannot be written: {error.strerror or error}") from None
