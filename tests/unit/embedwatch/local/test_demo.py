"""The plan of a demo: how fast, with which settings, and what of the user's own stays out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedwatch.errors import InputError
from embedwatch.local import demo
from embedwatch.local.demo import Order, clean_environ
from embedwatch.local.screen import Screen
from embedwatch.processes import StopRequest
from embedwatch.rules import load_rules


@pytest.mark.parametrize(
    ("texts", "rate", "drilled"),
    [(1, 2.0, False), (59, 2.0, False), (60, 2.0, True), (500, 10.0, True), (2000, 40.0, True)],
)
def test_the_rate_leaves_time_for_an_alert_to_fire_and_clear(texts: int, rate: float, drilled: bool) -> None:
    order = Order(texts=texts)
    assert (order.rate, order.drilled) == (rate, drilled)
    if drilled:
        slow_until = demo.DRILL_AFTER_SECONDS + demo.DRILL_SECONDS
        assert texts / order.rate >= slow_until + 10  # traffic goes on after it, or nobody could say that it is over


def test_more_texts_take_longer_instead_of_overloading_the_machine() -> None:
    assert Order(texts=1_000_000).rate == demo.MAX_RATE_PER_S
    assert Order(texts=10, rate_per_s=500.0).rate == 500.0


def test_there_is_no_slow_phase_where_the_texts_would_be_through_before_it() -> None:
    assert not Order(texts=300, rate_per_s=30.0).drilled
    assert not Order(texts=2000, drill=False).drilled


def test_settings_of_the_users_own_flow_stay_out_and_those_of_the_model_stay_in() -> None:
    theirs = {
        "EMBEDWATCH_KAFKA_BOOTSTRAP_SERVERS": "prod:9092",
        "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN": "xoxb-real",
        "EMBEDWATCH_CACHE_URL": "redis://prod:6379/0",
        "EMBEDWATCH_CONFIG": "prod.yaml",
        "EMBEDWATCH_WORKER_GROUP": "prod",
    }
    kept = {"EMBEDWATCH_WORKER_MODEL": "m", "EMBEDWATCH_PRICING_GPU_USD_PER_HOUR": "2", "PATH": "/bin", "HOME": "/x"}
    assert clean_environ({**theirs, **kept}) == dict.fromkeys(theirs)


def test_its_rules_are_valid_and_hold_one_latency_rule(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(demo._RULES)
    latency = [rule for rule in load_rules(file) if rule.alert_type == demo.ALERT]
    assert [(rule.threshold, rule.window_seconds) for rule in latency] == [(demo.LATENCY_LIMIT_MS, demo.WINDOW_SECONDS)]
    assert demo.DRILL_DELAY_MS > demo.LATENCY_LIMIT_MS


def test_an_input_that_is_not_there_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        demo.run(Order(texts=1, inputs=(tmp_path / "missing.txt",)), tmp_path, Screen(), StopRequest())
    assert list(tmp_path.iterdir()) == []
