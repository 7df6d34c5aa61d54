"""Make or check the pages of docs/reference: what is generated from the code and must not drift from it.

`make` writes all of `PAGES`; `check` compares them with the code and names what is old.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
from pydantic import BaseModel

from alerting import examples
from alerting import own_metrics as alerting_metrics
from alerting.states import Status
from embedwatch import events, rules_page, sdk
from embedwatch.errors import EXIT_CODES
from embedwatch.metric_families import SEVERAL, Family
from embedwatch.reports import model as report
from embedwatch.settings import Settings, env_name
from embedwatch.topics import Topics
from producers import own_metrics as producer_metrics
from stream_agents.compute.counters import MAX_SERIES
from stream_agents.delivering import KINDS
from stream_agents.web import exposition, families, openapi, series
from workers import own_metrics as worker_metrics
from workers.autoscale import own_metrics as autoscaler_metrics
from workers.autoscale.steering import State

# As a script it has only its own folder on the path.
sys.path.append(str(Path(__file__).resolve().parent.parent))
from tools import reference_commands, reference_limits, reference_schemas

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

A secret is given by its variable or in the file, never by a flag; or its variable with `_FILE` at the end
(`EMBEDWATCH_KAFKA_SASL_PASSWORD_FILE=/run/secrets/kafka`) names a file that holds nothing else. It is printed nowhere.

An editor that knows JSON Schema checks the file while it is written: its first line is
`# yaml-language-server: $schema=...` with the path of [config.schema.json](config.schema.json), or, for the rules file,
of [rules.schema.json](rules.schema.json). [deploy/embedwatch.yaml](../../deploy/embedwatch.yaml) and
[deploy/rules.yaml](../../deploy/rules.yaml) are examples.

Options that belong to one command (`embedwatch produce --rate`) and their variables are in [commands.md](commands.md).
"""


_EXIT_CODES = """\
{note}

# Exit codes

They mean the same for every command; `--help` names those that a command is likely to end with.

{table}"""

_METRICS = """\
{note}

# Metrics

What the agents answer at `/metrics` (`curl http://127.0.0.1:6066/metrics`), for Prometheus. Base units: seconds, USD,
ratios from 0 to 1. **What is not known is absent**, never 0: a query over it gives nothing, and so does a comparison.
Everything about the pipeline is here, for workers tell the agents through Kafka. What the other stages say of
themselves, each process for itself where it has a `metrics_port`, stands at the end:
[how](../how-to/run-in-production.md#is-it-well).

Start with [deploy/prometheus](../../deploy/prometheus) (recording rules, alerts) and
[deploy/grafana](../../deploy/grafana) (dashboards): [how](../how-to/prometheus-and-grafana.md).

**Of several agents processes** each answers for the whole in most families: take the largest (`max`), never the sum.
Counters since the start of the process count what that process read: add them up (`sum`). What is of a process alone is
read one by one.

A family with series by model or tenant exists once more as `embedwatch_model_...` and `embedwatch_tenant_...`, with
that label in front: the {max_labels} busiest of the minute, the {max_labels} dearest of the day. Counters have up to
{max_series} pairs of model and tenant, and `other` for the rest; an event without a tenant has the empty one.

{labels}"""


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


