from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from alerting.message import Detail, Link, Message, compose
from alerting.slack_blocks import CONTEXT_CHARS, FIELDS, TEXT_CHARS, code, escape, mrkdwn, plain, render, render_news
from alerting.states import Act, Facts, Owed
from embedwatch.services.slack_rules import MAX_BLOCKS_CHARS, characters, check_message
from tests.harness.verdicts import verdict

WORST = "&<>`*😀" * 3000


def full(filler: str) -> Message:
    """A message with everything, everything too long."""
    return Message(
        kind="firing",
        title=filler,
        sentence=filler,
        news=filler,
        details=tuple(Detail(filler or "-", filler, code=bool(i % 2)) for i in range(20)),
        lines=(filler,) * 20,
        cause=filler,
        action=filler,
        note=filler,
        links=tuple(Link(filler or "-", f"https://dash.example/{filler[:3000]}") for _ in range(30)),
        alert_id=filler,
        episode=1,
    )


def test_the_largest_message_keeps_every_limit() -> None:
    for filler in (WORST, "x" * 20_000, "&" * 20_000, "😀" * 20_000, " "):
        text, blocks = render(full(filler))
        assert check_message(text, blocks) is None
        assert characters(blocks) <= MAX_BLOCKS_CHARS
        assert len(text) <= TEXT_CHARS
        assert check_message(*render_news(full(filler))) is None


def test_slack_sdks_own_validators_take_it() -> None:
    for block in render(full("x" * 5000))[1]:
        parsed = Block.parse(block)
        assert parsed is not None
        parsed.validate_json()


@given(st.text(max_size=400), st.integers(10, 200))
def test_escaping_keeps_the_limit_and_cuts_no_entity(text: str, limit: int) -> None:
    out = escape(text, limit)
    assert len(out) <= limit
    assert "<" not in out
    assert ">" not in out
    restored = out.removesuffix("…").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.startswith(restored) or text.startswith(out)
    assert "&" not in out.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")


@given(st.text(max_size=400), st.integers(10, 200))
def test_code_cannot_be_left_from_inside(text: str, limit: int) -> None:
    out = code(text, limit)
    assert len(out) <= limit
    assert out.count("`") == 2


@given(st.text(max_size=400), st.integers(2, 100))
def test_plain_text_counts_an_emoji_as_two(text: str, limit: int) -> None:
    block = plain(text, limit)
    assert 0 < len(block["text"].encode("utf-16-le", "surrogatepass")) // 2 <= limit
    assert block["emoji"] is False


def test_markup_that_does_not_fit_is_shown_without_tags() -> None:
    assert mrkdwn("*bold*", 10)["type"] == "mrkdwn"
    assert mrkdwn("<https://x.example|long label>", 10)["type"] == "plain_text"


@pytest.mark.parametrize("said", ["*bold*", "_it_", "~no~", "`code`", "```", ":smile:", "> quoted"])
def test_what_people_say_is_shown_as_they_wrote_it(said: str) -> None:
    act = Act("acknowledge", said, "slack", 1000.0, "critical", note=said)
    facts = Facts(breach=verdict(), since_seconds=1000.0, fired_at_seconds=1000.0, act=act)
    _, blocks = render(compose(Owed(1, "slack", "acknowledged", 1, 1000.0, facts)))
    shown = [field for block in blocks for field in block.get("fields", ())]
    for label in ("Acknowledged by", "They say"):
        (found,) = [field for field in shown if label in field["text"]]
        assert found["type"] == "plain_text"
        assert found["emoji"] is False
        assert found["text"].startswith(f"{label}\n")


def test_what_formats_nothing_stands_below_a_bold_label() -> None:
    assert fields("ada at 12:30") == [{"type": "mrkdwn", "text": "*Judged on*\nada at 12:30", "verbatim": True}]


def fields(text: str) -> list[dict[str, object]]:
    _, blocks = render(Message("firing", "t", "s", "n", details=(Detail("Judged on", text),)))
    return [field for block in blocks for field in block.get("fields", ())]


def test_times_are_shown_in_the_readers_own_zone() -> None:
    message = Message("firing", "t", "s", "n", details=(Detail("Since", moment_seconds=1_767_225_600.0),))
    field = render(message)[1][2]["fields"][0]["text"]
    assert field == "*Since*\n<!date^1767225600^{date_short_pretty} {time_secs}|2026-01-01 00:00:00 UTC>"
    never = Message("firing", "t", "s", "n", details=(Detail("Since", moment_seconds=1e300),))
    assert render(never)[1][2]["fields"][0]["text"] == "*Since*\nunknown"


def test_a_link_cannot_break_out_of_its_brackets() -> None:
    message = Message("firing", "t", "s", "n", links=(Link("a|b>", "https://d.example/?q=<x>|y&z"),))
    footer = render(message)[1][-1]["elements"][0]["text"]
    assert footer == "<https://d.example/?q=%3Cx%3E%7Cy&amp;z|a|b&gt;>"
    assert len(footer) <= CONTEXT_CHARS


def test_no_more_fields_than_slack_shows() -> None:
    assert len(render(full("x"))[1][2]["fields"]) == FIELDS
