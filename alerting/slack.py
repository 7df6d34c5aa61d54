"""Slack, through slack-sdk: with a bot token (one message that changes in place, news in its thread) or a webhook.

With a bot token the first message of an alert is posted; what happens to it later edits that message and adds one line
to its thread. A webhook can only post. slack-sdk's own retries and its log are off: it would repeat a post after a
dropped connection, and it logs addresses, which are secrets here.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import WebClient
from slack_sdk.webhook import WebhookClient

from alerting.message import Message
from alerting.parcels import Parcel, SendFailed, Traits
from alerting.slack_blocks import render, render_news
from alerting.slack_errors import LAYOUT_REFUSED, NOT_EDITABLE, failure
from alerting.states import Ref

_silent = logging.getLogger("alerting.slack.sdk")
_silent.disabled = True
_silent.setLevel(logging.CRITICAL)  # slack-sdk looks at the level before it builds a line that holds a secret

_SHORT_NAME = re.compile(r"[a-z_]{1,60}")
#: What a message of Slack carries for programs that look for it later.
METADATA_EVENT = "embedwatch_alert"


class SlackBot:
    """`channel` is a name or an id; the first post says which id it has, and edits use that."""

    name = "slack"
    traits = Traits(edits=True)

    def __init__(self, token: str, channel: str, *, api_url: str, timeout_seconds: float) -> None:
        self._client = WebClient(
            token=token,
            base_url=api_url,
            timeout=max(1, round(timeout_seconds)),
            logger=_silent,
            retry_handlers=[],
        )
        if bypass_proxy(api_url):
            self._client.proxy = None
        self._channel = channel

    @property
    def address(self) -> str:
        return self._channel

    def check(self) -> str:
        answer = self._call(self._client.auth_test)
        return f"Slack knows the token: {_word(answer.get('user'))} of {_word(answer.get('team'))}"

    def send(self, parcel: Parcel) -> Ref | None:
        message, ref = parcel.message, parcel.ref
        if message.kind in ("firing", "cleared", "test") or ref is None:
            return self._post(message)
        try:
            self._edit(message, ref)
            self._reply(message, ref)
        except _SlackSays as says:
            if says.error not in NOT_EDITABLE:
                raise says.failure from None
            return self._post(message)
        return ref

    def _post(self, message: Message) -> Ref:
        text, blocks = render(message)
        metadata = None
        if message.alert_id:
            payload = {"alert_id": message.alert_id, "episode": message.episode, "kind": message.kind}
            metadata = {"event_type": METADATA_EVENT, "event_payload": payload}
        answer = self._content(
            self._client.chat_postMessage,
            text,
            blocks,
            channel=self._channel,
            metadata=metadata,
            unfurl_links=False,
            unfurl_media=False,
        )
        return Ref(str(answer.get("channel")), str(answer.get("ts")))

    def _edit(self, message: Message, ref: Ref) -> None:
        text, blocks = render(message)
        self._content(self._client.chat_update, text, blocks, channel=ref.channel, ts=ref.ts, parse="none", raw=True)

    def _reply(self, message: Message, ref: Ref) -> None:
        text, blocks = render_news(message)
        self._content(
            self._client.chat_postMessage,
            text,
            blocks,
            channel=ref.channel,
            thread_ts=ref.ts,
            # A reminder that only the thread shows reminds nobody.
            reply_broadcast=message.kind == "repeat",
            unfurl_links=False,
            unfurl_media=False,
            raw=True,
        )

    def _content(
        self, method: Callable[..., Any], text: str, blocks: list[Any], *, raw: bool = False, **fields: Any
    ) -> Mapping[str, Any]:
        """Call with blocks, or with the text alone if Slack refuses the layout: a plain alert beats none."""
        try:
            try:
                return self._say(method, text=text, blocks=blocks, **fields)
            except _SlackSays as says:
                if says.error not in LAYOUT_REFUSED:
                    raise
                return self._say(method, text=text, **fields)
        except _SlackSays as says:
            if raw:
                raise
            raise says.failure from None

    def _call(self, method: Callable[..., Any], **fields: Any) -> Mapping[str, Any]:
        try:
            return self._say(method, **fields)
        except _SlackSays as says:
            raise says.failure from None

    def _say(self, method: Callable[..., Any], **fields: Any) -> Mapping[str, Any]:
        """One request. Raises `_SlackSays` for an answer that is no success, `SendFailed` where none came."""
        try:
            answer = method(**fields)
        except SlackApiError as error:
            raise _SlackSays(error.response) from None
        except (SlackClientError, OSError, http.client.HTTPException, ValueError) as error:
            raise unreachable(error) from None
        data: Mapping[str, Any] = answer.data
        return data


class SlackWebhook:
    """Posts into the channel the webhook was made for. It can edit nothing."""

    name = "slack-webhook"
    address = "the webhook's channel"
    traits = Traits()

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._client = WebhookClient(url, timeout=max(1, round(timeout_seconds)), logger=_silent, retry_handlers=[])
        if bypass_proxy(url):
            self._client.proxy = None

    def check(self) -> str:
        return "a webhook can only be tried by sending: embedwatch alerts test"

    def send(self, parcel: Parcel) -> Ref | None:
        text, blocks = render(parcel.message)
        refused = self._post(text=text, blocks=blocks)
        if refused is not None and refused[1] in LAYOUT_REFUSED:
            refused = self._post(text=text)
        if refused is not None:
            raise failure(*refused)
        return None

    def _post(self, **content: Any) -> tuple[int, str, Mapping[str, str]] | None:
        """None when it was taken, else status, Slack's short name for what is wrong (or nothing), headers."""
        try:
            answer = self._client.send(**content, unfurl_links=False, unfurl_media=False)
        except (SlackClientError, OSError, http.client.HTTPException, ValueError) as error:
            raise unreachable(error) from None
        body = (answer.body or "").strip()
        if answer.status_code == 200 and body == "ok":
            return None
        return answer.status_code, body if _SHORT_NAME.fullmatch(body) else "", answer.headers


