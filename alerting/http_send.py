"""One JSON document over HTTP to a receiver that is a machine: one attempt, and what its answer means.

Addresses and headers may be secrets: no error, log line or `repr` has more of them than the host.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from alerting.parcels import SendFailed
from alerting.terms import check_term

# They write each address on a line of their own.
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

DEFAULT_RETRY_AFTER_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status says of a message. The receiver's name stands before the words."""

    words: str
    retryable: bool = False
    of_message: bool = False
    in_doubt: bool = False


_MESSAGE = Meaning("does not understand the message", of_message=True)
_SECRET = Meaning("refuses the key, token or signature: set it anew and restart")
_ADDRESS = Meaning("has nothing at this address: check it")
_LATER = Meaning("cannot take it at the moment", retryable=True)
# What stands in between may have lost the answer of a receiver that took the message.
_BROKEN = Meaning("fails", retryable=True, in_doubt=True)

#: By status. What is not listed goes by its hundred.
MEANINGS: dict[int, Meaning] = {
    400: _MESSAGE,
    401: _SECRET,
    402: Meaning("wants to be paid"),
    403: _SECRET,
    404: _ADDRESS,
    405: _ADDRESS,
    406: _MESSAGE,
    407: Meaning("is behind a proxy that wants a password"),
    408: _LATER,
    409: _LATER,
    410: _ADDRESS,
    411: _MESSAGE,
    413: Meaning("finds the message too long", of_message=True),
    414: _ADDRESS,
    415: _MESSAGE,
    421: _ADDRESS,
    422: _MESSAGE,
    423: _LATER,
    425: _LATER,
    429: Meaning("asks to slow down", retryable=True),
    431: _MESSAGE,
    451: Meaning("refuses for legal reasons"),
    501: _ADDRESS,
    505: _ADDRESS,
    511: Meaning("is behind a network that wants a login"),
}
#: By hundred: a redirect would repeat the message, and its signature, wherever it points to.
BY_HUNDRED: dict[int, Meaning] = {
    1: _BROKEN,
    3: Meaning("points to another address: set that one"),
    4: Meaning("refuses the message"),
    5: _BROKEN,
}


def failure(name: str, status: int, headers: Mapping[str, str], now: float) -> SendFailed | None:
    """What an answer means; None: the message was taken. `now` is Unix seconds, for a Retry-After that is a date."""
    if 200 <= status < 300:
        return None
    meaning = MEANINGS.get(status) or BY_HUNDRED.get(status // 100, _BROKEN)
    wait = retry_after(headers, now) if meaning.retryable else None
    if status == 429 and wait is None:
        wait = DEFAULT_RETRY_AFTER_SECONDS
    return SendFailed(
        f"{name} {meaning.words} (status {status})",
        retryable=meaning.retryable,
        retry_after_seconds=wait,
        of_message=meaning.of_message,
        in_doubt=meaning.in_doubt,
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, at most an hour, from a number or a date (RFC 9110, 10.2.3); None without a sensible one."""
    said = next((value for key, value in headers.items() if key.lower() == "retry-after"), "").strip()
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - now
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    if not seconds >= 0:  # NaN, too
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS)


class HttpSender:
    """Posts to one receiver. `name` stands in what it says."""

    def __init__(self, name: str, *, timeout_seconds: float, transport: httpx.BaseTransport | None = None) -> None:
        self._name = name
        self._timeout_seconds, self._transport = timeout_seconds, transport
        self._verify = httpx.create_ssl_context()  # reads a file of certificates: once

    def post(self, url: str, body: bytes, headers: Mapping[str, str], now: float) -> None:
        """Raises `SendFailed`."""
        sent = {"content-type": "application/json", "user-agent": "embedwatch", **headers}
        check_term()
        try:
            # A connection for each message: they are minutes apart, and one that was kept open meanwhile may be dead,
            # which would leave us in doubt.
            with httpx.Client(
                timeout=self._timeout_seconds, follow_redirects=False, verify=self._verify, transport=self._transport
            ) as client:
                answer = client.post(url, content=body, headers=sent)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, OSError) as error:
            raise unreachable(self._name, error) from None
        refused = failure(self._name, answer.status_code, answer.headers, now)
        if refused is not None:
            raise refused


def unreachable(name: str, error: Exception) -> SendFailed:
    """No answer came. Named by its kind: the text of such an error may hold the address."""
    in_doubt = True
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        in_doubt = False  # nothing was sent
        words = "is not reached: check address and network"
        cause: Any = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                words = "has a certificate that is not accepted"
            cause = cause.__cause__ or cause.__context__
    elif isinstance(error, httpx.TimeoutException):
        words = "does not answer in time"
    elif isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | ValueError):
        return SendFailed(f"{name}: the address cannot be used", retryable=False)
    else:
        words = f"dropped the connection ({type(error).__name__})"
    return SendFailed(f"{name} {words}", retryable=True, in_doubt=in_doubt)
