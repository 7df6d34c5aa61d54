"""What is asked in front of the view: whose numbers, how long to snooze; and the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from console.acting import MAX_SNOOZE_SECONDS
from console.model import scope_words
from embedwatch.rules import duration

HELP = (
    ("a", "acknowledge the alert that is chosen: no reminders"),
    ("s", "snooze it: asks for how long"),
    ("enter", "all that is known of the row that is chosen"),
    ("up, down", "choose another row; also k and j"),
    ("tab", "from the alerts to the workers and back"),
    ("o", "another order of the list that you are in"),
    ("f", "filter by model and tenant: type a part of the name"),
    ("w", "another window: 10 s, 1 min, 5 min, 15 min, 1 h"),
    ("p", "pause, and go on"),
    ("q", "quit; Ctrl-C too"),
)

#: Of the app: a screen's own would not reach the screen itself. Without colours too, what is chosen is seen.
CSS = """
ModalScreen { align: center middle; background: transparent; }
ModalScreen > Vertical {
    width: 76; max-width: 100%; height: auto; max-height: 100%; padding: 0 1;
    border: solid ansi_default; background: ansi_default;
}
ModalScreen Static { width: 100%; height: auto; background: ansi_default; }
ModalScreen Input, ModalScreen Input:focus {
    border: none; height: 1; padding: 0; background: ansi_default; background-tint: transparent; color: ansi_default;
}
ModalScreen Input > .input--cursor { text-style: reverse; color: ansi_default; background: ansi_default; }
ModalScreen OptionList, ModalScreen OptionList:focus {
    height: auto; max-height: 14; border: none; padding: 0; background: ansi_default; background-tint: transparent;
}
ModalScreen OptionList > .option-list--option-highlighted,
ModalScreen OptionList:focus > .option-list--option-highlighted {
    text-style: bold reverse; color: ansi_default; background: ansi_default;
}
"""
_ESCAPE: list[BindingType] = [Binding("escape", "dismiss(None)", "back", show=False)]


def matching(keys: Sequence[str], typed: str) -> list[str]:
    """Scopes that hold every word that was typed, in any order; without words all of them."""
    words = typed.casefold().split()
    return [key for key in keys if all(word in scope_words(key).casefold() for word in words)]


class ScopeDialog(ModalScreen[str | None]):
    """Gives a key of a scope; None: leave it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *_ESCAPE,
        Binding("down", "move('cursor_down')", show=False, priority=True),
        Binding("up", "move('cursor_up')", show=False, priority=True),
        Binding("pagedown", "move('page_down')", show=False, priority=True),
        Binding("pageup", "move('page_up')", show=False, priority=True),
    ]

    def __init__(self, keys: Sequence[str], now: str) -> None:
        super().__init__()
        self._keys, self._now = list(keys), now
        self._found = self._keys

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("Filter: type a part of a model or tenant; Enter takes it, Esc leaves it", markup=False)
            yield Input(compact=True)
            yield OptionList()
            yield Static(id="count", markup=False)

    def on_mount(self) -> None:
        self._fill("")
        self.query_one(Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def on_input_submitted(self) -> None:
        at = self.query_one(OptionList).highlighted
        if at is not None and self._found:
            self.dismiss(self._found[at])

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._found[event.option_index])

    def action_move(self, how: str) -> None:
        getattr(self.query_one(OptionList), f"action_{how}")()

    def _fill(self, typed: str) -> None:
        self._found = matching(self._keys, typed)
        found = self.query_one(OptionList)
        found.clear_options()
        found.add_options([Option(Text(scope_words(key), no_wrap=True, overflow="ellipsis")) for key in self._found])
        if self._found:
            found.highlighted = self._found.index(self._now) if self._now in self._found else 0
        count = f"{len(self._found):,} of {len(self._keys):,}"
        self.query_one("#count", Static).update(count if self._found else f"{count}: nothing has such a name")


class SnoozeDialog(ModalScreen[float | None]):
    """Gives seconds; None: leave it."""

    BINDINGS: ClassVar[list[BindingType]] = _ESCAPE

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(f"Snooze: {self._title}", markup=False)
            yield Static("For how long? 30m, 1h, 8h, 2d. Enter takes it, Esc leaves it.", markup=False)
            yield Input("1h", compact=True, max_length=20)
            yield Static(id="trouble", markup=False)

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            seconds = duration(event.value.strip(), "it")
        except ValueError as error:
            self._complain(str(error))
            return
        if not 1 <= seconds <= MAX_SNOOZE_SECONDS:
            self._complain("it is between 1s and 30d")
            return
        self.dismiss(seconds)

    def _complain(self, text: str) -> None:
        self.query_one("#trouble", Static).update(text)


class Page(ModalScreen[None]):
    """Some lines to read; any key closes it."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__()
        self._lines = list(lines)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static("\n".join(self._lines), markup=False)

    def on_key(self) -> None:
        self.dismiss(None)


def help_lines() -> list[str]:
    wide = max(len(key) for key, _ in HELP)
    return [*(f"{key:<{wide}}  {text}" for key, text in HELP), "", "Any key closes this."]
