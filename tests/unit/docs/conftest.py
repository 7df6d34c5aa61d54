"""The command tree, once for all pages."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main

from embedwatch import cli


@pytest.fixture(scope="session")
def tree() -> Any:
    return typer.main.get_command(cli.build())
