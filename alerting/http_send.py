"""One JSON document over HTTP to a receiver that is a machine: one attempt, and what its answer means.

Addresses and headers may be secrets: no error, log line or `repr` has more of them than the host.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from alerting.http_exchange import LIMIT_BYTES, Answer, Exchange, ProxyUnusable, Question, TooLate
from alerting.parcels import SendFailed
from alerting.terms import check_term

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


#: Said by what stands in between, and to every question alike.
OF_THE_WAY = (407, 502, 503, 504, 511)


def failure(
    name: str, status: int, headers: Mapping[str, str], now: float, known: Meaning | None = None
) -> SendFailed | None:
    """What an answer means; None: the message was taken. `now` is Unix seconds, for a Retry-After that is a date.

    `known` is what the receiver said itself, where that says more than the status.
    """
    if 200 <= status < 300:
        return None
    meaning = known or MEANINGS.get(status) or BY_HUNDRED.get(status // 100, _BROKEN)
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


#: From an answer that is no success to what it means; None: what its status says.
Explain = Callable[[Answer], Meaning | None]


class HttpSender:
    """Asks one receiver. `name` stands in what it says. `timeout_seconds` is the time of a whole attempt."""

    def __init__(self, name: str, *, timeout_seconds: float, transport: httpx.BaseTransport | None = None) -> None:
        self._name = name
        self._timeout_seconds, self._transport = timeout_seconds, transport
        self._verify = httpx.create_ssl_context()  # reads a file of certificates: once
        self._left: Exchange | None = None

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], now: float, explain: Explain | None = None
    ) -> None:
        """Raises `SendFailed`."""
        sent = {"content-type": "application/json", "user-agent": "embedwatch", **headers}
        check_term()
        refusal = (lambda status: status // 100 != 2) if explain is not None else (lambda status: False)
        answer = self._ask(Question("POST", url, sent, body, refusal))
        known = explain(answer) if explain is not None and refusal(answer.status) else None
        refused = failure(self._name, answer.status, answer.headers, now, known)
        if refused is not None:
            raise refused

    def look(self, method: str, url: str, limit_bytes: int = LIMIT_BYTES) -> Answer:
        """What is answered to a question that changes nothing, whatever its status. Raises `SendFailed`: nothing is."""
        return self._ask(Question(method, url, {"user-agent": "embedwatch"}, b"", lambda status: True, limit_bytes))

    def reach(self, url: str, now: float) -> int:
        """The status that is answered to OPTIONS: that changes nothing anywhere, and any status shows that somebody is
        there. Raises `SendFailed` where nobody is, and for an answer that a message would get, too.
        """
        answer = self.look("OPTIONS", url)
        refused = failure(self._name, answer.status, answer.headers, now)
        if refused is not None and (answer.status // 100 == 3 or answer.status in OF_THE_WAY):
            raise refused
        return answer.status

    def _ask(self, question: Question) -> Answer:
        if self._left is not None and not self._left.ended:
            # So that no more than one thread is left behind.
            words = f"{self._name} is not reached: the attempt before still waits for its name or address"
            raise SendFailed(words, retryable=True)
        exchange = Exchange(question, verify=self._verify, transport=self._transport)
        try:
            return exchange.ask(self._timeout_seconds)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, OSError) as error:
            raise unreachable(self._name, error) from None
        except TooLate as late:
            raise unreachable(self._name, _late(late)) from None
        except ProxyUnusable:
            words = "the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) cannot be used"
            raise SendFailed(f"{self._name}: {words}: check it and NO_PROXY", retryable=False) from None
        finally:
            self._left = None if exchange.ended else exchange


def _late(late: TooLate) -> httpx.TimeoutException:
    return httpx.ReadTimeout("") if late.sent else httpx.ConnectTimeout("")


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
    elif isinstance(error, httpx.ProxyError):
        in_doubt = False  # it was asked for a way, and gave none
        words = "is not reached: the proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) refuses; check it and NO_PROXY"
    elif isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol | ValueError):
        return SendFailed(f"{name}: the address cannot be used", retryable=False)
    else:
        words = f"dropped the connection ({type(error).__name__})"
    return SendFailed(f"{name} {words}", retryable=True, in_doubt=in_doubt)
