"""A message as Slack text and blocks. Every limit of Slack is kept by construction. Pure.

All text is escaped and clipped after escaping. What others wrote stands in plain-text elements, where Slack parses
nothing, or between backticks with its own backticks replaced: it cannot mention, link or format.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from alerting.message import Detail, Message
from alerting.wording import clip

Block = dict[str, Any]

# Slack's limits: https://docs.slack.dev/reference/block-kit/blocks. Ours are lower, so that all of one message together
# stays below the 13,200 characters at which Slack was seen to answer msg_blocks_too_long (undocumented, see
# https://github.com/slackapi/bolt-js/issues/2509): 150 + 600 + 1500 + 10 * 300 + 2500 + 2 * 700 + 600 + 1500 = 11250.
HEADER_CHARS = 150  # Slack: 150
SENTENCE_CHARS = 1500  # a section: 3000
FIELD_CHARS = 300  # a field: 2000
FIELDS = 10  # Slack: 10
LINES_CHARS = 2500  # a section: 3000
ADVICE_CHARS = 700
NOTE_CHARS = 600
CONTEXT_CHARS = 1500
URL_CHARS = 1000  # Slack: 3000
#: chat.update refuses a text above 4000 characters; it is a notification's one line here.
TEXT_CHARS = 1000
MENTIONS_CHARS = 600
#: Bold, italic, struck through, code, :emoji: and a quotation. Slack's markup has no way to write them as they are.
_FORMATS = re.compile(r"[*_~`]|:\S+:|^\s*>", re.MULTILINE)


def render(message: Message, mentions: Sequence[str] = (), buttons: Block | None = None) -> tuple[str, list[Block]]:
    """Text for notifications and screen readers, and the blocks that are shown. `mentions` are markup already."""
    blocks: list[Block] = [
        {"type": "header", "text": plain(message.title, HEADER_CHARS)},
        {"type": "section", "text": plain(message.sentence, SENTENCE_CHARS)},
    ]
    called = _called(mentions)
    if called:
        blocks.insert(1, {"type": "section", "text": mrkdwn(called, MENTIONS_CHARS)})
    if message.details:
        fields = [_field(detail) for detail in message.details[:FIELDS]]
        blocks.append({"type": "section", "fields": fields})
    if message.lines:
        blocks.append({"type": "section", "text": plain("\n".join(message.lines), LINES_CHARS)})
    for label, text, limit in (
        ("Likely cause", message.cause, ADVICE_CHARS),
        ("What to do", message.action, ADVICE_CHARS),
        ("Note", message.note, NOTE_CHARS),
    ):
        if text:
            blocks.append({"type": "section", "text": plain(f"{label}: {text}", limit)})
    if buttons is not None:
        blocks.append(buttons)
    footer = _footer(message)
    if footer:
        blocks.append({"type": "context", "elements": [mrkdwn(footer, CONTEXT_CHARS)]})
    return _text(called, f"{message.title}: {message.sentence}"), blocks


def render_news(message: Message, mentions: Sequence[str] = ()) -> tuple[str, list[Block]]:
    """One line, for the thread under a message that says the rest."""
    blocks: list[Block] = [{"type": "section", "text": plain(message.news, SENTENCE_CHARS)}]
    called = _called(mentions)
    if called:
        blocks.append({"type": "context", "elements": [mrkdwn(called, MENTIONS_CHARS)]})
    return _text(called, message.news), blocks


def _called(mentions: Sequence[str]) -> str:
    """As many as fit."""
    kept = ""
    for each in mentions:
        if len(kept) + 1 + len(each) <= MENTIONS_CHARS:
            kept += f" {each}"
    return kept.strip()


def _text(called: str, text: str) -> str:
    """It mentions too: where the layout is refused it is all that is sent."""
    return f"{called} {escape(text, TEXT_CHARS)}" if called else escape(text, TEXT_CHARS)


def escape(text: str, limit: int) -> str:
    """The three characters with a meaning in Slack's markup as entities, at most `limit` characters, none cut in two.

    Source: https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    entities = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
    out: list[str] = []
    left = limit
    for char in text:
        piece = entities.get(char, char)
        left -= _units(piece)
        if left < 1:  # room for the ellipsis
            return "".join(out) + "…"
        out.append(piece)
    return "".join(out)


def code(text: str, limit: int) -> str:
    """Between backticks, so that nothing inside is markup."""
    return "`" + escape(text.replace("`", "'"), limit - 2) + "`"


def moment(seconds: float) -> str:
    """A point in time in the reader's own zone, with UTC for what cannot show that."""
    try:
        utc = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return "unknown"
    return f"<!date^{int(seconds)}^{{date_short_pretty}} {{time_secs}}|{utc:%Y-%m-%d %H:%M:%S} UTC>"


def plain(text: str, limit: int) -> Block:
    """Slack parses nothing in it; `emoji: false` keeps `:smile:` in a name as it is."""
    cut = text
    while _units(cut) > limit:
        cut = clip(cut, len(cut) - max(1, (_units(cut) - limit) // 2))
    return {"type": "plain_text", "text": cut or " ", "emoji": False}


def mrkdwn(text: str, limit: int) -> Block:
    """`text` is markup already. Ours fits; should it not, its plain part is shown rather than half a tag."""
    if _units(text) > limit:
        return plain(text.translate({ord(c): None for c in "<>`*"}), limit)
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _field(detail: Detail) -> Block:
    """In bold what it is, and its text; should that hold signs that format, all is shown plain."""
    label = f"*{escape(detail.label, 40)}*\n"
    if not detail.code and detail.moment_seconds is None and _FORMATS.search(detail.text):
        return plain(f"{detail.label}\n{detail.text}", FIELD_CHARS)
    left = FIELD_CHARS - len(label)
    if detail.moment_seconds is not None:
        return mrkdwn(label + moment(detail.moment_seconds), FIELD_CHARS)
    return mrkdwn(label + (code(detail.text, left) if detail.code else escape(detail.text, left)), FIELD_CHARS)


def _footer(message: Message) -> str:
    parts = []
    for link in message.links:
        url = link.url.replace("|", "%7C").replace("<", "%3C").replace(">", "%3E")
        if len(url) <= URL_CHARS:
            parts.append(f"<{url.replace('&', '&amp;')}|{escape(link.label, 60)}>")
    while parts and sum(map(len, parts)) > CONTEXT_CHARS - 220:
        parts.remove(max(parts, key=len))  # one link less beats none
    if message.alert_id:
        parts.append(code(message.alert_id, 200))
    return "  ".join(parts)


def _units(text: str) -> int:
    """Length as a browser counts it: an emoji is two. Slack does not say which it means; this is the larger."""
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)
