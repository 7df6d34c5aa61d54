"""Is a message that may have arrived there already? Our own messages of one channel, found by their metadata.

After a lost answer nobody knows whether Slack took a message. Each one carries the keys of what it says, so it can be
looked for before it is sent again. Where the app may not read the channel it is sent again: rather twice than never.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from alerting.parcels import Parcel, SendFailed, digest
from alerting.slack_api import SlackApi
from alerting.states import Ref

log = logging.getLogger(__name__)
T = TypeVar("T")

#: What a message of Slack carries for programs that look for it later.
METADATA_EVENT = "embedwatch_alert"
#: Slack's clock and ours may differ by so much.
CLOCKS_SECONDS = 600.0
#: What was read is not asked for again within this, so that a start with many messages in doubt stays below Slack's
#: limit of 50 reads a minute.
FRESH_SECONDS = 2.0
PAGE = 200
MAX_PAGES = 25
MAX_CHANNEL_PAGES = 50


@dataclass(frozen=True, slots=True)
class Found:
    """`same`: it says this very thing. Else it is of the same episode, and says what was so before."""

    ref: Ref
    same: bool


def metadata(parcel: Parcel) -> dict[str, Any] | None:
    """None for a test message. Keys are digests: their texts may be longer than Slack takes."""
    message = parcel.message
    if message.kind == "test":
        return None
    payload = {
        "alert_id": message.alert_id,
        "episode": message.episode,
        "kind": message.kind,
        "episode_key": digest(parcel.key),
        "news_key": digest(parcel.news_key),
    }
    return {"event_type": METADATA_EVENT, "event_payload": payload}


class Lookup:
    """`channel` is a name or an id; Slack reads by id only, which `learn` tells or a list of the app's channels."""

    def __init__(self, api: SlackApi, channel: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api, self._channel, self._monotonic = api, channel, monotonic
        self._channel_id: str | None = None
        self._bot_id: str | None = None
        self._said: set[str] = set()
        self._read_at = self._read_from = 0.0
        self._by_news: dict[str, Ref] | None = None
        self._by_episode: dict[str, Ref] = {}

    def learn(self, channel_id: str) -> None:
        """Under this id the channel took a message."""
        self._channel_id = channel_id

    def forget(self) -> None:
        """A message may have arrived just now: what was read before is no answer."""
        self._by_news = None

    def message(self, parcel: Parcel) -> Found | None:
        """Raises `SendFailed` when Slack cannot say now: the message is not to be sent again blindly."""
        return self._careful(lambda: self._message(parcel))

    def reply(self, parcel: Parcel, ref: Ref) -> bool:
        """Whether the thread has that line. Raises `SendFailed` as `message` does."""
        return self._careful(lambda: self._reply(parcel, ref)) or False

    def _careful(self, look: Callable[[], T]) -> T | None:
        try:
            return look()
        except SendFailed as failure:
            if not failure.retryable:
                if failure.reason not in self._said:
                    self._said.add(failure.reason)
                    line = "slack: whether a message arrived cannot be looked up, it is sent again: %s"
                    log.warning(line, failure.reason)
                return None
            raise SendFailed(
                f"whether the message arrived is not known yet: {failure.reason}",
                retryable=True,
                retry_after_seconds=failure.retry_after_seconds,
                in_doubt=True,
            ) from None

    def _message(self, parcel: Parcel) -> Found | None:
        since = _since(parcel)
        now = self._monotonic()
        if self._by_news is None or since < self._read_from or now - self._read_at > FRESH_SECONDS:
            self._read(since, now)
        by_news = self._by_news or {}
        same = by_news.get(digest(parcel.news_key))
        if same is not None:
            return Found(same, True)
        other = self._by_episode.get(digest(parcel.key))
        return None if other is None else Found(other, False)

    def _read(self, since: float, now: float) -> None:
        by_news: dict[str, Ref] = {}
        self._by_episode = {}
        channel = self._id()
        for message in self._own(self._api.client.conversations_history, channel, since):
            payload = message["metadata"]["event_payload"]
            ref = Ref(channel, str(message.get("ts")))
            if message.get("thread_ts") in (None, ref.ts):  # a line of a thread may be shown in the channel too
                by_news[str(payload.get("news_key"))] = ref
                self._by_episode[str(payload.get("episode_key"))] = ref
        self._by_news, self._read_at, self._read_from = by_news, now, since

    def _reply(self, parcel: Parcel, ref: Ref) -> bool:
        wanted = digest(parcel.news_key)
        found = self._own(self._api.client.conversations_replies, ref.channel, _since(parcel), ts=ref.ts)
        return any(
            message["metadata"]["event_payload"].get("news_key") == wanted and message.get("ts") != ref.ts
            for message in found
        )

    def _own(
        self, method: Callable[..., Any], channel: str, since: float, **fields: Any
    ) -> Iterator[Mapping[str, Any]]:
        """Messages of ours with metadata, whatever others write into theirs."""
        if self._bot_id is None:
            self._bot_id = str(self._api.identity()[0].get("bot_id"))
        cursor = ""
        for _ in range(MAX_PAGES):
            answer = self._api.call(
                method,
                channel=channel,
                oldest=f"{max(0.0, since):.6f}",
                inclusive=True,
                include_all_metadata=True,
                limit=PAGE,
                **fields,
                **({"cursor": cursor} if cursor else {}),
            )
            for message in _maps(answer.get("messages")):
                about = message.get("metadata")
                if message.get("bot_id") != self._bot_id or not isinstance(about, dict):
                    continue
                if about.get("event_type") == METADATA_EVENT and isinstance(about.get("event_payload"), dict):
                    yield message
            cursor = _cursor(answer)
            if not cursor:
                return

    def _id(self) -> str:
        """Raises `SendFailed`, for good where the app is in no channel of that name."""
        if self._channel_id is None:
            self._channel_id = self._find_id()
        return self._channel_id

    def _find_id(self) -> str:
        wanted, cursor = self._channel.removeprefix("#"), ""
        for _ in range(MAX_CHANNEL_PAGES):
            answer = self._api.call(
                self._api.client.users_conversations,
                types="public_channel,private_channel",
                exclude_archived=True,
                limit=PAGE,
                **({"cursor": cursor} if cursor else {}),
            )
            for channel in _maps(answer.get("channels")):
                if wanted in (channel.get("name"), channel.get("id")):
                    return str(channel.get("id"))
            cursor = _cursor(answer)
            if not cursor:
                break
        raise SendFailed(f"the app is not in {self._channel}: invite it (/invite @name)", retryable=False)


def _maps(value: Any) -> list[dict[str, Any]]:
    """The objects of a list, whatever else an answer holds."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _cursor(answer: Mapping[str, Any]) -> str:
    """Where the next page begins; empty: there is none."""
    about = answer.get("response_metadata")
    return str(about.get("next_cursor") or "") if isinstance(about, dict) else ""


def _since(parcel: Parcel) -> float:
    """From when on it may stand there, in Slack's clock."""
    return parcel.since_seconds - CLOCKS_SECONDS
