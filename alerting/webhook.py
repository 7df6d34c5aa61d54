"""A webhook of anybody's: each message as one JSON document, signed by the rules of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks says what is signed (`id.timestamp.body`, HMAC-SHA256) and has
libraries that check it. The id is the same at every attempt, so that a receiver can drop what it has.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

import httpx
import msgspec

from alerting.http_send import HttpSender
from alerting.parcels import Parcel, Traits, digest
from alerting.payload import document
from alerting.states import Ref

TRY = "embedwatch alerts test --receiver webhook"


class WebhookReceiver:
    """`secret` are the bytes of the key; None: nothing is signed. `host` is what may be shown of the address."""

    name = "webhook"
    traits = Traits(bundles=False)

    def __init__(
        self,
        url: str,
        secret: bytes | None,
        *,
        timeout_seconds: float,
        now: Callable[[], float] = time.time,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url, self._secret, self._now = url, secret, now
        self.address = httpx.URL(url).host
        self._sender = HttpSender("the webhook's receiver", timeout_seconds=timeout_seconds, transport=transport)

    def check(self) -> str:
        status = self._sender.reach(self._url, self._now())
        what = "it takes a message" if self._secret is None else "it takes a message and its signature"
        return f"it answers (status {status} to OPTIONS); whether {what} only a test shows: {TRY}"

    def send(self, parcel: Parcel) -> Ref | None:
        body = msgspec.json.encode(document(parcel))
        now = self._now()
        message_id, timestamp = digest(parcel.news_key), str(int(now))
        headers = {"webhook-id": message_id, "webhook-timestamp": timestamp}
        if self._secret is not None:
            headers["webhook-signature"] = signature(self._secret, message_id, timestamp, body)
        self._sender.post(self._url, body, headers, now)
        return None


def signature(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Of version 1: `v1,` and the base64 of the HMAC."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
