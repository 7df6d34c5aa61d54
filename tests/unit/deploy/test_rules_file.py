from __future__ import annotations

import re
from pathlib import Path

from embedwatch.rules import DEFAULT_THRESHOLDS, default_rules, load_rules


def test_the_deployed_rules_are_the_defaults_and_three_more(root: Path) -> None:
    rules = load_rules(root / "deploy" / "rules.yaml")
    assert rules[: len(DEFAULT_THRESHOLDS)] == default_rules()
    assert {rule.alert_type for rule in rules[len(DEFAULT_THRESHOLDS) :]} == {
        "HIGH_LAG", "AT_CAPACITY", "CACHE_UNAVAILABLE"
    }  # fmt: skip


def test_the_example_in_the_comments_is_right_too(root: Path, tmp_path: Path) -> None:
    text = (root / "deploy" / "rules.yaml").read_text()
    head, example = text.split("makes one alert for each.\n")
    used = tmp_path / "rules.yaml"
    used.write_text(head + "\n" + re.sub(r"^  # ", "  ", example, flags=re.M))
    by_name = {rule.name: rule for rule in load_rules(used)}
    assert by_name["search-latency"].window_seconds == 300
    assert by_name["search-latency"].runbook == "https://wiki.example/runbooks/search"
    assert by_name["tenant-budget"].by == ("tenant",)
