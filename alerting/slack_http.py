"""How Slack is asked: each request within a time and a size, and no redirect followed.

slack-sdk makes the requests and takes the answers apart. Its own way over the network has limits of one read each, and
shows the token to whomever a redirect names, so that way is not used.
"""

from __future__ import annotations

import functools
import http.client
import json
import logging
import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.request import Request

import httpx
from slack_sdk.web import WebClient
from slack_sdk.web.file_upload_v2_result import FileUploadV2Result
from slack_sdk.webhook import WebhookClient, WebhookResponse

from alerting.http_exchange import LIMIT_BYTES, Answer, Exchange, ProxyUnusable, Question, TooLate
from alerting.local import is_local
from alerting.parcels import SendFailed
from alerting.slack_errors import failure

#: slack-sdk looks at the level before it builds a line that holds a secret.
silent = logging.getLogger("alerting.slack.sdk")
silent.disabled = True
silent.setLevel(logging.CRITICAL)

#: Slack says a message back, each character of it as up to twelve; a page of a channel holds 200 of others.
API_BYTES, PAGE_BYTES = 1024 * 1024, 16 * 1024 * 1024
_PAGES = ("conversations.history", "conversations.replies", "users.conversations")


class SlackHttp:
    """Asks one after the other. `timeout_seconds` is the time of a whole request and its answer."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._left: Exchange | None = None

    def post(self, url: str, body: bytes, headers: Mapping[str, str], limit_bytes: int) -> Answer:
        """The answer, whatever its status. Raises `SendFailed` where none came in time."""
        if self._left is not None and not self._left.ended:
            # So that no more than one thread is left behind.
            raise SendFailed(
                "Slack is not reached: the attempt before still waits for its name or address", retryable=True
            )
        question = Question("POST", url, headers, body, lambda status: True, limit_bytes)
        exchange = Exchange(question, verify=_certificates())
        try:
            return exchange.ask(self._timeout_seconds)
        except TooLate as late:
            raise unreachable(httpx.ReadTimeout("") if late.sent else httpx.ConnectTimeout("")) from None
        except ProxyUnusable:
            words = "the proxy that the environment names (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) cannot be used"
            raise SendFailed(f"Slack: {words}: check it and NO_PROXY", retryable=False) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError, OSError) as error:
            raise unreachable(error) from None
        finally:
            self._left = None if exchange.ended else exchange


class SlackWeb(WebClient):
    """slack-sdk's client of the API. What it raises besides its own: `SendFailed`."""

    def __init__(self, token: str | None = None, *, api_url: str, timeout_seconds: float) -> None:
        super().__init__(token=token, base_url=api_url, logger=silent, retry_handlers=[])
        if is_local(api_url):
            self.proxy = None
        self._http = SlackHttp(timeout_seconds)

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        """In place of slack-sdk's own: the answer of each status, its body as an object."""
        limit_bytes = PAGE_BYTES if url.endswith(_PAGES) else API_BYTES
        answer = self._http.post(url, _body(req), _headers(req), limit_bytes)
        found = _document(answer.body)
        if found is None:
            _refuse_part(answer)
        return {"status": answer.status, "headers": _titled(answer), "body": "", "parsed_body": found or {}}

    def _upload_file(self, *, url: str, data: bytes, **_: Any) -> FileUploadV2Result:
        """In place of slack-sdk's own, to the address that Slack named. Raises `SendFailed`."""
        if not isinstance(url, str):
            raise SendFailed("Slack names no address for the file", retryable=True)
        answer = self._http.post(url, data, {}, LIMIT_BYTES)
        if answer.status != 200:
            raise failure(answer.status, "", answer.headers)
        return FileUploadV2Result(status=200, body="")


class SlackHook(WebhookClient):
    """slack-sdk's client of a webhook. What it raises besides its own: `SendFailed`."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        super().__init__(url, logger=silent, retry_handlers=[])
        self._http = SlackHttp(timeout_seconds)

    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        """In place of slack-sdk's own: the answer of each status."""
        answer = self._http.post(url, _body(req), _headers(req), LIMIT_BYTES)
        _refuse_part(answer)
        said = answer.body.decode("utf-8", "replace")
        return WebhookResponse(url=url, status_code=answer.status, body=said, headers=_titled(answer))


@functools.cache
def _certificates() -> ssl.SSLContext:
    """The system's, as with slack-sdk's own way: companies add theirs there."""
    return ssl.create_default_context()


def _body(req: Request) -> bytes:
    return req.data if isinstance(req.data, bytes) else b""


def _headers(req: Request) -> dict[str, str]:
    return {name: str(value) for name, value in req.header_items()}


def _titled(answer: Answer) -> dict[str, str]:
    """As slack-sdk looks for them."""
    return {name.title(): value for name, value in answer.headers.items()}


def _document(body: bytes) -> dict[str, Any] | None:
    """None for what is no object of JSON, or is nested too deep for one."""
    try:
        found = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_part(answer: Answer) -> None:
    """Half an answer says of a message only that it may have been taken. Raises `SendFailed`."""
    if answer.status // 100 == 2 and not answer.whole:
        raise SendFailed("Slack does not answer in time, or without end", retryable=True, in_doubt=True)


def unreachable(error: Exception) -> SendFailed:
    """No answer came. The cause is named by its kind: the text of such errors may hold an address that is a secret."""
    causes = tuple(_causes(error))

    def by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    # Nothing was sent before there was a connection.
    in_doubt = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError)
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return SendFailed("Slack: the address cannot be used", retryable=False)
    if isinstance(error, httpx.ProxyError):
        words = "Slack is not reached: the proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) refuses; check it and NO_PROXY"
    elif isinstance(error, httpx.ConnectTimeout):
        words = "Slack is not reached in time: check the network"
    elif by(TimeoutError, httpx.TimeoutException):
        words = "Slack does not answer in time"
    elif by(socket.gaierror):
        words, in_doubt = "the name of the Slack server cannot be resolved: check the network", False
    elif by(ssl.SSLCertVerificationError):
        words, in_doubt = "the certificate of the Slack server is not accepted", False
    elif by(ConnectionRefusedError):
        words, in_doubt = "the Slack server refuses the connection", False
    elif by(ConnectionError, ssl.SSLError, http.client.HTTPException, httpx.NetworkError, httpx.ProtocolError):
        words = "the connection to Slack was dropped"
    else:
        words = f"no connection to Slack ({type(error).__name__})"
    return SendFailed(words, retryable=True, in_doubt=in_doubt)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
