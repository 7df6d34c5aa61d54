"""Slack, through slack-sdk: with a bot token (one message that changes in place, news in its thread) or a webhook.

With a bot token the first message of an alert is posted; what happens to it later edits that message and adds one line
to its thread. A message that may have arrived is looked for before it is sent again. A webhook can only post.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from alerting.parcels import Parcel, SendFailed, Traits
from alerting.slack_api import NO_ANSWER, SHORT_NAME, SlackApi, SlackSays, word
from alerting.slack_blocks import render, render_news
from alerting.slack_buttons import actions
from alerting.slack_errors import LAYOUT_REFUSED, failure, said_anew
from alerting.slack_http import SlackHook, unreachable
from alerting.slack_lookup import Lookup, metadata
from alerting.states import Ref
from alerting.terms import check_term
from embedwatch.events import Verdict

#: Kinds that are always a message of their own.
NEW = ("firing", "cleared", "test")
#: Kinds that mention whom the routes name: an end wakes nobody.
MENTIONING = ("firing", "repeat", "escalated", "snooze_over")
#: A reminder that only the thread shows reminds nobody.
BROADCAST = ("repeat", "escalated", "snooze_over")
#: Slack takes about one message a second in a channel, and short bursts:
#: https://docs.slack.dev/apis/web-api/rate-limits
PER_SECOND, BURST = 1.0, 3
_READING = ("channels:history", "groups:history")


#: Of a verdict and the name of the receiver.
Mentions = Callable[[Verdict, str], tuple[str, ...]]


def nobody(verdict: Verdict, receiver: str) -> tuple[str, ...]:
    return ()


class SlackBot:
    """`channel` is a name or an id; the first post says which id it has, and edits use that.

    With `buttons` there is something that hears when they are pressed (`slack_socket`).
    `mentions` gives Slack's markup of those whom its message mentions: it comes from the configuration alone.
    """

    traits = Traits(edits=True, per_second=PER_SECOND, burst=BURST)

    def __init__(
        self,
        token: str,
        channel: str,
        *,
        api_url: str,
        timeout_seconds: float,
        name: str = "slack",
        mentions: Mentions = nobody,
        buttons: bool = False,
    ) -> None:
        self.name, self._buttons = name, buttons
        #: Is told of each message that an alert fires, and returns at once.
        self.chart: Callable[[Verdict, Ref], None] | None = None
        self._mentions = mentions
        self._api = SlackApi(token, api_url=api_url, timeout_seconds=timeout_seconds)
        self._lookup = Lookup(self._api, channel)
        self._channel = channel

    @property
    def address(self) -> str:
        return self._channel

    def check(self) -> str:
        answer, scopes = self._api.identity()
        found = f"Slack knows the token: {word(answer.get('user'))} of {word(answer.get('team'))}"
        if scopes is not None and scopes.isdisjoint(_READING):
            found += "; it lacks the scope channels:history, so a message whose answer is lost may come twice"
        return found

    def send(self, parcel: Parcel) -> Ref | None:
        try:
            return self._send(parcel)
        except SlackSays as says:
            error = says.failure
        except SendFailed as failed:
            error = failed
        if error.in_doubt:
            self._lookup.forget()
        raise error

    def _send(self, parcel: Parcel) -> Ref | None:
        """Raises `SendFailed` or `SlackSays`."""
        ref = parcel.ref
        if parcel.message.kind in NEW or ref is None:
            return self._new(parcel)
        return self._change(parcel, ref) or self._new(parcel)

    def _new(self, parcel: Parcel) -> Ref | None:
        found = self._lookup.message(parcel) if parcel.doubtful else None
        if found is None:
            return self._post(parcel)
        if found.same:
            return found.ref
        # It was told that this episode fires, and we were not told that it was: the rest belongs to that message.
        return self._change(parcel, found.ref) or self._post(parcel)

    def _change(self, parcel: Parcel, ref: Ref) -> Ref | None:
        """Edit, and one line into the thread. None when that cannot be done (any more) where the message stands."""
        try:
            self._edit(parcel, ref)
            if not (parcel.doubtful and self._lookup.reply(parcel, ref)):
                self._reply(parcel, ref)
        except SlackSays as says:
            if not said_anew(says.error, says.failure):
                raise
            return None
        return ref

    def _post(self, parcel: Parcel) -> Ref | None:
        text, blocks = self._render(parcel)
        answer = self._content(
            self._api.client.chat_postMessage,
            text,
            blocks,
            channel=self._channel,
            metadata=metadata(parcel),
            unfurl_links=False,
            unfurl_media=False,
        )
        channel, ts = answer.get("channel"), answer.get("ts")
        if not (isinstance(channel, str) and isinstance(ts, str) and channel and ts):
            return None  # it was taken, and nobody says where it is: what comes next is posted anew
        ref = Ref(channel, ts)
        self._lookup.learn(ref.channel)
        if self.chart is not None and parcel.owed is not None and parcel.message.kind == "firing":
            self.chart(parcel.owed.facts.breach, ref)
        return ref

    def _edit(self, parcel: Parcel, ref: Ref) -> None:
        text, blocks = self._render(parcel)
        # The message keeps its metadata: by them it is known as the one of its episode.
        self._content(self._api.client.chat_update, text, blocks, channel=ref.channel, ts=ref.ts, parse="none")

    def _reply(self, parcel: Parcel, ref: Ref) -> None:
        text, blocks = render_news(parcel.message, _mentioned(parcel, self._mentions, self.name))
        self._content(
            self._api.client.chat_postMessage,
            text,
            blocks,
            channel=ref.channel,
            thread_ts=ref.ts,
            metadata=metadata(parcel),
            reply_broadcast=parcel.message.kind in BROADCAST,
            unfurl_links=False,
            unfurl_media=False,
        )

    def _render(self, parcel: Parcel) -> tuple[str, list[Any]]:
        buttons = actions(parcel) if self._buttons else None
        return render(parcel.message, _mentioned(parcel, self._mentions, self.name), buttons)

    def _content(self, method: Callable[..., Any], text: str, blocks: list[Any], **fields: Any) -> Mapping[str, Any]:
        """Call with blocks, or with the text alone if Slack refuses the layout: a plain alert beats none."""
        try:
            return self._api.say(method, text=text, blocks=blocks, **fields)
        except SlackSays as says:
            if says.error not in LAYOUT_REFUSED:
                raise
            return self._api.say(method, text=text, **fields)


class SlackWebhook:
    """Posts into the channel the webhook was made for. It can edit nothing."""

    name = "slack-webhook"
    address = "the webhook's channel"
    traits = Traits(per_second=PER_SECOND, burst=BURST)

    def __init__(self, url: str, *, timeout_seconds: float, mentions: Mentions = nobody) -> None:
        self._mentions = mentions
        self._client = SlackHook(url, timeout_seconds=timeout_seconds)

    def check(self) -> str:
        return "a webhook can only be tried by sending: embedwatch alerts test"

    def send(self, parcel: Parcel) -> Ref | None:
        text, blocks = render(parcel.message, _mentioned(parcel, self._mentions, self.name))
        refused = self._post(text=text, blocks=blocks)
        if refused is not None and refused[1] in LAYOUT_REFUSED:
            refused = self._post(text=text)
        if refused is not None:
            raise failure(*refused, webhook=True)
        return None

    def _post(self, **content: Any) -> tuple[int, str, Mapping[str, str]] | None:
        """None when it was taken, else status, Slack's short name for what is wrong (or nothing), headers."""
        check_term()
        try:
            answer = self._client.send(**content, unfurl_links=False, unfurl_media=False)
        except NO_ANSWER as error:
            raise unreachable(error) from None
        body = (answer.body or "").strip()
        if answer.status_code == 200 and body == "ok":
            return None
        return answer.status_code, body if SHORT_NAME.fullmatch(body) else "", answer.headers


def _mentioned(parcel: Parcel, mentions: Mentions, receiver: str) -> tuple[str, ...]:
    found = (
        each for owed in parcel.all_owed if owed.kind in MENTIONING for each in mentions(owed.facts.breach, receiver)
    )
    return tuple(dict.fromkeys(found))
