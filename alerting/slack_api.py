"""Calls of Slack's API: one attempt each, every way it can fail as `SendFailed`. No secret is in any of its words.

slack-sdk's own retries and its log are off: it would repeat a post after a dropped connection, and it logs addresses,
which are secrets here.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web import WebClient

from alerting.local import is_local
from alerting.parcels import SendFailed
from alerting.slack_errors import failure
from alerting.terms import check_term

#: slack-sdk looks at the level before it builds a line that holds a secret.
silent = logging.getLogger("alerting.slack.sdk")
silent.disabled = True
silent.setLevel(logging.CRITICAL)

SHORT_NAME = re.compile(r"[a-z_]{1,60}")
_SCOPES = re.compile(r"[a-z:._, ]{1,200}")
#: What slack-sdk and urllib raise where no answer came.
NO_ANSWER = (SlackClientError, OSError, http.client.HTTPException, ValueError)


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
        self.client = WebClient(
            token=token,
            base_url=api_url,
            timeout=max(1, round(timeout_seconds)),
            logger=silent,
            retry_handlers=[],
        )
        if bypass_proxy(api_url):
            self.client.proxy = None

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


def unreachable(error: Exception) -> SendFailed:
    """No answer came. The cause is named by its kind: the text of such errors may hold an address that is a secret."""
    if isinstance(error, HTTPError):  # from where files go: slack-sdk takes apart the answers of the API itself
        return failure(error.code, "", dict(error.headers or {}))
    cause: object = error.reason if isinstance(error, URLError) else error
    in_doubt = True
    if isinstance(cause, TimeoutError):
        words = "Slack does not answer in time"
    elif isinstance(cause, socket.gaierror):
        words, in_doubt = "the name of the Slack server cannot be resolved: check the network", False
    elif isinstance(cause, ssl.SSLCertVerificationError):
        words, in_doubt = "the certificate of the Slack server is not accepted", False
    elif isinstance(cause, ConnectionRefusedError):
        words, in_doubt = "the Slack server refuses the connection", False
    elif isinstance(cause, ConnectionError | http.client.HTTPException | ssl.SSLError):
        words = "the connection to Slack was dropped"
    else:
        words = f"no connection to Slack ({type(cause).__name__})"
    return SendFailed(words, retryable=True, in_doubt=in_doubt)


def bypass_proxy(url: str) -> bool:
    """A server on this machine is not reached through a proxy. Tells urllib so, and whether it applies to `url`."""
    host, local = urlsplit(url).hostname or "", is_local(url)
    if local:
        for name in ("no_proxy", "NO_PROXY"):
            listed = os.environ.get(name, "")
            if host not in listed.split(","):
                os.environ[name] = ",".join(filter(None, (listed, host)))
    return local


def word(value: object) -> str:
    """A name from an answer, short enough for a log line."""
    return re.sub(r"[^\w.@ -]", "?", str(value))[:60]
