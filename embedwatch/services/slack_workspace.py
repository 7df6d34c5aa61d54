"""The workspace behind the Slack stand-in: channels, messages, edits, uploads and rate limits. No HTTP here.

`now` is Unix seconds and `monotonic` seconds that never go back; both are arguments. Not thread-safe: the stand-in
holds a lock.
"""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from embedwatch.services.slack_reading import Reading
from embedwatch.services.slack_records import Edit, File, InboxMessage, Refused, TokenBucket, TooFast
from embedwatch.services.slack_rules import MAX_POST_TEXT_CHARS, MAX_UPDATE_TEXT_CHARS, check_message

__all__ = ["InboxMessage", "Refused", "TokenBucket", "TooFast", "Workspace", "new_webhook_path"]

DEFAULT_CHANNELS = ("embedwatch", "alerts", "general")
MAX_MESSAGES = 2000
MAX_EDITS = 100
MAX_FILE_BYTES = 20 * 1024 * 1024
MAX_FILES = 100
# chat.update is in tier 3: https://docs.slack.dev/apis/web-api/rate-limits ("50+ per minute")
UPDATE_BURST = 50
UPDATE_PER_SECOND = 50 / 60
# conversations.history and .replies are too, for an app of one's own workspace.
READ_PER_SECOND = 50 / 60


