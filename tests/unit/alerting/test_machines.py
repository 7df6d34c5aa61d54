"""Webhook, Alertmanager and PagerDuty: what each is told, over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from alerting.alertmanager import MARGIN_SECONDS, AlertmanagerReceiver, label_name
from alerting.message import compose
from alerting.pagerduty import PagerDutyReceiver
from alerting.parcels import Parcel, SendFailed, pack, trial
from alerting.payload import rfc3339
from alerting.states import Facts, Kind, Owed
from alerting.webhook import WebhookReceiver
from tests.harness.http_receiver import HttpReceiver
from tests.harness.verdicts import verdict

NOW = 1_700_000_000.0
FIRED = NOW - 600
SECRET = b"0123456789abcdef0123456789abcdef"


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with HttpReceiver() as found:
        yield found


def told(kind: Kind = "firing", number: int = 1, dashboard: str | None = "https://d.example/", **more: Any) -> Parcel:
    over = FIRED + 480 if kind in ("resolved", "cleared") else None
    facts = Facts(verdict("breached", FIRED, **more), FIRED - 60, FIRED, 1240.0, 1300.0, over)
    owed = Owed(number, "it", kind, 3, NOW, facts)
    return pack("latency|m", owed, compose(owed, dashboard), None)


def webhook(server: HttpReceiver, secret: bytes | None = SECRET) -> WebhookReceiver:
    return WebhookReceiver(f"{server.url}/hook?token=secretsecret", secret, timeout_seconds=5, now=lambda: NOW)


def test_a_webhook_gets_words_and_numbers_signed_by_standard_webhooks(server: HttpReceiver) -> None:
    webhook(server).send(told())
    path, headers, body = server.seen[0]
    assert path == "/hook?token=secretsecret"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-timestamp"] == str(int(NOW))
    # By the text of the standard, not by our own function.
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    said = json.loads(body)
    assert (said["kind"], said["status"], said["type"], said["severity"]) == (
        "firing", "firing", "HIGH_LATENCY", "critical",
    )  # fmt: skip
    assert (said["value"], said["threshold"], said["unit"], said["samples"]) == (1240.0, 800.0, "ms", 240)
    assert (said["fired_at_seconds"], said["resolved_at_seconds"]) == (FIRED, None)
    assert said["scope"] == {"model": "minilm"}
    assert said["id"] == headers["webhook-id"]
    assert said["links"] == [{"label": "Dashboard", "url": "https://d.example/"}]


def test_the_same_message_has_the_same_id_at_every_attempt_and_another_has_another(server: HttpReceiver) -> None:
    receiver = webhook(server)
    server.answers = [(503, {})]
    with pytest.raises(SendFailed):
        receiver.send(told())
    receiver.send(told())
    receiver.send(told("resolved", 2))
    first, again, other = (headers["webhook-id"] for _, headers, _ in server.seen)
    assert first == again != other
    assert server.documents[0]["dedup_key"] == server.documents[2]["dedup_key"]
    assert (server.documents[2]["status"], server.documents[2]["resolved_at_seconds"]) == ("resolved", FIRED + 480)


def test_without_a_key_nothing_is_signed(server: HttpReceiver) -> None:
    webhook(server, None).send(told())
    assert "webhook-signature" not in server.seen[0][1]


def test_a_dropped_connection_is_in_doubt(server: HttpReceiver) -> None:
    server.answers = [(0, {})]
    with pytest.raises(SendFailed, match="dropped the connection") as caught:
        webhook(server).send(told())
    assert (caught.value.retryable, caught.value.in_doubt) == (True, True)


def alertmanager(server: HttpReceiver) -> AlertmanagerReceiver:
    url = f"{server.url}/prefix/"
    return AlertmanagerReceiver(url, repeat_interval_seconds=7200, timeout_seconds=5, now=lambda: NOW)


def test_alertmanager_keeps_what_fires_until_it_is_said_again_or_over(server: HttpReceiver) -> None:
    receiver = alertmanager(server)
    for kind in ("firing", "repeat", "resolved"):
        receiver.send(told(kind))  # type: ignore[arg-type]
    assert {path for path, _, _ in server.seen} == {"/prefix/api/v2/alerts"}
    fired, repeated, over = (document[0] for document in server.documents)
    assert fired["labels"] == repeated["labels"] == over["labels"] == {
        "alertname": "HIGH_LATENCY", "alert_id": verdict().alert_id, "rule": "latency_p95_ms", "service": "embedwatch",
        "severity": "critical", "model": "minilm",
    }  # fmt: skip
    assert fired["startsAt"] == over["startsAt"] == rfc3339(FIRED)
    assert fired["endsAt"] == rfc3339(NOW + 7200 + MARGIN_SECONDS)
    assert over["endsAt"] == rfc3339(FIRED + 480)
    assert "P95 latency" in fired["annotations"]["description"]
    assert fired["generatorURL"] == "https://d.example/"


def test_alertmanager_is_told_that_what_it_knows_with_another_severity_is_over(server: HttpReceiver) -> None:
    receiver = alertmanager(server)
    for kind, severity in (("firing", "warning"), ("escalated", "critical"), ("resolved", "critical")):
        receiver.send(told(kind, severity=severity))  # type: ignore[arg-type]
    ends = [{one["labels"]["severity"]: one["endsAt"] for one in document} for document in server.documents]
    later = rfc3339(NOW + 7200 + MARGIN_SECONDS)
    assert ends[0] == {"warning": later}
    assert ends[1] == {"critical": later, "warning": rfc3339(NOW), "info": rfc3339(NOW)}
    assert ends[2] == {"critical": rfc3339(FIRED + 480), "warning": rfc3339(NOW), "info": rfc3339(NOW)}


def test_every_machine_has_the_runbook_of_the_rule(server: HttpReceiver) -> None:
    book = "https://wiki.example/runbooks/search?a=1&b=2"
    for dashboard in ("https://d.example/", None):
        server.seen.clear()
        parcel = told(runbook=book, dashboard=dashboard)
        for receiver in (webhook(server), alertmanager(server), pagerduty(server)):
            receiver.send(parcel)
        hook, alert, incident = server.documents
        assert hook["runbook_url"] == hook["links"][-1]["url"] == book
        assert alert[0]["annotations"]["runbook_url"] == book
        assert alert[0].get("generatorURL") == dashboard  # where it came from, not what to do about it
        assert incident["links"][-1] == {"href": book, "text": "Runbook"}


def test_a_rule_without_a_runbook_has_none(server: HttpReceiver) -> None:
    webhook(server).send(told())
    alertmanager(server).send(told())
    assert server.documents[0]["runbook_url"] is None
    assert "runbook_url" not in server.documents[1][0]["annotations"]


def test_a_scope_makes_labels_that_prometheus_takes_and_never_ours(server: HttpReceiver) -> None:
    alertmanager(server).send(told(scope={"model x": "m", "severity": "none", "1": "t", "empty": ""}))
    labels = server.documents[0][0]["labels"]
    assert (labels["model_x"], labels["_1"], labels["severity"]) == ("m", "t", "critical")
    assert "empty" not in labels
    assert label_name("") == "_"


def pagerduty(server: HttpReceiver) -> PagerDutyReceiver:
    return PagerDutyReceiver("R" * 32, f"{server.url}/v2/enqueue", timeout_seconds=5, now=lambda: NOW)


def test_pagerduty_has_one_incident_for_an_episode(server: HttpReceiver) -> None:
    receiver = pagerduty(server)
    for number, kind in enumerate(("firing", "repeat", "no_data", "data_back", "resolved"), 1):
        receiver.send(told(kind, number))  # type: ignore[arg-type]
    assert [document["event_action"] for document in server.documents] == ["trigger"] * 4 + ["resolve"]
    assert len({document["dedup_key"] for document in server.documents}) == 1
    payload = server.documents[0]["payload"]
    assert payload["severity"] == "critical"
    assert payload["summary"].startswith("🔴 Critical: high latency")
    assert payload["timestamp"] == rfc3339(FIRED)
    assert payload["custom_details"]["value"] == 1240.0
    assert "payload" not in server.documents[-1]
    assert all(document["routing_key"] == "R" * 32 for document in server.documents)


def test_who_takes_care_of_an_alert_takes_care_of_the_incident(server: HttpReceiver) -> None:
    receiver = pagerduty(server)
    kinds = ("firing", "acknowledged", "escalated", "snoozed", "snooze_over", "resolved")
    for number, kind in enumerate(kinds, 1):
        receiver.send(told(kind, number))  # type: ignore[arg-type]
    assert [document["event_action"] for document in server.documents] == [
        "trigger", "acknowledge", "trigger", "acknowledge", "trigger", "resolve",
    ]  # fmt: skip
    assert len({document["dedup_key"] for document in server.documents}) == 1
    assert set(server.documents[1]) == set(server.documents[3]) == {"routing_key", "event_action", "dedup_key"}


@pytest.mark.parametrize(
    ("said", "of_key"),
    [
        (
            {
                "status": "invalid event",
                "message": "Event object is invalid",
                "errors": ["Length of 'routing_key' is incorrect (should be 32 characters)"],
            },
            True,
        ),
        ({"status": "invalid event", "message": "Event object is invalid", "errors": ["Invalid routing key"]}, True),
        ({"errors": ["'payload.severity' is invalid", "'routing_key' cannot contain non-alphanumeric"]}, True),
        ({"errors": "Service key can't be blank"}, True),
        ({"status": "Invalid key"}, True),
        ({"errors": ["'payload.summary' is missing or blank"], "message": "Event object is invalid"}, False),
        ({"errors": [None, 7, {}], "message": 3}, False),
        ([1], False),
        ("routing_key", False),
    ],
)
def test_a_wrong_key_is_a_fault_of_the_configuration_and_not_of_the_message(
    server: HttpReceiver, said: object, of_key: bool
) -> None:
    server.answers, server.body = [(400, {})], json.dumps(said).encode()
    with pytest.raises(SendFailed) as caught:
        pagerduty(server).send(told())
    assert (caught.value.retryable, caught.value.of_message) == (False, not of_key)
    assert ("does not know the routing key: take the integration key" in caught.value.reason) == of_key
    assert "R" * 32 not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"<html>routing_key</html>", b"\xff", b'{"errors": ["routing_key', b'{"errors": ' + b"[" * 60_000]
)
def test_a_refusal_that_says_nothing_is_of_the_message(server: HttpReceiver, body: bytes) -> None:
    server.answers, server.body = [(400, {})], body
    with pytest.raises(SendFailed, match="does not understand the message") as caught:
        pagerduty(server).send(told())
    assert caught.value.of_message


def test_only_a_400_is_asked_for_its_words(server: HttpReceiver) -> None:
    server.answers, server.body = [(500, {})], b'{"errors": ["Invalid routing key"]}'
    with pytest.raises(SendFailed, match="fails") as caught:
        pagerduty(server).send(told())
    assert caught.value.retryable


def test_what_was_over_before_it_could_be_said_wakes_nobody(server: HttpReceiver) -> None:
    pagerduty(server).send(told("cleared"))
    assert [document["event_action"] for document in server.documents] == ["resolve"]


def test_a_test_message_ends_as_it_began(server: HttpReceiver) -> None:
    pagerduty(server).send(trial("pagerduty"))
    alertmanager(server).send(trial("alertmanager"))
    webhook(server).send(trial("webhook"))
    trigger, resolve, alert, hook = server.documents
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"]
    assert trigger["payload"]["severity"] == "info"
    assert alert[0]["labels"]["alertname"] == "EmbedwatchTest"
    assert (hook["status"], hook["alert_id"], hook["value"]) == ("test", None, None)


def test_long_and_odd_text_stays_within_limits(server: HttpReceiver) -> None:
    name = "<!channel> & `x` 🙂 \u202e" + "y" * 100_000
    parcel = told(scope={"model": name}, rule="r" * 256)
    for receiver in (pagerduty(server), alertmanager(server), webhook(server)):
        receiver.send(parcel)
    payload = server.documents[0]["payload"]
    assert len(payload["summary"]) <= 1024
    assert len(payload["source"]) <= 255


def test_a_time_that_no_calendar_knows_is_left_out(server: HttpReceiver) -> None:
    parcel = told()
    assert parcel.owed is not None
    facts = replace_facts(parcel.owed.facts, fired_at_seconds=1e300)
    odd = replace(parcel, owed=Owed(1, "it", "firing", 3, NOW, facts))
    alertmanager(server).send(odd)
    pagerduty(server).send(odd)
    assert rfc3339(1e300) is None
    assert "timestamp" not in server.documents[1]["payload"]


def replace_facts(facts: Facts, **changes: Any) -> Facts:
    from msgspec.structs import replace as replaced

    return replaced(facts, **changes)
