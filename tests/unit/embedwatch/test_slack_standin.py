"""The Slack stand-in answers as Slack does: what slack-sdk sees, and what a person sees on its page."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web import WebClient
from slack_sdk.webhook import WebhookClient

from embedwatch.errors import ConnectionFailed
from embedwatch.services.slack_page import mrkdwn, render
from embedwatch.services.slack_rules import MAX_BLOCKS_CHARS, check_message
from embedwatch.services.slack_standin import Fault, SlackStandIn, main
from embedwatch.services.slack_workspace import InboxMessage, Refused, TooFast, Workspace


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    with SlackStandIn(messages_per_second=None) as standin:
        yield standin


def client(slack: SlackStandIn, token: str = "xoxb-anything") -> WebClient:  # noqa: S107
    return WebClient(token=token, base_url=slack.api_url, timeout=5, retry_handlers=[])


def error_of(call: Any, **fields: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        call(**fields)
    return str(caught.value.response["error"])


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


# --- the API, through slack-sdk ---


def test_a_message_is_posted_answered_and_edited(slack: SlackStandIn) -> None:
    bot = client(slack)
    answer = bot.chat_postMessage(channel="#alerts", text="first", blocks=[section("first")])
    assert answer["ok"]
    assert (answer["channel"], answer["message"]["text"]) == ("C000000002", "first")
    changed = bot.chat_update(channel=answer["channel"], ts=answer["ts"], text="second", blocks=[section("second")])
    assert (changed["ts"], changed["text"]) == (answer["ts"], "second")
    (message,) = slack.inbox()
    assert (message.channel_name, message.text, message.ts) == ("alerts", "second", answer["ts"])
    assert [(edit.text, edit.blocks) for edit in message.edits] == [("first", [section("first")])]


def test_a_reply_stands_in_its_thread(slack: SlackStandIn) -> None:
    bot = client(slack)
    root = bot.chat_postMessage(channel="general", text="root")
    bot.chat_postMessage(channel="general", text="reply", thread_ts=root["ts"], reply_broadcast=True)
    assert [(m.thread_ts, m.reply_broadcast) for m in slack.inbox()] == [(None, False), (root["ts"], True)]
    assert error_of(bot.chat_postMessage, channel="general", text="x", thread_ts="1.000000") == "thread_not_found"


def test_every_message_has_its_own_ts(slack: SlackStandIn) -> None:
    bot = client(slack)
    stamps = [bot.chat_postMessage(channel="general", text=str(i))["ts"] for i in range(20)]
    assert len(set(stamps)) == 20
    assert stamps == sorted(stamps, key=float)


def test_a_channel_is_read_newest_first_page_by_page(slack: SlackStandIn) -> None:
    bot = client(slack)
    about = {"event_type": "e", "event_payload": {"n": 1}}
    sent = [bot.chat_postMessage(channel="general", text=str(i), metadata=about) for i in range(5)]
    bot.chat_postMessage(channel="general", text="reply", thread_ts=sent[0]["ts"])
    bot.chat_postMessage(channel="general", text="shown", thread_ts=sent[0]["ts"], reply_broadcast=True)
    channel = sent[0]["channel"]
    first = bot.conversations_history(channel=channel, limit=4)
    assert [m["text"] for m in first["messages"]] == ["shown", "4", "3", "2"]
    assert first["has_more"]
    assert "metadata" not in first["messages"][1]
    cursor = first["response_metadata"]["next_cursor"]
    rest = bot.conversations_history(channel=channel, limit=4, cursor=cursor, include_all_metadata=True)
    assert [m["text"] for m in rest["messages"]] == ["1", "0"]
    assert not rest["has_more"]
    assert rest["messages"][0]["metadata"] == about
    assert rest["messages"][0]["bot_id"] == bot.auth_test()["bot_id"]
    since = bot.conversations_history(channel=channel, oldest=sent[3]["ts"])
    assert [m["text"] for m in since["messages"]] == ["shown", "4"]
    inclusive = bot.conversations_history(channel=channel, oldest=sent[3]["ts"], latest=sent[4]["ts"], inclusive=True)
    assert [m["text"] for m in inclusive["messages"]] == ["4", "3"]
    assert error_of(bot.conversations_history, channel="#general") == "channel_not_found"
    assert error_of(bot.conversations_history, channel=channel, limit=1000) == "invalid_limit"


def test_a_thread_is_read_with_its_message_first(slack: SlackStandIn) -> None:
    bot = client(slack)
    root = bot.chat_postMessage(channel="general", text="root")
    replies = [bot.chat_postMessage(channel="general", text=str(i), thread_ts=root["ts"])["ts"] for i in range(3)]
    found = bot.conversations_replies(channel=root["channel"], ts=root["ts"], oldest=replies[1], inclusive=True)
    assert [m["text"] for m in found["messages"]] == ["root", "1", "2"]
    assert error_of(bot.conversations_replies, channel=root["channel"], ts="1.000000") == "thread_not_found"


def test_what_a_token_may_do_is_said_and_kept(slack: SlackStandIn) -> None:
    bot = client(slack)
    assert [c["name"] for c in bot.users_conversations(limit=2)["channels"]] == ["embedwatch", "alerts"]
    assert "channels:history" in bot.auth_test().headers["X-OAuth-Scopes"]
    slack.take_scopes("channels:history")
    with pytest.raises(SlackApiError) as caught:
        bot.conversations_history(channel="C000000001")
    assert (caught.value.response["error"], caught.value.response["needed"]) == ("missing_scope", "channels:history")


def test_forms_are_taken_like_json(slack: SlackStandIn) -> None:
    body = {"channel": "#general", "text": "form", "blocks": msgspec.json.encode([section("form")]).decode()}
    with httpx.Client(base_url=slack.url) as http:
        answer = http.post("/api/chat.postMessage", data={**body, "token": "xoxb-in-the-form"}).json()
        assert answer["ok"]
        bad = http.post("/api/chat.postMessage", data={**body, "blocks": "[", "token": "xoxb-x"}).json()
        assert bad["error"] == "invalid_blocks_format"
    assert slack.inbox()[0].blocks == [section("form")]


@pytest.mark.parametrize(
    ("token", "error"), [("xoxb-good", None), ("xoxb-invalid", "invalid_auth"), ("nonsense", "invalid_auth")]
)
def test_tokens(slack: SlackStandIn, token: str, error: str | None) -> None:
    bot = client(slack, token)
    if error is None:
        assert bot.auth_test()["ok"]
    else:
        assert error_of(bot.auth_test) == error
        assert error_of(bot.chat_postMessage, channel="#general", text="x") == error


def test_mistakes_are_answered_as_slack_does(slack: SlackStandIn) -> None:
    bot = client(slack)
    posted = bot.chat_postMessage(channel="#general", text="x")
    assert error_of(bot.chat_postMessage, channel="#nowhere", text="x") == "channel_not_found"
    assert error_of(bot.chat_update, channel="#general", ts=posted["ts"], text="x") == "channel_not_found"
    assert error_of(bot.chat_update, channel=posted["channel"], ts="1.000000", text="x") == "message_not_found"
    assert error_of(bot.chat_update, channel=posted["channel"], ts=posted["ts"], text="x" * 4001) == "msg_too_long"
    assert error_of(bot.conversations_list) == "unknown_method"
    with httpx.Client(base_url=slack.url) as http:
        assert http.post("/api/auth.test").json() == {"ok": False, "error": "not_authed"}
        json = {"Authorization": "Bearer xoxb-1", "Content-Type": "application/json"}
        assert http.post("/api/chat.postMessage", headers=json, content=b"{").json()["error"] == "invalid_json"
        assert http.post("/api/chat.postMessage", headers=json, content=b"[]").json()["error"] == "json_not_object"
        no_text = http.post("/api/chat.postMessage", headers=json, json={"channel": "#general"}).json()
        assert no_text["error"] == "no_text"


def test_a_refused_layout_names_the_place(slack: SlackStandIn) -> None:
    with pytest.raises(SlackApiError) as caught:
        client(slack).chat_postMessage(channel="#general", text="x", blocks=[section("x" * 3001)])
    assert caught.value.response["error"] == "invalid_blocks"
    assert caught.value.response["response_metadata"]["messages"] == [
        "[ERROR] must be less than 3001 characters [json-pointer:/blocks/0/text/text]"
    ]


def test_a_file_goes_up_in_three_steps(slack: SlackStandIn) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + b"0" * 100
    client(slack).files_upload_v2(
        channel="C000000003", file=picture, filename="chart.png", title="p95", initial_comment="the chart"
    )
    (message,) = slack.inbox()
    assert (message.text, message.channel_name) == ("the chart", "general")
    (file,) = message.files
    assert (file.name, file.title, file.bytes_) == ("chart.png", "p95", len(picture))
    shown = httpx.get(f"{slack.url}/files/{file.id}")
    assert (shown.content, shown.headers["content-type"]) == (picture, "image/png")
    assert httpx.get(f"{slack.url}/files/F9").status_code == 404
    assert httpx.post(f"{slack.url}/upload/F9", content=b"x").status_code == 400
    assert error_of(client(slack).files_completeUploadExternal, files=[{"id": "F9"}]) == "file_not_found"


def test_a_webhook_posts_into_the_first_channel(slack: SlackStandIn) -> None:
    answer = WebhookClient(slack.webhook_url).send(text="hook", blocks=[section("hook")])
    assert (answer.status_code, answer.body) == (200, "ok")
    (message,) = slack.inbox()
    assert (message.via, message.channel_name) == ("webhook", "embedwatch")
    updated = error_of(client(slack).chat_update, channel=message.channel, ts=message.ts, text="x")
    assert updated == "cant_update_message"


@pytest.mark.parametrize(
    ("path", "body", "status", "answer"),
    [
        ("", b"{}", 400, "no_text"),
        ("", b"{", 400, "invalid_payload"),
        ("", b"", 400, "invalid_payload"),
        ("x", b'{"text": "x"}', 404, "no_service"),
    ],
)
def test_a_webhooks_mistakes(slack: SlackStandIn, path: str, body: bytes, status: int, answer: str) -> None:
    found = httpx.post(slack.webhook_url + path, content=body)
    assert (found.status_code, found.text) == (status, answer)
    assert slack.inbox() == []


def test_a_webhook_takes_a_form_with_a_payload(slack: SlackStandIn) -> None:
    assert httpx.post(slack.webhook_url, data={"payload": '{"text": "old style"}'}).text == "ok"
    assert slack.inbox()[0].text == "old style"


# --- limits ---


def test_each_channel_has_a_rate_limit_of_its_own() -> None:
    work = Workspace(["a", "b"], messages_per_second=1.0, burst=3)

    def post(channel: str, at: float) -> None:
        work.post({"channel": channel, "text": "x"}, via="bot", now=at, monotonic=at)

    for _ in range(3):
        post("a", 0.0)
    with pytest.raises(TooFast) as caught:
        post("a", 0.1)
    assert caught.value.retry_after_seconds == 1
    post("b", 0.1)
    post("a", 1.0)
    with pytest.raises(TooFast):
        post("a", 1.5)
    post("a", 2.0)


def test_too_fast_is_429_with_retry_after() -> None:
    with SlackStandIn(messages_per_second=0.5, burst=1) as slack:
        bot = client(slack)
        bot.chat_postMessage(channel="#general", text="1")
        with pytest.raises(SlackApiError) as caught:
            bot.chat_postMessage(channel="#general", text="2")
        assert caught.value.response.status_code == 429
        assert caught.value.response.headers["Retry-After"] == "2"
        WebhookClient(slack.webhook_url).send(text="1")
        limited = WebhookClient(slack.webhook_url, retry_handlers=[]).send(text="2")
        assert (limited.status_code, limited.body, limited.headers["Retry-After"]) == (429, "rate_limited", "2")
        assert len(slack.inbox()) == 2


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


GOOD: list[Any] = [
    ("x", None),
    ("", [section("x")]),
    ("x", [block("header", text=plain("h" * 150))]),
    ("x", [section("s" * 3000)]),
    ("x", [block("section", fields=[plain("f" * 1000)] * 10)]),
    ("x", [block("divider")] * 50),
    ("x", [block("context", elements=[plain("c")] * 10)]),
    ("x", [block("actions", elements=[block("button", text=plain("b" * 75), value="v" * 2000)] * 25)]),
    ("x", [block("image", alt_text="a", image_url="https://x.example/p.png")]),
]
BAD: list[Any] = [
    ("", None, "no_text"),
    ("   ", [], "no_text"),
    (5, None, "no_text"),
    ("x", {}, "invalid_blocks_format"),
    ("x", ["nonsense"], "invalid_blocks"),
    ("x", [block("header", text=plain("h" * 151))], "invalid_blocks"),
    ("x", [block("header", text={"type": "mrkdwn", "text": "h"})], "invalid_blocks"),
    ("x", [section("s" * 3001)], "invalid_blocks"),
    ("x", [section("")], "invalid_blocks"),
    ("x", [block("section")], "invalid_blocks"),
    ("x", [block("section", fields=[plain("f")] * 11)], "invalid_blocks"),
    ("x", [block("section", fields=[plain("f" * 2001)])], "invalid_blocks"),
    ("x", [block("divider")] * 51, "invalid_blocks"),
    ("x", [block("context", elements=[plain("c")] * 11)], "invalid_blocks"),
    ("x", [block("context", elements=[])], "invalid_blocks"),
    ("x", [block("actions", elements=[block("button", text=plain("b" * 76))])], "invalid_blocks"),
    ("x", [block("actions", elements=[block("button", text=plain("b"), url="u" * 3001)])], "invalid_blocks"),
    ("x", [block("actions", elements=[block("button", text=plain("b"))] * 26)], "invalid_blocks"),
    ("x", [block("image", image_url="https://x.example/p.png")], "invalid_blocks"),
    ("x", [block("image", alt_text="a")], "invalid_blocks"),
    ("x", [block("marquee")], "invalid_blocks"),
    ("x", [block("divider", block_id="i" * 256)], "invalid_blocks"),
    ("x", [section("s" * 2700)] * 5, "msg_blocks_too_long"),
]


@pytest.mark.parametrize(("text", "blocks"), GOOD)
def test_what_slack_takes(text: Any, blocks: Any) -> None:
    assert check_message(text, blocks) is None


@pytest.mark.parametrize(("text", "blocks", "error"), BAD)
def test_what_slack_refuses(text: Any, blocks: Any, error: str) -> None:
    refusal = check_message(text, blocks)
    assert refusal is not None
    assert refusal.error == error


def test_the_limit_nobody_published() -> None:
    whole, rest = divmod(MAX_BLOCKS_CHARS, 3000)
    assert check_message("x", [section("s" * 3000)] * whole + [section("s" * rest)]) is None
    assert check_message("x", [section("s" * 3000)] * whole + [section("s" * (rest + 1))]) is not None


def test_attachments_are_checked_too() -> None:
    nested = [{"color": "#d00", "blocks": [section("s" * 3001)]}]
    assert check_message("", [], nested) is not None
    assert check_message("", [], [{"text": "old style"}]) is None
    assert check_message("", [], ["x"]) is not None
    assert check_message("", [], [{}] * 101) is not None


# --- faults ---


def test_faults_come_in_order_one_a_request(slack: SlackStandIn) -> None:
    slack.fail_next(
        [
            Fault("rate_limited", retry_after_seconds=3),
            Fault("status", status=503),
            Fault("error", error="is_archived"),
        ]
    )
    bot = client(slack)
    found = []
    for _ in range(3):
        with pytest.raises(SlackApiError) as caught:
            bot.chat_postMessage(channel="#general", text="x")
        found.append((caught.value.response.status_code, caught.value.response.headers.get("Retry-After")))
    assert found == [(429, "3"), (503, None), (200, None)]
    assert bot.chat_postMessage(channel="#general", text="x")["ok"]
    assert [(r.status, r.error) for r in slack.requests()] == [
        (429, "ratelimited"),
        (503, "http_503"),
        (200, "is_archived"),
        (200, None),
    ]


def test_a_fault_can_wait_for_its_method(slack: SlackStandIn) -> None:
    slack.fail_next([Fault("status", method="chat.update")])
    bot = client(slack)
    posted = bot.chat_postMessage(channel="#general", text="x")
    with pytest.raises(SlackApiError):
        bot.chat_update(channel=posted["channel"], ts=posted["ts"], text="y")


def test_a_dropped_connection_leaves_the_sender_in_doubt(slack: SlackStandIn) -> None:
    slack.fail_next([Fault("drop"), Fault("drop_after")])
    for expected in (0, 1):
        with pytest.raises(httpx.TransportError):
            httpx.post(slack.webhook_url, json={"text": "x"})
        assert len(slack.inbox()) == expected


@pytest.mark.parametrize("fault", [Fault("hang", seconds=30), Fault("status_after", status=502)], ids=lambda f: f.kind)
def test_a_message_may_be_taken_without_its_sender_knowing(slack: SlackStandIn, fault: Fault) -> None:
    slack.fail_next([fault])
    try:
        status = httpx.post(slack.webhook_url, json={"text": "x"}, timeout=0.5).status_code
    except httpx.ReadTimeout:
        status = 0
    assert status == (502 if fault.kind == "status_after" else 0)
    assert [message.text for message in slack.inbox()] == ["x"]


def test_who_waits_for_a_message_does_not_wait_for_its_answer() -> None:
    def post() -> None:
        with contextlib.suppress(httpx.HTTPError):  # cut off at the end
            httpx.post(standin.webhook_url, json={"text": "x"}, timeout=60)

    with SlackStandIn(messages_per_second=None) as standin:
        standin.fail_next([Fault("hang", seconds=60)])
        sender = threading.Thread(target=post)
        sender.start()
        assert [message.text for message in standin.wait_for(lambda inbox: inbox, 20)] == ["x"]
        assert standin.requests() == [], "it is not answered yet"
    sender.join(20)
    assert not sender.is_alive()


def test_a_slow_answer_comes_late(slack: SlackStandIn) -> None:
    slack.fail_next([Fault("slow", seconds=30)])
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(slack.webhook_url, json={"text": "x"}, timeout=0.2)
    assert httpx.post(slack.webhook_url, json={"text": "x"}).text == "ok"


def test_faults_can_be_set_from_another_process(slack: SlackStandIn) -> None:
    answer = httpx.post(f"{slack.url}/faults", json=[{"kind": "status", "status": 502}, {"kind": "drop"}])
    assert answer.json() == {"ok": True, "faults": 2}
    assert httpx.post(slack.webhook_url, json={"text": "x"}).status_code == 502
    assert httpx.post(f"{slack.url}/faults", json=[]).json()["faults"] == 0
    assert httpx.post(slack.webhook_url, json={"text": "x"}).text == "ok"
    assert httpx.post(f"{slack.url}/faults", json=[{"kind": "earthquake"}]).status_code == 400


EVIL = "http://evil.example"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/inbox.json", {"Host": "evil.example"}, 403),
        ("/", {"Host": "127.0.0.1.evil.example:80"}, 403),
        ("/", {"Host": ""}, 403),
        ("/inbox.json", {"Origin": EVIL}, 403),
        ("/inbox.json", {"Origin": "null"}, 403),
        ("/api/chat.postMessage?token=xoxb-x&channel=general&text=x", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/inbox.json", {"Host": "localhost:1"}, 200),
        ("/inbox.json", {"Host": "[::1]:1", "Origin": "http://127.0.0.1:5"}, 200),
        ("/", {"Sec-Fetch-Site": "cross-site"}, 200),
    ],
)
def test_a_page_of_a_stranger_is_not_let_in(
    slack: SlackStandIn, path: str, headers: dict[str, str], status: int
) -> None:
    answer = httpx.get(slack.url + path, headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["ok"] is False
    assert slack.inbox() == []


def test_what_a_page_of_a_stranger_has_a_browser_send_is_not_obeyed(slack: SlackStandIn) -> None:
    fault = b'[{"kind": "status", "status": 502}]'
    strangers: list[dict[str, str]] = [{"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}]
    for stranger in strangers:
        for url in (f"{slack.url}/faults", slack.webhook_url):
            answer = httpx.post(url, content=fault, headers={"Content-Type": "text/plain", **stranger})
            assert answer.status_code == 403
    assert httpx.post(slack.webhook_url, json={"text": "x"}).text == "ok"
    assert [message.text for message in slack.inbox()] == ["x"]


# --- the inbox ---


def test_waiting_ends_with_the_message_and_not_before(slack: SlackStandIn) -> None:
    late = threading.Timer(0.2, lambda: WebhookClient(slack.webhook_url).send(text="late"))
    late.start()
    found = slack.wait_for(lambda inbox: next((m for m in inbox if m.text == "late"), None), 10)
    assert found is not None
    assert found.text == "late"
    late.join()
    with pytest.raises(TimeoutError, match="late"):
        slack.wait_for(lambda inbox: len(inbox) > 1, 0.05)
    assert slack.wait_for_requests(lambda requests: len(requests) == 1, 1)


def test_the_inbox_is_there_as_json(slack: SlackStandIn) -> None:
    client(slack).chat_postMessage(channel="#general", text="x", metadata={"event_type": "e", "event_payload": {}})
    found = httpx.get(f"{slack.url}/inbox.json").json()
    (message,) = found["messages"]
    assert (message["text"], message["channel_name"], message["via"]) == ("x", "general", "bot")
    assert message["received_at_seconds"] == pytest.approx(time.time(), abs=60)
    assert [r["method"] for r in found["requests"]] == ["chat.postMessage"]


def test_it_keeps_its_port_and_its_inbox_over_a_stop(slack: SlackStandIn) -> None:
    WebhookClient(slack.webhook_url).send(text="before")
    url = slack.url
    slack.stop()
    with pytest.raises(httpx.TransportError):
        httpx.get(url)
    slack.start()
    assert slack.url == url
    assert [m.text for m in slack.inbox()] == ["before"]


def test_a_port_that_is_taken_is_told(slack: SlackStandIn) -> None:
    for port in (slack.port, 99_999):
        with pytest.raises(ConnectionFailed, match=f"cannot listen on 127.0.0.1:{port}"):
            SlackStandIn(port=port).start()
    with pytest.raises(ConnectionFailed, match="not started"):
        _ = SlackStandIn().url


def test_old_uploads_and_messages_do_not_pile_up() -> None:
    work = Workspace(messages_per_second=None)
    for _ in range(300):
        work.start_upload("a.png", 1)
    assert len(work._uploads) == 100
    with pytest.raises(Refused, match="file_upload_size_restricted"):
        work.start_upload("a.png", 10**9)
    for i in range(2500):
        work.post({"channel": "general", "text": str(i)}, via="bot", now=1.0, monotonic=1.0)
    assert len(work.messages) == 2000


# --- the page ---


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_shows_messages_as_a_person_would_see_them(slack: SlackStandIn) -> None:
    bot = client(slack)
    blocks = [
        block("header", text=plain("🔴 Critical")),
        section("*p95* is `1,240 ms`, see <https://d.example/|Dashboard>"),
        block("section", fields=[{"type": "mrkdwn", "text": "*Since*\n<!date^0^{time}|1970-01-01 UTC>"}]),
        block("divider"),
        block("actions", elements=[block("button", text=plain("Acknowledge"))]),
        block("context", elements=[plain("rule")]),
    ]
    root = bot.chat_postMessage(channel="#general", text="fallback", blocks=blocks)
    bot.chat_update(channel=root["channel"], ts=root["ts"], text="resolved", blocks=[block("header", text=plain("✅"))])
    bot.chat_postMessage(channel="#general", text="a reply", thread_ts=root["ts"])
    bot.chat_postMessage(channel="#general", text="newest", blocks=blocks)
    answer = httpx.get(slack.url)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    page = Tags(answer.text)
    words = " ".join(page.texts)
    for expected in ("🔴 Critical", "1,240 ms", "Dashboard", "1970-01-01 UTC", "Acknowledge", "✅", "a reply", "4"):
        assert expected in words
    assert ("a", {"href": "https://d.example/", "rel": "noreferrer nofollow"}) in page.tags
    assert words.index("🔴 Critical") < words.index("✅"), "newest first"
    assert words.index("✅") < words.index("a reply"), "a reply stands under its message"
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe")]


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&lt;b&gt;&amp;lt;\x00`<b>`*<i>* <javascript:alert(1)|x>"
)


@pytest.mark.parametrize("where", ["text", "section", "header", "button", "field", "title"])
def test_nothing_in_a_message_becomes_markup_of_the_page(where: str) -> None:
    blocks: list[Any] = {
        "text": [],
        "section": [section(HOSTILE)],
        "header": [block("header", text=plain(HOSTILE))],
        "button": [block("actions", elements=[block("button", text=plain(HOSTILE))])],
        "field": [block("section", fields=[{"type": "mrkdwn", "text": HOSTILE}])],
        "title": [block(HOSTILE)],
    }[where]
    message = InboxMessage("1.0", "C1", HOSTILE if where == "text" else "general", HOSTILE, blocks, 0.0, "bot")
    page = Tags(render([message], [HOSTILE]))
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "p", "a", "main", "ol", "li", "span",
        "time", "div", "code", "strong", "em", "s", "hr",
    }  # fmt: skip
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert not [a for _, attrs in page.tags for a in attrs.values() if a and a.startswith("javascript")]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("plain", "plain"),
        ("*bold* _it_ ~no~", "<strong>bold</strong> <em>it</em> <s>no</s>"),
        ("snake_case_name 2*3*4", "snake_case_name 2*3*4"),
        ("`a*b*c`", "<code>a*b*c</code>"),
        ("```x\ny```", "<pre>x\ny</pre>"),
        ("&lt;!channel&gt; &amp;amp;", "&lt;!channel&gt; &amp;amp;"),
        ("<!channel>", '<span class="mention">@channel</span>'),
        ("<@U1|ada>", '<span class="mention">@ada</span>'),
        ("<#C1|general>", '<span class="mention">#general</span>'),
        ("<https://x.example/?a=1&amp;b=2>", None),
        ("*<https://x.example|x>*", None),
        ("a < b", "a &lt; b"),
        ("<https://x/`<b>`|y>", None),
    ],
)
def test_slacks_markup(source: str, shown: str | None) -> None:
    found = mrkdwn(source)
    if shown is not None:
        assert found == shown
    else:
        assert {tag for tag, _ in Tags(found).tags} <= {"a", "code", "strong"}


# --- as a process ---


def test_it_runs_as_a_process_and_ends_on_sigterm(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "embedwatch.services.slack_standin", "--port-file", str(port_file), "--channel", "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(port_file.read_text())
        assert f"http://127.0.0.1:{port}" in line
        answer = httpx.get(f"http://127.0.0.1:{port}/inbox.json")
        assert answer.json() == {"messages": [], "requests": []}
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
        assert (process.returncode, rest) == (0, "")
    finally:
        process.kill()
        process.wait(10)


def test_a_process_that_cannot_listen_says_so(slack: SlackStandIn) -> None:
    with pytest.raises(SystemExit, match="cannot listen"):
        main(["--port", str(slack.port)])
