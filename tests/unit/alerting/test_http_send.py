"""What an answer over HTTP means, and that no error has a secret in it."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from typing import Any

import httpx
import pytest

from alerting.http_exchange import LIMIT_BYTES
from alerting.http_send import HttpSender, failure, retry_after, unreachable
from alerting.local import is_local
from alerting.parcels import SendFailed
from embedwatch.processes import free_port
from tests.harness.raw_http import Script, drips, endless_body, raw_server, says, silence

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


def test_an_answer_that_never_ends_costs_no_memory_and_no_time() -> None:
    with raw_server(endless_body()) as server:
        sender = HttpSender("it", timeout_seconds=30)
        with pytest.raises(SendFailed, match="fails"):
            sender.post(server.url, b"{}", {}, NOW, explain=lambda answer: None)
        answer = sender.look("GET", server.url)
    assert (answer.status, answer.body) == (500, b"x" * LIMIT_BYTES)
    with raw_server(endless_body(b"202 Accepted")) as server:
        HttpSender("it", timeout_seconds=30).post(server.url, b"{}", {}, NOW)  # taken: the rest is nobody's concern


def test_a_small_answer_that_unpacks_to_a_huge_one_is_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 50_000_000)
    head = f"HTTP/1.1 400 Bad\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n".encode()
    with raw_server(says(head + packed)) as server:
        assert HttpSender("it", timeout_seconds=30).look("GET", server.url).body == packed[:LIMIT_BYTES]
    assert b"accept-encoding: identity" in server.asked[0]


@pytest.mark.parametrize("script", [silence, drips(b""), drips(b"HTTP/1.1 200 OK\r\nname: ")])
def test_no_answer_in_time_is_in_doubt_however_busily_none_is_given(script: Script) -> None:
    with raw_server(script) as server:
        sender = HttpSender("it", timeout_seconds=0.7)
        for _ in range(2):  # what was given up leaves nothing behind that the next would wait for
            with pytest.raises(SendFailed, match="does not answer in time") as caught:
                sender.post(server.url, b"{}", {"authorization": SECRET}, NOW)
            assert (caught.value.retryable, caught.value.in_doubt) == (True, True)
            assert SECRET not in str(caught.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "alerting-http"]


def test_a_status_that_came_in_time_counts_though_the_rest_does_not_come() -> None:
    with raw_server(drips(b"HTTP/1.1 401 No\r\ncontent-length: 1000000\r\n\r\n{")) as server:
        sender = HttpSender("it", timeout_seconds=0.7)
        with pytest.raises(SendFailed, match="refuses the key"):
            sender.post(server.url, b"{}", {}, NOW, explain=lambda answer: None)


def test_who_waits_for_a_name_is_not_joined_by_others() -> None:
    """A look-up of a name has no limit of its own: one thread may be left behind, not one for each attempt."""
    hold, looked = threading.Event(), []

    def look_up(request: httpx.Request) -> httpx.Response:
        looked.append(1)
        hold.wait(60)
        return httpx.Response(202)

    sender = HttpSender("it", timeout_seconds=0.05, transport=httpx.MockTransport(look_up))
    with pytest.raises(SendFailed, match="is not reached: check address and network") as caught:
        sender.post("https://example.com/", b"{}", {}, NOW)
    assert (caught.value.retryable, caught.value.in_doubt) == (True, False)
    with pytest.raises(SendFailed, match="the attempt before still waits"):
        sender.post("https://example.com/", b"{}", {}, NOW)
    assert len(looked) == 1
    hold.set()
    (left,) = [thread for thread in threading.enumerate() if thread.name == "alerting-http"]
    left.join(30)
    HttpSender("it", timeout_seconds=30, transport=httpx.MockTransport(look_up)).post("https://e.com", b"", {}, NOW)


def test_a_connection_that_comes_too_late_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a message that was given up, and sent again, would come twice."""
    hold, connect = threading.Event(), socket.create_connection

    def slow(*arguments: Any, **named: Any) -> socket.socket:
        hold.wait(60)
        return connect(*arguments, **named)

    with raw_server(silence) as server:
        monkeypatch.setattr(socket, "create_connection", slow)
        with pytest.raises(SendFailed, match="is not reached"):
            HttpSender("it", timeout_seconds=0.05).post(server.url, b"{}", {}, NOW)
        (left,) = [thread for thread in threading.enumerate() if thread.name == "alerting-http"]
        hold.set()
        left.join(30)
        assert not left.is_alive()
        monkeypatch.undo()
    assert [head for head in server.asked if head] == []


