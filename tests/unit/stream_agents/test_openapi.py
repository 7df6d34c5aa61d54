"""The description of the HTTP API and the API itself are one thing: every answer fits, every documented call works."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from stream_agents.web.openapi import ADDRESS, document, page
from stream_agents.web.problems import MACHINES
from stream_agents.web.routes import ROUTES, Route
from tests.harness.agents_log import log_of, runtime_on
from tests.harness.agents_web import busy_runtime, serving
from tests.harness.json_schema import closed, misfit

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
FINITE = [route for route in ROUTES if route.media_type != "text/event-stream"]


def check(path: str, status: int | str, media_type: str, body: Any, described: dict[str, Any]) -> None:
    """Raises when an answer is not as the description says; fields that it does not name are wrong, too."""
    answer = described["paths"][path]["get"]["responses"][str(status)]
    schema = answer["content"][media_type]["schema"]
    schemas = closed(described["components"]["schemas"])
    assert misfit(body, schema, schemas) is None, f"{path}: {misfit(body, schema, schemas)}"


@pytest.mark.parametrize("state", ["busy", "just started"])
def test_every_answer_is_as_described(state: str) -> None:
    runtime = busy_runtime() if state == "busy" else runtime_on(log_of())
    described = json.loads((REFERENCE / "openapi.json").read_text(encoding="utf-8"))

    async def ask() -> None:
        async with serving(runtime) as client:
            for route in FINITE:
                nobody = "scope=tenant%3Dnobody" if "scope" in {p.name for p in route.parameters} else ""
                for query in {"", route.example, nobody}:
                    async with client.get(f"{route.path}?{query}") as response:
                        body = await response.text()
                        kind = response.content_type
                        data = json.loads(body) if kind == "application/json" else body
                        check(route.path, response.status, kind, data, described)
                if route.path in MACHINES:
                    continue
                for name in (*(parameter.name for parameter in route.parameters), "unheard-of"):
                    async with client.get(f"{route.path}?{name}=nonsense") as response:
                        assert response.status == 400
                        check(route.path, 400, response.content_type, await response.json(), described)
                async with client.post(route.path) as response:
                    assert response.status == 405
                    check(route.path, "default", response.content_type, await response.json(), described)
                async with client.get(f"{route.path.rstrip('/')}/none") as response:
                    assert response.status == 404
                    check(route.path, "default", response.content_type, await response.json(), described)

    asyncio.run(ask())


def test_an_answer_with_a_field_more_or_less_does_not_pass() -> None:
    """The check itself can fail."""
    described = document()
    good = {"ready": True, "reasons": []}
    check("/readyz", 200, "application/json", good, described)
    for bad in ({**good, "more": 1}, {"ready": True}, {"ready": "yes", "reasons": []}, {"ready": True, "reasons": [1]}):
        with pytest.raises(AssertionError):
            check("/readyz", 200, "application/json", bad, described)


def test_the_server_describes_itself_as_the_file_does() -> None:
    async def ask() -> Any:
        async with serving(runtime_on(log_of())) as client, client.get("/openapi.json") as response:
            return await response.json()

    assert asyncio.run(ask()) == json.loads((REFERENCE / "openapi.json").read_text(encoding="utf-8"))


def test_no_schema_is_named_and_missing_and_no_operation_is_named_twice() -> None:
    described = document()
    named = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(described)))
    assert named == set(described["components"]["schemas"])
    names = [operations["get"]["operationId"] for operations in described["paths"].values()]
    assert len(set(names)) == len(names) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_a_parameter_described_is_read_and_its_limits_are_those_of_the_server(route: Route) -> None:
    async def ask(query: str) -> int:
        async with serving(runtime_on(log_of())) as client, client.get(f"{route.path}?{query}") as response:
            return response.status

    for parameter in route.parameters:
        good = [parameter.example]
        bad: list[str] = []
        schema = parameter.schema
        if schema["type"] == "integer":
            bad += [str(schema["minimum"] - 1), str(schema["maximum"] + 1), "x", "1.5", ""]
            if route.path != "/api/v1/windows" or parameter.name == "limit":
                good += [str(schema["minimum"]), str(schema["maximum"])]
        elif schema.get("format") == "date":
            bad += ["2026-13-01"]
        else:
            bad += ["model"]
        for value in good:
            assert asyncio.run(ask(f"{parameter.name}={value}")) == 200, (parameter.name, value)
        for value in bad:
            assert asyncio.run(ask(f"{parameter.name}={value}")) == 400, (parameter.name, value)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_curl_of_the_page_works_as_printed() -> None:
    text = (REFERENCE / "api.md").read_text(encoding="utf-8")
    assert text == page()
    commands = re.findall(r"^curl .*$", text, re.MULTILINE)
    assert len(commands) == len(ROUTES)
    runtime = busy_runtime()

    async def run(command: str, address: str) -> tuple[int, str, str]:
        words = [word.replace(ADDRESS, address) for word in shlex.split(command)]
        child = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await asyncio.wait_for(child.communicate(), 30)
        return child.returncode or 0, out.decode(), err.decode()

    async def run_all() -> None:
        async with serving(runtime) as client:
            address = str(client.make_url("/")).rstrip("/")
            for command in commands:
                assert ADDRESS in command
                code, out, err = await run(command, address)
                if "--max-time" in command:
                    assert code == 28, "it goes on until curl's time is over"
                    assert out.startswith("event: summary\nid: 1\ndata: {"), out[:100]
                else:
                    assert (code, err) == (0, ""), command
                    assert out.startswith(("{", "# HELP", "<!doctype html>")), command

    asyncio.run(run_all())
