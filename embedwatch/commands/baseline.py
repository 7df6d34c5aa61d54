"""`embedwatch baseline`: keep what is measured now, to compare with later."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedwatch import completing, options
from embedwatch.commands.compare import check_limits, finish, show
from embedwatch.settings import load

if TYPE_CHECKING:
    from embedwatch.agents_api import AgentsApi
    from embedwatch.baselines import Baseline

app = typer.Typer(help="Keep what is measured now, and see later whether it got slower.", no_args_is_help=True)


def _option(name: str, help: str, **more: Any) -> Any:
    variable = f"EMBEDWATCH_BASELINE_{name.strip('-').upper().replace('-', '_')}"
    return typer.Option(name, envvar=variable, help=help, **more)


Name = Annotated[
    str,
    typer.Argument(
        envvar="EMBEDWATCH_BASELINE_NAME",
        help="Name of the baseline (v1 is baselines/v1.json), or a path (with a / or .json at its end).",
        autocompletion=completing.baselines,
    ),
]
Folder = Annotated[Path, _option("--dir", "Folder of the baselines.")]
AgentsUrl = Annotated[
    str | None,
    _option("--agents-url", "Where the stream agents serve. Without it: from agents.web_host and agents.web_port."),
]
Scopes = Annotated[
    list[str] | None,
    _option(
        "--scope",
        "Only this scope: all, model=NAME, tenant=NAME or model=NAME,tenant=NAME. Several are allowed.",
        autocompletion=completing.scopes,
    ),
]


@app.command(
    epilog="Examples: embedwatch baseline save before-upgrade; embedwatch baseline save v2 --window 10m --scope all"
)
def save(
    name: Name,
    config: options.ConfigFile = None,
    agents_url: AgentsUrl = None,
    window: Annotated[str, _option("--window", "How far back it looks: 10s to 1h, in steps of 10 s.")] = "1h",
    scope: Scopes = None,
    folder: Folder = Path("baselines"),
    force: Annotated[
        bool,
        _option("--force", "Overwrite one of that name; take also few texts, and numbers of agents not ready yet."),
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the latencies, rates and costs of the last hour to NAME.json, and say where that is.

    Texts are counted as in `list` and `diff`: those with a vector. Those that failed count in the error rate. A file
    that is no baseline is never overwritten.

    Exit codes: 0 done, 2 wrong option or NAME, 3 a scope of which nothing is known, or a file that cannot be written, 4
    no agents, 8 too few texts.
    """
    from embedwatch.baselines import Baseline, check_target, path_of, write
    from embedwatch.errors import ConnectionFailed, Inconclusive
    from embedwatch.waiting_line import waiting

    path = path_of(name, folder)
    scope = _asked(scope)
    source = _source(config, agents_url, window)
    check_target(path, force=force)
    with waiting("asking the agents", as_json):
        now, reasons = _now(*source)
    if reasons and not force:
        raise ConnectionFailed(f"the agents are not ready: {'; '.join(reasons)}. --force saves what they know")
    wanted = _wanted(now, scope)
    few = {key: why for key in now.scopes if (why := _too_few(now, key)) is not None}
    if few and not force:
        for key in wanted if scope else wanted[:1]:
            if key in few:
                raise Inconclusive(
                    f"{few[key]}. Wait, look further back (--window, up to 1h), or save it anyway with --force"
                )
    kept = wanted if force else [key for key in wanted if key not in few]
    baseline = Baseline(path.stem, now.time_seconds, now.window_seconds, {key: now.scopes[key] for key in kept})
    replaced = path.exists()
    write(baseline, path)
    if as_json:
        import msgspec

        told = {"file": str(path), "replaced": replaced, "left_out": len(wanted) - len(kept), **_described(baseline)}
        typer.echo(msgspec.json.encode(told).decode())
        return
    first = baseline.scopes[kept[0]]
    p95 = first.latency.quantile(0.95)
    shown = "unknown" if p95 is None else f"{p95:,.1f} ms"
    old = " (in place of an older one)" if replaced else ""
    typer.echo(f"{path} written{old}: {kept[0]}: {first.texts:,} texts, p95 {shown}; {_scopes(len(kept))}")
    left_out = len(wanted) - len(kept)
    if left_out:
        typer.echo(f"embedwatch: note: left out for too few texts: {_scopes(left_out)} (--force keeps them)", err=True)


@app.command("list", epilog="Example: embedwatch baseline list --dir ci/baselines")
def list_(folder: Folder = Path("baselines"), as_json: options.AsJson = False) -> None:
    """What is in the folder, the newest first.

    Exit codes: 0 done, 2 wrong option, 3 a file that is no baseline or cannot be read; the others are listed.
    """
    import msgspec
    from rich.table import Column, Table

    from embedwatch import tables
    from embedwatch.baselines import SUFFIX, read
    from embedwatch.comparison import ALL
    from embedwatch.errors import InputError

    found: list[Baseline] = []
    wrong: list[str] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found.append(read(path))
        except InputError as error:
            wrong.append(str(error))
    found.sort(key=lambda each: -each.time_seconds)
    if as_json:
        typer.echo(msgspec.json.encode([_described(each) for each in found]).decode())
    elif found:
        table = Table(
            "name", Column("saved (UTC)", no_wrap=True), "window", "scope", "texts", "p95 ms", "texts/s", "scopes"
        )
        for each in found:
            key = ALL if ALL in each.scopes else next(iter(each.scopes), "none")
            of = each.scopes.get(key)
            people = of.for_people() if of is not None else {}
            cells = [_cell(people.get(name)) for name in ("latency_p95_ms", "throughput_texts_per_s")]
            count = f"{of.texts:,}" if of is not None else "0"
            table.add_row(
                each.name,
                each.saved_at[:16].replace("T", " "),
                f"{each.window_seconds} s",
                key,
                count,
                *cells,
                str(len(each.scopes)),
            )
        tables.show(table)
    elif not wrong:
        typer.echo(f"no baselines in {folder}: make one with `embedwatch baseline save NAME`", err=True)
    if wrong:
        raise InputError("\n".join(wrong))


