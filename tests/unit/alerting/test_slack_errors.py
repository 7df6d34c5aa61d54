"""The status table: which answers are tried again. 429 is."""

from __future__ import annotations

import pytest

from alerting.slack_errors import DEFAULT_RETRY_AFTER_SECONDS, failure, retry_after, said_anew

#: status, error, retryable, only this message
TABLE = [
    (200, "ratelimited", True, False),
    (429, "", True, False),
    (429, "ratelimited", True, False),
    (429, "rate_limited", True, False),
    (500, "", True, False),
    (502, "", True, False),
    (503, "", True, False),
    (504, "", True, False),
    (408, "", True, False),
    (200, "internal_error", True, False),
    (200, "fatal_error", True, False),
    (200, "service_unavailable", True, False),
    (200, "request_timeout", True, False),
    (200, "invalid_auth", False, False),
    (200, "not_authed", False, False),
    (200, "account_inactive", False, False),
    (200, "token_revoked", False, False),
    (200, "token_expired", False, False),
    (200, "missing_scope", False, False),
    (200, "channel_not_found", False, False),
    (200, "not_in_channel", False, False),
    (200, "is_archived", False, False),
    (200, "restricted_action", False, False),
    (200, "invalid_blocks", False, True),
    (200, "msg_blocks_too_long", False, True),
    (200, "msg_too_long", False, True),
    (200, "no_text", False, True),
    (200, "something_new", False, False),
    (400, "invalid_payload", False, True),
    (400, "", False, False),
    (401, "", False, False),
    (403, "action_prohibited", False, False),
    (403, "invalid_token", False, False),
    (404, "no_service", False, False),
    (404, "", False, False),
    (410, "channel_is_archived", False, False),
    (302, "", False, False),
    (200, "", False, False),
]


@pytest.mark.parametrize(("status", "error", "retryable", "of_message"), TABLE)
def test_what_is_tried_again(status: int, error: str, retryable: bool, of_message: bool) -> None:
    found = failure(status, error, {})
    assert (found.retryable, found.of_message) == (retryable, of_message)
    assert (found.retry_after_seconds is not None) == (status == 429 or "rate" in error)


def test_what_a_person_has_to_mend_says_what_to_do() -> None:
    assert "EMBEDWATCH_ALERTS_SLACK_BOT_TOKEN" in failure(200, "invalid_auth", {}).reason
    assert "--slack-channel" in failure(200, "channel_not_found", {}).reason
    assert "EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL" in failure(404, "no_service", {}).reason
    assert "(something_new)" in failure(200, "something_new", {}).reason
    assert "not Slack" in failure(200, "", {}).reason


@pytest.mark.parametrize("status", [200, 302, 401, 403, 404, 410])
def test_of_a_webhook_its_own_setting_is_named(status: int) -> None:
    found = failure(status, "", {}, webhook=True)
    assert "EMBEDWATCH_ALERTS_SLACK_WEBHOOK_URL" in found.reason
    assert "SLACK_API_URL" not in found.reason
    assert not found.retryable
    assert failure(503, "", {}, webhook=True).in_doubt


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({"Retry-After": "30"}, 30.0),
        ({"retry-after": "7"}, 7.0),
        ({}, DEFAULT_RETRY_AFTER_SECONDS),
        ({"Retry-After": "soon"}, DEFAULT_RETRY_AFTER_SECONDS),
        ({"Retry-After": "-1"}, DEFAULT_RETRY_AFTER_SECONDS),
        ({"Retry-After": "nan"}, DEFAULT_RETRY_AFTER_SECONDS),
        ({"Retry-After": "999999"}, 3600.0),
    ],
)
def test_retry_after_is_read_whatever_it_holds(header: dict[str, str], seconds: float) -> None:
    assert retry_after(header) == seconds


@pytest.mark.parametrize(
    ("status", "error", "anew"),
    [
        (200, "message_not_found", True),
        (200, "is_archived", True),
        (200, "something_new", True),
        (200, "invalid_auth", True),  # the post is refused, too
        (429, "ratelimited", False),
        (200, "internal_error", False),
        (200, "update_failed", False),
        (200, "msg_too_long", False),
        (404, "", False),  # a page of somebody in between
        (503, "", False),
    ],
)
def test_an_edit_that_slack_refuses_for_good_is_said_anew(status: int, error: str, anew: bool) -> None:
    assert said_anew(error, failure(status, error, {})) == anew
