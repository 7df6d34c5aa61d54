"""The short form of `make fuzz`: what was found once, and some hundred new inputs of each target, always the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.all import TARGETS

CASES = Path(__file__).parent / "cases"
#: Of the targets that run a whole runtime or application for each input.
SLOW = ("agent_state", "agents", "alerting", "arguments", "http", "partials", "rules", "settings")


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """Refusals are logged, as they should be."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("case", sorted(CASES.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_holds(case: Path) -> None:
    TARGETS[case.parent.name](case.read_bytes())


def test_each_folder_of_cases_is_of_a_target() -> None:
    assert {folder.name for folder in CASES.iterdir()} <= set(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_breaks_it(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=25 if name in SLOW else 100,
        derandomize=True, database=None, deadline=None, phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.binary(min_size=16, max_size=400))
    def run(data: bytes) -> None:
        target(data)

    run()
