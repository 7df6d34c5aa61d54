"""The inbox of the Slack stand-in as a page, as a person would see it in Slack. Pure: messages in, HTML out.

Everything that comes from a message goes through `html.escape`; the page carries no script and loads nothing from
elsewhere (its Content-Security-Policy forbids both).
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from embedwatch.services.slack_workspace import InboxMessage

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'"
REFRESH_SECONDS = 3

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; --mark: #fff3c4; --code: #8882; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --mark: #665300; } }
* { box-sizing: border-box; }
body { font: 15px/1.46 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem; }
header h1 { font-size: 1.2rem; margin: 0; }
.quiet, .context { color: var(--quiet); font-size: .85rem; }
ol { list-style: none; padding: 0; margin: 0; }
.message { border-top: 1px solid var(--line); padding: .75rem 0; overflow-wrap: anywhere; }
.message .message { border: 0; border-left: 3px solid var(--line); padding: .25rem 0 .25rem .75rem; margin-top: .5rem; }
.name { font-weight: 700; }
.app { background: var(--code); border-radius: 3px; font-size: .65rem; padding: 0 .3em; vertical-align: middle; }
h2 { font-size: 1.05rem; margin: .3rem 0; }
.section, .context { margin: .3rem 0; white-space: pre-wrap; }
.fields { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: .3rem 1rem; }
code { background: var(--code); border-radius: 3px; padding: 0 .25em; }
pre { background: var(--code); border-radius: 3px; padding: .5em; white-space: pre-wrap; }
.mention { background: var(--mark); border-radius: 3px; padding: 0 .2em; }
.button { display: inline-block; border: 1px solid var(--line); border-radius: 4px; padding: .2em .7em; }
img { max-width: 100%; border: 1px solid var(--line); border-radius: 4px; }
"""


def render(messages: Sequence[InboxMessage], channels: Sequence[str]) -> str:
    """The whole page; newest conversation first, replies under their message in order."""
    roots = [m for m in messages if m.thread_ts is None]
    replies: dict[str, list[InboxMessage]] = {}
    for message in messages:
        if message.thread_ts is not None:
            replies.setdefault(message.thread_ts, []).append(message)
    items = "".join(_message(root, replies.get(root.ts, [])) for root in reversed(roots))
    count = f"{len(messages)} message{'' if len(messages) == 1 else 's'}"
    names = ", ".join(f"#{name}" for name in channels)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><title>Slack stand-in ({len(messages)})</title>'
        f"<style>{_STYLE}</style></head><body><header><h1>Slack stand-in</h1>"
        f'<p class="quiet">{_esc(count)} in {_esc(names)}, newest first. This is a local server that answers as '
        'Slack does; nothing leaves this machine. <a href="/inbox.json">As JSON</a></p></header>'
        f"<main><ol>{items or '<li class=quiet>No message yet.</li>'}</ol></main></body></html>"
    )


def mrkdwn(text: str) -> str:
    """Slack's markup as HTML. `<...>` is markup, `&amp; &lt; &gt;` are characters; all else is plain text."""
    kept: list[str] = []

    def keep(markup: str) -> str:
        kept.append(markup)
        return f"\x00{len(kept) - 1}\x00"

    text = text.replace("\x00", "")
    text = re.sub(r"```(.+?)```", lambda m: keep(f"<pre>{_chars(m[1])}</pre>"), text, flags=re.DOTALL)
    text = re.sub(r"`([^`\n]+)`", lambda m: keep(f"<code>{_chars(m[1])}</code>"), text)
    text = re.sub(r"<([^<>\n]+)>", lambda m: keep(_token(m[1])), text)
    text = _chars(text)
    for sign, tag in (("*", "strong"), ("_", "em"), ("~", "s")):
        mark = re.escape(sign)
        text = re.sub(rf"(?<!\w){mark}(?=\S)([^{mark}\n]+?)(?<=\S){mark}(?!\w)", rf"<{tag}>\1</{tag}>", text)
    while "\x00" in text:  # a kept piece may stand inside another
        text = re.sub(r"\x00(\d+)\x00", lambda m: kept[int(m[1])], text)
    return text


def _token(token: str) -> str:
    """What stands between < and >: a link, a mention, a date."""
    target, _, label = token.partition("|")
    if target.startswith("!date^"):
        return _chars(label or target)
    if target[:1] in "@#!":
        name = label or target[1:]
        return f'<span class="mention">{_chars(("#" if target[0] == "#" else "@") + name)}</span>'
    if re.match(r"(https?|mailto):", target) and "\x00" not in target:
        return f'<a href="{_chars(target)}" rel="noreferrer nofollow">{_chars(label or target)}</a>'
    return _chars(f"<{token}>")


def _message(message: InboxMessage, replies: Sequence[InboxMessage]) -> str:
    at = datetime.fromtimestamp(message.received_at_seconds, UTC)
    where = f"#{message.channel_name}" + (" via webhook" if message.via == "webhook" else "")
    if message.thread_ts is not None:
        where = "reply, also sent to the channel" if message.reply_broadcast else "reply"
    edits = "".join(f"<li>{mrkdwn(edit.text)}</li>" for edit in message.edits)
    history = f"<details><summary class=quiet>edited; before it said</summary><ol>{edits}</ol></details>"
    body = "".join(_block(block) for block in message.blocks)
    for attachment in message.attachments:
        body += "".join(_block(block) for block in attachment.get("blocks") or [])
        body += f'<div class="section">{mrkdwn(str(attachment["text"]))}</div>' if attachment.get("text") else ""
    body = body or f'<div class="section">{mrkdwn(message.text)}</div>'
    body += "".join(f'<img src="/files/{_esc(f.id)}" alt="{_esc(f.title)}">' for f in message.files)
    nested = "".join(_message(reply, []) for reply in replies)
    return (
        f'<li class="message"><span class="name">embedwatch</span> <span class="app">APP</span> '
        f'<span class="quiet"><time datetime="{at.isoformat()}">{at:%Y-%m-%d %H:%M:%S} UTC</time>, {_esc(where)}</span>'
        f"{body}{history if edits else ''}{f'<ol>{nested}</ol>' if nested else ''}</li>"
    )


def _block(block: dict[str, Any]) -> str:
    kind = block.get("type")
    if kind == "header":
        return f"<h2>{_text(block.get('text'))}</h2>"
    if kind == "section":
        fields = "".join(f"<div>{_text(item)}</div>" for item in block.get("fields") or [])
        main = f'<div class="section">{_text(block["text"])}</div>' if block.get("text") else ""
        return main + (f'<div class="section fields">{fields}</div>' if fields else "")
    if kind == "context":
        return f'<div class="context">{_join(block, _text)}</div>'
    if kind == "actions":
        return f'<div class="section">{_join(block, _button)}</div>'
    return "<hr>" if kind == "divider" else f'<div class="section quiet">[{_esc(str(kind))}]</div>'


def _join(block: dict[str, Any], render_one: Callable[[Any], str]) -> str:
    return " ".join(render_one(element) for element in block.get("elements") or [])


def _button(element: Any) -> str:
    label = _text(element.get("text")) if isinstance(element, dict) else ""
    return f'<span class="button">{label}</span>'


def _text(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    text = str(value.get("text", ""))
    return mrkdwn(text) if value.get("type") == "mrkdwn" else _esc(text)


def _chars(text: str) -> str:
    """Slack's three entities are characters; then everything is escaped for HTML."""
    return _esc(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def _esc(text: str) -> str:
    return html.escape(text, quote=True)
