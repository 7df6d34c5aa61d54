"""What `embedwatch check` says of the receivers, and that it sends no alert to any of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from alerting.alertmanager import STATUS_BYTES
from alerting.checks import check_receivers
from embedwatch.checks import Check
from embedwatch.processes import free_port
from embedwatch.settings import load
from tests.harness.http_receiver import HttpReceiver
from tests.harness.raw_http import raw_server, silence

SECRET = "secretsecret"
KEY = f"{SECRET}-{SECRET}-1"
STATUS = {"cluster": {}, "config": {"original": "global: {}"}, "versionInfo": {"version": "0.28.1", "branch": "HEAD"}}


@pytest.fixture
def server() -> Iterator[HttpReceiver]:
    with HttpReceiver() as found:
        yield found


def checked(**environ: Any) -> dict[str, Check]:
    found = check_receivers(
        load(None, {}, {f"EMBEDWATCH_ALERTS_{name}": str(value) for name, value in environ.items()})
    )
    by_name = {check.name: check for check in found}
    assert SECRET not in str(by_name)
    assert all(check.exit_code == (4 if check.state == "failed" else 0) for check in by_name.values())
    return by_name


def at(url: str) -> dict[str, str]:
    """All three machines."""
    return {
        "WEBHOOK_URL": f"{url}/hook?token={SECRET}",
        "ALERTMANAGER_URL": url.replace("://", f"://user:{SECRET}@") + "/am",
        "PAGERDUTY_ROUTING_KEY": KEY,
        "PAGERDUTY_URL": f"{url}/v2/enqueue",
    }


def test_each_is_asked_without_telling_it_anything(server: HttpReceiver) -> None:
    server.body = json.dumps(STATUS).encode()
    server.answers = [(204, {}), (200, {}), (405, {})]
    found = checked(**at(server.url))
    assert {name: check.state for name, check in found.items()} == {
        "slack": "skipped", "webhook": "ok", "alertmanager": "ok", "pagerduty": "ok",
    }  # fmt: skip
    assert "printed" not in found["slack"].detail
    assert found["webhook"].detail == (
        "it answers (status 204 to OPTIONS); whether it takes a message only a test shows: "
        "embedwatch alerts test --receiver webhook; alerts go to 127.0.0.1"
    )
    assert found["alertmanager"].detail == "Alertmanager 0.28.1 answers; alerts go to 127.0.0.1"
    assert "whether it knows the routing key only a test shows" in found["pagerduty"].detail
    assert server.seen == []
    assert [(method, path.partition("?")[0]) for method, path, _ in server.asked] == [
        ("OPTIONS", "/hook"), ("GET", "/am/api/v2/status"), ("OPTIONS", "/v2/enqueue"),
    ]  # fmt: skip
    assert KEY not in str(server.asked)


def test_only_what_is_configured_is_asked() -> None:
    found = checked()
    assert [(name, check.state) for name, check in found.items()] == [("slack", "skipped")]
    assert "alerts are only printed" in found["slack"].detail


def test_a_webhook_of_slack_is_slack() -> None:
    found = checked(SLACK_WEBHOOK_URL=f"https://hooks.slack.com/services/T0/B0/{SECRET}")
    assert [(name, check.state) for name, check in found.items()] == [("slack", "ok")]


def test_nobody_there_is_told(server: HttpReceiver) -> None:
    found = checked(**at(f"http://127.0.0.1:{free_port()}"))
    for name in ("webhook", "alertmanager", "pagerduty"):
        assert found[name].state == "failed"
        assert "is not reached: check address and network" in found[name].detail


def test_who_does_not_answer_is_told() -> None:
    with raw_server(silence) as silent:
        found = checked(**at(silent.url), SEND_TIMEOUT_SECONDS=0.5)
    for name in ("webhook", "alertmanager", "pagerduty"):
        assert found[name].state == "failed"
        assert "does not answer in time" in found[name].detail


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (301, "points to another address"),
        (407, "behind a proxy that wants a password"),
        (502, "fails"),
        (503, "fails"),
        (511, "behind a network that wants a login"),
    ],
)
def test_what_a_message_would_be_answered_too_is_a_failure(server: HttpReceiver, status: int, words: str) -> None:
    server.answers = [(status, {"location": f"http://elsewhere.example/{SECRET}"})] * 3
    for name, check in checked(**at(server.url)).items():
        if name != "slack":
            assert (check.state, words in check.detail) == ("failed", True), name


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404, 405, 500, 501])
def test_what_is_said_to_options_alone_is_none(server: HttpReceiver, status: int) -> None:
    server.answers = [(status, {})]
    found = checked(WEBHOOK_URL=server.url)["webhook"]
    assert (found.state, f"status {status} to OPTIONS" in found.detail) == ("ok", True)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "refuses the key, token or signature"),
        (404, b"", "has nothing at this address"),
        (200, b"<html>Grafana</html>", "is no Alertmanager"),
        (200, b"{}", "is no Alertmanager"),
        (200, b'{"versionInfo": {"version": 7}}', "is no Alertmanager"),
        (200, b"", "is no Alertmanager"),
    ],
)
def test_what_is_no_alertmanager_is_told(server: HttpReceiver, status: int, body: bytes, words: str) -> None:
    server.answers, server.body = [(status, {})], body
    found = checked(ALERTMANAGER_URL=server.url)["alertmanager"]
    assert (found.state, words in found.detail) == ("failed", True), found.detail


def test_an_alertmanager_with_a_long_configuration_or_an_odd_version_is_one(server: HttpReceiver) -> None:
    long = {**STATUS, "config": {"original": "x" * STATUS_BYTES}}
    server.answers, server.body = [(200, {})], json.dumps(long).encode()
    found = checked(ALERTMANAGER_URL=server.url)["alertmanager"]
    assert (found.state, "Alertmanager answers; its configuration is too long" in found.detail) == ("ok", True)
    odd = {"versionInfo": {"version": "1\n\u202e" + "9" * 1000}}
    server.answers, server.body = [(200, {})], json.dumps(odd).encode()
    found = checked(ALERTMANAGER_URL=server.url)["alertmanager"]
    assert (found.state, found.detail.isprintable(), len(found.detail) < 120) == ("ok", True, True)
