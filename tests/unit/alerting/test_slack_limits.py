"""Whatever others write into names and texts: Slack takes the message, and it mentions, links and formats nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerting.links import runbook
from alerting.message import Detail, Link, Message, compose
from alerting.slack_blocks import render, render_news
from alerting.states import Facts, Owed
from embedwatch.services.slack_rules import MAX_UPDATE_TEXT_CHARS, check_message
from tests.harness.verdicts import verdict

HOSTILE = [
    "<!channel>",
    "<!here|x>",
    "<@U1>",
    "<#C1>",
    "<!subteam^S1>",
    "<https://evil.example|click>",
    "&lt;!channel&gt;",
    "&",
    "`",
    "```",
    "`<!channel>`",
    "*bold* _it_ ~no~",
    "🔴" * 50,
    "👩‍👩‍👧‍👦",
    "\u202eright to left\u202c",
    "שלום",
    "مرحبا بالعالم",
    "\n\n> quote",
    "\x00\x07",
    "\ud800",
    ":smile:",
    "@channel #general",
]


class Long(str):
    """Shown short where a test fails."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Long({self[:20]!a}..., {len(self)})"


MENTIONS = ("<!here>", "<@U012AB3CD>", "<!subteam^S012AB3CD>")
#: Up to 100 KB: a piece repeated.
texts = st.one_of(
    st.text(max_size=300),
    st.sampled_from(HOSTILE),
    st.builds(
        lambda parts, times: Long("".join(parts) * times), st.lists(st.sampled_from(HOSTILE)), st.integers(1, 40)
    ),
    st.builds(lambda piece: Long((piece * (100_000 // len(piece) + 1))[:100_000]), st.sampled_from(HOSTILE)),
)
details = st.builds(
    Detail,
    label=st.sampled_from(["Scope", "Rule", "Lasted"]),
    text=texts,
    moment_seconds=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    code=st.booleans(),
)
messages = st.builds(
    Message,
    kind=st.sampled_from(["firing", "repeat", "resolved", "cleared", "no_data", "data_back"]),
    title=texts,
    sentence=texts,
    news=texts,
    lines=st.lists(texts, max_size=20).map(tuple),
    details=st.lists(details, max_size=14).map(tuple),
    cause=st.none() | texts,
    action=st.none() | texts,
    note=st.none() | texts,
    links=st.lists(st.builds(Link, label=texts, url=texts.map(lambda t: Long("https://dash.example/?q=" + t)))).map(
        tuple
    ),
    alert_id=texts,
    episode=st.integers(0, 10**9),
)
mentioned = st.lists(st.sampled_from(MENTIONS), max_size=60)


def markup(value: Any) -> Iterator[str]:
    """Every text in which Slack looks for markup."""
    if isinstance(value, dict):
        if value.get("type") == "mrkdwn":
            yield value["text"]
        for item in value.values():
            yield from markup(item)
    elif isinstance(value, list):
        for item in value:
            yield from markup(item)


def tokens(text: str) -> list[str]:
    assert text.count("<") == text.count(">")
    return re.findall(r"<([^<>]*)>", text)


def check(text: str, blocks: list[Any], mentions: list[str], links: tuple[str, ...] = ()) -> None:
    assert check_message(text, blocks) is None
    assert len(text) <= MAX_UPDATE_TEXT_CHARS
    allowed = {mention.strip("<>") for mention in mentions}
    assert set(tokens(text)) <= allowed
    for part in markup(blocks):
        for token in tokens(part):
            assert token in allowed or token.startswith(("!date^", "https://dash.example/?q=", *links))
            assert token in allowed or "|" in token


@settings(deadline=None)  # long texts on a busy machine
@given(messages, mentioned)
@example(Message("firing", "", "", ""), [])
def test_every_message_is_taken_and_mentions_only_whom_it_may(message: Message, mentions: list[str]) -> None:
    check(*render(message, mentions), mentions)
    check(*render_news(message, mentions), mentions)


@settings(deadline=None)
@given(texts, texts, st.floats(allow_nan=True, allow_infinity=True))
def test_hostile_names_go_through_the_whole_way(name: str, text: str, value: float) -> None:
    said = verdict(
        scope={"model": name, "tenant": text}, text=text, rule=name, unit=name[:50], value=value, reason=text
    )
    facts = Facts(breach=said, since_seconds=1000.0, fired_at_seconds=1000.0, worst_value=value)
    message = compose(Owed(1, "slack", "firing", 1, 1000.0, facts), "https://dash.example/?q=1")
    # The text of a rule is configuration: the address in it is its runbook.
    book = (runbook(said) or "").replace("&", "&amp;")
    check(*render(message), [], (f"{book}|Runbook",) if book else ())


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_others_stand_where_slack_parses_nothing(name: str) -> None:
    facts = Facts(breach=verdict(scope={"model": name}), since_seconds=1000.0, fired_at_seconds=1000.0)
    _, blocks = render(compose(Owed(1, "slack", "firing", 1, 1000.0, facts)))
    for part in markup(blocks):
        assert part.count("`") % 2 == 0
        outside = "".join(part.split("`")[::2])
        assert not any(piece in outside for piece in (name, "channel", "evil")) or name in ("&", "`", "```")


def test_a_long_dashboard_does_not_cost_the_link_of_the_runbook() -> None:
    book, board = "https://wiki.example/" + "r" * 470, "https://dash.example/?q=" + "&" * 900
    facts = Facts(breach=verdict(runbook=book), since_seconds=1000.0, fired_at_seconds=1000.0)
    text, blocks = render(compose(Owed(1, "slack", "firing", 1, 1000.0, facts), board))
    assert check_message(text, blocks) is None
    assert any(f"<{book}|Runbook>" in part for part in markup(blocks))
