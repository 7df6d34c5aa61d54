"""What Slack's answers mean: may it be tried again, and what is there to do. One table, readable at a glance. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from alerting.parcels import SendFailed

#: Answers with 429 carry Retry-After; where it is missing or senseless, this.
DEFAULT_RETRY_AFTER_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Meaning:
    words: str
    retryable: bool = False
    of_message: bool = False
    in_doubt: bool = False  # Slack says itself that some of it may have been done


_LATER = "Slack cannot take it at the moment"
_TOKEN = "Slack refuses the bot token: set EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN to a valid one and restart"  # noqa: S105
_LACKS = "the app lacks a permission: give it the scope {} and install it again"
_CHANNEL = "check --slack-channel, and invite the app to the channel (/invite @name)"

#: By the `error` of an answer (or the text of a webhook's answer). What is not listed is not retried.
MEANINGS: dict[str, Meaning] = {
    "ratelimited": Meaning("Slack asks to slow down", retryable=True),
    "rate_limited": Meaning("Slack asks to slow down", retryable=True),
    "internal_error": Meaning(_LATER, retryable=True, in_doubt=True),
    "fatal_error": Meaning(_LATER, retryable=True, in_doubt=True),
    "service_unavailable": Meaning(_LATER, retryable=True, in_doubt=True),
    "request_timeout": Meaning(_LATER, retryable=True),
    "update_failed": Meaning(_LATER, retryable=True),
    "rollup_error": Meaning(_LATER, retryable=True),
    "team_added_to_org": Meaning("the workspace is being migrated", retryable=True),
    "external_channel_migrating": Meaning("the channel is being migrated", retryable=True),
    "org_login_required": Meaning("the workspace is being migrated", retryable=True),
    "not_authed": Meaning(_TOKEN),
    "invalid_auth": Meaning(_TOKEN),
    "account_inactive": Meaning(_TOKEN),
    "token_expired": Meaning(_TOKEN),
    "token_revoked": Meaning(_TOKEN),
    "not_allowed_token_type": Meaning(_TOKEN),
    "missing_scope": Meaning(_LACKS.format("chat:write")),
    "no_permission": Meaning(f"the app may not post there: {_CHANNEL}"),
    "restricted_action": Meaning("the workspace does not let the app post there: ask its administrators"),
    "restricted_action_read_only_channel": Meaning("the channel is read-only: choose another with --slack-channel"),
    "channel_not_found": Meaning(f"the channel does not exist, or is private and the app is not in it: {_CHANNEL}"),
    "not_in_channel": Meaning(f"the app is not in the channel: {_CHANNEL}"),
    "is_archived": Meaning("the channel is archived: choose another with --slack-channel"),
    "channel_is_archived": Meaning("the webhook's channel is archived: make a webhook for another"),
    "message_limit_exceeded": Meaning("the workspace has reached its plan's limit of messages"),
    "no_service": Meaning("the webhook was removed or its address is wrong: set EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL"),
    "no_active_hooks": Meaning("the webhook is switched off: set EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL to another"),
    "invalid_token": Meaning("the webhook's address is wrong: set EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL"),
    "action_prohibited": Meaning("the workspace does not let webhooks post there: ask its administrators"),
    "invalid_blocks": Meaning("Slack does not take the message's layout", of_message=True),
    "invalid_blocks_format": Meaning("Slack does not take the message's layout", of_message=True),
    "msg_blocks_too_long": Meaning("Slack finds the message too long", of_message=True),
    "msg_too_long": Meaning("Slack finds the message too long", of_message=True),
    "no_text": Meaning("Slack finds no text in the message", of_message=True),
    "invalid_payload": Meaning("Slack does not understand the message", of_message=True),
    "invalid_arguments": Meaning("Slack does not understand the message", of_message=True),
    "invalid_metadata_format": Meaning("Slack does not take the message's metadata", of_message=True),
    "metadata_too_large": Meaning("Slack does not take the message's metadata", of_message=True),
}

#: The layout is refused: the same words without it may be taken.
LAYOUT_REFUSED = ("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long")


def said_anew(error: str, found: SendFailed) -> bool:
    """Whether what Slack does not let us change is to be posted anew, where things are posted now.

    The message may be gone or too old, its channel archived, another's, or of another workspace: all of that is about
    one old message, and must hold up no other. Only a refused post is about the receiver; where the token is at fault,
    the post is refused as well. `found` is what `error` means; what is no word of Slack's says nothing of the message.
    """
    return bool(error) and not found.retryable and not found.of_message


#: What a webhook's status says where its text does not. Its address is all the key there is.
_HOOK = {
    401: "the webhook's address is refused",
    403: "the webhook's address is refused",
    404: "there is no webhook at this address",
    410: "there is no webhook at this address any more",
}
_API_URL, _WEBHOOK_URL = "EMBEDWATCH_ALERTS_SLACK_API_URL", "EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL"


def failure(
    status: int, error: str, headers: Mapping[str, str], needed: str = "", *, webhook: bool = False
) -> SendFailed:
    """What an answer that is not a success means.

    `error` is Slack's short name for it, or empty; `needed` are the scopes that it says are lacking.
    `webhook`: a webhook's answer, not the API's.
    """
    if status == 429 or error in ("ratelimited", "rate_limited"):
        seconds = retry_after(headers)
        return SendFailed(f"Slack asks to wait {seconds:g} s (429)", retryable=True, retry_after_seconds=seconds)
    known = MEANINGS.get(error)
    if known is not None:
        words = known.words if error != "missing_scope" or not needed else _LACKS.format(needed)
        return SendFailed(
            f"{words} ({error})", retryable=known.retryable, of_message=known.of_message, in_doubt=known.in_doubt
        )
    if status >= 500 or status == 408:
        # What stands in between may have lost the answer of a Slack that took the message.
        return SendFailed(f"Slack answers with status {status}", retryable=True, in_doubt=True)
    if 300 <= status < 400 or (status < 300 and (webhook or not error)):
        setting = _WEBHOOK_URL if webhook else _API_URL
        return SendFailed(f"what answers there is not Slack (status {status}): check {setting}", retryable=False)
    if webhook and status in _HOOK:
        return SendFailed(f"{_HOOK[status]} (status {status}): set {_WEBHOOK_URL} to one that works", retryable=False)
    named = f" ({error})" if error else ""
    return SendFailed(f"Slack refuses the message with status {status}{named}", retryable=False)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds Slack asks to wait; a header that is missing or no number counts as a few seconds."""
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= MAX_RETRY_AFTER_SECONDS:
        return MAX_RETRY_AFTER_SECONDS if seconds > MAX_RETRY_AFTER_SECONDS else DEFAULT_RETRY_AFTER_SECONDS
    return seconds
