"""`embedwatch report`: the dashboard from live numbers, or what a day, a week or a month came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from embedwatch import completing, options
from embedwatch.errors import ConfigError, InputError
from embedwatch.settings import Settings, load

if TYPE_CHECKING:
    from embedwatch.agents_api import AgentsApi
    from embedwatch.reports.period import Kind

MOST_ROWS = 10_000


def _option(name: str, help: str, *flags: str, **more: Any) -> Any:
    envvar = f"EMBEDWATCH_REPORT_{name.upper().replace('-', '_')}"
    return typer.Option(*(flags or (f"--{name}",)), envvar=envvar, help=help, **more)


#: What is meant where a period is asked for and none is named.
PRESENT = {"--day": "today", "--week": "this-week", "--month": "this-month"}


class PeriodCommand(TyperCommand):
    """`--month` alone, or before another option, is the present one: Click takes the next word for its value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_present(args))


def with_present(arguments: Sequence[str]) -> list[str]:
    """The arguments with the present period named where none is."""
    out: list[str] = []
    for number, word in enumerate(arguments):
        out.append(word)
        follows = arguments[number + 1] if number + 1 < len(arguments) else "-"
        if word in PRESENT and follows.startswith("-"):
            out.append(PRESENT[word])
    return out


def report(
    config: options.ConfigFile = None,
    bootstrap_servers: options.BootstrapServers = None,
    topic_prefix: options.TopicPrefix = None,
    app_id: Annotated[
        str | None, options.setting("agents", "app_id", help="whose closed days: the --app-id of the agents")
    ] = None,
    agents_url: Annotated[
        str | None,
        _option("agents-url", "Where the stream agents serve. Without it: from agents.web_host and agents.web_port."),
    ] = None,
    window_seconds: Annotated[
        int,
        _option("window-seconds", "How far back performance and cache look: a multiple of 10 from 10 to 3600."),
    ] = 300,
    scope: Annotated[
        str,
        _option("scope", "Whose numbers: all, model=NAME, tenant=NAME, or both.", autocompletion=completing.scopes),
    ] = "all",
    day: Annotated[
        str | None,
        _option(
            "day", "What a day came to: today, yesterday or a date such as 2026-07-14; today where none is said.",
            autocompletion=completing.days,
        ),
    ] = None,
    week: Annotated[
        str | None,
        _option(
            "week",
            "What a week came to: this-week, last-week or an ISO week such as 2026-W47; this-week where none is said.",
            autocompletion=completing.weeks,
        ),
    ] = None,
    month: Annotated[
        str | None,
        _option(
            "month",
            "What a month came to: this-month, last-month or a month such as 2026-11; this-month where none is said.",
            autocompletion=completing.months,
        ),
    ] = None,
    by: Annotated[
        str | None,
        _option(
            "by", "Of a period: rows by model, tenant, day, or several of them: model,tenant.",
            autocompletion=completing.groups,
        ),
    ] = None,
    output_format: Annotated[
        str | None,
        _option(
            "format", "Of a period: text, md, html, csv or json; by default what --output ends with.", "--format", "-f",
            autocompletion=completing.formats,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        _option("output", "Of a period: write this file, in one step, instead of printing.", "--output", "-o"),
    ] = None,
    top: Annotated[
        int, _option("top", "Of a period: rows printed one by one; csv and json have all.", min=1, max=MOST_ROWS)
    ] = 20,
    timezone: Annotated[
        str | None,
        _option(
            "timezone", "Of a period: the zone whose days are meant. It must be the one that the agents book in.",
            "--timezone", "--tz",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:  # fmt: skip
    """Print performance, cache, cost and queue as the stream agents see them now, or what a period came to.

    A period is read from the closed days on their topic, which are kept for 400 days, and from the agents, who know
    today. Of --day alone the short page of the ledger is printed, as long as the agents keep the day.

    Exit codes: 0 done, 2 wrong option, 3 a day or scope of which nothing is known, or a file that cannot be written,
    4 no agents, or no broker.

    Examples: embedwatch report; embedwatch report --scope tenant=search --window-seconds 60;
    embedwatch report --json | jq .today.cost_nano_usd; embedwatch report --day yesterday --tz Europe/Berlin;
    embedwatch report --month last-month --by model,tenant -o november.html
    """
    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.report import check_zone
    from embedwatch.reports.writing import check_output, format_of, render, write
    from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS
    from embedwatch.scopes import parse_scope, scope_option
    from embedwatch.waiting_line import waiting

    if window_seconds % PANE_SECONDS or not PANE_SECONDS <= window_seconds <= MAX_WINDOW_SECONDS:
        raise ConfigError(
            f"--window-seconds is a multiple of {PANE_SECONDS} from {PANE_SECONDS} to {MAX_WINDOW_SECONDS}, is "
            f"{window_seconds}"
        )
    key = scope_option(scope)
    asked = _asked_period(day, week, month)
    groups = _groups(by)
    if timezone is not None:
        check_zone(timezone)
    form = format_of(output_format, output, as_json)
    more = {"--by": by, "--format": output_format, "--output": output}
    given = [name for name, value in more.items() if value is not None]
    whole = bool(given) or week is not None or month is not None
    if output is not None:
        check_output(output)
    settings = load(
        config,
        {
            "kafka.bootstrap_servers": bootstrap_servers,
            "kafka.topic_prefix": topic_prefix,
            "agents.app_id": app_id,
        },
    )
    url = agents_url or default_url(settings)
    if asked is None and whole:
        raise ConfigError(f"{given[0]} needs a period: --day, --week or --month; without one the dashboard is printed")
    with AgentsApi(url, token=settings.agents.web_token) as api:
        if asked is None and timezone is None:
            _dashboard(api, window_seconds, key, as_json)
            return
        kind, name = asked or ("day", "today")
        if not whole and _day_page(api, name, key, timezone, as_json):
            return
        with waiting("reading closed days", as_json=form in ("json", "csv")) as tell:

            def told(topic: str, done_pct: float | None) -> None:
                tell(f"reading {topic}", done_pct)

            found = _period(settings, api, kind, name, groups, parse_scope(key), timezone, told)
    text = render(found, form, top)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write(output, text)
        typer.echo(f"embedwatch: {output} written ({found.period.title})", err=True)


def _asked_period(day: str | None, week: str | None, month: str | None) -> tuple[Kind, str] | None:
    from embedwatch.reports.period import check_period

    asked: list[tuple[Kind, str]] = []
    kinds: tuple[tuple[Kind, str | None], ...] = (("day", day), ("week", week), ("month", month))
    for kind, text in kinds:
        if text is not None:
            check_period(kind, text)
            asked.append((kind, text))
    if len(asked) > 1:
        raise ConfigError(f"--{asked[0][0]} and --{asked[1][0]} contradict each other: name one period")
    return asked[0] if asked else None


def _groups(by: str | None) -> list[str]:
    from embedwatch.reports.build import DIMENSIONS

    names = [] if by is None else [name.strip() for name in by.split(",")]
    if set(names) - set(DIMENSIONS) or len(set(names)) < len(names):
        raise ConfigError(f"--by is {', '.join(DIMENSIONS)}, or several of them with commas, each once; not {by!r:.60}")
    return names


def _dashboard(api: AgentsApi, window_seconds: int, key: str, as_json: bool) -> None:
    import msgspec

    from embedwatch.report import dashboard

    found = api.summary(window_seconds, key)
    ready, reasons = api.ready()
    _known(api, key, found)
    if as_json:
        typer.echo(msgspec.json.encode({**found, "ready": ready, "not_ready_reasons": reasons}).decode())
        return
    typer.echo(dashboard(found))
    _say_not_ready(ready, reasons)


def _day_page(api: AgentsApi, day: str, key: str, timezone: str | None, as_json: bool) -> bool:
    """The short page of a day that the agents keep. False: they do not, and the topic of days may.

    With --json the row of the ledger or an error: programs do not get another document by the day's age.
    """
    import msgspec

    from embedwatch.errors import ConnectionFailed
    from embedwatch.report import day_page, ledger_row

    try:
        ledger = api.ledger(key)
    except ConnectionFailed:
        if as_json or day == "today":
            raise
        return False
    try:
        row = ledger_row(ledger, day, timezone)
    except InputError as error:
        if as_json:
            raise InputError(f"{error}; closed days of the last 400: --format json") from None
        return False
    ready, reasons = api.ready()
    _known(api, key, row)
    if as_json:
        typer.echo(msgspec.json.encode({**row, "ready": ready, "not_ready_reasons": reasons}).decode())
        return True
    typer.echo(day_page(row))
    _say_not_ready(ready, reasons)
    return True


def _known(api: AgentsApi, key: str, found: dict[str, Any]) -> None:
    """A page of zeros would look like a scope in which nothing happened."""
    from embedwatch.report import holds_texts
    from embedwatch.scopes import unknown_scope

    if key != "all" and not holds_texts(found):
        known = api.scopes()
        if known is not None and key not in known:
            raise InputError(unknown_scope(key, known))


def _say_not_ready(ready: bool, reasons: list[str]) -> None:
    if not ready:
        typer.echo(f"embedwatch: the agents are not ready: {'; '.join(reasons)}; the numbers may be partial", err=True)


def _period(
    settings: Settings, api: AgentsApi, kind: Kind, name: str, groups: list[str], scope: Any, timezone: str | None,
    told: Callable[[str, float | None], object],
) -> Any:  # fmt: skip
    from embedwatch.logs import quieten_kafka
    from embedwatch.reports.build import build
    from embedwatch.reports.period import Period, resolve
    from embedwatch.reports.source import KafkaTopics, gather
    from embedwatch.scopes import scope_key, unknown_scope

    quieten_kafka()

    def choose(today: date) -> Period:
        return resolve(kind, name, today)

    known, period = gather(settings, api, KafkaTopics(settings, told), choose, time.time(), scope, timezone)
    found = build(known, period, groups, scope)
    scopes = {key for day in period.days if day in known.days for key in known.days[day].scopes}
    if scope and scope_key(scope) not in scopes and not found.total.texts:
        raise InputError(unknown_scope(scope_key(scope), ["all", *scopes]))
    return found
