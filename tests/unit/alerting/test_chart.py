"""The chart of an alert: what it shows, and that nothing about it holds up a message."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from io import BytesIO
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alerting.chart import BEYOND, HEIGHT, LIMIT, LINE, WIDTH, Chart, Point, draw, points
from alerting.charting import MAX_WAITING, Charts, last_hour
from alerting.message import compose
from alerting.parcels import Parcel, pack
from alerting.slack import SlackBot
from alerting.slack_api import SlackApi
from alerting.states import Facts, Kind, Owed, Ref
from embedwatch.agents_api import AgentsApi
from embedwatch.errors import ConnectionFailed
from embedwatch.processes import free_port
from embedwatch.services.slack_standin import Fault, SlackStandIn
from tests.harness.verdicts import verdict
from tests.harness.waiting import eventually

#: 13:00 UTC.
START = 1_767_186_000.0


def series(*values: float | None) -> list[Point]:
    """One a minute."""
    return [Point(START + 60 * i, value) for i, value in enumerate(values)]


def chart(*values: float | None, above: bool = True, threshold: float = 800.0) -> Chart:
    return Chart("P95 latency, last hour", series(*values), threshold, above, "ms")


def colours(picture: bytes | None) -> set[tuple[int, int, int]]:
    assert picture is not None
    image = Image.open(BytesIO(picture))
    assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
    found = image.getcolors(WIDTH * HEIGHT)
    assert found is not None
    return {colour for _, colour in found if isinstance(colour, tuple)}  # type: ignore[misc]


# --- the picture ---


def test_what_is_beyond_the_limit_is_red() -> None:
    assert {LINE, BEYOND, LIMIT} <= colours(draw(chart(100, 200, 1200, 1300), UTC))
    assert BEYOND not in colours(draw(chart(100, 200, 300), UTC))
    assert LINE not in colours(draw(chart(900, 1000, 1100), UTC))


def test_below_a_minimum_is_red() -> None:
    assert BEYOND in colours(draw(chart(80, 70, 30, above=False, threshold=40), UTC))
    assert BEYOND not in colours(draw(chart(80, 70, 60, above=False, threshold=40), UTC))


def test_a_gap_is_not_drawn_over() -> None:
    whole, gap = chart(100, 100, 100, 100, 100), chart(100, 100, None, None, 100)
    line = [count_of(draw(each, UTC), LINE) for each in (whole, gap)]
    assert line[1] < 0.7 * line[0]


def count_of(picture: bytes | None, colour: tuple[int, int, int]) -> int:
    assert picture is not None
    counts = Image.open(BytesIO(picture)).getcolors(WIDTH * HEIGHT) or []
    return next((count for count, found in counts if found == colour), 0)


@pytest.mark.parametrize("values", [(), (1.0,), (None, None), (None, 5.0, None)])
def test_without_two_values_there_is_no_chart(values: tuple[float | None, ...]) -> None:
    assert draw(chart(*values), UTC) is None


@settings(max_examples=40)
@given(
    st.lists(st.none() | st.floats(-1e12, 1e12), min_size=2, max_size=120),
    st.floats(-1e12, 1e12),
    st.booleans(),
    st.sampled_from(["ms", "%", "USD", "texts/s", "🔴"]),
)
def test_any_values_can_be_drawn(values: list[float | None], threshold: float, above: bool, unit: str) -> None:
    title = "אבג <!channel> \x00" * 50
    picture = draw(Chart(title, series(*values), threshold, above, unit), UTC)
    assert (picture is None) == (sum(value is not None for value in values) < 2)


# --- from the agents ---


def window(index: int, p95: Any) -> dict[str, Any]:
    return {"end_seconds": START + 60 * index, "performance": {"latency_ms": {"p95": p95}, "error_rate_pct": 1.5}}


def test_points_are_the_last_hour_the_oldest_first() -> None:
    rows = [window(index, float(index)) for index in reversed(range(100))]
    found = points("latency_p95_ms", rows)
    assert [point.value for point in found] == [float(index) for index in range(40, 100)]
    assert points("error_rate_pct", rows)[0].value == 1.5


@pytest.mark.parametrize("value", [None, "x", math.nan, {}, []])
def test_what_is_no_number_is_a_gap(value: Any) -> None:
    assert points("latency_p95_ms", [window(1, value)]) == [Point(START + 60, None)]
    assert points("latency_p95_ms", [{"end_seconds": START}]) == [Point(START, None)]


def test_the_agents_are_asked_for_the_alerts_scope() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json={"windows": [window(1, 2.0)]})

    with AgentsApi("http://agents", transport=httpx.MockTransport(answer)) as agents:
        assert agents.windows("model=m%2C1", 360) == [window(1, 2.0)]
    assert dict(asked[0].params) == {"scope": "model=m%2C1", "limit": "360"}


# --- into the thread ---

ROWS = [window(index, 100.0 * index) for index in reversed(range(20))]


def parcel(kind: Kind = "firing", number: int = 1, **fields: Any) -> Parcel:
    facts = Facts(breach=verdict(**fields), since_seconds=1000.0, fired_at_seconds=1000.0)
    owed = Owed(number, "slack", kind, 1, 1000.0, facts)
    return pack(facts.breach.alert_id, owed, compose(owed), None)


@contextmanager
def charting(slack: SlackStandIn, windows: Any) -> Iterator[SlackBot]:
    found = Charts(SlackApi("xoxb-1", api_url=slack.api_url, timeout_seconds=5), windows, UTC)
    bot = SlackBot("xoxb-1", "#alerts", api_url=slack.api_url, timeout_seconds=5)
    bot.chart = found.offer
    found.start()
    try:
        yield bot
    finally:
        found.stop()


def test_a_firing_alert_has_its_chart_in_the_thread(slack: SlackStandIn) -> None:
    asked: list[str] = []

    def windows(scope: str) -> list[dict[str, Any]]:
        asked.append(scope)
        return ROWS

    with charting(slack, windows) as bot:
        ref = bot.send(parcel())
        inbox = slack.wait_for(lambda found: found if found and found[-1].files else None, 20)
    root, picture = inbox or []
    assert ref == Ref(root.channel, root.ts)
    assert picture.thread_ts == root.ts
    assert picture.files[0].title == "p95 latency in the last hour, with its limit"
    assert httpx.get(f"{slack.url}/files/{picture.files[0].id}").headers["content-type"] == "image/png"
    assert asked == ["model=minilm"]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("resolved", {}), ("firing", {"metric": "queue_depth"}), ("firing", {"scope": {"worker": "w1"}})],
)
def test_there_is_no_chart_of_what_has_none(slack: SlackStandIn, kind: Kind, fields: dict[str, Any]) -> None:
    asked: list[str] = []
    with charting(slack, asked.append) as bot:
        bot.send(parcel(kind, **fields))
    assert (len(slack.inbox()), asked) == (1, [])


def away(scope: str) -> list[dict[str, Any]]:
    raise ConnectionFailed("no stream agents at http://agents (connection refused)")


def broken(scope: str) -> list[dict[str, Any]]:
    raise KeyError("xoxb-secret")


@pytest.mark.parametrize(
    ("windows", "fault", "words"),
    [
        (away, None, "no stream agents at http://agents"),
        (broken, None, "unexpected KeyError: this is a bug of embedwatch"),
        (lambda _: ROWS, Fault("error", error="missing_scope", method="files.getUploadURLExternal"), "missing_scope"),
        (lambda _: ROWS, Fault("status", status=500, method="upload"), "Slack answers with status 500"),
        (lambda _: ROWS, Fault("rate_limited", method="files.completeUploadExternal"), "asks to wait"),
    ],
    ids=["away", "broken", "scope", "upload", "rate"],
)
def test_a_chart_that_fails_holds_up_no_message_and_is_said_once(
    slack: SlackStandIn, caplog: pytest.LogCaptureFixture, windows: Any, fault: Fault | None, words: str
) -> None:
    with charting(slack, windows) as bot:
        for number in (1, 2):
            slack.fail_next([] if fault is None else [fault])
            assert bot.send(parcel(number=number)) is not None
            assert eventually(lambda: "alerts go out without a chart" in caplog.text)
    assert len(slack.inbox()) == 2
    assert caplog.text.count("alerts go out without a chart") == 1
    assert words in caplog.text
    assert "xoxb-secret" not in caplog.text


def test_a_storm_waits_for_no_chart(slack: SlackStandIn) -> None:
    found = Charts(SlackApi("xoxb-1", api_url=slack.api_url, timeout_seconds=5), lambda _: ROWS, UTC)
    for _ in range(MAX_WAITING * 20):
        found.offer(verdict(), Ref("C1", "1.0"))  # it does not run: nothing is taken out
    found.start()
    found.stop()


def test_agents_that_are_not_there_are_named() -> None:
    with pytest.raises(ConnectionFailed, match="no stream agents at"):
        last_hour(f"http://127.0.0.1:{free_port()}", 1.0)("all")
