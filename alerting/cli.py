"""`embedwatch alerts`."""

from __future__ import annotations


def app() -> None:
    """Not built yet."""
