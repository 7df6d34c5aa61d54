"""What an answer over HTTP means, and that no error has a secret in it."""

from __future__ import annotations

import ssl

import httpx
import pytest

from alerting.http_send import HttpSender, failure, retry_after, unreachable
from alerting.parcels import SendFailed

SECRET = "secretsecret"
NOW = 1_000_000.0

LATER, DOUBT, MEND, MESSAGE = (True, False), (True, True), (False, False), "message"


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (100, DOUBT), (301, MEND), (307, MEND), (400, MESSAGE), (401, MEND), (402, MEND), (403, MEND), (404, MEND),
        (405, MEND), (408, LATER), (409, LATER), (410, MEND), (413, MESSAGE), (415, MESSAGE), (418, MEND),
        (422, MESSAGE), (423, LATER), (425, LATER), (429, LATER), (451, MEND), (500, DOUBT), (501, MEND), (502, DOUBT),
        (503, DOUBT), (504, DOUBT), (505, MEND), (599, DOUBT), (999, DOUBT),
    ],
)  # fmt: skip
def test_each_status_is_tried_again_or_not(status: int, meaning: object) -> None:
    found = failure("it", status, {}, NOW)
    assert found is not None
    assert f"(status {status})" in found.reason
    if meaning == MESSAGE:
        assert (found.retryable, found.of_message) == (False, True)
    else:
        assert ((found.retryable, found.in_doubt), found.of_message) == (meaning, False)
    assert (found.retry_after_seconds is not None) == (status == 429)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_success_is_one(status: int) -> None:
    assert failure("it", status, {}, NOW) is None


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("3", 3.0), (" 0 ", 0.0), ("1.5", 1.5), ("999999", 3600.0), ("inf", 3600.0), ("-1", None), ("nan", None),
        ("", None), ("soon", None), ("Mon, 12 Jan 1970 13:47:00 GMT", 20.0), ("Mon, 12 Jan 1970 13:46:00 GMT", None),
    ],
)  # fmt: skip
def test_a_wait_is_a_number_or_a_date(said: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": said}, NOW) == seconds
    found = failure("it", 503, {"retry-after": said}, NOW)
    assert found is not None
    assert found.retry_after_seconds == seconds
    limited = failure("it", 429, {"retry-after": said}, NOW)
    assert limited is not None
    assert limited.retry_after_seconds == (5.0 if seconds is None else seconds)


def test_only_what_may_have_arrived_is_in_doubt_and_the_address_is_in_no_word() -> None:
    request = httpx.Request("POST", f"https://example.com/{SECRET}")
    refused = httpx.ConnectError(f"{SECRET} refused", request=request)
    refused.__cause__ = ssl.SSLError(SECRET)
    cases: list[tuple[Exception, bool, bool]] = [
        (refused, True, False),
        (httpx.ConnectTimeout(SECRET), True, False),
        (httpx.PoolTimeout(SECRET), True, False),
        (httpx.ReadTimeout(SECRET), True, True),
        (httpx.WriteTimeout(SECRET), True, True),
        (httpx.RemoteProtocolError(SECRET), True, True),
        (httpx.ReadError(SECRET), True, True),
        (OSError(SECRET), True, True),
        (httpx.InvalidURL(SECRET), False, False),
        (httpx.UnsupportedProtocol(SECRET), False, False),
        (ValueError(SECRET), False, False),
    ]
    for error, retryable, in_doubt in cases:
        found = unreachable("it", error)
        assert (found.retryable, found.in_doubt) == (retryable, in_doubt), error
        assert SECRET not in repr(found) + str(found) + found.reason
    assert "certificate" in unreachable("it", refused).reason


def test_nothing_of_the_cause_hangs_on_the_error() -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout(SECRET, request=request)

    sender = HttpSender("it", timeout_seconds=1, transport=httpx.MockTransport(fail))
    with pytest.raises(SendFailed) as caught:
        sender.post(f"https://example.com/{SECRET}", b"{}", {"authorization": SECRET}, NOW)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert SECRET not in repr(sender)


def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def redirect(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(308, headers={"location": "https://elsewhere.example/"})

    sender = HttpSender("it", timeout_seconds=1, transport=httpx.MockTransport(redirect))
    with pytest.raises(SendFailed, match="points to another address"):
        sender.post("https://example.com/", b"{}", {}, NOW)
    assert asked == ["https://example.com/"]
