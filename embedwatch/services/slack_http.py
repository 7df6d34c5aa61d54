"""The Slack stand-in's HTTP side: what slack-sdk sends (JSON, forms, uploads, webhooks), answered as Slack answers.

Runs on the stand-in's event loop. `changed` guards all that its user's thread reads, and tells of every request.
"""

from __future__ import annotations

import asyncio
import hmac
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from embedwatch.hosts import host_name, hosts_of, origin_name
from embedwatch.services import slack_page
from embedwatch.services.slack_reading import BOT_ID, as_answered
from embedwatch.services.slack_socket import Sockets
from embedwatch.services.slack_workspace import (
    MAX_FILE_BYTES,
    Refused,
    TooFast,
    Workspace,
    new_webhook_path,
)

MAX_REQUESTS_KEPT = 5000
MAX_FAULTS = 1000
#: What the app may do, as its token says. Methods that are not listed here need nothing that it could lack.
SCOPES = ("chat:write", "files:write", "channels:history", "groups:history", "channels:read", "groups:read")
NEEDS_SCOPE = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
    "users.conversations": "channels:read",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}
#: It listens at loopback, and is asked by no other name.
OURS = hosts_of("127.0.0.1", ())
#: Tokens that are refused, for trying out what that looks like.
REFUSED_TOKENS = ("xoxb-invalid", "xapp-invalid")


class Fault(Struct, frozen=True, omit_defaults=True):
    """One request that goes wrong; `method` limits it to requests such as `chat.update` or `webhook`.

    rate_limited: 429 with `Retry-After`. status: an HTTP status with a page instead of JSON, as a proxy answers.
    error: an answer with that `error`. slow: `seconds` late, then as usual. drop: the connection is closed, nothing
    done. Of the last three the sender cannot know that the message was taken: drop_after closes the connection then,
    hang answers `seconds` later, status_after answers with that HTTP status.
    """

    kind: Literal["rate_limited", "status", "error", "slow", "drop", "drop_after", "hang", "status_after"]
    status: int = 500
    error: str = "internal_error"
    retry_after_seconds: int = 1
    seconds: float = 1.0
    method: str | None = None


class Request(Struct, frozen=True):
    """A request as it was answered. `status=0`: the connection was closed instead."""

    method: str
    status: int
    error: str | None
    at_seconds: float


