"""The HTTP API of the agents, in this process: the real application, asked as a server asks it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import quote_from_bytes

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from stream_agents.runtime import Runtime
from stream_agents.web.admission import Asked, gate
from stream_agents.web.api import add_routes
from stream_agents.web.openapi import document
from stream_agents.web.routes import ROUTES
from tests.fuzz.dice import Dice
from tests.harness.agents_log import SetClock
from tests.harness.agents_web import busy_runtime
from tests.harness.json_schema import closed, misfit

PATHS = [route.path for route in ROUTES if route.media_type != "text/event-stream"]
QUERIES = {
    "/api/v1/summary": "?window_seconds=60", "/api/v1/history": "?seconds=600&step_seconds=10",
    "/api/v1/windows": "", "/api/v1/ledger": "", "/metrics": "", "/api/v1/scaling": "", "/api/v1/lag": "",
    "/api/v1/history/spend": "", "/api/v1/baseline": "", "/api/v1/alerts": "", "/api/v1/scopes": "", "/readyz": "",
    "/api/v1/verdicts": "", "/api/v1/history/queue": "",
}  # fmt: skip
METHODS = ("GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "X")
NAMES = ("window_seconds", "scope", "limit", "day", "seconds", "step_seconds", "cursor", "x", "name[]")
VALUES = (
    "60", "300", "10", "3600", "3610", "0", "-10", "1e2", "60.0", " 60", "６０", "1" * 400, "all", "model=m",
    "tenant=acme",
    "model=m,tenant=acme", "model=m,model=m", "scope=other", "2027-01-15", "2027-W02-5", "20270115", "1000",
    "1001", "",
)  # fmt: skip


def application(runtime: Runtime, clock: SetClock) -> web.Application:
    app = web.Application()
    add_routes(app.router, runtime, clock)
    return app


async def ask(app: web.Application, method: str, path: str, headers: dict[str, str]) -> web.StreamResponse:
    """As the server does it, without a socket."""
    request = make_mocked_request(method, path, headers=headers, app=app)
    try:
        found = await app.router.resolve(request)
        request._match_info = found
        found.add_app(app)
        return await found.handler(request)
    except web.HTTPException as error:
        return error


def answers(runtime: Runtime, clock: SetClock, dice: Dice) -> Iterator[bytes]:
    """Of two paths. Each is 200 (or 503 where it is not ready), fits its description, and holds no infinity."""
    app = application(runtime, clock)

    async def of_two() -> list[tuple[str, web.StreamResponse]]:
        asked = {dice.pick(list(QUERIES)), dice.pick(list(QUERIES))}
        return [(path, await ask(app, "GET", path + QUERIES[path], {})) for path in asked]

    for path, response in asyncio.run(of_two()):
        assert response.status in (200, 503), (path, response.status)
        yield check(path, "GET", response)


def check(path: str, method: str, response: web.StreamResponse) -> bytes:
    """The body, which fits the description of the path."""
    body = response.body if isinstance(response, web.Response) else b""
    body = body if isinstance(body, bytes) else b""
    operation = _described()["paths"].get(path.partition("?")[0])
    if response.content_type != "application/json":
        return body
    data = json.loads(body, parse_constant=_no_constant)
    answers = operation["get"]["responses"] if operation else {"default": _DEFAULT}
    schema = answers.get(str(response.status), answers.get("default"))["content"]["application/json"]["schema"]
    defs = _closed()
    wrong = misfit(data, closed(schema), defs)
    assert wrong is None, f"{method} {path}: {wrong}"
    return body


@cache
def _described() -> dict[str, Any]:
    return document()


@cache
def _closed() -> dict[str, Any]:
    return {name: closed(one) for name, one in _described()["components"]["schemas"].items()}


@cache
def _busy() -> web.Application:
    return application(busy_runtime(), SetClock())


def fuzz_http(data: bytes) -> None:
    """Any method, path, query and headers: no 5xx, answers as described, errors as JSON that is short."""
    dice = Dice(data)
    path = dice.pick(PATHS)
    if not dice.byte() % 6:
        path = "/" + _quote(dice.text(), "/%" if dice.maybe() else "")
    pairs = [
        f"{_quote(dice.pick(NAMES) if dice.byte() % 6 else dice.text())}="
        f"{_quote(dice.pick(VALUES) if dice.byte() % 3 else dice.text())}"
        for _ in range(dice.below(4))
    ]
    headers = {}
    for name in ("Accept", "If-None-Match", "Accept-Encoding", "Origin", "Range", "X-Forwarded-For"):
        if dice.maybe(6):
            headers[name] = dice.text().encode("ascii", "ignore").decode().replace("\n", "").replace("\r", "")
    method = dice.pick(METHODS)
    response = asyncio.run(ask(_busy(), method, path + ("?" + "&".join(pairs) if pairs else ""), headers))
    assert response.status < 500 or path == "/readyz", (method, path, pairs, response.status)
    if response.status >= 400:
        assert response.content_type == "application/json", (method, path, pairs, response.status)
        assert len(check(path, method, response)) < 6000
    elif method == "GET" and response.status == 200:
        check(path, method, response)


HOSTS = (
    "localhost", "127.0.0.1:6066", "[::1]:6066", "agents", "agents:6066", "evil.example", "localhost.evil.example",
    "localhost@evil.example", "[", "]", "", ":", "[::1", "::1", "0x7f.1", "127.1", "2130706433", "localhost.",
    "AGENTS.",
)  # fmt: skip
OURS = re.compile(r"(localhost\.?|agents\.?|(\[?[0-9a-f:.]+\]?))(:.*)?", re.IGNORECASE)
TOKEN = "0123456789abcdef-token"


def fuzz_admission(data: bytes) -> None:
    """Whatever a request says of itself: without the token no numbers, and no host but ours."""
    dice = Dice(data)
    guard = gate("127.0.0.1", ("agents",), 50.0, TOKEN)
    for _ in range(1 + dice.below(4)):
        given = dice.pick(
            (None, f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer {TOKEN} ", f"Basic {TOKEN}", dice.text())
        )
        asked = Asked(
            method=dice.pick(METHODS), client=dice.pick((None, "127.0.0.1", "::1", "fe80::1%eth0", dice.text())),
            host=dice.pick(HOSTS) if dice.byte() % 3 else dice.pick((None, dice.text())), origin=dice.pick(
                (None, "null", "http://localhost:1", "https://evil.example", "http://[", dice.text())
            ),
            authorization=given, media_type=dice.pick(("", "application/json", "text/plain", dice.text())),
            body_bytes=dice.pick((0, 0, None, 1, 10**12)), open=dice.maybe(5), unlimited=dice.maybe(5),
        )  # fmt: skip
        refusal = guard.judge(asked, 1.0)
        if refusal is not None:
            assert 400 <= refusal.status < 500
            assert TOKEN not in refusal.error
            continue
        assert asked.open or (given or "").removeprefix("Bearer ").removeprefix("bearer ").strip() == TOKEN, asked
        assert asked.host is None or OURS.fullmatch(asked.host.strip()), asked
        assert asked.body_bytes is not None


def _quote(text: str, safe: str = "") -> str:
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


_DEFAULT = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
