"""From what the user named to a checked list of inputs. Everything that can be known before sending is known here."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedwatch.errors import InputError
from producers.sniff import HEAD_BYTES, mismatch
from producers.stdlib_docs import SOURCE, library_folder
from producers.text import Format, Input

EXTENSIONS: dict[str, Format] = {
    ".txt": "txt",
    ".text": "txt",
    ".md": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
STDIN = "-"
#: `--source`, `--model` and `--tenant` are headers of the texts and, in metrics, at most this long.
MAX_LABEL_CHARS = 256
#: So that source, name and line number together stay within the length of an id.
MAX_NAME_CHARS = 200


@dataclass(slots=True)
class Found:
    """The inputs, and how many files of folders were passed over because their type is not known."""

    inputs: list[Input] = field(default_factory=list)
    ignored_files: int = 0


def find(paths: Sequence[str], form: Format | None, *, encoding: str, source: str | None, stdlib_docs: bool) -> Found:
    """Inputs in the order given; files of a folder sorted by path. `form` None: by extension.

    Raises `InputError` for a missing, unreadable, unknown, mismatching or doubly named file, and for a folder without
    files of a known type.
    """
    found = Found()
    for path in paths:
        if path == STDIN:
            found.inputs.append(_stdin(form, source))
        elif os.path.isdir(path):
            _folder(path, form, found)
        else:
            found.inputs.append(_file(path, os.path.basename(path), form))
    _refuse_repeats(found.inputs)
    inputs = [_labelled(spec, source) for spec in _distinct_names(found.inputs)]
    for spec in inputs:
        _check_head(spec, encoding)
    if stdlib_docs:
        name = source or SOURCE
        inputs.append(Input("stdlib", str(library_folder()), SOURCE, name, name, "txt"))
    found.inputs = inputs
    return found


def short_label(name: str) -> str:
    """A name that any client can read and a metric can carry; a hash stands for what was cut or replaced."""
    clean = os.fsencode(name).decode("utf-8", "replace")
    if clean == name and len(name) <= MAX_NAME_CHARS:
        return name
    mark = hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
    return f"{mark}-{clean[-(MAX_NAME_CHARS - 9) :]}"


def _stdin(form: Format | None, source: str | None) -> Input:
    if form == "parquet":
        raise InputError("Parquet cannot be read from standard input: its index is at its end. Give a file")
    name = source or "stdin"
    return Input("stdin", STDIN, "standard input", name, name, form or "txt", waits=True)


def _file(path: str, name: str, form: Format | None) -> Input:
    try:
        info = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from None
    extension = Path(path).suffix.lower()
    known = form or EXTENSIONS.get(extension)
    if known is None:
        what = f"extension {extension!r} is not known" if extension else "the name has no extension"
        raise InputError(f"{path}: {what} (known: {', '.join(EXTENSIONS)}); give --format txt, jsonl, csv or parquet")
    regular = stat.S_ISREG(info.st_mode)
    if known == "parquet" and not regular:
        raise InputError(f"{path}: Parquet needs a regular file, not a pipe or device")
    return Input("file", path, path, name, name, known, info.st_size if regular else None, waits=not regular)


def _folder(path: str, form: Format | None, found: Found) -> None:
    """Files of known types (or of the given format), without hidden ones; links to folders are not followed."""
    files: list[str] = []

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; make the folder readable") from None

    for where, folders, names in os.walk(path, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            kind = EXTENSIONS.get(Path(name).suffix.lower())
            if name.startswith(".") or kind is None or (form is not None and kind != form):
                found.ignored_files += 1
            else:
                files.append(os.path.join(where, name))
    if not files:
        wanted = [ending for ending, kind in EXTENSIONS.items() if form in (None, kind)]
        raise InputError(f"{path}: no files with a known extension ({', '.join(wanted)}) in this folder")
    for file in sorted(files, key=lambda f: Path(f).parts):
        found.inputs.append(_file(file, Path(os.path.relpath(file, path)).as_posix(), form))


def _refuse_repeats(inputs: Sequence[Input]) -> None:
    """The same file twice would give two texts the same id."""
    places = Counter(STDIN if spec.kind == "stdin" else os.path.abspath(spec.path) for spec in inputs)
    place, times = max(places.items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        what = "standard input (-)" if place == STDIN else place
        raise InputError(f"{what} is given {times} times: its texts would have the same ids; give it once")


def _distinct_names(inputs: Sequence[Input]) -> list[Input]:
    """Files of the same name are told apart by their paths as given, in ids and headers."""
    names = Counter(spec.name for spec in inputs)
    return [
        replace(spec, name=Path(spec.path).as_posix(), source=Path(spec.path).as_posix())
        if names[spec.name] > 1 and spec.kind == "file"
        else spec
        for spec in inputs
    ]


def _labelled(spec: Input, source: str | None) -> Input:
    """`--source` is the header and begins the ids, so that two runs over other inputs do not share ids."""
    name = short_label(spec.name)
    if source is None:
        return replace(spec, name=name, source=name)
    return replace(spec, name=source if spec.kind == "stdin" else f"{source}/{name}", source=source)


def _check_head(spec: Input, encoding: str) -> None:
    if spec.waits:
        return  # looked at when it is read: what is taken out of a pipe now would be lost
    try:
        with open(spec.path, "rb") as file:
            problem = mismatch(file.read(HEAD_BYTES), spec.format, encoding)
    except OSError as error:
        raise InputError(f"{spec.label}: cannot be read: {error.strerror or error}; check its permissions") from None
    if problem:
        raise InputError(f"{spec.label}: {problem}")
