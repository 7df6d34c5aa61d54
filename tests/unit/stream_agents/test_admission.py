"""Who the HTTP API answers: host names, rates, bodies, tokens, pages of strangers; and what every answer carries."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from embedwatch.settings import AgentSettings
from stream_agents.web import admission
from stream_agents.web.admission import BURST_SECONDS, MAX_BODY_BYTES, MAX_CLIENTS, Asked, Gate, client_key, gate
from stream_agents.web.assets import HEADERS as PAGE_HEADERS
from stream_agents.web.protect import HEADERS, protect
from stream_agents.web.routes import ROUTES
from tests.harness.agents_log import SetClock, log_of, runtime_on
from tests.harness.agents_web import busy_runtime, serving

TOKEN = "0123456789abcdef-token"


def loopback(**more: Any) -> Gate:
    return gate("127.0.0.1", (), more.pop("rate", 50.0), **more)


def status(found: Gate, now: float = 0.0, **asked: Any) -> int:
    refusal = found.judge(Asked(**{"method": "GET", "client": "127.0.0.1", **asked}), now)
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize(
    "host", ["127.0.0.1:6066", "localhost", "LOCALHOST:1", "localhost.", "[::1]:6066", "127.0.0.53", None]
)
def test_a_loopback_name_is_answered(host: str | None) -> None:
    assert status(loopback(), host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:6066", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.7", "",
     "agents", "[fe80::1]", "[", "localhost@evil.example", "evil.example/localhost"],
)  # fmt: skip
def test_a_name_that_a_stranger_has_pointed_to_us_is_refused(host: str) -> None:
    assert status(loopback(), host=host) == 403


def test_names_that_were_told_and_the_address_that_is_bound_are_answered() -> None:
    named = gate("192.168.1.7", ("agents", "Agents.Example:443"), 50.0)
    assert [status(named, host=host) for host in ("agents:6066", "agents.example", "192.168.1.7:6066")] == [200] * 3
    assert status(named, host="192.168.1.8") == 403
    everywhere = gate("0.0.0.0", (), 50.0)
    assert [status(everywhere, host=host) for host in ("10.0.0.5:6066", "[fe80::1]:6066", "evil.example")] == [
        200, 200, 403,
    ]  # fmt: skip


def test_of_the_burst_all_are_answered_and_the_next_is_told_when() -> None:
    found = loopback(rate=10.0)
    burst = int(10 * BURST_SECONDS)
    assert [status(found) for _ in range(burst)] == [200] * burst
    refusal = found.judge(Asked("GET", "127.0.0.1"), 0.0)
    assert refusal is not None
    assert (refusal.status, refusal.retry_after_seconds) == (429, 1)
    assert status(found, client="127.0.0.2") == 200, "another client has a rate of its own"
    assert status(found, now=0.1) == 200
    assert status(found, now=0.1) == 429


def test_who_is_told_to_wait_is_answered_after_it() -> None:
    found = loopback(rate=1.0)
    while (refusal := found.judge(Asked("GET", "1.2.3.4"), 0.0)) is None:
        pass
    assert refusal.retry_after_seconds is not None
    assert status(found, now=float(refusal.retry_after_seconds), client="1.2.3.4") == 200


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from(["a", "1.1.1.1", "2.2.2.2"])), max_size=200))
def test_nobody_is_answered_more_than_the_rate_and_the_burst(asked: list[tuple[float, str]]) -> None:
    found, now, answered = loopback(rate=2.0), 0.0, {}
    for wait, client in asked:
        now += wait
        answered[client] = answered.get(client, 0) + (status(found, now=now, client=client) == 200)
    assert all(count <= 2 * BURST_SECONDS + 2 * now for count in answered.values())


def test_of_the_clients_only_so_many_are_remembered() -> None:
    found = loopback(rate=1.0)
    while status(found, client="9.9.9.9") == 200:
        pass
    for number in range(MAX_CLIENTS - 1):
        status(found, client=f"10.0.{number // 256}.{number % 256}")
    assert len(found._clients) == MAX_CLIENTS
    assert status(found, client="9.9.9.9") == 429, "it is still known, and now the latest"
    for number in range(MAX_CLIENTS):
        status(found, client=f"11.0.{number // 256}.{number % 256}")
    assert len(found._clients) == MAX_CLIENTS
    assert status(found, client="9.9.9.9") == 200, "forgotten"


def test_addresses_that_one_client_can_have_are_one_client() -> None:
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:2") != client_key("2001:db8:0:1::1")
    assert client_key("::ffff:1.2.3.4") == client_key("1.2.3.4")
    assert client_key("fe80::1%eth0") == client_key("fe80::2")
    assert client_key(None) == client_key("/a/socket") == ""


def test_a_body_at_the_limit_is_taken_and_one_above_is_not() -> None:
    assert status(loopback(), body_bytes=MAX_BODY_BYTES, media_type="application/json") == 200
    assert status(loopback(), body_bytes=MAX_BODY_BYTES + 1) == 413
    assert status(loopback(), body_bytes=None) == 411


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"origin": "http://127.0.0.1:6066"}, 200),
        ({"body_bytes": 3, "media_type": "text/plain"}, 415),
        ({"body_bytes": 3, "media_type": "application/x-www-form-urlencoded"}, 415),
        ({"body_bytes": 3}, 415),
        ({"body_bytes": 3, "media_type": "application/json"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_what_another_page_can_make_a_browser_send_is_not_obeyed(
    method: str, asked: dict[str, Any], expected: int
) -> None:
    assert status(loopback(), method=method, **asked) == expected


@pytest.mark.parametrize(
    "given", [None, "", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \udcff"]
)
def test_without_the_token_nothing_is_told(given: str | None) -> None:
    found = loopback(token=TOKEN)
    assert status(found, authorization=given) == 401
    assert status(found, authorization=given, open=True) == 200
    assert status(found, method="POST", authorization=given) == 401
    assert status(found, authorization=f"bearer {TOKEN} ") == 200


def test_a_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(admission.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    found = loopback(token=TOKEN)
    assert status(found, authorization=f"Bearer {TOKEN}") == 200
    assert status(found, authorization="Bearer x") == 401
    assert compared == [(TOKEN.encode(), TOKEN.encode()), (b"x", TOKEN.encode())]
    assert TOKEN not in repr(found)


# --- around the real routes


def asked(settings: AgentSettings, *requests: tuple[str, str, dict[str, str]]) -> list[tuple[int, Any, Any]]:
    runtime = busy_runtime()

    async def asking() -> list[tuple[int, Any, Any]]:
        async with serving(runtime, settings=settings) as client:
            found = []
            for method, path, headers in requests:
                async with client.request(method, path, headers=headers, allow_redirects=False) as response:
                    found.append((response.status, response.headers.copy(), await response.text()))
            return found

    return asyncio.run(asking())


PATHS = [route.path for route in ROUTES if route.media_type != "text/event-stream"]


def test_every_answer_carries_what_keeps_browsers_safe_and_no_version() -> None:
    requests = [("GET", path, {}) for path in (*PATHS, "/ui/app.js", "/nothing", "/ui/none", "/api/v1/summary?x=1")]
    requests += [("POST", "/api/v1/summary", {}), ("GET", "/", {"Host": "evil.example"})]
    for (method, path, _), (code, headers, _) in zip(requests, asked(AgentSettings(), *requests), strict=True):
        assert set(HEADERS) <= set(headers), (method, path, code)
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Server"] == "embedwatch"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Set-Cookie" not in headers
        page = path in ("/ui", "/ui/app.js")
        assert headers["Content-Security-Policy"] == (PAGE_HEADERS if page else HEADERS)["Content-Security-Policy"]


def test_an_error_of_ours_tells_nothing_but_that_there_was_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, request: Any) -> Any:
        raise RuntimeError("hunter2")

    monkeypatch.setattr("stream_agents.web.api.Routes.scopes", broken)
    ((code, headers, text),) = asked(AgentSettings(), ("GET", "/api/v1/scopes", {}))
    assert code == 500
    assert "hunter2" not in text
    assert set(HEADERS) <= set(headers)
    assert "could not be answered" in json.loads(text)["error"]


def test_a_stranger_is_refused_before_anything_is_looked_at_and_a_name_that_is_told_is_not() -> None:
    foreign = ("GET", "/api/v1/summary", {"Host": "agents:6066"})
    ((code, _, text),) = asked(AgentSettings(), foreign)
    assert code == 403
    assert "EMBEDWATCH_AGENTS_ALLOWED_HOSTS" in text
    ((code, _, _),) = asked(AgentSettings(allowed_hosts="x, agents"), foreign)
    assert code == 200


def test_a_rate_is_kept_and_probes_are_not_counted() -> None:
    burst = int(BURST_SECONDS)
    many = [("GET", "/healthz", {})] * 20 + [("GET", "/api/v1/scopes", {})] * (burst + 1) + [("GET", "/healthz", {})]
    answers = asked(AgentSettings(web_requests_per_second=1.0), *many)
    assert [code for code, _, _ in answers] == [200] * (20 + burst) + [429, 200]
    assert answers[-2][1]["Retry-After"] == "1"


def test_with_a_token_only_probes_and_the_empty_page_are_open() -> None:
    settings = AgentSettings(web_token=SecretStr(TOKEN))
    paths = [*PATHS, "/events", "/ui/app.js", "/nothing"]
    answers = asked(settings, *(("GET", path, {}) for path in paths))
    assert [path for path, (code, _, _) in zip(paths, answers, strict=True) if code != 401] == [
        "/ui", "/healthz", "/readyz", "/ui/app.js",
    ]  # fmt: skip
    assert all(headers["WWW-Authenticate"] == "Bearer" for code, headers, _ in answers if code == 401)
    known = {"Authorization": f"Bearer {TOKEN}"}
    assert {code for code, _, _ in asked(settings, *(("GET", path, known) for path in PATHS))} <= {200, 302}


def test_nothing_that_is_served_writes() -> None:
    """A route that does must be behind the token: then this test changes with it."""
    assert {method for route in ROUTES for method in route.methods} == {"GET", "HEAD"}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answers = asked(AgentSettings(), *((method, path, {}) for path in PATHS))
        assert {code for code, _, _ in answers} == {405}


@pytest.mark.parametrize(
    "path",
    ["/ui/../api.py", "/ui/..%2f..%2fapi.py", "/ui/%2e%2e/%2e%2e/api.py", "/ui//etc/passwd", "/ui/.hidden",
     "/ui/..%5c..%5capi.py", "/ui/%00app.js", "//etc/passwd", "/ui/app.js/../../api.py"],
)  # fmt: skip
def test_no_path_leads_out_of_the_page(path: str) -> None:
    """As it stands on the wire: a client would tidy it up."""
    raw = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

    async def asking() -> bytes:
        async with serving(runtime_on(log_of())) as client:
            return await exchanged(client, raw)

    answer = asyncio.run(asking())
    assert answer.split(b" ")[1] in (b"400", b"404")
    assert b"import" not in answer
    assert b"root:" not in answer


async def exchanged(client: TestClient[web.Request, web.Application], raw: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    try:
        writer.write(raw)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("headers", "code"),
    [(f"Content-Length: {MAX_BODY_BYTES + 1}", b"413"), ("Transfer-Encoding: chunked", b"411")],
)
def test_a_body_that_is_too_large_or_endless_is_not_waited_for(headers: str, code: bytes) -> None:
    raw = f"GET /api/v1/scopes HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode()

    async def asking() -> bytes:
        async with serving(runtime_on(log_of()), clock=SetClock()) as client:
            return await exchanged(client, raw)  # until the server has ended the connection

    assert asyncio.run(asking()).split(b" ")[1] == code


@pytest.mark.parametrize(
    "raw",
    [
        f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\x01\r\n\r\n",
        f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n Bearer {TOKEN}\r\n\r\n",
        f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAuthorization{TOKEN}\r\n\r\n",
        f"GET /{TOKEN} HTTP/9.x\r\n\r\n",
        f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: {TOKEN}\r\n\r\n",
        f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {'a' * 10_000}{TOKEN}\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_without_saying_it_again(raw: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def asking() -> bytes:
        async with serving(runtime_on(log_of()), settings=AgentSettings(web_token=SecretStr(TOKEN))) as client:
            return await exchanged(client, raw.encode())

    answer = asyncio.run(asking())
    assert answer.split(b" ")[1] == b"400", answer
    head = answer.partition(b"\r\n\r\n")[0].decode()
    for name, value in {**HEADERS, "Server": "embedwatch"}.items():
        assert f"{name}: {value}" in head, head
    assert TOKEN not in answer.decode()
    assert TOKEN not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("token", ["short", "0123456789abcde", "has a blank in it", "x" * 1001, "ümlaut-ümlaut-ümlaut"])
def test_a_token_that_could_be_guessed_or_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AgentSettings(web_token=SecretStr(token))
    assert token not in str(caught.value)


def test_it_listens_at_loopback_unless_told_otherwise() -> None:
    assert AgentSettings().web_host == "127.0.0.1"
    assert not gate(AgentSettings().web_host, AgentSettings().host_names, 1.0).any_address


def test_routes_that_are_not_ours_are_not_served() -> None:
    """Faust adds its own to the same server."""

    async def foreign(request: web.Request) -> web.Response:
        return web.Response(text="tables")

    async def asking() -> list[int]:
        app = web.Application()
        app.router.add_get("/router/", foreign)
        app.router.add_get("/scopes", foreign)
        app.router.add_get("/healthz", foreign)
        protect(app, AgentSettings(), SetClock())
        async with TestClient(TestServer(app)) as client:
            return [(await client.get(path)).status for path in ("/router/", "/scopes", "/healthz")]

    assert asyncio.run(asking()) == [404, 404, 200]
