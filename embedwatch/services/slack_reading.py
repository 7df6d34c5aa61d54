"""Reading in the Slack stand-in's workspace: a channel's history, a thread, the channels the app is in. No HTTP here.

https://docs.slack.dev/reference/methods/conversations.history
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from embedwatch.services.slack_records import InboxMessage, Refused, TokenBucket

#: The bot's id: what `auth.test` says and what stands on its messages.
BOT_ID = "B00000001"
DEFAULT_LIMIT = 100
MAX_LIMIT = 999
READ_BURST = 50


class Reading:
    """Over the workspace's own `channels` (id to name) and `messages`. `per_second=None`: no rate limit."""

    def __init__(self, channels: Mapping[str, str], messages: Iterable[InboxMessage], per_second: float | None) -> None:
        self._channels, self._messages, self._per_second = channels, messages, per_second
        self._buckets: dict[str, TokenBucket] = {}

    def history(self, fields: Mapping[str, Any], *, monotonic: float) -> dict[str, Any]:
        """conversations.history: newest first, without replies that only their thread shows."""
        self._pace("history", monotonic)
        channel = self._channel(fields)
        found = [m for m in self._messages if m.channel == channel and (m.thread_ts is None or m.reply_broadcast)]
        return _page([*reversed(found)], fields)

    def replies(self, fields: Mapping[str, Any], *, monotonic: float) -> dict[str, Any]:
        """conversations.replies: oldest first; the message itself always comes with them."""
        self._pace("replies", monotonic)
        channel, ts = self._channel(fields), str(fields.get("ts"))
        root = next((m for m in self._messages if m.channel == channel and m.ts == ts), None)
        if root is None:
            raise Refused("thread_not_found")
        found = [m for m in self._messages if m.channel == channel and m.thread_ts == ts]
        return _page(found, fields, first=root)

    def channels(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """users.conversations: the bot is in all of them."""
        rows = [{"id": id_, "name": name, "is_member": True} for id_, name in self._channels.items()]
        start, limit = int(fields.get("cursor") or 0), _limit(fields)
        more = str(start + limit) if start + limit < len(rows) else ""
        return {"channels": rows[start : start + limit], "response_metadata": {"next_cursor": more}}

    def _channel(self, fields: Mapping[str, Any]) -> str:
        """Unlike a post it takes an id only."""
        channel = str(fields.get("channel"))
        if channel not in self._channels:
            raise Refused("channel_not_found")
        return channel

    def _pace(self, key: str, monotonic: float) -> None:
        if self._per_second is not None:
            self._buckets.setdefault(key, TokenBucket(self._per_second, READ_BURST, monotonic)).take(monotonic)


def as_answered(message: InboxMessage, *, metadata: bool = False) -> dict[str, Any]:
    """A message as Slack shows it to a program; its metadata only where that was asked for."""
    sent: dict[str, Any] = {"type": "message", "subtype": "bot_message", "text": message.text, "ts": message.ts}
    sent |= {"blocks": message.blocks}
    if message.via == "bot":
        sent["bot_id"] = BOT_ID
    if message.thread_ts:
        sent["thread_ts"] = message.thread_ts
    if metadata and message.metadata:
        sent["metadata"] = message.metadata
    return sent


def _page(messages: list[InboxMessage], fields: Mapping[str, Any], first: InboxMessage | None = None) -> dict[str, Any]:
    inclusive = _true(fields.get("inclusive"))
    oldest, latest = _ts(fields.get("oldest"), 0), _ts(fields.get("latest"), None)
    chosen = [m for m in messages if _within(_ts(m.ts, 0) or 0, oldest or 0, latest, inclusive)]
    start, limit = int(fields.get("cursor") or 0), _limit(fields)
    part = chosen[start : start + limit]
    more = start + limit < len(chosen)
    if first is not None:
        part = [first, *part]
    metadata = _true(fields.get("include_all_metadata"))
    answer: dict[str, Any] = {"messages": [as_answered(m, metadata=metadata) for m in part], "has_more": more}
    if more:
        answer["response_metadata"] = {"next_cursor": str(start + limit)}
    return answer


def _within(ts: int, oldest: int, latest: int | None, inclusive: bool) -> bool:
    if inclusive:
        return oldest <= ts and (latest is None or ts <= latest)
    return oldest < ts and (latest is None or ts < latest)


def _ts(value: Any, default: int | None) -> int | None:
    """Microseconds. Raises `Refused`."""
    if value in (None, ""):
        return default
    seconds, _, fraction = str(value).partition(".")
    if not seconds.isdecimal() or not (fraction or "0").isdecimal():
        raise Refused("invalid_ts_oldest")
    return int(seconds) * 1_000_000 + int(fraction[:6].ljust(6, "0") or 0)


def _limit(fields: Mapping[str, Any]) -> int:
    value = str(fields.get("limit") or DEFAULT_LIMIT)
    if not value.isdecimal() or not 0 < int(value) <= MAX_LIMIT:
        raise Refused("invalid_limit")
    return int(value)


def _true(value: Any) -> bool:
    return value in (True, 1, "1", "true", "True")
