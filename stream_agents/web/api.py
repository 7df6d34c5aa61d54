"""The HTTP routes. They read the runtime and write nothing; the server binds to loopback unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from embedwatch.clock import Clock
from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
from stream_agents.compute.baseline import as_answer, measured
from stream_agents.compute.ledger import day_scopes
from stream_agents.compute.scopes import Scope, asked_scope, parse_scope, scope_key
from stream_agents.compute.summary import day_summary, summary, verdict_rows
from stream_agents.compute.timeline import spend_today, timeline
from stream_agents.compute.views import lag_view, scaling_view, scopes_view, windows_view
from stream_agents.compute.world import World
from stream_agents.runtime import Runtime
from stream_agents.web.assets import INDEX, load, serve, wants_page
from stream_agents.web.exposition import WorldCollector
from stream_agents.web.openapi import document
from stream_agents.web.problems import SHOWN_CHARS, BadRequest, answer, guarded, nothing_there, problem
from stream_agents.web.routes import (
    DEFAULT_HISTORY_SECONDS,
    DEFAULT_LIMIT,
    DEFAULT_STEP_SECONDS,
    MAX_LIMIT,
    MAX_SCOPE_CHARS,
    MAX_STEP_SECONDS,
    MAX_STREAMS,
    ROUTES,
)
from stream_agents.web.shared import Shared, in_turns
from stream_agents.web.stream import Streams

MAX_ROWS = 1000
#: Rows of history that are made between two turns of others.
ROWS_TOGETHER = 20
#: The same of the ledger: its rows ask for a forecast each.
LEDGER_ROWS_TOGETHER = 4
#: Ledgers and baselines that are kept for who asks next: one of a thousand scopes is megabytes.
MAX_EXPORTS_KEPT = 4


def add_routes(
    router: web.UrlDispatcher, runtime: Runtime, clock: Clock, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Add them to a web server: Faust's own. `stopping` says when streams are to end."""
    routes = Routes(runtime, clock, stopping)
    for route in ROUTES:
        handler = guarded(route, getattr(routes, route.handler))
        router.add_get(route.path, handler, allow_head="HEAD" in route.methods)
    router.add_get("/ui/", routes.page_below)
    router.add_get("/ui/{file}", routes.file)
    # The server asks the more exact paths first, Faust's too.
    router.add_route("*", r"/{path:[\s\S]*}", nothing_there(ROUTES))  # a line break, too, is a path


