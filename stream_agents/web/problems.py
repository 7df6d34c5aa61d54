"""What is answered to a request that cannot be: JSON of one shape, with what was wrong and what there is instead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from embedwatch.yamlfile import closest
from stream_agents.web.answers import Problem
from stream_agents.web.routes import Route

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: Of a name that somebody made up.
SHOWN_CHARS = 60


#: No browser is to take an answer for a page.
HEADERS = {"X-Content-Type-Options": "nosniff"}


class BadRequest(ValueError):
    """A parameter is wrong: its name, and in words what is allowed."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class Busy(Exception):
    """So much is asked for that one more has to come again."""


def answer(data: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(data), content_type="application/json", status=status, headers=HEADERS)


def problem(status: int, error: str, *, parameter: str | None = None, known: Iterable[str] = ()) -> web.Response:
    return answer(Problem(error=error, parameter=parameter, known=list(known)), status)


#: Asked by scrapers and probes, which may add parameters of their own (`name[]`, a number against caches). Those of the
#: page are for the page: what it shows stands in its address.
MACHINES = ("/metrics", "/healthz", "/readyz", "/ui")


def guarded(route: Route, handler: Handler) -> Handler:
    """A parameter that is wrong, unknown or doubled is the caller's: 400 with what is allowed."""
    known = [parameter.name for parameter in route.parameters]

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            _check_names(request, route.path, known)
            return await handler(request)
        except BadRequest as error:
            return problem(400, str(error), parameter=error.parameter[:SHOWN_CHARS], known=known)
        except Busy as error:
            return problem(503, str(error))

    return handle


def _check_names(request: web.Request, path: str, known: list[str]) -> None:
    """What is not looked at would be an answer to another question."""
    if path in MACHINES:
        return
    for name in request.query:
        if name not in known:
            takes = closest(name, known) if known else "; it takes none"
            raise BadRequest(name, f"{path} has no parameter {name[:SHOWN_CHARS]!r}{takes}")
        if (times := len(request.query.getall(name))) > 1:
            raise BadRequest(name, f"{name} is given {times} times; give it once")


def nothing_there(routes: Iterable[Route]) -> Handler:
    """For every request that no route takes: 405 where the path is one, else 404."""
    methods = {route.path: route.methods for route in routes}
    paths = list(methods)

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path not in paths:
            near = closest(request.path[:200], paths)
            hint = near if near.startswith("; did you mean") else "; / lists what there is"
            return problem(404, f"there is no {request.path[:SHOWN_CHARS]!r}{hint}", known=paths)
        allowed = methods[request.path]
        response = problem(
            405, f"{request.path} takes no {request.method[:SHOWN_CHARS]}, only {' and '.join(allowed)}", known=allowed
        )
        response.headers["Allow"] = ", ".join(allowed)
        return response

    return handle
