from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.cause import cause
from alerting.message import Message, compose, scope, trial_message
from alerting.phrases import ACTIONS, KNOWN_SENTENCES, PHASE_CAUSES, SUBJECTS, TITLES
from alerting.receivers import text
from alerting.self_watch import WATCHED
from alerting.slack_blocks import render, render_news
from alerting.states import Facts, Kind, Owed, trim
from embedwatch.events import PHASES, AlertType, Contributor, Verdict
from embedwatch.rules import METRICS
from embedwatch.services.slack_rules import check_message
from tests.harness.verdicts import verdict

KINDS: tuple[Kind, ...] = get_args(Kind)


def owed(kind: Kind, breach: Verdict, **facts: Any) -> Owed:
    over = {"resolved_at_seconds": 1255.0} if kind in ("resolved", "cleared") else {}
    values = {"since_seconds": 1000.0, "fired_at_seconds": 1005.0, "worst_value": breach.value, **over, **facts}
    return Owed(1, "slack", kind, 1, 1300.0, Facts(breach=breach, **values))


def test_a_firing_message_says_what_since_when_why_and_what_to_do() -> None:
    parts = [Contributor("phase", "embed", 200.0, 15.0), Contributor("phase", "queue_wait", 980.0, 82.0)]
    message = compose(owed("firing", verdict(contributors=parts)), "https://dash.example/")
    assert message.title == "🔴 Critical: high latency (model minilm)"
    assert message.sentence == "P95 latency is 1,240 ms, limit 800 ms, over the last 10 s."
    assert message.cause == "mostly waiting in the queue (980 ms, 82 %): add workers; then embed (200 ms, 15 %)."
    assert message.action == ACTIONS["HIGH_LATENCY"]
    assert [(d.label, d.text, d.moment_seconds) for d in message.details] == [
        ("Scope", "model minilm", None),
        ("Since", "", 1000.0),
        ("Judged on", "240 samples", None),
        ("Rule", "latency_p95_ms", None),
    ]
    assert [(link.label, link.url) for link in message.links] == [("Dashboard", "https://dash.example/")]


def test_a_resolved_message_says_how_bad_it_was_and_how_long() -> None:
    message = compose(owed("resolved", verdict(), latest_value=210.0, worst_value=2400.0))
    assert message.title == "✅ Resolved: high latency (model minilm)"
    assert message.sentence == "P95 latency is back at 210 ms; it was 2,400 ms at worst, limit 800 ms."
    assert message.news.startswith("✅ Resolved after 4 min 15 s: P95 latency is back at 210 ms")
    assert ("Lasted", "4 min 15 s") in [(d.label, d.text) for d in message.details]
    assert message.action is None


@pytest.mark.parametrize(
    ("kind", "facts", "title", "sentence"),
    [
        ("repeat", {"since_seconds": -3600.0}, "🔴 Still firing after 1 h 21 min", "P95 latency is 1,240 ms"),
        ("data_back", {}, "🔴 Data is back, still firing", "P95 latency is 1,240 ms"),
        ("no_data", {}, "⚪ No data any more", "It was firing when the data stopped"),
        ("cleared", {"episodes": 3}, "✅ Fired and cleared 3 times", "P95 latency was 1,240 ms at worst"),
        ("resolved", {"reason": "no_data_too_long"}, "✅ Resolved", "Closed without knowing whether it is over"),
    ],
)
def test_each_kind_has_its_own_heading(kind: Kind, facts: dict[str, Any], title: str, sentence: str) -> None:
    message = compose(owed(kind, verdict(at=1000.0), **facts))
    assert message.title.split(":")[0] == title
    assert message.sentence.startswith(sentence)


def test_what_is_not_known_is_called_unknown_never_zero() -> None:
    message = compose(owed("firing", verdict(value=None, reason="no GPU is visible"), worst_value=None))
    assert message.sentence == "P95 latency is unknown, limit 800 ms, over the last 10 s. no GPU is visible"


def test_a_budget_speaks_of_its_day() -> None:
    spent = verdict(
        alert_type="BUDGET_EXCEEDED", metric="daily_cost_usd", unit="USD", value=52.1, threshold=50.0,
        window_seconds=0.0, day="2026-03-28", scope={},
    )  # fmt: skip
    assert compose(owed("firing", spent)).sentence == "Spend of 2026-03-28 is $52.10, limit $50.00."
    over = compose(owed("resolved", spent, reason="day_over"))
    assert over.sentence == "The day 2026-03-28 is over. Spend was $52.10, limit $50.00."
    assert over.details[0].text == "the whole pipeline"