class Workspace:
    """`messages_per_second=None` switches the rate limits off."""

    def __init__(
        self, channels: Iterable[str] = DEFAULT_CHANNELS, messages_per_second: float | None = 1.0, burst: int = 5
    ) -> None:
        names = [name.removeprefix("#") for name in channels]
        self.channels = {f"C0{index:08d}": name for index, name in enumerate(names, 1)}
        self.messages: deque[InboxMessage] = deque(maxlen=MAX_MESSAGES)
        self.files: dict[str, tuple[File, bytes]] = {}
        self._uploads: dict[str, tuple[str, int, bytes | None]] = {}
        self._rate, self._burst = messages_per_second, burst
        self._buckets: dict[str, TokenBucket] = {}
        self._last_ts = 0
        self._ids = itertools.count(1)
        self.reading = Reading(self.channels, self.messages, None if messages_per_second is None else READ_PER_SECOND)

    def post(self, fields: dict[str, Any], *, via: str, now: float, monotonic: float) -> InboxMessage:
        """chat.postMessage, and what an incoming webhook does. Raises `Refused` or `TooFast`."""
        channel = self._channel(fields.get("channel"))
        self._pace(channel, self._rate, self._burst, monotonic)
        text, blocks, attachments = _content(fields)
        thread_ts = fields.get("thread_ts")
        if thread_ts is not None and self._find(channel, thread_ts) is None:
            raise Refused("thread_not_found")
        metadata = fields.get("metadata")
        message = InboxMessage(
            ts=self._next_ts(now),
            channel=channel,
            channel_name=self.channels[channel],
            text=text[:MAX_POST_TEXT_CHARS],
            blocks=blocks,
            received_at_seconds=now,
            via=via,
            thread_ts=thread_ts,
            reply_broadcast=fields.get("reply_broadcast") in (True, "1", "true"),
            attachments=attachments,
            metadata=metadata if isinstance(metadata, dict) else None,
        )
        self.messages.append(message)
        return message

    def update(self, fields: dict[str, Any], *, now: float, monotonic: float) -> InboxMessage:
        """chat.update: unlike a post it takes the channel's id only. Raises `Refused` or `TooFast`."""
        self._pace("chat.update", None if self._rate is None else UPDATE_PER_SECOND, UPDATE_BURST, monotonic)
        channel = str(fields.get("channel"))
        if channel not in self.channels:
            raise Refused("channel_not_found")
        old = self._find(channel, fields.get("ts"))
        if old is None:
            raise Refused("message_not_found")
        if old.via != "bot":
            raise Refused("cant_update_message")
        text, blocks, attachments = _content(fields)
        if len(text) > MAX_UPDATE_TEXT_CHARS:
            raise Refused("msg_too_long")
        edits = [*old.edits, Edit(now, old.text, old.blocks)][-MAX_EDITS:]
        metadata = fields.get("metadata", old.metadata)
        new = replace(old, text=text, blocks=blocks, attachments=attachments, edits=edits, metadata=metadata or None)
        self.messages[self.messages.index(old)] = new
        return new

    def start_upload(self, name: Any, length: Any) -> str:
        """files.getUploadURLExternal: the file's id. Raises `Refused`."""
        if not isinstance(name, str) or not name or not str(length).isdecimal() or int(length) == 0:
            raise Refused("invalid_arguments")
        if int(length) > MAX_FILE_BYTES:
            raise Refused("file_upload_size_restricted")
        file_id = f"F0{next(self._ids):08d}"
        self._uploads[file_id] = (name, int(length), None)
        while len(self._uploads) > MAX_FILES:
            del self._uploads[next(iter(self._uploads))]
        return file_id

    def receive_upload(self, file_id: str, data: bytes) -> None:
        """The POST to the upload address. Raises `Refused` when it was not announced, or not with that length."""
        name, length, _ = self._uploads.get(file_id, ("", -1, None))
        if length != len(data):
            raise Refused("file_not_found" if length < 0 else "file_upload_size_mismatch")
        self._uploads[file_id] = (name, length, data)

    def complete_upload(self, fields: dict[str, Any], *, now: float, monotonic: float) -> list[File]:
        """files.completeUploadExternal: shares the files as one message where a channel is named."""
        wanted = _as_list(fields.get("files"))
        files: list[File] = []
        for item in wanted:
            file_id = item.get("id") if isinstance(item, dict) else None
            name, length, data = self._uploads.get(str(file_id), ("", 0, None))
            if data is None:
                raise Refused("file_not_found")
            file = File(str(file_id), name, str(item.get("title") or name), length)
            self.files[file.id] = (file, data)
            files.append(file)
        if not files:
            raise Refused("invalid_arguments")
        while len(self.files) > MAX_FILES:
            del self.files[next(iter(self.files))]
        if fields.get("channel_id"):
            text = str(fields.get("initial_comment") or ", ".join(file.title for file in files))
            post = {"channel": fields["channel_id"], "text": text, "thread_ts": fields.get("thread_ts")}
            message = self.post(post, via="bot", now=now, monotonic=monotonic)
            self.messages[self.messages.index(message)] = replace(message, files=files)
        for file in files:
            self._uploads.pop(file.id, None)
        return files

    def _channel(self, wanted: Any) -> str:
        """Id of a channel named by id, name or #name."""
        if wanted in self.channels:
            return str(wanted)
        for channel, name in self.channels.items():
            if isinstance(wanted, str) and wanted.removeprefix("#") == name:
                return channel
        raise Refused("channel_not_found")

    def _find(self, channel: str, ts: Any) -> InboxMessage | None:
        return next((m for m in self.messages if m.ts == ts and m.channel == channel), None)

    def _pace(self, key: str, per_second: float | None, burst: int, monotonic: float) -> None:
        if per_second is None:
            return
        bucket = self._buckets.setdefault(key, TokenBucket(per_second, burst, monotonic))
        bucket.take(monotonic)

    def _next_ts(self, now: float) -> str:
        """A ts is the time in microseconds, and unique in the workspace."""
        self._last_ts = max(int(now * 1_000_000), self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


def new_webhook_path() -> str:
    """A path of the shape of Slack's; its last part is the secret."""
    return f"/services/T0{secrets.token_hex(4).upper()}/B0{secrets.token_hex(4).upper()}/{secrets.token_urlsafe(18)}"


def _content(fields: dict[str, Any]) -> tuple[str, list[Any], list[Any]]:
    """Text, blocks and attachments of a request. Raises `Refused` for what Slack does not take."""
    text = fields.get("text")
    blocks, attachments = _as_list(fields.get("blocks"), "blocks"), _as_list(fields.get("attachments"), "attachments")
    refusal = check_message(text, blocks, attachments)
    if refusal is not None:
        raise Refused(refusal.error, refusal.messages)
    return text if isinstance(text, str) else "", blocks, attachments


def _as_list(value: Any, name: str = "files") -> list[Any]:
    """A form carries lists as JSON text."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refused("invalid_arguments" if name == "files" else f"invalid_{name}_format") from None
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused("invalid_arguments" if name == "files" else f"invalid_{name}_format")
    return value
