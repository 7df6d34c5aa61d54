"""The page of examples shows every message, and each is one that Slack takes."""

from __future__ import annotations

from typing import get_args

import pytest

from alerting.examples import KINDS, TYPES, breach, example, page, slack_text
from alerting.message import compose
from alerting.self_watch import WATCHED
from alerting.slack_blocks import render
from alerting.states import Kind
from embedwatch.events import AlertType
from embedwatch.rules import METRICS
from embedwatch.services.slack_rules import check_message


def test_every_type_and_every_kind_has_an_example() -> None:
    assert set(TYPES) == set(get_args(AlertType))
    assert set(KINDS) == set(get_args(Kind))
    shown = page("note")
    for name in (*TYPES, *KINDS, "bundle", "flapping", "test"):
        assert f"### {name}\n" in shown
    assert "None" not in shown
    assert "unknown" not in shown


@pytest.mark.parametrize("kind", get_args(AlertType))
def test_an_example_breaches_its_limit_by_a_metric_of_its_type(kind: AlertType) -> None:
    verdict = breach(kind)
    assert (METRICS.get(verdict.metric) or WATCHED[verdict.metric]).alert_type == kind
    assert verdict.value is not None
    assert verdict.value > verdict.threshold if verdict.comparison == ">" else verdict.value < verdict.threshold


@pytest.mark.parametrize("kind", get_args(Kind))
def test_an_example_is_a_message_that_slack_takes_and_shows_whole(kind: Kind) -> None:
    message = compose(example(kind, breach("HIGH_LATENCY")), "https://d.example/?m={model}")
    assert check_message(*render(message)) is None
    shown = slack_text(render(message)[1])
    for part in (message.title, message.sentence, "https://d.example/?m=all-MiniLM-L6-v2"):
        assert part in shown
    assert "<" not in shown