def test_a_forecast_and_a_burn_rate_speak_of_their_budget() -> None:
    expected = verdict(
        alert_type="BUDGET_FORECAST", metric="daily_forecast_usd", unit="USD", value=131.5, threshold=100.0,
        window_seconds=0.0, day="2026-03-28", scope={}, severity="warning",
    )  # fmt: skip
    message = compose(owed("firing", expected))
    assert message.title == "🟠 Warning: budget will be exceeded"
    assert message.sentence == "At this pace 2026-03-28 will have cost $131.50 when it is over, budget $100.00."
    fine = compose(owed("resolved", expected, latest_value=96.0))
    assert fine.sentence == (
        "The spend expected for the day is back at $96.00; it was $131.50 at worst, limit $100.00."
    )
    burning = verdict(
        alert_type="BUDGET_BURN_RATE", metric="budget_burn_pct", unit="%", value=14.2, threshold=10.0,
        window_seconds=900.0, day="2026-03-28", scope={"tenant": "acme"},
        contributors=[Contributor("model", "large", 11.0, 77.0)],
    )  # fmt: skip
    message = compose(owed("firing", burning))
    assert message.sentence == "14.2 % of the budget of 2026-03-28 was spent over the last 15 min, limit 10 %."
    assert message.cause == "mostly model large (11 %, 77 %)."
    over = compose(owed("resolved", burning, reason="day_over"))
    assert over.sentence.startswith("The day 2026-03-28 is over. The share of the day's budget spent lately was 14.2 %")


def test_a_regression_says_how_much_slower_and_in_which_phase() -> None:
    parts = [Contributor("phase", "embed", 42.0, 84.0), Contributor("phase", "publish", 8.0, 16.0)]
    slower = verdict(
        alert_type="LATENCY_REGRESSION", metric="latency_regression_pct", unit="%", value=18.4, threshold=10.0,
        window_seconds=300.0, reason="p95 went from 412 to 585 ms, 1.42 times the baseline's", contributors=parts,
    )  # fmt: skip
    message = compose(owed("firing", slower))
    assert message.title == "🔴 Critical: latency got worse (model minilm)"
    assert message.sentence == (
        "18.4 % of the texts are slower than the baseline's p95 over the last 5 min (5 % would be expected), limit "
        "10 %. P95 went from 412 to 585 ms, 1.42 times the baseline's."
    )
    assert message.cause == (
        "more time a batch in the model itself (+42 % of the baseline's, 84 % of the growth), "
        "publishing to Kafka (+8 % of the baseline's, 16 % of the growth)."
    )
    over = compose(owed("resolved", slower, latest_value=5.1, worst_value=20.0))
    assert over.sentence == (
        "The share of texts slower than the baseline's p95 is back at 5.1 %; it was 20 % at worst, limit 10 %."
    )


def test_the_cause_is_the_largest_part() -> None:
    models = [Contributor("model", "small", 10.0, 20.0), Contributor("model", "large", 40.0, 80.0)]
    assert cause(verdict(contributors=models)) == "mostly model large (40 ms, 80 %); then small (10 ms, 20 %)."
    assert cause(verdict()) is None


def test_the_cause_says_how_much_it_grew_and_what_kind_it_is() -> None:
    parts = [
        Contributor("phase", "cache_lookup", 610.0, 95.0, 61.0), Contributor("tenant", "acme", 900.0, 90.0, 1.01),
        Contributor("phase", "publish", 50.0, 5.0),
    ]  # fmt: skip
    assert cause(verdict(contributors=parts)) == (
        "mostly looking up the cache (610 ms, 61 times what it was, 95 %), the model itself is as fast as before: "
        "it is slow or far away; "
        "then tenant acme (900 ms, 90 %), publish (50 ms, 5 %)."
    )
    errors = [Contributor("error_class", "timeout", 42.0, 99.0)]
    assert cause(verdict(contributors=errors, unit="%")) == "mostly error class timeout (42 %, 99 %)."


def test_every_alert_type_has_a_title_and_an_action() -> None:
    types = set(get_args(AlertType))
    assert set(TITLES) == set(ACTIONS) == types
    assert len(types) == 21
    assert all(action.endswith(".") for action in ACTIONS.values())


