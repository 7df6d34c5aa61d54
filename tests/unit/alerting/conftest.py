from __future__ import annotations

from collections.abc import Iterator

import pytest

from embedwatch.services.slack_standin import SlackStandIn


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    """A Slack stand-in without rate limits: what is refused is refused on purpose."""
    with SlackStandIn(messages_per_second=None) as standin:
        yield standin
