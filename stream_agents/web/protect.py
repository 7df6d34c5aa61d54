"""Around every route: who is answered, what every answer carries, and nothing but our own paths."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from embedwatch.clock import Clock
from embedwatch.settings import AgentSettings
from stream_agents.web.admission import Asked, gate
from stream_agents.web.problems import nothing_there, problem
from stream_agents.web.routes import ROUTES

log = logging.getLogger("agents")

#: On every answer, errors too. What an answer says itself stays.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: Instead of the versions of Python and of the server.
SERVER = "embedwatch"
PROBES = frozenset({"/healthz", "/readyz"})
_PATHS = frozenset(route.path for route in ROUTES)
#: Files of the page.
_FILES = "/ui/"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def protect(app: web.Application, settings: AgentSettings, clock: Clock) -> None:
    """To be called before the server starts: of a server with routes of its own, as Faust's, only ours are left."""
    token = settings.web_token.get_secret_value() if settings.web_token else None
    guard = gate(settings.web_host, settings.host_names, settings.web_requests_per_second, token)
    nothing = nothing_there(ROUTES)

    @web.middleware
    async def protected(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = guard.judge(_asked(request), clock.monotonic())
        if refusal is not None:
            response = problem(refusal.status, refusal.error)
            if refusal.retry_after_seconds is not None:
                response.headers["Retry-After"] = str(refusal.retry_after_seconds)
            if refusal.status == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            if request.body_exists:
                response.force_close()  # what is left of the body is not waited for
            return response
        try:
            return await (handler if _is_ours(request.path) else nothing)(request)
        except web.HTTPException as error:
            return problem(error.status, error.reason)
        except Exception as error:
            # Its text may hold anything: not for whoever asked.
            log.warning("agents: %s could not be answered: unexpected %s", request.path[:200], type(error).__name__)
            return problem(500, "this could not be answered; the log of the agents says more")

    # Of the class: Faust makes the server, and takes no other (aiohttp 3: no hook of an application sees these).
    web.RequestHandler.handle_error = _unreadable  # type: ignore[assignment, method-assign]
    app.middlewares.append(protected)
    app.on_response_prepare.append(_finish)


def _unreadable(
    server: web.RequestHandler,
    request: web.BaseRequest,
    status: int = 500,
    exc: BaseException | None = None,
    message: str | None = None,
) -> web.StreamResponse:
    """What cannot be read as HTTP comes before all of the above. aiohttp would log it and say it again, a token in it,
    too."""
    if status >= 500:
        log.warning("agents: a request could not be answered: unexpected %s", type(exc).__name__)
        text = "this could not be answered; the log of the agents says more"
    else:
        log.debug("agents: what %s sent is no HTTP request: %s", request.remote, type(exc).__name__)
        text = "this is no HTTP request that can be read"
    if request.writer.output_size > 0:
        raise ConnectionError("the half of an answer is sent already")
    response = problem(status, text)
    response.headers.update({**HEADERS, "Server": SERVER})
    response.force_close()
    return response


async def _finish(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER


def _is_ours(path: str) -> bool:
    return path in _PATHS or path.startswith(_FILES)


def _asked(request: web.Request) -> Asked:
    headers = request.headers
    length = request.content_length
    return Asked(
        method=request.method,
        client=request.remote,
        host=headers.get("Host"),
        origin=headers.get("Origin"),
        authorization=headers.get("Authorization"),
        media_type=request.content_type if "Content-Type" in headers else "",
        body_bytes=(length or 0) if length is not None or not request.body_exists else None,
        open=request.path in PROBES or request.path == "/ui" or request.path.startswith(_FILES),
        unlimited=request.path in PROBES,
    )
