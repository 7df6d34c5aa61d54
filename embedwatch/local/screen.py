"""What a demo shows while it runs: a live table on a terminal, else a plain line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from embedwatch.report import breach, milliseconds, percent, seconds, usd
from embedwatch.services.slack_workspace import InboxMessage

_LINE_SECONDS = 5.0
_MAX_SLACK_LINES = 8


class Screen:
    """`say` and `slack` print above the live part. Nothing of a text or a message is read as markup."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._last_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the live part; what it showed last stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style=style))

    def slack(self, message: InboxMessage, *, edited: bool) -> None:
        """A message as it arrived at the stand-in."""
        at_seconds = message.edits[-1].at_seconds if message.edits else message.received_at_seconds
        when = time.strftime("%H:%M:%S", time.localtime(at_seconds))
        how = "edited" if edited else "reply in its thread" if message.thread_ts else "new message"
        lines = [line for line in message.text.splitlines() if line.strip()][:_MAX_SLACK_LINES]
        head = Text.assemble(("  Slack ", "bold magenta"), (f"#{message.channel_name} {when} ({how})", "magenta"))
        self.console.print(Group(head, *(Text(f"  │ {line}") for line in lines)))

    def show(self, phase: str, arrived: int, wanted: int, summary: dict[str, Any] | None) -> None:
        """The newest numbers. Call it as often as they change."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            if self._live is None:
                self._live = Live(console=self.console, auto_refresh=False, transient=False)
                self._live.start()
            self._live.update(_table(phase, arrived, wanted, summary), refresh=True)
            return
        now = time.monotonic()
        if now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            print(_line(phase, arrived, wanted, summary), file=sys.stdout, flush=True)


def _line(phase: str, arrived: int, wanted: int, summary: dict[str, Any] | None) -> str:
    start = f"  {phase}: {arrived:,} of {wanted:,} texts done"
    if summary is None:
        return start
    latency, queue = summary["performance"]["latency_ms"], summary["queue"]
    depth = "unknown" if queue["depth_texts"] is None else f"{queue['depth_texts']:,}"
    return (
        f"{start}, p50 {milliseconds(latency['p50'])}, p95 {milliseconds(latency['p95'])}, cache hits "
        f"{percent(summary['cache']['hit_rate_pct'])}, waiting {depth}, cost {usd(summary['today']['cost_usd'])}"
    )


def _table(phase: str, arrived: int, wanted: int, summary: dict[str, Any] | None) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    bar = ProgressBar(total=max(wanted, 1), completed=min(arrived, wanted), width=30)
    done = Table.grid(padding=(0, 1))
    done.add_row(bar, f"{arrived:,} of {wanted:,} texts, {phase}")
    table.add_row("texts", done)
    if summary is None:
        return table
    found, queue, day = summary["performance"], summary["queue"], summary["today"]
    latency = found["latency_ms"]
    table.add_row(
        f"latency, {summary['window_seconds']} s",
        "  ".join(f"{q} {milliseconds(latency[q])}" for q in ("p50", "p95", "p99")),
    )
    speed = found["throughput_texts_per_s"]
    table.add_row("throughput", "unknown" if speed is None else f"{speed:,.1f} texts/s")
    table.add_row("cache hits", percent(summary["cache"]["hit_rate_pct"]))
    table.add_row("errors", percent(found["error_rate_pct"]))
    depth = "unknown" if queue["depth_texts"] is None else f"{queue['depth_texts']:,} texts"
    table.add_row("queue", f"{depth}, oldest waits {seconds(queue['lag_seconds'])} ({queue['status']})")
    table.add_row(
        "cost today", f"{usd(day['cost_usd'])}, saved {usd(day['saved_usd'])}, {day['tokens_received']:,} tokens"
    )
    breached = [breach(row) for row in summary.get("breached", ())]
    table.add_row("over a limit", Text("; ".join(breached) or "nothing", style="bold red" if breached else "green"))
    return table