def test_every_metric_and_phase_has_words() -> None:
    assert set(SUBJECTS) == {*METRICS, *WATCHED}
    assert set(KNOWN_SENTENCES) <= set(SUBJECTS)
    assert set(PHASE_CAUSES) == set(PHASES)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_metric_makes_a_message_that_slack_takes(metric: str, kind: Kind) -> None:
    spec = METRICS[metric]
    value = 1.0 if spec.comparison == "<" else 1240.0
    breach = verdict(
        metric=metric, alert_type=spec.alert_type, unit=spec.unit, comparison=spec.comparison, threshold=80.0,
        value=value, window_seconds=60.0 if spec.windowed else 0.0,
    )  # fmt: skip
    message = compose(owed(kind, breach, latest_value=79.0))
    assert "None" not in text(message)
    assert "{" not in text(message)
    assert check_message(*render(message)) is None
    assert check_message(*render_news(message)) is None


def test_a_metric_nobody_foresaw_is_named_by_its_words() -> None:
    message = compose(owed("firing", verdict(metric="padding_waste_pct", unit="pct", value=70.0, threshold=50.0)))
    assert message.sentence.startswith("Padding waste is 70 pct, limit 50 pct")


HOSTILE = [
    "<!channel> <!here> <@U1> <#C1|general>",
    "a & b < c > d",
    "`code` ```block``` *bold* _it_ ~s~ :smile:",
    "x" * 100_000,
    "&" * 5000,
    "😀" * 5000,
    "👩‍👩‍👧‍👦" * 2000,
    "שלום עולם " * 50,
    "مرحبا \u202e gnitset",
    "line\nbreak\r\n\ttab",
    "https://evil.example/?a=b&c=<d>|e",
    "\x1b[2J\x07",
    "{value} {0} %s %(x)s",
    "",
    " ",
]


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_are_harmless_and_within_the_limits(hostile: str, kind: Kind) -> None:
    label = hostile[:256]
    breach = trim(
        verdict(
            alert_id=label,
            rule=label,
            metric=label,
            unit=hostile[:1000],
            scope={"model": hostile, "tenant": hostile, hostile[:50]: hostile},
            reason=hostile,
            text=hostile or None,
            contributors=[Contributor("tenant", label, 1.0, 50.0), Contributor("phase", label, 1.0, 20.0)],
        )
    )
    message = compose(owed(kind, breach), "https://dash.example/?a=b&c=d")
    for rendered in (render(message), render_news(message)):
        assert check_message(*rendered) is None
        for markup in _markup(rendered):
            for mention in ("<!channel", "<!here", "<@", "<#"):
                assert mention not in markup
    printed = text(message)
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert len(printed) < 6000


def _markup(rendered: tuple[str, list[dict[str, Any]]]) -> list[str]:
    """Everything Slack parses: the text, and each mrkdwn element."""
    found = [rendered[0]]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("type") == "mrkdwn":
                found.append(value["text"])
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(rendered[1])
    return found


ANY_VERDICT = st.builds(
    Verdict,
    value=st.none() | st.floats(),
    reason=st.text(),
    text=st.none() | st.text(),
    day=st.none() | st.text(),
    contributors=st.lists(st.builds(Contributor, share_pct=st.none() | st.floats()), max_size=12),
)


@given(
    breach=ANY_VERDICT,
    kind=st.sampled_from(KINDS),
    latest=st.none() | st.floats(),
    resolved=st.none() | st.floats(),
)
@settings(max_examples=200, deadline=None)
def test_any_verdict_can_be_told(breach: Verdict, kind: Kind, latest: float | None, resolved: float | None) -> None:
    """And what is stored of it stays far below a message's limit."""
    entry = owed(kind, trim(breach), latest_value=latest, resolved_at_seconds=resolved)
    message = compose(entry)
    assert check_message(*render(message)) is None
    assert check_message(*render_news(message)) is None
    assert len(msgspec.json.encode(entry)) < 100_000
    text(message).encode()


def test_a_test_message_can_be_taken_for_nothing_else() -> None:
    message = trial_message("slack")
    assert isinstance(message, Message)
    assert "Test" in message.title
    assert "Nothing is wrong" in message.sentence
    assert check_message(*render(message)) is None


def test_the_scope_names_its_dimensions() -> None:
    assert scope(verdict(scope={"model": "a", "tenant": ""})) == "model a, tenant (empty)"
    assert scope(verdict(scope={})) == ""


def test_a_reminder_of_what_nothing_is_known_of_says_so() -> None:
    message = compose(owed("repeat", verdict(), reason="data_missing"))
    assert message.title.startswith("⚪ Still no data, 5 min after it began")
    assert message.sentence.startswith("Nothing is known of it now. Last known: P95 latency")
