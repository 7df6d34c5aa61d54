"""Who is told of which alert, from the configuration to the receivers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from alerting.bundle_words import compose_bundle
from alerting.message import compose
from alerting.parcels import pack, pack_bundle
from alerting.routes import Route, Router
from alerting.slack import SlackBot, SlackWebhook
from alerting.states import Facts, Kind, Owed
from alerting.wiring import policy, receivers
from embedwatch.errors import ConfigError
from embedwatch.events import Verdict
from embedwatch.services.slack_standin import Fault, SlackStandIn
from embedwatch.settings import Settings, load
from tests.harness.verdicts import verdict

CRITICAL = verdict(severity="critical")
WARNING = verdict(severity="warning")
DEFAULT = ("slack", "webhook")

TABLE: list[tuple[str, list[Route], Any, tuple[str, ...]]] = [
    ("no route: the default", [], CRITICAL, DEFAULT),
    ("the first that matches", [Route({"severity": ("critical",)}, ("a",)), Route({}, ("b",))], CRITICAL, ("a",)),
    ("the next where it does not", [Route({"severity": ("critical",)}, ("a",)), Route({}, ("b",))], WARNING, ("b",)),
    ("none matches: the default", [Route({"severity": ("critical",)}, ("a",))], WARNING, DEFAULT),
    ("continue adds", [Route({}, ("a",), goes_on=True), Route({}, ("b", "a"))], CRITICAL, ("a", "b")),
    ("continue and nothing after", [Route({}, ("a",), goes_on=True)], CRITICAL, ("a",)),
    ("no `to`: the default", [Route({"severity": ("critical",)}, None)], CRITICAL, DEFAULT),
    ("all labels must fit", [Route({"severity": ("critical",), "model": ("x*",)}, ("a",))], CRITICAL, DEFAULT),
    ("one of several patterns", [Route({"model": ("x", "mini*")}, ("a",))], CRITICAL, ("a",)),
    ("a label that is not there is empty", [Route({"tenant": ("",)}, ("a",))], CRITICAL, ("a",)),
    ("and fits no name", [Route({"tenant": ("acme",)}, ("a",))], CRITICAL, DEFAULT),
    ("a rule's own route", [Route({"route": ("search",)}, ("a",))], verdict(route="search"), ("a",)),
    ("a type", [Route({"alert_type": ("HIGH_*",)}, ("a",))], CRITICAL, ("a",)),
]


@pytest.mark.parametrize(("routes", "heard", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_who_is_told(routes: list[Route], heard: Any, expected: tuple[str, ...]) -> None:
    assert Router(routes, DEFAULT).receivers(heard) == expected
    assert Router(routes, DEFAULT, ("console",)).receivers(heard) == (*expected, "console")


def test_mentions_belong_to_the_receivers_of_their_route() -> None:
    routes = [
        Route({"severity": ("critical",)}, None, ("<!here>",), goes_on=True),
        Route({}, ("slack", "a"), ("<@U1>", "<!here>")),
    ]
    router = Router(routes, DEFAULT)
    assert router.mentions(CRITICAL, "slack") == ("<!here>", "<@U1>")
    assert router.mentions(CRITICAL, "a") == ("<@U1>", "<!here>")
    assert router.mentions(WARNING, "webhook") == ()


# --- configuration ---

ROUTES = [
    {"match": {"severity": "critical"}, "to": ["slack", "slack:#on-call"], "mention": "<!here>"},
    {"match": {"tenant": ["acme*", "beta"]}, "to": "slack:#acme"},
]


def settings(routes: Any, **environ: str) -> Settings:
    given = {"SLACK_BOT_TOKEN": "xoxb-1", "ROUTES": json.dumps(routes)} | environ
    return load(None, {}, {f"EMBEDWATCH_ALERTS_{name}": value for name, value in given.items() if value})


def test_a_channel_is_one_receiver_however_it_is_named() -> None:
    found = settings([{"to": ["slack:on-call", "slack:#on-call", "slack:C0123456789", "slack:#C0123456789"]}])
    assert [each.name for each in receivers(found)] == ["slack", "slack:#on-call", "slack:C0123456789", "console"]


def test_each_channel_that_routes_name_is_a_receiver() -> None:
    configured = settings(ROUTES)
    names = tuple(each.name for each in receivers(configured))
    assert names == ("slack", "slack:#on-call", "slack:#acme", "console")
    route = policy(configured, names).route
    assert route is not None
    assert route(CRITICAL) == ("slack", "slack:#on-call", "console")
    assert route(verdict(severity="warning", scope={"tenant": "acme-eu"})) == ("slack:#acme", "console")
    assert route(WARNING) == ("slack", "console")


def test_routes_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "alerts:\n  slack_bot_token: xoxb-1\n  routes:\n    - match: {severity: critical}\n"
        "      to: [slack, 'slack:#on-call']\n      mention: <!here>\n      continue: true\n"
    )
    (route,) = load(file, {}, {}).alerts.routes
    assert (route.to, route.mention, route.goes_on) == (("slack", "slack:#on-call"), ("<!here>",), True)


def test_the_default_channel_by_its_name_is_the_default_receiver() -> None:
    configured = settings([{"to": "slack:#embedwatch"}, {"to": "slack:embedwatch"}])
    assert [each.name for each in receivers(configured)] == ["slack", "console"]


@pytest.mark.parametrize(
    ("routes", "environ", "words"),
    [
        ([{"to": "pager"}], {}, "route 1: no receiver pager is configured; there are: slack, console"),
        ([{"to": "slack:#a"}], {"SLACK_BOT_TOKEN": ""}, "only a bot token posts into channels of one's choice"),
        ([{"match": {"sevrity": "critical"}}], {}, "'sevrity' is no label of an alert"),
        ([{"match": {"severity": "crit"}}], {}, "no severity is like 'crit'; there are info, warning, critical"),
        ([{"match": {"alert_type": "LATENCY"}}], {}, "no alert_type is like 'LATENCY'"),
        ([{"mention": "@here"}], {}, "'@here' is no mention"),
        ([{"mention": "<!here> and <!channel>"}], {}, "is no mention"),
        ([{"to": []}], {}, "at least 1 item"),
        ([{"too": "slack"}], {}, "unknown setting|Extra inputs"),
        ("slack", {}, "alerts.routes"),
    ],
)
def test_a_mistake_in_a_route_is_told_at_the_start(routes: Any, environ: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        start(routes, environ)


def start(routes: Any, environ: dict[str, str]) -> None:
    found = settings(routes, **environ)
    policy(found, tuple(each.name for each in receivers(found)))


# --- what Slack gets ---


def send(receiver: SlackBot | SlackWebhook, kind: Kind = "firing", **fields: Any) -> None:
    facts = Facts(breach=verdict(**fields), since_seconds=1000.0, fired_at_seconds=1000.0)
    owed = Owed(1, receiver.name, kind, 1, 1000.0, facts)
    receiver.send(pack("id", owed, compose(owed), None))


def mentions(_: Any, receiver: str) -> tuple[str, ...]:
    return ("<!here>", "<@U1>") if receiver.startswith("slack") else ()


def test_a_message_mentions_whom_the_configuration_names_and_nobody_else(slack: SlackStandIn) -> None:
    bot = SlackBot("xoxb-1", "#alerts", api_url=slack.api_url, timeout_seconds=5, mentions=mentions)
    send(bot, scope={"model": "<!channel> <@U2>"}, text="<!everyone>")
    (posted,) = slack.inbox()
    assert posted.channel_name == "alerts"
    assert posted.text.startswith("<!here> <@U1> 🔴 Critical")
    assert "<!channel>" not in posted.text
    marked = [b["text"]["text"] for b in posted.blocks if b.get("text", {}).get("type") == "mrkdwn"]
    assert marked == ["<!here> <@U1>"]


def test_many_in_one_message_mention_whom_each_would(slack: SlackStandIn) -> None:
    def who(heard: Verdict, _: str) -> tuple[str, ...]:
        return ("<!here>", f"<@U{heard.scope['tenant']}>")

    owed = []
    for number, (kind, tenant) in enumerate([("firing", "1A"), ("firing", "2A"), ("resolved", "3A")]):
        facts = Facts(breach=verdict(scope={"tenant": tenant}), since_seconds=1000.0, fired_at_seconds=1000.0)
        owed.append(Owed(number, "slack", cast("Kind", kind), 1, 1000.0, facts, bundle="b"))
    bot = SlackBot("xoxb-1", "#alerts", api_url=slack.api_url, timeout_seconds=5, mentions=who)
    bot.send(pack_bundle("b", compose_bundle(owed), owed))
    assert slack.inbox()[0].text.startswith("<!here> <@U1A> <@U2A> 🔴")


def test_an_end_mentions_nobody(slack: SlackStandIn) -> None:
    bot = SlackBot("xoxb-1", "#alerts", api_url=slack.api_url, timeout_seconds=5, mentions=mentions)
    send(bot, "resolved")
    assert "<!here>" not in str(slack.inbox())


def test_a_webhook_mentions_too_and_without_its_layout_as_well(slack: SlackStandIn) -> None:
    slack.fail_next([Fault("error", error="invalid_blocks")])
    send(SlackWebhook(slack.webhook_url, timeout_seconds=5, mentions=mentions))
    (posted,) = slack.inbox()
    assert (posted.blocks, posted.text.startswith("<!here> <@U1> 🔴")) == ([], True)
