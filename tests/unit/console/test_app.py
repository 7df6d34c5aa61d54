"""The view on a screen of 80x24, against the agents' own routes."""

from __future__ import annotations

import asyncio
import os
import queue
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.pilot import Pilot
from textual.widgets import OptionList

from alerting.states import Act
from alerting.states import encode as encode_state
from console.acting import Acts
from console.app import TopApp
from console.board import Board, changed
from console.dialogs import ScopeDialog, SnoozeDialog, matching
from console.frame import text
from console.lines import Span
from console.look import Look
from console.source import ApiSource, Wish
from embedwatch.agents_api import AgentsApi
from embedwatch.clock import Clock, SystemClock
from embedwatch.errors import ConnectionFailed
from embedwatch.events import AlertAction
from tests.harness.agents_log import NOW, SetClock
from tests.harness.agents_served import ServedAgents
from tests.harness.agents_web import alert_states, busy_runtime
from tests.harness.picture_world import picture_runtime

PATIENCE_SECONDS = 30.0
PICTURE = Path(__file__).parents[3] / "docs" / "images" / "top.svg"


class Writer:
    """Takes acts, or says why not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.written: queue.Queue[AlertAction] = queue.Queue()

    def write(self, action: AlertAction) -> None:
        if self.error is not None:
            raise self.error
        self.written.put(action)

    def close(self) -> None: ...


def played(
    url: str,
    story: Callable[[TopApp, Pilot[int]], Awaitable[None]],
    *,
    size: tuple[int, int] = (80, 24),
    writer: Writer | None = None,
    clock: Clock | None = None,
    acts: Any = None,
) -> TopApp:
    """The view from its start to its end, with `story` in between."""
    used = clock or SetClock()

    async def play(app: TopApp) -> None:
        async with app.run_test(size=size) as pilot:
            await story(app, pilot)

    with AgentsApi(url) as api, AgentsApi(url) as second:
        make = acts or (lambda told: Acts(writer or Writer(), told))
        app = TopApp(ApiSource(api, used), ApiSource(second, used), make, "Ada", Wish(), used, Look())
        try:
            asyncio.run(play(app))
        finally:
            app.shut(5.0)
            app._poller.join(5.0)
    return app


def page(app: TopApp) -> str:
    return text(app.screen_stack[0].query_one(Board).lines)


async def until(pilot: Pilot[int], done: Callable[[], bool]) -> None:
    """Until what other threads do is on the screen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not done():
            await pilot.pause(0.02)


async def shows(app: TopApp, pilot: Pilot[int], what: str) -> None:
    try:
        await until(pilot, lambda: what in page(app))
    except TimeoutError:
        raise AssertionError(f"{what!r} is not in\n{page(app)}") from None


def test_the_screen_shows_the_numbers_and_q_ends_it_with_code_0(busy_url: str) -> None:
    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "STALLED")
        for part in ("p95", "$2.0025", "live  ready", "2 now, 4 wanted", "FIRING       warning     20 s  high lag"):
            assert part in page(app)
        # What the terminal is sent is what the frame says.
        lines = [strip.text for strip in app.screen._compositor.render_strips()]
        assert "\n".join(line.rstrip() for line in lines) == page(app)
        await pilot.press("q")

    assert played(busy_url, story).return_code == 0


def test_a_filter_is_searched_and_taken(busy_url: str) -> None:
    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "Scope all, last 5 min")
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, ScopeDialog))
        await pilot.press(*"acme", "down", "up", "enter")
        await shows(app, pilot, "Scope model slow, tenant acme, last 5 min, 30 texts")
        await pilot.press("w")
        await shows(app, pilot, "last 15 min, 30 texts")

    played(busy_url, story)


def test_a_thousand_scopes_can_be_searched(agents: ServedAgents, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["all", *(f"model=m{number // 10},tenant=t{number}" for number in range(1000))]
    monkeypatch.setattr(AgentsApi, "scopes", lambda self: keys)

    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "live")
        await pilot.press("f")
        await until(pilot, lambda: isinstance(app.screen, ScopeDialog))
        assert app.screen.query_one(OptionList).option_count == 1001
        await pilot.press(*"t77")
        assert app.screen.query_one(OptionList).option_count == 11
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert app.wish == Wish()

    played(agents.serve(busy_runtime()), story)
    assert matching(keys, "T77 m7") == ["model=m7,tenant=t77", *(f"model=m77,tenant=t77{n}" for n in range(10))]
    assert matching(keys, "") == keys


