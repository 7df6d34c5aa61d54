"""PagerDuty by its Events API v2: trigger, acknowledge and resolve, one incident for each episode of an alert.

https://developer.pagerduty.com/docs/events-api-v2/overview. What is said of an episode carries the same `dedup_key`:
PagerDuty makes one incident of it, and an event that comes twice changes nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from alerting.http_exchange import Answer
from alerting.http_send import HttpSender, Meaning
from alerting.parcels import Parcel, Traits, digest
from alerting.payload import document, rfc3339, status
from alerting.states import Ref

SUMMARY_CHARS = 1024
TRY = "embedwatch alerts test --receiver pagerduty"
_DETAILS = ("alert_id", "rule", "metric", "value", "unit", "threshold", "comparison", "window_seconds", "samples",
            "worst_value", "text", "cause", "action", "note")  # fmt: skip
#: Kinds that say that a person takes care of it.
TAKEN = ("acknowledged", "snoozed")
_OF_KEY = re.compile(r"\b(routing|service|integration)[ _]?key\b|\binvalid key\b", re.IGNORECASE)
_WRONG_KEY = Meaning(
    "does not know the routing key: take the integration key of an Events API V2 integration, and restart"
)


class _Refusal(msgspec.Struct):
    status: Any = None
    message: Any = None
    errors: Any = None


class PagerDutyReceiver:
    """`routing_key` is the integration key of a service."""

    name = "pagerduty"
    traits = Traits(bundles=False)

    def __init__(
        self,
        routing_key: str,
        url: str,
        *,
        timeout_seconds: float,
        now: Callable[[], float] = time.time,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._routing_key, self._url, self._now = routing_key, url, now
        self.address = httpx.URL(url).host
        self._sender = HttpSender("PagerDuty", timeout_seconds=timeout_seconds, transport=transport)

    def check(self) -> str:
        """An event would be the only way to ask for the key, and even one that opens nothing may set rules to work."""
        status = self._sender.reach(self._url, self._now())
        return (
            f"PagerDuty answers (status {status} to OPTIONS); whether it knows the routing key only a test shows: {TRY}"
        )

    def send(self, parcel: Parcel) -> Ref | None:
        now = self._now()
        # A test must wake nobody for longer than it takes to see it: it ends as it began.
        for act in ("trigger", "resolve") if parcel.message.kind == "test" else (action(parcel),):
            body = msgspec.json.encode(event(parcel, act, self._routing_key, now))
            self._sender.post(self._url, body, {}, now, explain)
        return None


def action(parcel: Parcel) -> str:
    """What is over before it could be said wakes nobody: it only closes what may have been opened.

    Who snoozes an alert takes care of it as much as who acknowledges it: PagerDuty must not go on to call the next.
    """
    if status(parcel) == "resolved":
        return "resolve"
    return "acknowledge" if parcel.message.kind in TAKEN else "trigger"


def explain(answer: Answer) -> Meaning | None:
    """PagerDuty answers 400 to a key that it does not know as to an event that it does not understand.

    Only its words tell them apart: `{"errors": ["Length of 'routing_key' is incorrect (should be 32 characters)"]}`.
    """
    if answer.status != 400:
        return None
    try:
        said = msgspec.json.decode(answer.body, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    errors = said.errors if isinstance(said.errors, list) else [said.errors]
    words = (str(word) for word in (*errors, said.message, said.status) if word)
    return _WRONG_KEY if any(_OF_KEY.search(word) for word in words) else None


def event(parcel: Parcel, act: str, routing_key: str, now: float) -> dict[str, Any]:
    """The body of one event."""
    found: dict[str, Any] = {"routing_key": routing_key, "event_action": act, "dedup_key": digest(parcel.key)}
    if act != "trigger":
        return found
    said = document(parcel)
    scope = ", ".join(f"{name}={value}" for name, value in said["scope"].items())
    payload = {
        "summary": f"{parcel.message.title}: {parcel.message.sentence}"[:SUMMARY_CHARS],
        "source": (scope or "embedwatch")[:255],
        "severity": said["severity"] or "info",
        "timestamp": rfc3339(said["fired_at_seconds"] or now),
        "component": said["rule"] or "embedwatch",
        "class": said["type"] or "TEST",
        "custom_details": {name: said[name] for name in _DETAILS if said[name] is not None},
    }
    found["payload"] = {key: value for key, value in payload.items() if value is not None}
    found["client"] = "embedwatch"
    found["links"] = [{"href": link["url"], "text": link["label"]} for link in said["links"]]
    return found
