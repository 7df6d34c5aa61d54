"""Calls of Slack's API: one attempt each, every way it can fail as `SendFailed`. No secret is in any of its words.

slack-sdk's own retries and its log are off: it would repeat a post after a dropped connection, and it logs addresses,
which are secrets here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from slack_sdk.errors import SlackApiError, SlackClientError

from alerting.parcels import SendFailed
from alerting.slack_errors import failure
from alerting.slack_http import SlackWeb, unreachable
from alerting.terms import check_term

SHORT_NAME = re.compile(r"[a-z_]{1,60}")
_SCOPES = re.compile(r"[a-z:._, ]{1,200}")
#: What slack-sdk raises where no answer came.
NO_ANSWER = (SlackClientError, OSError, ValueError)


class SlackSays(Exception):
    """An answer that is not a success. `failure` is what it means."""

    def __init__(self, response: Any) -> None:
        super().__init__("Slack refused")
        data = response.data if isinstance(response.data, dict) else {}
        error = str(data.get("error", ""))
        # slack-sdk puts a page that is not JSON (a proxy's, an outage's) into `error` as prose.
        self.error = error if SHORT_NAME.fullmatch(error) else ""
        needed = str(data.get("needed", ""))
        scopes = needed if _SCOPES.fullmatch(needed) else ""
        self.failure = failure(int(response.status_code), self.error, response.headers, scopes)


class SlackApi:
    """One token. Not for several threads at once."""

    def __init__(self, token: str, *, api_url: str, timeout_seconds: float) -> None:
        self.client = SlackWeb(token, api_url=api_url, timeout_seconds=timeout_seconds)

    def call(self, method: Callable[..., Any], **fields: Any) -> Mapping[str, Any]:
        """One request of a method of `client`. Raises `SendFailed`."""
        try:
            return self.say(method, **fields)
        except SlackSays as says:
            raise says.failure from None

    def say(self, method: Callable[..., Any], **fields: Any) -> Mapping[str, Any]:
        """As `call`, but an answer that is no success is raised as `SlackSays`; `SendFailed` where none came."""
        check_term()
        try:
            answer = method(**fields)
        except SlackApiError as error:
            raise SlackSays(error.response) from None
        except NO_ANSWER as error:
            raise unreachable(error) from None
        except (TypeError, AttributeError, LookupError):  # slack-sdk looks into some answers itself
            raise SendFailed("Slack's answer lacks what it should hold", retryable=True, in_doubt=True) from None
        data: Mapping[str, Any] = answer.data
        return data

    def identity(self) -> tuple[Mapping[str, Any], frozenset[str] | None]:
        """`auth.test`, and the scopes of the token (None: Slack does not say). Raises `SendFailed`."""
        headers: dict[str, str] = {}

        def ask() -> Any:
            answer = self.client.auth_test()
            headers.update({str(k).lower(): str(v) for k, v in answer.headers.items()})
            return answer

        data = self.call(ask)
        listed = headers.get("x-oauth-scopes")
        return data, None if listed is None else frozenset(part.strip() for part in listed.split(","))


def word(value: object) -> str:
    """A name from an answer, short enough for a log line."""
    return re.sub(r"[^\w.@ -]", "?", str(value))[:60]