@app.command(epilog="Example: embedwatch baseline diff before-upgrade --window 10m --scope model=all-MiniLM-L6-v2")
def diff(
    name: Name,
    config: options.ConfigFile = None,
    agents_url: AgentsUrl = None,
    window: Annotated[str, _option("--window", "How far back `now` looks: 10s to 1h, in steps of 10 s.")] = "5m",
    scope: Scopes = None,
    folder: Folder = Path("baselines"),
    max_regression_pct: Annotated[
        float, _option("--max-regression-pct", "How much slower p95 may have become, in percent.")
    ] = 10.0,
    inconclusive_ok: Annotated[
        bool, _option("--inconclusive-ok", "Exit with 0 also when there is too little to tell.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare a saved baseline with what runs now.

    Exit codes: 0 not slower, 1 slower, 2 wrong option, 3 no such baseline or scope, 4 no agents, 8 too few texts to
    tell.
    """
    from embedwatch.baselines import find
    from embedwatch.comparison import chosen_scopes, compare

    check_limits(max_regression_pct)
    scope = _asked(scope)
    source = _source(config, agents_url, window)
    saved = find(name, folder)
    now, reasons = _now(*source)
    if reasons:
        typer.echo(f"embedwatch: the agents are not ready: {'; '.join(reasons)}; the numbers may be partial", err=True)
    found = [
        compare(saved, now, key, max_regression_pct=max_regression_pct)
        for key in chosen_scopes(saved, now, scope or ())
    ]
    show(saved, now, found, as_json)
    finish(found, inconclusive_ok)


def _source(config: Path | None, agents_url: str | None, window: str) -> tuple[AgentsApi, int]:
    """The agents, not asked yet, and seconds to look back. Raises `ConfigError`."""
    from embedwatch.agents_api import AgentsApi, default_url
    from embedwatch.errors import ConfigError
    from embedwatch.rules import MAX_WINDOW_SECONDS, PANE_SECONDS, duration

    try:
        seconds = duration(int(window) if window.isdecimal() and len(window) < 7 else window, "--window")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not PANE_SECONDS <= seconds <= MAX_WINDOW_SECONDS or math.fmod(seconds, PANE_SECONDS):
        raise ConfigError(f"--window is a multiple of {PANE_SECONDS} s up to 1 h, is {window[:20]!r}")
    settings = load(config)
    return AgentsApi(agents_url or default_url(settings), token=settings.agents.web_token), int(seconds)


def _now(api: AgentsApi, window_seconds: int) -> tuple[Baseline, list[str]]:
    """What the agents measured over the window that ends now, and why it is not to be relied on (nothing if it is)."""
    from embedwatch.baselines import from_answer

    with api:
        now = from_answer(api.baseline(window_seconds))
        _, reasons = api.ready()
    return now, reasons


def _asked(scopes: list[str] | None) -> list[str] | None:
    """Their keys. Raises `ConfigError`."""
    from embedwatch.scopes import scope_option

    return None if scopes is None else [scope_option(scope) for scope in scopes]


def _wanted(now: Baseline, scopes: list[str] | None) -> list[str]:
    from embedwatch.errors import InputError
    from embedwatch.scopes import unknown_scope

    for key in scopes or ():
        if key not in now.scopes:
            raise InputError(unknown_scope(key, now.scopes))
    return list(dict.fromkeys(scopes)) if scopes else list(now.scopes)


def _too_few(now: Baseline, key: str) -> str | None:
    """Why a scope is no ground to compare with; None when it is one."""
    from embedwatch.baselines import MIN_TEXTS
    from embedwatch.regression import MIN_BATCHES

    of = now.scopes[key]
    if of.texts < MIN_TEXTS:
        return f"{key}: {of.texts:,} texts in the last {now.window_seconds} s; {MIN_TEXTS} are needed"
    if of.sample.independent < MIN_BATCHES:
        return f"{key}: {of.texts:,} texts weigh as {of.sample.independent} batches; {MIN_BATCHES} are needed"
    return None


def _scopes(number: int) -> str:
    return "1 scope" if number == 1 else f"{number:,} scopes"


def _cell(value: float | None) -> str:
    from embedwatch.regression import figure

    return "unknown" if value is None else figure(value)


def _described(baseline: Baseline) -> dict[str, Any]:
    """One baseline for programs."""
    return {
        "name": baseline.name, "saved_at": baseline.saved_at, "window_seconds": baseline.window_seconds,
        "scopes": {key: of.for_people() | {"texts": of.texts} for key, of in baseline.scopes.items()},
    }  # fmt: skip
