"""Values that a shell completes: scopes, alerts, baselines, traces. Asked for within a second, or nothing at all.

Whoever presses TAB wants neither to wait nor to read an error: what cannot be asked completes to nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from typer import Context

#: The whole of it, with name servers and proxies that take their time.
PATIENCE_SECONDS = 0.7
ASK_SECONDS = 0.5


def _soon(ask: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    """What begins so; nothing after `PATIENCE_SECONDS`, whatever goes on: the thread ends with the process."""
    found: list[str] = []

    def run() -> None:
        # Nobody reads an error between two words of a command line.
        try:
            found.extend(ask())
        except Exception:
            found.clear()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return [] if thread.is_alive() else sorted(each for each in set(found) if each.startswith(incomplete))


def _api(context: Context) -> Any:
    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.settings import load

    given = context.params
    url = given.get("agents_url")
    settings = load(given.get("config"))
    return AgentsApi(url or default_url(settings), token=settings.agents.web_token, timeout_seconds=ASK_SECONDS)


def scopes(ctx: Context, incomplete: str) -> list[str]:
    """Those that the agents know of."""

    def ask() -> Iterable[str]:
        with _api(ctx) as api:
            return api.scopes() or []

    return _soon(ask, incomplete)


def alerts(ctx: Context, incomplete: str) -> list[str]:
    """Ids, as the agents judge them now: they are those of the alerts. Kafka itself would take too long."""

    def ask() -> Iterable[str]:
        with _api(ctx) as api:
            return [str(row.get("alert_id")) for row in api.verdicts()]

    return _soon(ask, incomplete)


def baselines(ctx: Context, incomplete: str) -> list[str]:
    """Names in the folder."""

    def ask() -> Iterable[str]:
        return [path.stem for path in Path(ctx.params.get("folder") or "baselines").glob("*.json")]

    return _soon(ask, incomplete)


def traces(ctx: Context, incomplete: str) -> list[str]:
    """Those of `embedwatch simulate`. Not imported: that would load numpy."""
    return [name for name in ("constant", "ramp", "wave", "burst", "day-100m", "all") if name.startswith(incomplete)]


def _begin(incomplete: str, *words: str) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]


def days(incomplete: str) -> list[str]:
    """Of `embedwatch report --day`; a date is typed."""
    return _begin(incomplete, "today", "yesterday")


def weeks(incomplete: str) -> list[str]:
    return _begin(incomplete, "this-week", "last-week")


def months(incomplete: str) -> list[str]:
    return _begin(incomplete, "this-month", "last-month")


def formats(incomplete: str) -> list[str]:
    """Of a report."""
    return _begin(incomplete, "text", "md", "html", "csv", "json")


def groups(incomplete: str) -> list[str]:
    """Of a report's rows: after a comma the next one, of those that are not there yet."""
    before, comma, last = incomplete.rpartition(",")
    rest = [word for word in ("model", "tenant", "day") if word not in before.split(",")]
    return [f"{before}{comma}{word}" for word in rest if word.startswith(last)]
