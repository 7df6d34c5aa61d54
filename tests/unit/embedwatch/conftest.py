"""Commands as a person or CI calls them, in this process, against the agents' own routes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedwatch.cli import main
from stream_agents.runtime import Runtime
from tests.harness.agents_served import ServedAgents


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """run(*arguments) -> (exit code, standard output, standard error) of `embedwatch`, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def serve() -> Iterator[Callable[[Runtime], str]]:
    """serve(runtime) -> address of the agents' routes on it, until the end of the test."""
    with ServedAgents() as agents:
        yield agents.serve
