"""What Slack's clients do with servers that no decent Slack is: never late, never silent, never shown to another."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from alerting.message import Message
from alerting.parcels import SendFailed
from alerting.slack import SlackBot, SlackWebhook
from alerting.slack_api import SlackApi
from alerting.slack_http import API_BYTES
from alerting.slack_socket import check
from alerting.states import Ref
from tests.harness.parcels import parcel
from tests.harness.raw_http import Script, drips, endless_body, raw_server, silence

TOKEN = "xoxb-1234-verysecret"
FIRING = parcel(Message("firing", "High latency", "It is high.", "news", alert_id="rule|all", episode=1))


def says(answer: str, status: str = "200 OK", more: str = "") -> Script:
    """It listens on, so that the connection is not cut while the request still comes."""
    body = answer.encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{more}content-length: {len(body)}\r\n\r\n"

    def script(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(head.encode() + body)
        silence(connection, stop)

    return script


def every_way(url: str, timeout_seconds: float) -> dict[str, Callable[[], Any]]:
    """To ask Slack there; each may be done more than once."""
    bot = SlackBot(TOKEN, "#c", api_url=f"{url}/api/", timeout_seconds=timeout_seconds)
    api = SlackApi(TOKEN, api_url=f"{url}/api/", timeout_seconds=timeout_seconds)
    hook = SlackWebhook(f"{url}/services/T0/verysecret", timeout_seconds=timeout_seconds)
    edit = replace(FIRING, message=replace(FIRING.message, kind="resolved"), ref=Ref("C1", "1.0"))
    return {
        "post": lambda: bot.send(FIRING),
        "edit": lambda: bot.send(edit),
        "lookup": lambda: bot.send(replace(FIRING, doubtful=True)),
        "check": bot.check,
        "upload": lambda: api.call(api.client.files_upload_v2, filename="a.png", content=b"x", channel="C1"),
        "webhook": lambda: hook.send(FIRING),
        "buttons": lambda: check("xapp-1-verysecret", api_url=f"{url}/api/", timeout_seconds=timeout_seconds),
    }


WAYS = list(every_way("http://127.0.0.1:9", 1.0))
DRIPPING = {
    "silence": silence,
    "head": drips(b"HTTP/1.1 200 OK\r\nname: "),
    "body": drips(b'HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{"ok":'),
    "until it closes": drips(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\no"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("script", DRIPPING.values(), ids=DRIPPING)
def test_no_answer_in_time_is_in_doubt_however_busily_none_is_given(way: str, script: Script) -> None:
    with raw_server(script) as server:
        ask = every_way(server.url, 0.4)[way]
        for _ in range(2):  # what was given up leaves nothing behind that the next would wait for
            with pytest.raises(SendFailed, match="does not answer in time") as caught:
                ask()
            assert caught.value.retryable
            assert caught.value.in_doubt
    assert not [thread for thread in threading.enumerate() if thread.name == "alerting-http"]


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_without_end_costs_no_memory_and_no_time(way: str) -> None:
    with (
        raw_server(endless_body(b"200 OK")) as server,
        pytest.raises(SendFailed, match="without end") as caught,
    ):
        every_way(server.url, 30.0)[way]()
    assert (caught.value.retryable, caught.value.in_doubt) == (True, True)


def test_an_answer_that_says_a_long_message_back_is_read() -> None:
    answer = json.dumps({"ok": True, "channel": "C1", "ts": "1.5", "message": {"text": "x" * (API_BYTES // 2)}})
    with raw_server(says(answer)) as server:
        assert every_way(server.url, 30.0)["post"]() == Ref("C1", "1.5")


def test_nothing_was_sent_where_there_was_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    hold, connect = threading.Event(), socket.create_connection

    def slow(*arguments: Any, **named: Any) -> socket.socket:
        hold.wait(60)
        return connect(*arguments, **named)

    with raw_server(silence) as server:
        monkeypatch.setattr(socket, "create_connection", slow)
        ask = every_way(server.url, 0.05)["post"]
        with pytest.raises(SendFailed, match="is not reached in time") as caught:
            ask()
        assert (caught.value.retryable, caught.value.in_doubt) == (True, False)
        with pytest.raises(SendFailed, match="the attempt before still waits"):
            ask()
        (left,) = [thread for thread in threading.enumerate() if thread.name == "alerting-http"]
        hold.set()
        left.join(30)
        monkeypatch.undo()
    assert [head for head in server.asked if head] == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_shows_message_and_token_to_nobody(way: str, status: int) -> None:
    taken = '{"ok":true,"channel":"C1","ts":"1.5"}'
    with raw_server(says(taken)) as other:
        moved = says(taken, f"{status} Moved", f"location: {other.url}/api/\r\n")
        with raw_server(moved) as server:
            ask = every_way(server.url, 30.0)[way]
            if way == "lookup":  # it cannot be looked up, so it is sent, and not taken
                ask = every_way(server.url, 30.0)["post"]
            with pytest.raises(SendFailed, match=f"not Slack \\(status {status}\\)") as caught:
                ask()
        assert not caught.value.retryable
        assert b"verysecret" in server.asked[0]
        assert other.asked == []


def test_a_file_is_not_taken_elsewhere_than_slack_says() -> None:
    with raw_server(says("{}")) as other, raw_server(says("", "302 Found", f"location: {other.url}\r\n")) as files:
        named = json.dumps({"ok": True, "upload_url": f"{files.url}/up", "file_id": "F1"})
        with raw_server(says(named)) as server, pytest.raises(SendFailed, match="status 302"):
            every_way(server.url, 30.0)["upload"]()
        assert len(files.asked) == 1
        assert b"verysecret" not in files.asked[0]
        assert other.asked == []


@pytest.mark.parametrize("answer", ['"ok"', "[1]", "7", "null", "[" * 60_000, '{"a":' * 10_000, "{", "9" * 5000, "{}"])
@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_is_no_object_is_not_slack(way: str, answer: str) -> None:
    with raw_server(says(answer)) as server:
        ask = every_way(server.url, 30.0)[way if way != "lookup" else "post"]
        setting = "SLACK_WEBHOOK_URL" if way == "webhook" else "SLACK_API_URL"
        with pytest.raises(
            SendFailed, match=rf"^what answers there is not Slack \(status 200\): .*{setting}"
        ) as caught:
            ask()
    assert not caught.value.retryable


@pytest.mark.parametrize("answer", [{}, {"channel": "C1"}, {"channel": "C1", "ts": None}, {"channel": 1, "ts": 2}])
def test_a_message_that_was_taken_nobody_knows_where_is_no_message_to_edit(answer: dict[str, Any]) -> None:
    with raw_server(says(json.dumps({"ok": True, **answer}))) as server:
        assert every_way(server.url, 30.0)["post"]() is None


ODD: list[dict[str, Any]] = [
    {"messages": ["x", None, {"metadata": "x"}, {"metadata": {"event_type": "embedwatch_alert"}, "bot_id": "B1"}]},
    {"messages": 7},
    {"messages": [], "response_metadata": "x"},
    {"channels": ["x", {"id": "C1", "name": 1}], "response_metadata": []},
    {"files": None, "upload_url": 7},
    {"files": 7, "upload_url": "x"},
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("odd", ODD)
def test_whatever_an_answer_holds_it_is_no_bug_of_ours(way: str, odd: dict[str, Any]) -> None:
    """Whether it counts as taken depends on what is asked; nothing else may be raised."""
    with raw_server(says(json.dumps({"ok": True, "bot_id": "B1", "channel": "C1", "ts": "1.5", **odd}))) as server:
        bot = SlackBot(TOKEN, "C1", api_url=f"{server.url}/api/", timeout_seconds=30.0)
        ask = every_way(server.url, 30.0)[way]
        for each in (ask, lambda: bot.send(replace(FIRING, doubtful=True))):
            with contextlib.suppress(SendFailed):
                each()
    assert server.asked
