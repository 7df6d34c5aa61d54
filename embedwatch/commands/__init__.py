"""Commands of the shared package: demo, up, report, baseline, compare, check, checklist, topics, dlq, collect,
silence, simulate, lag. One file each."""

from __future__ import annotations

import typer


def register(root: typer.Typer) -> None:
    """Add them to the root."""
    from embedwatch.commands import (
        baseline,
        check,
        checklist,
        collect,
        compare,
        demo,
        dlq,
        lag,
        report,
        silence,
        simulate,
        topics,
        up,
    )

    root.command(name="demo")(demo.demo)
    root.command(name="up")(up.up)
    root.command(name="report", cls=report.PeriodCommand)(report.report)
    root.add_typer(baseline.app, name="baseline")
    root.command(name="compare", epilog=compare.EXAMPLE)(compare.compare)
    root.command(name="check")(check.check)
    root.command(name="checklist")(checklist.checklist)
    root.command(name="lag", epilog=lag.EXAMPLE)(lag.lag)
    root.command(name="collect", epilog=collect.EXAMPLE)(collect.collect)
    root.add_typer(topics.app, name="topics")
    root.add_typer(dlq.app, name="dlq")
    root.add_typer(silence.app, name="silence")
    root.command(name="simulate", epilog=simulate.EXAMPLE)(simulate.simulate)