class Routes:
    def __init__(self, runtime: Runtime, clock: Clock, stopping: Callable[[], bool]) -> None:
        self.runtime = runtime
        self.clock = clock
        self.streams = Streams(clock, stopping, max_streams=MAX_STREAMS)
        self.assets = load()
        self.histories = Shared(clock)
        self.exports = Shared(clock, MAX_EXPORTS_KEPT)
        self.registry = CollectorRegistry()
        self.registry.register(WorldCollector(runtime, clock))

    async def index(self, request: web.Request) -> web.Response:
        """Browsers go to the page; relative, so that it may be served under a path."""
        if wants_page(request):
            return web.Response(status=302, headers={"Location": "ui", "Vary": "Accept"})
        return answer({"embedwatch": "stream agents", "paths": [route.path for route in ROUTES]})

    async def page_below(self, request: web.Request) -> web.Response:
        """A slash too many. Relative, as above, and with what the address asks for: below it no file would be found."""
        query = f"?{request.query_string}" if request.query_string else ""
        return web.Response(status=308, headers={"Location": f"../ui{query}"})

    async def page(self, request: web.Request) -> web.Response:
        return serve(self.assets[INDEX], request)

    async def file(self, request: web.Request) -> web.Response:
        """A file of the page."""
        asset = self.assets.get(request.match_info["file"])
        if asset is None:
            return problem(404, f"the page has no file {request.match_info['file'][:SHOWN_CHARS]!r}", known=self.assets)
        return serve(asset, request)

    async def openapi(self, request: web.Request) -> web.Response:
        return answer(document())

    async def summary(self, request: web.Request) -> web.Response:
        return answer(self._summary(_window(request), _scope(request)))

    def _summary(self, window_seconds: int, scope: Scope) -> dict[str, Any]:
        world, now, rules = self.runtime.world, self.clock.now(), self.runtime.rules
        data = summary(world, now, window_seconds=window_seconds, scope=scope, rules=rules)
        return {**data, "partitions": self.runtime.merger.coverage(now), "breached": self._breached()}

    def _breached(self) -> list[dict[str, Any]]:
        return [row for row in verdict_rows(self.runtime.verdicts) if row["judgement"] == "breached"][:MAX_ROWS]

    async def events(self, request: web.Request) -> web.StreamResponse:
        window_seconds, scope = _window(request), _scope(request)
        if self.streams.full:
            return problem(503, f"{MAX_STREAMS} streams are open already; try again later")
        return await self.streams.serve(request, (window_seconds, scope), lambda: self._summary(window_seconds, scope))

    async def scopes(self, request: web.Request) -> web.Response:
        return answer(scopes_view(self.runtime.world))

    async def windows(self, request: web.Request) -> web.Response:
        world = self.runtime.world
        length = _length(request, world.closer.lengths)
        return answer(
            windows_view(world, self.clock.now(), scope=_scope(request), window_seconds=length, limit=_limit(request))
        )

    async def lag(self, request: web.Request) -> web.Response:
        return answer(lag_view(self.runtime.world, self.clock.now()))

    async def alerts(self, request: web.Request) -> web.Response:
        now = self.clock.now()
        return answer({"time_seconds": now, "breached": self._breached(), **self.runtime.alerts.rows(now)})

    async def history(self, request: web.Request) -> web.Response:
        seconds, step_seconds, scope = _seconds(request), _step(request), _scope(request)
        world = self.runtime.world

        async def make() -> dict[str, Any]:
            now = self.clock.now()
            rows = timeline(world, now, scope=scope, seconds=seconds, step_seconds=step_seconds)
            return {
                "time_seconds": now, "scope": scope_key(scope), "seconds": seconds, "step_seconds": step_seconds,
                "rows": await in_turns(rows, ROWS_TOGETHER),
            }  # fmt: skip

        # Pages that show the same scope share one answer: it is hundreds of merges, and 10-second panes change slowly.
        return await self.histories.answer((scope, seconds, step_seconds), make)

    async def queue_history(self, request: web.Request) -> web.Response:
        return answer(self.runtime.world.queue_history.rows(self.clock.now(), _seconds(request)))

    async def spend_history(self, request: web.Request) -> web.Response:
        now, rules = self.clock.now(), self.runtime.rules
        return answer(spend_today(self.runtime.world, now, scope=_scope(request), rules=rules))

    async def scaling(self, request: web.Request) -> web.Response:
        return answer(scaling_view(self.runtime.world, self.clock.now()))

    async def ledger(self, request: web.Request) -> web.Response:
        """The days kept, by scope; `day` and `scope` narrow it down."""
        world, rules = self.runtime.world, self.runtime.rules
        wanted_day, scope = _day(request), _scope(request, default=None)

        async def make() -> dict[str, Any]:
            now = self.clock.now()
            days = sorted({day for state in world.partitions.values() for day in state.days})
            places = [
                (day, key)
                for day in days
                if wanted_day in (None, day)
                for key in ([scope_key(scope)] if scope is not None else _ledger_keys(world, day))
            ]
            rows = (
                {"scope": key, **day_summary(world, day, parse_scope(key), now=now, rules=rules)} for day, key in places
            )
            return {
                "app_id": self.runtime.merger.app_id, "timezone": world.zone.key, "today": world.today(now),
                "days": days, "rows": await in_turns(rows, LEDGER_ROWS_TOGETHER),
            }  # fmt: skip

        if scope is not None:
            return answer(await make())  # a row a day
        return await self.exports.answer(("ledger", wanted_day), make)

    async def verdicts(self, request: web.Request) -> web.Response:
        return answer({"verdicts": verdict_rows(self.runtime.verdicts)[:MAX_ROWS]})

    async def baseline(self, request: web.Request) -> web.Response:
        """Exact sums and sketches of every scope over a window: what `embedwatch baseline save` keeps."""
        world, window_seconds = self.runtime.world, _window(request)

        async def make() -> dict[str, Any]:
            now = self.clock.now()
            # One scope a turn: of an hour in which it was busy it is some milliseconds' work.
            return as_answer(now, window_seconds, await in_turns(measured(world, now, window_seconds), 1))

        return await self.exports.answer(("baseline", window_seconds), make)

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(self, request: web.Request) -> web.Response:
        """The process runs and its loop turns."""
        return answer({"status": "ok"})

    async def readyz(self, request: web.Request) -> web.Response:
        """Partitions are assigned, the state is recovered, no gap is open; the broker takes what is said."""
        reasons = self.runtime.unready()
        return answer({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)


def _ledger_keys(world: World, day: str) -> list[str]:
    return sorted(day_scopes(world.partitions.values(), day))[:MAX_ROWS]


def _window(request: web.Request) -> int:
    return _panes(request, "window_seconds", 300, MAX_WINDOW_SECONDS)


def _seconds(request: web.Request) -> int:
    return _panes(request, "seconds", DEFAULT_HISTORY_SECONDS, MAX_WINDOW_SECONDS)


def _step(request: web.Request) -> int:
    return _panes(request, "step_seconds", DEFAULT_STEP_SECONDS, MAX_STEP_SECONDS)


def _panes(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    seconds = int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0
    if seconds % PANE_SECONDS or not PANE_SECONDS <= seconds <= most:
        raise BadRequest(name, f"{name} is a multiple of {PANE_SECONDS} up to {most}, not {text[:20]!r}")
    return seconds


def _length(request: web.Request, lengths: tuple[int, ...]) -> int:
    text = request.query.get("window_seconds", str(lengths[0]))
    for length in lengths:
        if text == str(length):
            return length
    raise BadRequest("window_seconds", f"window_seconds is one of {', '.join(map(str, lengths))}, not {text[:20]!r}")


def _limit(request: web.Request) -> int:
    text = request.query.get("limit", str(DEFAULT_LIMIT))
    limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest("limit", f"limit is a whole number from 1 to {MAX_LIMIT}, not {text[:20]!r}")
    return limit


def _day(request: web.Request) -> str | None:
    text = request.query.get("day")
    try:
        return None if text is None else date.fromisoformat(text).isoformat()
    except ValueError:
        raise BadRequest("day", f"day is a date such as 2026-07-14, not {text!r:.40}") from None


def _scope(request: web.Request, default: Any = ()) -> Scope | Any:
    text = request.query.get("scope")
    if text is None:
        return default
    if len(text) > MAX_SCOPE_CHARS:
        raise BadRequest("scope", f"scope has {len(text):,} characters, at most {MAX_SCOPE_CHARS:,} are taken")
    try:
        return asked_scope(text)
    except ValueError as error:
        raise BadRequest("scope", str(error)) from None
