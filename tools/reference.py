"""Make or check the pages of docs/reference: what is generated from the code and must not drift from it.

`make` writes alerts.md, the schema of events, topics.md, settings.md, exit-codes.md, openapi.json, api.md and report.schema.json; `check`
compares them with the code and names what is old.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from alerting import examples
from embedwatch import events
from embedwatch.errors import EXIT_CODES
from embedwatch.reports import model as report
from embedwatch.settings import Settings, env_name
from embedwatch.topics import Topics
from stream_agents.web import openapi

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
MIB = 1024 * 1024
NOTE = "<!-- Made by `make reference` from {source}. Do not edit. -->"

_TOPICS = """\
{note}

# Topics

`embedwatch topics create` creates those that are missing and leaves the others as they are. The prefix is the setting
`kafka.topic_prefix`. Create them before a stage starts: a broker that creates a topic by itself does so with its own
number of partitions.

{table}
Metric events, closed windows, corrections, closed days, verdicts, actions and silences are JSON, described by
[events.schema.json](events.schema.json).
The formats of texts and vectors stand at the top of [embedwatch/wire.py](../../embedwatch/wire.py).
"""

_SETTINGS = """\
{note}

# Settings

A flag comes before the environment variable, that before the file named by `--config` or `EMBEDWATCH_CONFIG`, that
before the default. In the file a setting stands under its section. An empty variable counts as not set. A name that is
not known is an error. `embedwatch check --show-settings` prints the values in force.

Options that belong to one command (`embedwatch produce --rate`) and their variables are in its `--help`.
"""


_EXIT_CODES = """\
{note}

# Exit codes

They mean the same for every command; `--help` names those that a command is likely to end with.

{table}"""


def events_schema() -> str:
    """JSON Schema of everything on the topics but texts, vectors, states and dead letters, as the codec reads it."""
    schema = msgspec.json.schema(events.Event)
    # OpenAPI's keyword; strict validators refuse it. Each type says its `type` itself.
    del schema["discriminator"]
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
        if "v" in definition["properties"]:
            # Any other number is refused by `codec`; without one it is taken as this version.
            definition["properties"]["v"] = {"const": events.VERSION, "default": events.VERSION}
        if definition["properties"].get("errors", {}).get("type") == "object":
            # msgspec checks the keys of a dict, but its schema leaves them out.
            definition["properties"]["errors"]["propertyNames"] = {"enum": list(events.ERROR_CLASSES)}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:embedwatch:events:{events.VERSION}",
        "title": f"embedwatch events, version {events.VERSION}",
        "description": "Made by `make reference` from embedwatch/events.py. Do not edit.\n\n"
        + inspect.cleandoc(events.__doc__ or ""),
    }
    return json.dumps({**head, **schema}, indent=2, ensure_ascii=False) + "\n"


def topics_page() -> str:
    """Every topic at the default prefix."""
    rows = []
    for spec in Topics().specs():
        kept = spec.kept()
        partitions = "`kafka.partitions`" if spec.partitions is None else str(spec.partitions)
        limit = "broker's own" if spec.max_message_bytes is None else f"{spec.max_message_bytes / MIB:g} MiB"
        rows.append(
            (f"`{spec.name}`", spec.key, spec.value, spec.written_by, partitions, spec.cleanup_policy, kept, limit)
        )
    head = ("topic", "key", "value", "written by", "partitions", "cleanup", "kept", "largest message")
    return _TOPICS.format(note=NOTE.format(source="embedwatch/topics.py"), table=_table(head, rows))


def settings_page() -> str:
    """Every setting by section: name in the file, variable, default, what is allowed, meaning."""
    parts = [_SETTINGS.format(note=NOTE.format(source="embedwatch/settings.py"))]
    for section, info in Settings.model_fields.items():
        model = info.annotation
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise TypeError(f"settings.{section} is no section")
        allowed = model.model_json_schema()["properties"]
        rows = [
            (
                f"`{field}`",
                f"`{env_name(section, field)}`",
                _default(setting.get_default(call_default_factory=True)),
                _allowed(allowed[field]),
                setting.description or "",
            )
            for field, setting in model.model_fields.items()
        ]
        parts.append(f"## {section}\n\n{_table(('setting', 'variable', 'default', 'allowed', 'meaning'), rows)}")
    return "\n".join(parts)


def exit_codes_page() -> str:
    rows = [(f"`{code}`", meaning) for code, meaning in EXIT_CODES.items()]
    return _EXIT_CODES.format(note=NOTE.format(source="embedwatch/errors.py"), table=_table(("code", "meaning"), rows))


def report_schema() -> str:
    """JSON Schema of `embedwatch report --format json`."""
    document = report.schema()
    definitions: Any = document["$defs"]
    for definition in definitions.values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    definitions["Report"]["properties"]["v"] = {"const": report.REPORT_VERSION}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "embedwatch report --format json"}
    return json.dumps({**head, **document}, indent=2, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "alerts.md": lambda: examples.page(NOTE.format(source="alerting/examples.py")),
    "events.schema.json": events_schema,
    "topics.md": topics_page,
    "settings.md": settings_page,
    "exit-codes.md": exit_codes_page,
    "openapi.json": lambda: json.dumps(openapi.document(), indent=2, ensure_ascii=False) + "\n",
    "api.md": openapi.page,
    "report.schema.json": report_schema,
}


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Markdown; a bar inside a cell would end it."""
    cells = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in cells)


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value == ():
        return "empty"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true, false",
    "object": "map",
    "array": "list",
}


def _allowed(schema: dict[str, Any]) -> str:
    """What pydantic accepts, in words. An optional setting says the same without its `none`."""
    if "anyOf" in schema:
        # A Decimal may also be written as text: the first form says enough.
        return _allowed(next(part for part in schema["anyOf"] if part.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(f"`{choice}`" for choice in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    words = {"password": "secret", "path": "path"}.get(schema.get("format", ""), _TYPES[schema["type"]])
    bounds = [
        f"{word} {schema[name]:{'g' if isinstance(schema[name], float) else ''}}"
        for name, word in (("exclusiveMinimum", "above"), ("minimum", "from"), ("maximum", "to"))
        if name in schema
    ]
    if "pattern" in schema:
        bounds.append(f"matching `{schema['pattern']}`")
    return " ".join([words, *bounds])


def make() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")
    return check()


def check() -> int:
    old = [
        name
        for name, page in PAGES.items()
        if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != page()
    ]
    for name in old:
        print(
            f"reference: docs/reference/{name} is missing or older than the code: run `make reference`", file=sys.stderr
        )
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit({"make": make, "check": check}[sys.argv[1]]())
