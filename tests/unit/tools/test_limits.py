"""The page of hard limits: its numbers are those of the code, and each names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import reference_limits
from tools.reference_limits import Limit, shown_by, value

ROOT = Path(__file__).resolve().parents[3]
EVERY = reference_limits.every()


@pytest.mark.parametrize("limit", EVERY, ids=lambda limit: limit.where)
def test_a_limit_is_a_number_of_the_code_and_its_test_is_there(limit: Limit) -> None:
    assert value(limit) > 0
    for test in shown_by(limit):
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {re.escape(name)}\(", (ROOT / file).read_text(), re.M), test


def test_no_limit_stands_there_twice() -> None:
    assert len({limit.where for limit in EVERY}) == len(EVERY) > 30


def test_a_number_that_is_moved_is_seen_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def table(head: object, rows: object) -> str:
        return str(rows)

    before = reference_limits.page("", table)
    monkeypatch.setattr("embedwatch.rules.MAX_RULES", 4321)
    assert "4,321" not in before
    assert "4,321" in reference_limits.page("", table)
