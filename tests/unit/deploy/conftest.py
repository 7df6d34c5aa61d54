from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """docker-compose.yml as written, `${...}` and all."""
    data: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return data


@pytest.fixture(scope="session")
def example_env() -> dict[str, str]:
    """deploy/.env.example, with the lines that are commented out too."""
    text = (ROOT / "deploy" / ".env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$", text, re.M))


@pytest.fixture(scope="session")
def interpolate() -> Callable[[str, Mapping[str, str]], str]:
    """`${NAME:-default}` as compose reads it, the only form that the file uses."""

    def replaced(text: str, variables: Mapping[str, str]) -> str:
        filled = re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: variables.get(m[1], "") or m[2], text)
        assert "${" not in filled, f"another form of interpolation: {text}"
        return filled

    return replaced
