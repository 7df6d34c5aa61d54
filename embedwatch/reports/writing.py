"""A finished report as text of a format, and onto the disk in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from embedwatch.errors import ConfigError, InputError
from embedwatch.reports.delimited import as_csv
from embedwatch.reports.markdown import as_markdown
from embedwatch.reports.model import Report
from embedwatch.reports.page import as_html
from embedwatch.reports.text import as_text

FORMATS = ("text", "md", "html", "csv", "json")
_BY_ENDING = {".txt": "text", ".md": "md", ".html": "html", ".htm": "html", ".csv": "csv", ".json": "json"}


def format_of(asked: str | None, output: Path | None, as_json: bool = False) -> str:
    """The format that is asked for, else the one that the file's name ends with, else text. Raises `ConfigError`."""
    if as_json:
        other = asked or ("json" if output is None else _BY_ENDING.get(output.suffix.lower(), "json"))
        if other != "json":
            raise ConfigError(f"--json and the format {other!r:.60} contradict each other: leave one out")
        return "json"
    if asked is not None:
        if asked not in FORMATS:
            raise ConfigError(f"--format is one of {', '.join(FORMATS)}, not {asked!r:.60}")
        return asked
    return "text" if output is None else _BY_ENDING.get(output.suffix.lower(), "text")


def check_output(output: Path) -> None:
    """Raises `ConfigError` before anybody is asked, for a place where no file can be."""
    if output.is_dir() or not output.parent.is_dir():
        raise ConfigError(f"--output: {output} is a folder, or there is no folder {output.parent}")


def render(report: Report, form: str, top: int) -> str:
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    if form == "csv":
        return as_csv(report)
    if form == "md":
        return as_markdown(report, top)
    if form == "html":
        from embedwatch.reports import plots

        return as_html(report, plots.pictures(report) if plots.available() else None, top)
    return as_text(report, top)


def write(output: Path, text: str) -> None:
    """The whole file or none: whoever reads it meanwhile has the old one. Raises `InputError`."""
    name = None
    try:
        with tempfile.NamedTemporaryFile("wb", dir=output.parent, prefix=f".{output.name}.", delete=False) as part:
            name = part.name
            part.write(text.encode("utf-8", "replace"))
            part.flush()
            os.fsync(part.fileno())
        mode = output.stat().st_mode & 0o777 if output.exists() else 0o666 & ~_umask()
        os.chmod(name, mode)
        os.replace(name, output)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise InputError(f"{output} cannot be written: {error.strerror or error}") from None


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
