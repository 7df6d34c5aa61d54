"""The OpenAPI description of the HTTP API, and the page of the docs, both made of the table of routes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

import embedwatch
from stream_agents.web import answers
from stream_agents.web.routes import ROUTES, Parameter, Route

ADDRESS = "http://127.0.0.1:6066"

_ABOUT = """\
Numbers of the stream agents (`embedwatch agents`): they are read, nothing is written. The unit stands in the name of
every number; `null` means not known, never zero. Money is integers of nano-USD where the name says so."""

_PAGE = """\
<!-- Made by `make reference` from stream_agents/web/routes.py. Do not edit. -->

# HTTP API

{about}

The server listens on loopback (`agents.web_host`, `agents.web_port`) unless told otherwise. Every path is a GET. The
shapes of the answers are in [openapi.json](openapi.json), which the agents also serve.

A parameter that is wrong, unknown or given twice is answered with 400, another path with 404, another method with 405:
JSON with `error` (what is wrong and what is allowed), `parameter` (its name, or null) and `known` (the parameters,
paths or methods that there are).

The examples are for agents that run on this machine.
"""


def document(routes: Iterable[Route] = ROUTES) -> dict[str, Any]:
    """OpenAPI 3.1."""
    routes = tuple(routes)
    kinds = {route.answer for route in routes} | {kind for route in routes for _, kind in route.more.values()}
    structs = [kind for kind in kinds if kind not in (None, dict)]
    _, schemas = msgspec.json.schema_components(
        sorted({*structs, answers.Problem}, key=lambda kind: kind.__name__), ref_template="#/components/schemas/{name}"
    )
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
        if "properties" in schema:
            # An answer has all its fields, those with a default too.
            schema["required"] = list(schema["properties"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "embedwatch stream agents",
            "version": embedwatch.__version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ADDRESS}],
        "paths": {route.path: {"get": _operation(route)} for route in routes},
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _operation(route: Route) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "string"} if route.answer is None else _schema(route.answer)
    responses = {"200": {"description": "The answer.", "content": {route.media_type: {"schema": body}}}}
    statuses = dict(route.more)
    statuses[400] = (
        "A parameter is wrong, unknown or given twice: `parameter` names it, `known` those that there are.",
        answers.Problem,
    )
    for status, (when, kind) in sorted(statuses.items()):
        responses[str(status)] = _json_response(when, kind)
    responses["default"] = _json_response("No such path (404), or no GET or HEAD (405).", answers.Problem)
    operation: dict[str, Any] = {"operationId": route.handler, "summary": route.title, "description": route.text}
    if route.parameters:
        operation["parameters"] = [_parameter(parameter) for parameter in route.parameters]
    return {**operation, "responses": responses}


def _json_response(when: str, kind: type) -> dict[str, Any]:
    return {"description": when, "content": {"application/json": {"schema": _schema(kind)}}}


def _schema(kind: type) -> dict[str, Any]:
    return {"type": "object"} if kind is dict else {"$ref": f"#/components/schemas/{kind.__name__}"}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.text,
        "schema": parameter.schema,
        "example": int(parameter.example) if parameter.schema["type"] == "integer" else parameter.example,
    }


def page(routes: Iterable[Route] = ROUTES) -> str:
    """docs/reference/api.md."""
    parts = [_PAGE.format(about=_ABOUT)]
    for route in routes:
        parts.append(f"## GET {route.path}\n\n{route.title}. {route.text}\n")
        if route.parameters:
            lines = "".join(f"| `{p.name}` | {p.text} | {_default(p)} |\n" for p in route.parameters)
            parts.append(f"| parameter | meaning | default |\n| --- | --- | --- |\n{lines}")
        address = f"{ADDRESS}{route.path}" + (f"?{route.example}" if route.example else "")
        # A stream does not end by itself.
        options = "-sSN --max-time 2" if route.media_type == "text/event-stream" else "-sS"
        parts.append(f"```sh\ncurl {options} '{address}'\n```\n")
    return "\n".join(parts)


def _default(parameter: Parameter) -> str:
    return f"`{parameter.schema['default']}`" if "default" in parameter.schema else ""
