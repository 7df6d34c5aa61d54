"""The view on a terminal: textual draws the frame, takes the keys and ends cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Literal

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType

from console import acting, dialogs, panels
from console.acting import Acts
from console.board import Board
from console.dialogs import Page, ScopeDialog, SnoozeDialog, help_lines
from console.frame import frame
from console.link import Link
from console.look import Look, next_window
from console.model import Alert, View, scope_words
from console.poller import News, Poller
from console.source import Source, Wish
from console.words import clean, window
from embedwatch.clock import Clock
from embedwatch.errors import EmbedwatchError

#: How long a line about what was done stands in place of the keys.
NOTE_SECONDS = 8.0
#: Until Kafka took what was asked, or did not.
ANSWER_SECONDS = 30.0
#: Between two looks at the clock; what is drawn then are its digits.
TICK_SECONDS = 1.0


class TopApp(App[int]):
    """`scopes` is a source of its own: it is asked in another thread than `source`. Ends with an exit code."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "embedwatch top"
    CSS = f"Screen {{ background: ansi_default; color: ansi_default; overflow: hidden; }}\n{dialogs.CSS}"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "leave"),
        Binding("ctrl+c,ctrl+q", "leave", priority=True),  # also in front of a dialog
        Binding("a", "acknowledge"),
        Binding("s", "snooze"),
        Binding("f,slash", "filter"),
        Binding("w", "window"),
        Binding("o", "order"),
        Binding("p,space", "pause"),
        Binding("question_mark,h,f1", "help"),
        Binding("enter", "details"),
        Binding("tab", "other_list", priority=True),  # a screen has its own
        Binding("down,j", "move(1)"),
        Binding("up,k", "move(-1)"),
        Binding("pagedown", "move(10)"),
        Binding("pageup", "move(-10)"),
    ]

    def __init__(
        self, source: Source, scopes: Source, acts: Callable[[Callable[[str], None]], Acts], by: str, wish: Wish,
        clock: Clock, look: Look, first: tuple[Link, View] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._scopes, self._by, self._clock = scopes, by, clock
        self._make_acts, self._acts = acts, None
        self.wish, self.look = wish, look
        self.link = first[0] if first is not None else Link()
        self.view_model = first[1] if first is not None else None
        self._url = source.url
        self._note_until = 0.0
        self._drawn = float("-inf")
        self._loop_of_screen: asyncio.AbstractEventLoop | None = None
        self._poller = Poller(source, wish, clock, lambda news: self._soon(self._take, news))
        self._looking_up = False

    _acts: Acts | None

    def compose(self) -> ComposeResult:
        yield Board(self._draw)

    def on_mount(self) -> None:
        self._loop_of_screen = asyncio.get_running_loop()
        if not self.is_headless:
            # A viewer leaves nothing undone: being asked to stop is an end like any other.
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                self._loop_of_screen.add_signal_handler(number, self.exit, 0)
        self.set_interval(TICK_SECONDS, self._tick)
        self._poller.start()
        self._draw()

    def on_unmount(self) -> None:
        self._poller.stop()

    def shut(self, timeout_seconds: float) -> None:
        """After the screen is given back: what was asked of alerts is written, as far as that goes quickly."""
        self._loop_of_screen = None
        self._poller.stop()
        if self._acts is not None:
            self._acts.close(timeout_seconds)

    # What comes from other threads.

    def _soon(self, call: Callable[..., None], *arguments: object) -> None:
        loop = self._loop_of_screen
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._on_screen, call, *arguments)

    def _on_screen(self, call: Callable[..., None], *arguments: object) -> None:
        if self.is_running:
            with self._context():
                call(*arguments)

    def _take(self, news: News) -> None:
        if news.wish != self.wish or (self.look.paused and news.view is None):
            return
        self.link = news.link
        if news.view is not None:
            self.view_model = news.view
        self._draw()

    def _tick(self) -> None:
        if self.look.note and self._clock.monotonic() >= self._note_until:
            self.look = replace(self.look, note="")
        # While numbers come they draw the clock, too: once a second and no more.
        if self._clock.monotonic() - self._drawn >= 0.9 * TICK_SECONDS:
            self._draw()

    def _draw(self) -> None:
        board = self.screen_stack[0].query_one(Board) if self.screen_stack else None
        if board is None or not board.size.width:
            return
        self._drawn = self._clock.monotonic()
        width, height = board.size
        board.put(frame(self.view_model, self._url, self.link, self.look, self._clock.now(), width, height))

    def _say(self, text: str, seconds: float = NOTE_SECONDS) -> None:
        self.look = replace(self.look, note=clean(text))
        self._note_until = self._clock.monotonic() + seconds
        self._draw()

    # Keys.

    def action_leave(self) -> None:
        self.exit(0)

    def action_help(self) -> None:
        self.push_screen(Page(help_lines()))

    def action_details(self) -> None:
        if self.view_model is not None:
            told = panels.details(self.view_model, self.look, self.view_model.time_seconds)
            self.push_screen(Page([*told, "", "Any key closes this."]))

    def action_pause(self) -> None:
        self.look = replace(self.look, paused=not self.look.paused)
        self._poller.pause(self.look.paused)
        self._draw()

    def action_order(self) -> None:
        self.look = self.look.next_order()
        self._say(f"{self.look.focus.capitalize()}: {self.look.order(self.look.focus)}")

    def action_other_list(self) -> None:
        if len(self.screen_stack) > 1:
            return
        self.look = self.look.other_list()
        self._draw()

    def action_move(self, by: int) -> None:
        if self.view_model is None:
            return
        names = panels.alert_names if self.look.focus == "alerts" else panels.worker_names
        self.look = self.look.moved(names(self.view_model, self.look), by)
        self._draw()

    def action_window(self) -> None:
        self._want(replace(self.wish, window_seconds=next_window(self.wish.window_seconds)))

    def _want(self, wish: Wish) -> None:
        if self.look.paused:
            self.action_pause()
        self.wish = wish
        self._poller.ask(wish)
        self._say(f"Scope {scope_words(wish.scope)}, last {window(wish.window_seconds)}")

    def action_filter(self) -> None:
        """The names come over HTTP: asked in a thread, so that the view goes on."""
        if not self._looking_up:
            self._looking_up = True
            threading.Thread(target=self._look_up, name="embedwatch-top-scopes", daemon=True).start()

    def _look_up(self) -> None:
        try:
            found = self._scopes.scopes()
            self._soon(self._offer, found)
        except EmbedwatchError as error:
            self._soon(self._offer, [], str(error))

    def _offer(self, keys: list[str], trouble: str = "") -> None:
        self._looking_up = False
        if not keys:
            self._say(f"No scopes to choose from: {trouble or 'the agents name none'}")
        elif len(self.screen_stack) == 1:
            self.push_screen(ScopeDialog(keys, self.wish.scope), self._chosen_scope)

    def _chosen_scope(self, key: str | None) -> None:
        if key is not None and key != self.wish.scope:
            self._want(replace(self.wish, scope=key))

    def action_acknowledge(self) -> None:
        alert = self._alert()
        if (why := acting.refusal(self.view_model, alert, "acknowledge")) is not None:
            self._say(why)
        elif alert is not None:
            self._ask(alert, "acknowledge", None)

    def action_snooze(self) -> None:
        alert = self._alert()
        if (why := acting.refusal(self.view_model, alert, "snooze")) is not None:
            self._say(why)
        elif alert is not None:
            shown = alert
            self.look = self.look.on("alerts", shown.alert_id)
            self.push_screen(
                SnoozeDialog(panels.alert_text(shown)),
                lambda seconds: self._ask(shown, "snooze", seconds) if seconds is not None else None,
            )

    def _alert(self) -> Alert | None:
        """The one that is chosen; the keys are about alerts wherever the cursor is."""
        if self.view_model is None:
            return None
        name = panels.chosen_name(self.view_model, replace(self.look, focus="alerts"))
        return next((row for row in self.view_model.alerts if row.alert_id == name), None)

    def _ask(self, alert: Alert, do: Literal["acknowledge", "snooze"], seconds: float | None) -> None:
        # It goes down in the list then: the cursor goes with it, and the same key does not meet the next one.
        self.look = self.look.on("alerts", alert.alert_id)
        if self._acts is None:
            self._acts = self._make_acts(lambda text: self._soon(self._say, text))
        asked = acting.action(alert, do, self._by, self._clock.now(), seconds)
        if self._acts.ask(asked, alert.title):
            self._say(f"Asking Kafka to {do}: {alert.title} ...", ANSWER_SECONDS)
        else:
            self._say("Too much waits for Kafka already; try again when it answers")


def run(app: TopApp, *, no_colour: bool) -> int:
    """On the terminal, until it is left. Returns the exit code; the terminal is as it was before."""
    if no_colour:
        os.environ["NO_COLOR"] = "1"
    try:
        code = app.run(mouse=False)
    finally:
        app.shut(1.0)
    return app.return_code or code or 0