class _SlackSays(Exception):
    """An answer that is not a success."""

    def __init__(self, response: Any) -> None:
        super().__init__("Slack refused")
        data = response.data if isinstance(response.data, dict) else {}
        error = str(data.get("error", ""))
        # slack-sdk puts a page that is not JSON (a proxy's, an outage's) into `error` as prose.
        self.error = error if _SHORT_NAME.fullmatch(error) else ""
        self.failure = failure(int(response.status_code), self.error, response.headers)


def unreachable(error: Exception) -> SendFailed:
    """No answer came. The cause is named by its kind: the text of such errors may hold an address that is a secret."""
    cause: object = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        words = "Slack does not answer in time"
    elif isinstance(cause, socket.gaierror):
        words = "the name of the Slack server cannot be resolved: check the network"
    elif isinstance(cause, ssl.SSLError):
        words = "the certificate of the Slack server is not accepted"
    elif isinstance(cause, ConnectionRefusedError):
        words = "the Slack server refuses the connection"
    elif isinstance(cause, ConnectionError | http.client.HTTPException):
        words = "the connection to Slack was dropped"
    else:
        words = f"no connection to Slack ({type(cause).__name__})"
    return SendFailed(words, retryable=True)


def bypass_proxy(url: str) -> bool:
    """A server on this machine is not reached through a proxy. Tells urllib so, and whether it applies to `url`."""
    host = urlsplit(url).hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if local:
        for name in ("no_proxy", "NO_PROXY"):
            listed = os.environ.get(name, "")
            if host not in listed.split(","):
                os.environ[name] = ",".join(filter(None, (listed, host)))
    return local


def _word(value: object) -> str:
    """A name from an answer, short enough for a log line."""
    return re.sub(r"[^\w.@ -]", "?", str(value))[:60]