def proxied(monkeypatch: pytest.MonkeyPatch, proxy: str, no_proxy: str = "") -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        value = no_proxy if name == "no_proxy" else proxy
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.upper(), value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_an_address_of_this_machine_is_not_asked_through_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxied(monkeypatch, f"http://127.0.0.1:{free_port()}")  # nobody listens there
    with raw_server(says(b"HTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n"), host) as server:
        HttpSender("it", timeout_seconds=30).post(server.url, b"{}", {}, NOW)
    assert server.asked[0].startswith(b"POST / ")


def test_others_are_asked_through_the_proxy_unless_no_proxy_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(says(b"HTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n")) as proxy:
        proxied(monkeypatch, proxy.url)
        HttpSender("it", timeout_seconds=30).post("http://hook.invalid/a", b"{}", {}, NOW)
        assert proxy.asked[0].startswith(b"POST http://hook.invalid/a ")
        proxied(monkeypatch, proxy.url, "other.example,hook.invalid")
        with pytest.raises(SendFailed, match="is not reached"):
            HttpSender("it", timeout_seconds=30).post("http://hook.invalid/a", b"{}", {}, NOW)
    assert len(proxy.asked) == 1


def test_a_proxy_that_refuses_or_cannot_be_one_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(says(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")) as proxy:
        proxied(monkeypatch, proxy.url)
        with pytest.raises(SendFailed, match=r"the proxy .* refuses") as caught:
            HttpSender("it", timeout_seconds=30).post(f"https://hook.invalid/{SECRET}", b"{}", {}, NOW)
    assert (caught.value.retryable, caught.value.in_doubt) == (True, False)
    for proxy_url in ("gopher://proxy", f"http://proxy:{SECRET}"):
        proxied(monkeypatch, proxy_url)
        with pytest.raises(SendFailed, match="the proxy that the environment names") as refused:
            HttpSender("it", timeout_seconds=30).post("https://hook.invalid/", b"{}", {}, NOW)
        assert not refused.value.retryable
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_shows_message_and_secrets_to_nobody(status: int) -> None:
    with raw_server(says(b"HTTP/1.1 202 OK\r\ncontent-length: 0\r\n\r\n")) as other:
        moved = f"HTTP/1.1 {status} Moved\r\nlocation: {other.url}/\r\ncontent-length: 0\r\n\r\n".encode()
        with raw_server(says(moved)) as server:
            sender = HttpSender("it", timeout_seconds=30)
            with pytest.raises(SendFailed, match="points to another address"):
                sender.post(server.url, b"{}", {"webhook-signature": SECRET}, NOW)
            assert sender.look("OPTIONS", server.url).status == status
        assert SECRET.encode() in server.asked[0]
        assert other.asked == []


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:9/x", True), ("http://LOCALHOST.", True), ("http://a.localhost", True),
        ("http://127.9.9.9", True), ("https://u:p@[::1]:9", True), ("http://[::ffff:127.0.0.1]", True),
        ("http://128.0.0.1", False), ("http://localhost.example", False), ("http://notlocalhost", False),
        ("http://[::2]", False), ("http://[", False), ("", False), ("http://example.com/127.0.0.1", False),
    ],
)  # fmt: skip
def test_what_an_address_of_this_machine_is(url: str, local: bool) -> None:
    assert is_local(url) == local
