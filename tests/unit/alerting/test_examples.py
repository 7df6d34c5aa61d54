"""The page of examples shows every message, and each is one that Slack takes."""

from __future__ import annotations

from typing import get_args

import pytest

from alerting.digest_words import compose_digest
from alerting.examples import DIGEST, KINDS, QUIET_DAY, TYPES, breach, example, page, slack_text
from alerting.message import compose
from alerting.self_watch import WATCHED
from alerting.slack_blocks import render
from alerting.states import Kind
from embedwatch.events import AlertType
from embedwatch.rules import METRICS
from embedwatch.services.slack_rules import check_message
from tests.harness.digests import sums


def test_every_type_and_every_kind_has_an_example() -> None:
    assert set(TYPES) == set(get_args(AlertType))
    assert set(KINDS) == set(get_args(Kind))
    shown = page("note")
    for name in (*TYPES, *KINDS, "bundle", "flapping", "digest", "quiet day", "test"):
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


def test_the_example_of_a_digest_adds_up_in_each_of_its_parts() -> None:
    read = sums(compose_digest(DIGEST).sentence)
    assert read.agree
    for counts, total in (
        (DIGEST.fired_types, DIGEST.account.fired),
        (DIGEST.fired_severities, DIGEST.account.fired),
        (DIGEST.resolved_types, DIGEST.account.resolved),
        (DIGEST.resolved_severities, DIGEST.account.resolved),
    ):
        assert sum(counts.values()) == total
    assert QUIET_DAY.says_nothing
    for digest in (DIGEST, QUIET_DAY):
        assert check_message(*render(compose_digest(digest))) is None