def test_an_alert_is_acknowledged_and_snoozed(busy_url: str) -> None:
    writer = Writer()

    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "FIRING")
        await pilot.press("a")
        await shows(app, pilot, "Asked to acknowledge: high lag")
        await pilot.press("down", "s")
        await until(pilot, lambda: isinstance(app.screen, SnoozeDialog))
        await pilot.press(*"later", "enter")
        assert isinstance(app.screen, SnoozeDialog), "what is no time is told, and asked again"
        await pilot.press(*["backspace"] * 5, *"2h", "enter")
        await shows(app, pilot, "Asked to snooze: high latency")
        await pilot.press("down", "a")
        await shows(app, pilot, "It does not fire, it is resolved: high error rate")

    played(busy_url, story, writer=writer)
    first, second = writer.written.get(timeout=5), writer.written.get(timeout=5)
    assert (first.alert_id, first.do, first.episode, first.by, first.until_seconds) == (
        "lag_seconds", "acknowledge", 1, "Ada", None,
    )  # fmt: skip
    assert (second.alert_id, second.do, second.episode) == ("latency_p95_ms|model=e5-large-v2", "snooze", 2)
    assert second.until_seconds == NOW + 7200
    assert writer.written.empty()


def test_the_same_key_again_meets_the_same_alert_and_no_other(agents: ServedAgents) -> None:
    """Nothing is chosen: what is acknowledged goes down in the list, and another stands where it stood."""
    writer, runtime = Writer(), busy_runtime()
    first, _, lag = alert_states()
    taken = Act(do="acknowledge", by="Ada", via="command", at_seconds=NOW, severity="warning", note=None)
    seen: list[AlertAction] = []

    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "FIRING")
        await pilot.press("a")
        await shows(app, pilot, "Asked to acknowledge: high lag")
        state = msgspec.structs.replace(lag, status="acknowledged", act=taken)
        runtime.alerts.take(b"lag_seconds", encode_state(state))
        runtime.alerts.take(first.alert_id.encode(), encode_state(msgspec.structs.replace(first, status="firing")))
        await shows(app, pilot, "FIRING       critical")
        await pilot.press("a")
        await shows(app, pilot, "It is acknowledged by Ada already: high lag")
        runtime.alerts.take(b"lag_seconds", None)
        await until(pilot, lambda: "high lag" not in page(app).split("Alerts:")[1].split("It is")[0])
        assert "▸" not in page(app), "what is chosen is not there"
        await pilot.press("a")
        await shows(app, pilot, "The alert that was chosen is not listed any more: choose another")
        await pilot.press("down", "a")
        await shows(app, pilot, "Asked to acknowledge: high latency")

    played(agents.serve(runtime), story, writer=writer, clock=SystemClock())
    while not writer.written.empty():
        seen.append(writer.written.get())
    assert [action.alert_id for action in seen] == ["lag_seconds", "latency_p95_ms|model=e5-large-v2"]


def test_without_a_broker_the_keys_say_so_and_the_view_goes_on(busy_url: str) -> None:
    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "FIRING")
        await pilot.press("a")
        await shows(app, pilot, "Not asked to acknowledge: Kafka at broker:1: not there")
        await pilot.press("w")
        await shows(app, pilot, "Scope all, last 15 min, 50 texts")

    played(busy_url, story, writer=Writer(ConnectionFailed("Kafka at broker:1: not there")))


def test_agents_that_go_away_and_come_back(agents: ServedAgents) -> None:
    runtime = busy_runtime()
    url = agents.serve(runtime)
    port = int(url.rsplit(":", 1)[1])

    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "live")
        await asyncio.to_thread(agents.end, url)
        await shows(app, pilot, "NO ANSWER")
        await shows(app, pilot, "No answer: the numbers are")
        assert "STALLED" in page(app), "the last numbers stay"
        await asyncio.to_thread(agents.serve, runtime, None, port)
        await shows(app, pilot, "live  ready")

    played(url, story, clock=SystemClock())


