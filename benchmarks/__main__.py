"""`python -m benchmarks [--only id,id] [--out FILE]`: measure, print a table, write JSON and the page of figures.

The exit code is 1 when a claim does not hold.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.claims import Result, machine, write
from benchmarks.figures import PAGE, RESULTS, made
from benchmarks.groups import GROUPS


def main(
    only: Annotated[str, typer.Option(help="ids of claims, separated by commas; all without it")] = "",
    out: Annotated[Path, typer.Option(help="where the results go; those of other claims are kept")] = RESULTS,
) -> None:
    known = {claim.id for claims, _ in GROUPS for claim in claims}
    wanted = frozenset(part.strip() for part in only.split(",") if part.strip()) or frozenset(known)
    if unknown := wanted - known:
        raise typer.BadParameter(f"no claim named {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    console, on, results = Console(), machine(), []
    console.print(f"measuring on {on}; nothing else should run on it")
    for claims, measure in GROUPS:
        ids = frozenset(claim.id for claim in claims) & wanted
        if not ids:
            continue
        for result in measure(ids):
            results.append(result)
            console.print(f"  {result.claim.id}: {result.value:.4g} {result.claim.unit}", highlight=False)
            write(results, out, on)
    if out.resolve() == RESULTS:
        PAGE.write_text(made(), encoding="utf-8")
        console.print(f"{out.relative_to(Path.cwd())} and {PAGE.relative_to(Path.cwd())} are written", highlight=False)
    console.print(table(results))
    sys.exit(0 if all(result.holds is not False for result in results) else 1)


def table(results: Iterable[Result]) -> Table:
    """One line a claim."""
    made = Table(title="measured here, now", title_justify="left")
    for name in ("id", "value", "target", "holds", "lowest to highest", "measured beside it"):
        made.add_column(name, overflow="fold")
    for result in results:
        claim = result.claim
        sign = {"at_least": "≥", "at_most": "≤"}[claim.bound]
        made.add_row(
            claim.id,
            f"{result.value:.4g} {claim.unit}",
            "-" if claim.target is None else f"{sign} {claim.target:g}",
            {True: "yes", False: "NO", None: "-"}[result.holds],
            f"{result.spread[0]:.4g} to {result.spread[1]:.4g}",
            ", ".join(f"{name} {value:.4g}" for name, value in result.peers.items()),
        )
    return made


if __name__ == "__main__":
    typer.run(main)
