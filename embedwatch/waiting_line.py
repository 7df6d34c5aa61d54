"""A line that says what is waited for: on standard error, only on a terminal, never beside JSON.

Pipes, files and CI get nothing of it. The line goes when the work is done, so that nothing of it is left in between.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def shows_progress(as_json: bool = False) -> bool:
    """Whether somebody sits there to see it."""
    if as_json or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def waiting(text: str, as_json: bool = False) -> Iterator[Callable[[str], None]]:
    """Show `text` until it is left; what it gives is called with a newer text."""
    if not shows_progress(as_json):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status(escape(text)) as status:
        yield lambda newer: status.update(escape(newer))
