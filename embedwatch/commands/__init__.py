"""Commands of the shared package: demo, up, report, check, topics. One file each."""

from __future__ import annotations

import typer


def register(root: typer.Typer) -> None:
    """Add them to the root."""
    from embedwatch.commands import topics

    root.add_typer(topics.app, name="topics")
