"""What docs/receivers.md says of the webhook holds."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from alerting.payload import document
from alerting.webhook import WebhookReceiver
from tests.harness.http_receiver import HttpReceiver
from tests.unit.alerting.test_machines import NOW, SECRET, told

PAGE = (Path(__file__).parents[3] / "docs" / "receivers.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def verify() -> Any:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    return names["verify"]


def test_the_example_verifies_what_is_sent_and_nothing_else(verify: Any) -> None:
    with HttpReceiver() as server:
        WebhookReceiver(server.url, SECRET, timeout_seconds=5, now=lambda: NOW).send(told())
    _, headers, body = server.seen[0]
    secret = "whsec_" + base64.b64encode(SECRET).decode()
    assert verify(secret, headers, body, NOW + 299)
    assert not verify(secret, headers, body, NOW + 301)
    assert not verify(secret, headers, body + b" ", NOW)
    assert not verify("whsec_" + base64.b64encode(b"another").decode(), headers, body, NOW)
    assert not verify(secret, {**headers, "webhook-id": "another"}, body, NOW)
    assert not verify(secret, {**headers, "webhook-timestamp": str(int(NOW) + 1)}, body, NOW)


def test_every_field_is_named_on_the_page() -> None:
    assert not [name for name in document(told()) if f"`{name}`" not in PAGE]