def test_a_pause_holds_everything_and_ends_with_the_same_key(busy_url: str) -> None:
    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "live")
        await pilot.press("p")
        await shows(app, pilot, "Paused: the numbers are 0.0 s old. p goes on.")
        await pilot.press("p")
        await shows(app, pilot, "live")

    played(busy_url, story)


def test_help_details_orders_and_the_other_list(busy_url: str) -> None:
    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "FIRING")
        for key in ("question_mark", "enter"):
            await pilot.press(key)
            assert len(app.screen_stack) == 2
            await pilot.press("x")
            assert len(app.screen_stack) == 1
        await pilot.press("o")
        await shows(app, pilot, "Alerts: newest first")
        await pilot.press("tab", "o", "down")
        await shows(app, pilot, "Workers: busiest GPU first")
        assert "▸ w" in page(app)

    played(busy_url, story)


@pytest.mark.parametrize("size", [(50, 14), (120, 40), (30, 8)])
def test_other_sizes(busy_url: str, size: tuple[int, int]) -> None:
    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "STALLED")
        await pilot.resize_terminal(80, 24)
        await shows(app, pilot, "Number of workers")
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: len(page(app).split("\n")) == size[1])
        await shows(app, pilot, "STALLED")

    played(busy_url, story, size=size)


def test_without_colours_nothing_is_told_by_colour(busy_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "FIRING")
        for strip in app.screen._compositor.render_strips():
            for segment in strip:
                assert segment.style is None or segment.style.color is None or segment.style.color.is_default
                assert segment.style is None or segment.style.bgcolor is None or segment.style.bgcolor.is_default

    played(busy_url, story)


def test_a_frame_that_says_the_same_sends_nothing_to_the_terminal(busy_url: str) -> None:
    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "FIRING")
        await pilot.pause()
        board = app.screen_stack[0].query_one(Board)
        sent: list[object] = []
        board.refresh = lambda *regions, **_: sent.append(regions) or board  # type: ignore[method-assign,assignment,func-returns-value]
        app._draw()
        assert sent == []
        app.action_move(1)
        assert [sorted(region.y for region in regions) for regions in sent] == [[19, 20]]  # type: ignore[attr-defined]

    played(busy_url, story)


CELLS = st.lists(st.tuples(st.sampled_from("ab "), st.sampled_from(["", "bad", "good"])), min_size=12, max_size=12)


@given(CELLS, CELLS)
def test_what_changed_is_sent_and_no_more(old: list[tuple[str, Any]], new: list[tuple[str, Any]]) -> None:
    found = changed(tuple(Span(*cell) for cell in old), tuple(Span(*cell) for cell in new), 12)
    if found is None:
        assert old == new
        return
    first, last = found
    assert old[:first] + new[first:last] + old[last:] == new
    assert old[first] != new[first]
    assert old[last - 1] != new[last - 1]


def test_wide_characters_are_sent_as_whole_lines() -> None:
    assert changed((Span("日本 a"),), (Span("日本 b"),), 20) == (0, 20)


def test_the_picture_in_the_docs(agents: ServedAgents, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written anew with EMBEDWATCH_TEST_SCREENSHOTS=1; without it, it can be made and is not empty."""
    monkeypatch.setattr(ApiSource, "url", "http://agents:6066")  # not the port of this run
    made: list[str] = []

    async def story(app: TopApp, pilot: Pilot[int]) -> None:
        await shows(app, pilot, "FIRING")
        await pilot.pause()
        made.append(picture(app))

    played(agents.serve(picture_runtime()), story, size=(100, 28))
    (drawn,) = made
    assert "bge-large-en-v1.5" in drawn
    assert not re.search(r"url\((?!#)", drawn), "nothing is fetched by who looks at it"
    if os.environ.get("EMBEDWATCH_TEST_SCREENSHOTS") == "1":
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        PICTURE.write_text(drawn)


def picture(app: TopApp) -> str:
    """As SVG, the same for the same numbers, and without fonts from elsewhere."""
    drawn = app.export_screenshot(title="embedwatch top")
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"terminal-\d+-", "terminal-", drawn)
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"