#: What the values of a label are.
LABELS = {
    "alert_type": "such as `HIGH_LATENCY`: [alerts.md](alerts.md) has all",
    "class": ", ".join(f"`{name}`" for name in events.ERROR_CLASSES),
    "gpu": "UUID of a GPU or MIG device",
    "group": "consumer group of the workers",
    "kind": ", ".join(f"`{kind}`" for kind in KINDS),
    "model": "name of a model",
    "partition": "number of a partition of the texts topic",
    "phase": ", ".join(f"`{name}`" for name in events.PHASES),
    "provider": "who answers, as OpenTelemetry's GenAI conventions name them: `openai`, `azure.ai.openai`, ...",
    "quantile": ", ".join(f"`{q}`" for q in series.QUANTILES),
    "reason": "one of a few words",
    "receiver": "name of a receiver, such as `slack`, `webhook`, `pagerduty`, `console`",
    "rule": "name of a rule of the agents' rules file",
    "scope": "`all`, `model=NAME`, `tenant=NAME` or `model=NAME,tenant=NAME`",
    "severity": "`info`, `warning`, `critical`",
    "state": "of an alert: "
    + ", ".join(f"`{name}`" for name in get_args(Status))
    + "; of a place for a worker: "
    + ", ".join(f"`{name}`" for name in get_args(State)),
    "status": ", ".join(f"`{name}`" for name in series.STATUSES),
    "tenant": "name of a tenant",
    "topic": "the texts topic",
    "window": "`fast` (15 min), `slow` (2 h)",
}


#: What each stage but the agents says of itself.
STAGES: tuple[tuple[Family, ...], ...] = (
    worker_metrics.FAMILIES, alerting_metrics.FAMILIES, autoscaler_metrics.FAMILIES, producer_metrics.FAMILIES,
)  # fmt: skip


def sdk_families() -> list[Family]:
    """What sinks of the SDK expose, in tables `FAMILIES`. Its other modules may import a client, so not they."""
    sinks = [found.name for found in pkgutil.iter_modules(sdk.__path__) if found.name.startswith("sink_")]
    modules = [importlib.import_module(f"{sdk.__name__}.{name}") for name in sinks]
    return [family for module in modules for family in getattr(module, "FAMILIES", ())]


def metrics_page() -> str:
    """Every family that is exposed, by subject."""
    values = [(f"`{name}`", text) for name, text in LABELS.items()]
    head = _METRICS.format(
        note=NOTE.format(source="the tables `FAMILIES` of each stage"),
        max_labels=exposition.MAX_LABELS,
        max_series=MAX_SERIES,
        labels=_table(("label", "values"), values),
    )
    groups: dict[str, list[Family]] = {}
    for family in families.FAMILIES:
        groups.setdefault(family.group, []).append(family)
    for family in [family for table in STAGES for family in table]:
        groups.setdefault(family.group, []).append(family)
    of_sdk = sdk_families()
    if of_sdk:
        groups["Of the SDK, in your own process"] = of_sdk
    parts = [f"## {group}\n\n{_families(members)}" for group, members in groups.items()]
    return "\n".join([head, *parts])


def _families(members: Sequence[Family]) -> str:
    head = ("series", "type", "unit", "labels", "also by", "of several", "meaning", "what to do")
    return _table(head, [
        (
            ", ".join(f"`{name}`" for name in family.series), family.kind, family.unit,
            ", ".join(f"`{name}`" for name in family.labels) or "none", ", ".join(family.by) or "no",
            SEVERAL[family.several], family.text, family.bad,
        )
        for family in members
    ])  # fmt: skip


PAGES: dict[str, Callable[[], str]] = {
    "alerts.md": lambda: examples.page(NOTE.format(source="alerting/examples.py")),
    "events.schema.json": events_schema,
    "topics.md": topics_page,
    "settings.md": settings_page,
    "rules.md": lambda: rules_page.page(NOTE.format(source="embedwatch/rules.py"), _table),
    "exit-codes.md": exit_codes_page,
    "commands.md": lambda: reference_commands.page(NOTE.format(source="the commands themselves"), _table),
    "config.schema.json": lambda: _json(reference_schemas.config_schema()),
    "rules.schema.json": lambda: _json(reference_schemas.rules_schema()),
    "openapi.json": lambda: json.dumps(openapi.document(), indent=2, ensure_ascii=False) + "\n",
    "api.md": openapi.page,
    "report.schema.json": report_schema,
    "metrics.md": metrics_page,
    "limits.md": lambda: reference_limits.page(NOTE.format(source="tools/reference_limits.py"), _table),
}


def _json(schema: Any) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


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
