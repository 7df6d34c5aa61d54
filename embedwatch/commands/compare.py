"""`embedwatch compare`: two baselines, a table, one line of verdict and an exit code for CI."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedwatch import completing, options

if TYPE_CHECKING:
    from embedwatch.baselines import Baseline
    from embedwatch.comparison import Comparison

EXAMPLE = "Examples: embedwatch compare main.json branch.json --max-regression-pct 5; embedwatch compare v1 v2 --json"
REGRESSION_EXIT_CODE = 1


def _option(name: str, help: str, **more: Any) -> Any:
    variable = f"EMBEDWATCH_COMPARE_{name.strip('-').upper().replace('-', '_')}"
    return typer.Option(name, envvar=variable, help=help, **more)


def compare(
    a: Annotated[
        str,
        typer.Argument(
            envvar="EMBEDWATCH_COMPARE_A",
            help="The baseline to compare with: a path or a name.",
            autocompletion=completing.baselines,
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            envvar="EMBEDWATCH_COMPARE_B", help="The new one: a path or a name.", autocompletion=completing.baselines
        ),
    ],
    scope: Annotated[
        list[str] | None,
        _option("--scope", "Compare this scope: all, model=NAME, tenant=NAME or both. Several are allowed."),
    ] = None,
    folder: Annotated[Path, _option("--dir", "Folder in which names are looked up.")] = Path("baselines"),
    max_regression_pct: Annotated[
        float, _option("--max-regression-pct", "How much slower p95 may have become, in percent.")
    ] = 10.0,
    min_texts: Annotated[int, _option("--min-texts", "Fewer texts on a side are inconclusive.", min=1)] = 200,
    inconclusive_ok: Annotated[
        bool, _option("--inconclusive-ok", "Exit with 0 also when there is too little to tell.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Compare two files of `embedwatch baseline save`: is B slower than A, and by more than chance?

    A and B are looked for alike: v1 as baselines/v1.json, then as the file v1 or v1.json here; main.json as that file,
    then in baselines/; what has a / as that path, with or without .json. Texts that failed have no latency: they count
    in the error rate, and in no number of texts.

    Exit codes: 0 not slower, 1 slower, 2 wrong option, 3 no such baseline or scope, 8 too few texts to tell.
    """
    from embedwatch.baselines import find
    from embedwatch.comparison import chosen_scopes, compare
    from embedwatch.scopes import scope_option

    check_limits(max_regression_pct)
    scopes = [scope_option(each) for each in scope or ()]
    one, other = find(a, folder), find(b, folder)
    found = [
        compare(one, other, key, max_regression_pct=max_regression_pct, min_texts=min_texts)
        for key in chosen_scopes(one, other, scopes)
    ]
    show(one, other, found, as_json)
    finish(found, inconclusive_ok)


def check_limits(max_regression_pct: float) -> None:
    """Raises `ConfigError`."""
    from embedwatch.errors import ConfigError

    if not 0 <= max_regression_pct < math.inf:
        raise ConfigError(f"--max-regression-pct is a percentage of 0 or more, is {max_regression_pct:g}")


def show(a: Baseline, b: Baseline, found: Sequence[Comparison], as_json: bool) -> None:
    """A table a scope with its verdict in words below, or one JSON document."""
    import msgspec

    if as_json:
        from embedwatch.comparison import worst

        sides = {side: {"name": of.name, "saved_at": of.saved_at, "window_seconds": of.window_seconds}
                 for side, of in (("a", a), ("b", b))}  # fmt: skip
        outcome = worst(each.outcome for each in found)
        typer.echo(msgspec.json.encode({"outcome": outcome, **sides, "scopes": [c.as_json() for c in found]}).decode())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=True)
    styles = {"regression": "bold red", "none": "green", "inconclusive": "yellow"}
    for each in found:
        table = Table()
        # Text, since a scope's name may hold what rich takes for markup.
        table.add_column(Text(each.scope))
        for heading in (f"A: {a.name}", f"B: {b.name}", "change"):
            table.add_column(Text(heading), justify="right")
        for row in each.rows:
            table.add_row(*(Text(cell) for cell in row.cells()))
        console.print(table)
        for note in each.notes:
            console.print(Text(f"note: {note}"))
        console.print(Text(each.words, styles[each.outcome]))


def finish(found: Sequence[Comparison], inconclusive_ok: bool) -> None:
    """End with the exit code of the worst of them."""
    from embedwatch.comparison import worst
    from embedwatch.errors import Inconclusive

    outcome = worst(each.outcome for each in found)
    if outcome == "regression":
        raise typer.Exit(REGRESSION_EXIT_CODE)
    if outcome == "inconclusive" and not inconclusive_ok:
        raise typer.Exit(Inconclusive.exit_code)
