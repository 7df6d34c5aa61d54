"""Prometheus Alertmanager, by its API v2 (`POST /api/v2/alerts`): it groups, routes and tells whom it should.

Alertmanager takes an alert for over when nobody has posted it for a while. What fires is posted with an `endsAt` that
lies beyond our next reminder, so that it stays until we say that it is over, and ends by itself where we are gone.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, get_args

import httpx
import msgspec

from alerting.http_send import HttpSender, failure
from alerting.message import DASHBOARD, RUNBOOK
from alerting.parcels import Parcel, SendFailed, Traits
from alerting.payload import rfc3339, status
from alerting.states import Ref
from alerting.wording import clean
from embedwatch.events import Severity

log = logging.getLogger(__name__)

#: A reminder that is late, as in an outage of ours, still finds the alert there.
MARGIN_SECONDS = 3600.0
#: Alertmanager keeps no alert over a restart: what fires is posted again after this (see `still_open`).
RESEND_SECONDS = 60.0
#: Keeps a request far below what a server or proxy takes.
ALERTS_A_REQUEST = 200
#: How long a test message stands there.
TEST_SECONDS = 300.0
#: Its whole configuration stands in its status.
STATUS_BYTES = 1024 * 1024


class _Version(msgspec.Struct):
    version: str


class _Status(msgspec.Struct):
    versionInfo: _Version


class AlertmanagerReceiver:
    """`repeat_interval_seconds` is when a firing alert is said again."""

    name = "alertmanager"
    traits = Traits(bundles=False)

    def __init__(
        self,
        url: str,
        *,
        repeat_interval_seconds: float,
        timeout_seconds: float,
        now: Callable[[], float] = time.time,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._status_url = url.rstrip("/") + "/api/v2/status"
        self._stays_seconds = repeat_interval_seconds + MARGIN_SECONDS
        self._now = now
        self.address = httpx.URL(url).host
        self._lock = threading.Lock()  # what is over is never overtaken by "it still fires"
        self._over: set[str] = set()  # since the last look at what fires
        self._next_resend = 0.0
        self._resending: threading.Thread | None = None
        self._sender = HttpSender("Alertmanager", timeout_seconds=timeout_seconds, transport=transport)

    def check(self) -> str:
        answer = self._sender.look("GET", self._status_url, STATUS_BYTES)
        refused = failure("Alertmanager", answer.status, answer.headers, self._now())
        if refused is not None:
            raise refused
        try:
            version = msgspec.json.decode(answer.body, type=_Status).versionInfo.version
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if len(answer.body) >= STATUS_BYTES:
                return "Alertmanager answers; its configuration is too long to find the version behind it"
            raise SendFailed(
                "what answers is no Alertmanager: EMBEDWATCH_ALERTS_ALERTMANAGER_URL is its address as a browser shows "
                "it, without /api or /#/",
                retryable=False,
            ) from None
        return f"Alertmanager {clean(version, 40)} answers"

    def send(self, parcel: Parcel) -> Ref | None:
        with self._lock:
            if status(parcel) == "resolved":
                self._over.add(parcel.key)
            self._post([parcel])
        return None

    def due(self, monotonic: float) -> bool:
        return monotonic >= self._next_resend and not (self._resending is not None and self._resending.is_alive())

    def keep_open(self, parcels: Sequence[Parcel], monotonic: float) -> None:
        """All that fires now. Never waits: a thread of its own says it again."""
        self._next_resend = monotonic + RESEND_SECONDS
        self._over = set()
        if parcels:
            self._resending = threading.Thread(target=self._resend, args=(parcels,), daemon=True)
            self._resending.start()

    def _resend(self, parcels: Sequence[Parcel]) -> None:
        try:
            for start in range(0, len(parcels), ALERTS_A_REQUEST):
                with self._lock:
                    some = parcels[start : start + ALERTS_A_REQUEST]
                    firing = [parcel for parcel in some if parcel.key not in self._over]
                    if firing:
                        self._post(firing)
        except SendFailed as failed:
            log.warning("alertmanager: what still fires could not be said again: %s", failed.reason)

    def _post(self, parcels: Sequence[Parcel]) -> None:
        now = self._now()
        body = msgspec.json.encode([one for each in parcels for one in alerts(each, now, self._stays_seconds)])
        self._sender.post(self._url, body, {}, now)


#: What may have been told with another severity before.
_AFTER_ANOTHER = ("escalated", "resolved", "cleared")


def alerts(parcel: Parcel, now: float, stays_seconds: float) -> list[dict[str, Any]]:
    """What is told of one alert. Its severity is a label there, which routes go by, and so a part of its identity: what
    was told with another severity is over as soon as this one is told, or it would fire beside it."""
    told = alert(parcel, now, stays_seconds)
    if parcel.owed is None or parcel.owed.kind not in _AFTER_ANOTHER:
        return [told]
    others = [severity for severity in get_args(Severity) if severity != told["labels"]["severity"]]
    return [told, *({**told, "labels": {**told["labels"], "severity": s}, "endsAt": rfc3339(now)} for s in others)]


def alert(parcel: Parcel, now: float, stays_seconds: float) -> dict[str, Any]:
    """One alert of the API. Labels are its identity there: only what stays the same, but for the severity."""
    message, owed = parcel.message, parcel.owed
    facts = None if owed is None else owed.facts
    labels = {"alertname": "EmbedwatchTest", "service": "embedwatch", "severity": "info"}
    begins, ends = now, now + TEST_SECONDS
    if facts is not None:
        verdict = facts.breach
        labels = {
            **{label_name(dimension): value for dimension, value in verdict.scope.items()},
            "alertname": verdict.alert_type,
            "alert_id": message.alert_id,
            "rule": verdict.rule,
            "service": "embedwatch",
            "severity": verdict.severity,
        }
        begins, ends = facts.fired_at_seconds, now + stays_seconds
        if status(parcel) == "resolved":
            # Ends that lie before what it holds would be taken for older news.
            ends = now if facts.resolved_at_seconds is None else min(facts.resolved_at_seconds, now)
    annotations = {
        "summary": message.title,
        "description": message.sentence,
        "cause": message.cause,
        "action": message.action,
        "note": message.note,
        "runbook_url": message.link(RUNBOOK),
    }
    found: dict[str, Any] = {
        "labels": {key: value for key, value in labels.items() if value},
        "annotations": {key: value for key, value in annotations.items() if value},
        "startsAt": rfc3339(min(begins, ends)),
        "endsAt": rfc3339(ends),
    }
    if (dashboard := message.link(DASHBOARD)) is not None:
        found["generatorURL"] = dashboard
    return {key: value for key, value in found.items() if value is not None}


def label_name(text: str) -> str:
    """As Prometheus wants it: letters, digits and `_`, and no digit first."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return f"_{name}" if not name or name[0].isdigit() else name