class SlackHttp:
    """Routes and handlers over one workspace."""

    def __init__(self, workspace: Workspace, faults: Sequence[Fault] = ()) -> None:
        self.workspace = workspace
        self.faults: deque[Fault] = deque(faults, maxlen=MAX_FAULTS)
        self.requests: deque[Request] = deque(maxlen=MAX_REQUESTS_KEPT)
        self.changed = threading.Condition()
        self.sockets = Sockets()
        self.scopes: tuple[str, ...] = SCOPES
        self.webhook_path = new_webhook_path()
        self._webhook_channel = next(iter(workspace.channels))

    def application(self) -> web.Application:
        application = web.Application(client_max_size=MAX_FILE_BYTES, middlewares=[_refuse_strangers])
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/inbox.json", self._inbox_json),
                web.get("/files/{file_id}", self._file),
                web.post("/faults", self._set_faults),
                web.route("*", "/api/{method}", self._api),
                web.get("/socket", self.sockets.serve),
                web.post("/upload/{file_id}", self._upload),
                web.post("/services/{team}/{hook}/{secret}", self._webhook),
            ]
        )
        return application

    async def _page(self, _: web.Request) -> web.Response:
        with self.changed:
            page = slack_page.render(list(self.workspace.messages), list(self.workspace.channels.values()))
        headers = {"Content-Security-Policy": slack_page.CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}
        return web.Response(text=page, content_type="text/html", headers=headers)

    async def _inbox_json(self, _: web.Request) -> web.Response:
        with self.changed:
            return _json({"messages": list(self.workspace.messages), "requests": list(self.requests)})

    async def _file(self, request: web.Request) -> web.Response:
        with self.changed:
            _, data = self.workspace.files.get(request.match_info["file_id"], (None, None))
        if data is None:
            raise web.HTTPNotFound
        kind = "image/png" if data.startswith(b"\x89PNG\r\n") else "application/octet-stream"
        return web.Response(body=data, content_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            faults = msgspec.json.decode(await request.read(), type=list[Fault])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _json({"ok": False, "error": str(error)}, status=400)
        with self.changed:
            self.faults.clear()
            self.faults.extend(faults)
        return _json({"ok": True, "faults": len(faults)})

    async def _api(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]

        async def answer() -> web.Response:
            fields = await _fields(request)
            _authorise(request, fields, "xapp-" if method == "apps.connections.open" else "xoxb-")
            now, monotonic = time.time(), time.monotonic()
            with self.changed:
                needed = NEEDS_SCOPE.get(method)
                if needed is not None and needed not in self.scopes:
                    raise Refused("missing_scope", needed=needed)
                body = {"ok": True, **self._call(method, fields, request, now, monotonic)}
            return _json(body, headers={"X-OAuth-Scopes": ",".join(self.scopes)})

        return await self._with_faults(request, method, answer, lambda refused: _refusal(refused))

    def _call(
        self, method: str, fields: dict[str, Any], request: web.Request, now: float, monotonic: float
    ) -> dict[str, Any]:
        work = self.workspace
        if method == "auth.test":
            names = {"team": "stand-in", "team_id": "T0", "user": "embedwatch", "user_id": "U0"}
            return {"url": f"{_base(request)}/", "bot_id": BOT_ID, **names}
        if method == "apps.connections.open":
            return {"url": f"ws://{request.host}/socket?ticket={self.sockets.ticket()}"}
        if method == "chat.postMessage":
            message = work.post(fields, via="bot", now=now, monotonic=monotonic)
            return {"channel": message.channel, "ts": message.ts, "message": as_answered(message)}
        if method == "chat.update":
            message = work.update(fields, now=now, monotonic=monotonic)
            return {
                "channel": message.channel,
                "ts": message.ts,
                "text": message.text,
                "message": as_answered(message),
            }
        if method == "conversations.history":
            return work.reading.history(fields, monotonic=monotonic)
        if method == "conversations.replies":
            return work.reading.replies(fields, monotonic=monotonic)
        if method == "users.conversations":
            return work.reading.channels(fields)
        if method == "files.getUploadURLExternal":
            file_id = work.start_upload(fields.get("filename"), fields.get("length"))
            return {"upload_url": f"{_base(request)}/upload/{file_id}", "file_id": file_id}
        if method == "files.completeUploadExternal":
            return {"files": work.complete_upload(fields, now=now, monotonic=monotonic)}
        raise Refused("unknown_method")

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        async def answer() -> web.Response:
            data = await request.read()
            if request.content_type == "multipart/form-data":
                form = await request.post()
                data = next((part.file.read() for part in form.values() if isinstance(part, web.FileField)), b"")
            with self.changed:
                self.workspace.receive_upload(request.match_info["file_id"], data)
            return web.Response(text=f"OK - {len(data)}")

        return await self._with_faults(
            request, "upload", answer, lambda refused: web.Response(status=400, text=refused.error)
        )

    async def _webhook(self, request: web.Request) -> web.StreamResponse:
        async def answer() -> web.Response:
            if not hmac.compare_digest(request.path, self.webhook_path):
                return web.Response(status=404, text="no_service")
            try:
                fields = await _fields(request, payload=True)
            except Refused:
                return web.Response(status=400, text="invalid_payload")
            fields = {**fields, "channel": self._webhook_channel, "thread_ts": fields.get("thread_ts")}
            with self.changed:
                self.workspace.post(fields, via="webhook", now=time.time(), monotonic=time.monotonic())
            return web.Response(text="ok")

        return await self._with_faults(
            request, "webhook", answer, lambda refused: web.Response(status=400, text=refused.error)
        )

    async def _with_faults(
        self,
        request: web.Request,
        method: str,
        answer: Callable[[], Awaitable[web.Response]],
        refuse: Callable[[Refused], web.Response],
    ) -> web.StreamResponse:
        """The answer, or the next fault in its place."""
        fault = self._next_fault(method)
        kind = fault.kind if fault is not None else None
        error: str | None = None
        if fault is not None and kind == "slow":
            await asyncio.sleep(fault.seconds)
        if kind == "drop":
            return self._close(request, method)
        try:
            response = await answer() if fault is None else await _instead(fault, answer)
        except TooFast as limit:
            error = "ratelimited"
            body = {"ok": False, "error": error}
            response = web.Response(text="rate_limited") if method == "webhook" else _json(body)
            response.set_status(429)
            response.headers["Retry-After"] = str(limit.retry_after_seconds)
        except Refused as refused:
            error = refused.error
            response = refuse(refused)
        if kind == "drop_after":
            return self._close(request, method)
        if fault is not None and kind == "hang":
            with self.changed:
                self.changed.notify_all()  # the message is there, whoever waits for it need not wait for the answer
            await asyncio.sleep(fault.seconds)
        if fault is not None and kind == "status_after":
            response = _error_page(fault.status)
        if error is None and response.status >= 400:
            error = f"http_{response.status}"
        self._note(method, response.status, error)
        return response

    def _next_fault(self, method: str) -> Fault | None:
        with self.changed:
            for index, fault in enumerate(self.faults):
                if fault.method in (None, method):
                    del self.faults[index]
                    return fault
        return None

    def _close(self, request: web.Request, method: str) -> web.Response:
        self._note(method, 0, "dropped")
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _note(self, method: str, status: int, error: str | None) -> None:
        with self.changed:
            self.requests.append(Request(method, status, error, time.time()))
            self.changed.notify_all()


@web.middleware
async def _refuse_strangers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A page of a stranger, open in a browser here, may neither read the inbox nor have the browser send something."""
    if not OURS.ours(host_name(request.headers.get("Host", ""))):
        return _not_let_in("no such host is served here: ask for 127.0.0.1 or localhost")
    origin = request.headers.get("Origin")
    if origin is not None and not OURS.ours(origin_name(origin)):
        return _not_let_in("pages of other servers may not ask this")
    # A GET that a picture or a form of theirs makes says no origin; only looking at the inbox is left to links.
    looks = request.path == "/" or request.path.startswith(("/inbox.json", "/files/"))
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and not looks:
        return _not_let_in("pages of other servers may not ask this")
    return await handler(request)


def _not_let_in(why: str) -> web.Response:
    response = _json({"ok": False, "error": why}, status=403)
    response.force_close()  # what is left of the body is not waited for
    return response


async def _instead(fault: Fault, answer: Callable[[], Awaitable[web.Response]]) -> web.Response:
    """What the fault answers. Raises `TooFast` or `Refused` as the workspace does."""
    if fault.kind == "rate_limited":
        raise TooFast(fault.retry_after_seconds)
    if fault.kind == "error":
        raise Refused(fault.error)
    if fault.kind == "status":
        return _error_page(fault.status)
    return await answer()


def _error_page(status: int) -> web.Response:
    page = f"<html><body><h1>{status}</h1></body></html>"
    return web.Response(status=status, text=page, content_type="text/html")


def _base(request: web.Request) -> str:
    return f"http://{request.host}"


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    body = msgspec.json.encode(value)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def _refusal(refused: Refused) -> web.Response:
    body: dict[str, Any] = {"ok": False, "error": refused.error}
    if refused.needed is not None:
        body["needed"] = refused.needed
    if refused.messages:
        body |= {"errors": refused.messages, "response_metadata": {"messages": refused.messages}}
    return _json(body)


async def _fields(request: web.Request, *, payload: bool = False) -> dict[str, Any]:
    """Query, form or JSON body as one mapping. Raises `Refused`. `payload`: a webhook's form carries JSON in one."""
    fields: dict[str, Any] = dict(request.query)
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
        if not payload:
            return fields | form
        body = form.get("payload", "").encode()
    else:
        body = await request.read()
        if not body and not payload:
            return fields
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("invalid_json") from None
    if not isinstance(decoded, dict):
        raise Refused("json_not_object")
    return fields | decoded


def _authorise(request: web.Request, fields: dict[str, Any], kind: str) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else str(fields.get("token") or "")
    if not token:
        raise Refused("not_authed")
    if token.startswith(("xoxb-", "xapp-")) and not token.startswith(kind):
        raise Refused("not_allowed_token_type")
    if not token.startswith(kind) or token in REFUSED_TOKENS:
        raise Refused("invalid_auth")
