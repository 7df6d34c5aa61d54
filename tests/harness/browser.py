"""The machine's Chromium, driven by playwright, on a page that may load nothing from elsewhere.

All of it happens in one thread of its own: playwright's synchronous calls run an event loop beneath them, and whatever
else is tested in this process must neither find that loop running nor share a stack with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import Browser, Page, sync_playwright

from tests.harness.requirements import need_browser

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 30_000
TEST_SECONDS = 170

T = TypeVar("T")
_thread = ThreadPoolExecutor(1, thread_name_prefix="browser")


def in_thread(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call it in the browser's thread."""
    return _thread.submit(call, *arguments, **named).result(TEST_SECONDS)


def driven(test: Callable[..., None]) -> Callable[..., None]:
    """A test that drives the browser."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        in_thread(test, **fixtures)

    return run


def probe(name: str) -> str:
    """A question to a page, in JavaScript: `page_NAME.js` beside this file."""
    return (Path(__file__).parent / f"page_{name}.js").read_text(encoding="utf-8").strip()


@contextmanager
def browser() -> Iterator[Browser]:
    path = need_browser()
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield found
        finally:
            found.close()


class Watched:
    """A page, and all that it did which it must not do. `allowed` are errors that a test brings about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def foreign(self, origin: str) -> list[str]:
        return [url for url in self.requests if not url.startswith(f"{origin}/")]


@contextmanager
def page_of(browser: Browser, **options: Any) -> Iterator[Watched]:
    """In a context of its own, with one zone and language, so that pictures are the same everywhere."""
    settings: dict[str, Any] = {
        "timezone_id": "UTC", "locale": "en-US", "viewport": {"width": 1360, "height": 900}, "color_scheme": "light",
        "reduced_motion": "reduce",
    }  # fmt: skip
    context = browser.new_context(**{**settings, **options})
    context.set_default_timeout(PATIENCE_MS)
    try:
        yield Watched(context.new_page())
    finally:
        context.close()
