"""`embedwatch produce`."""

from __future__ import annotations


def app() -> None:
    """Not built yet."""
