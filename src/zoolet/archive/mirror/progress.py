"""Shows what a mirror does: a line that changes on a terminal, otherwise lines of a log.

Imports the figures and rich.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.status import Status

from zoolet.archive.mirror.records.figures import Report

_TERMINAL_S: Final = 0.5
_LOG_S: Final = 10.0


async def show(report: Callable[[], Report], console: Console, say: Callable[[str], None]) -> None:
    """Show reports until the task is cancelled."""
    if console.is_terminal:
        with Status("", console=console, spinner="dots") as status:
            while True:
                status.update(text_of(report()))
                await asyncio.sleep(_TERMINAL_S)
    last = ""
    while True:
        await asyncio.sleep(_LOG_S)
        text = text_of(report())
        if text != last:
            say(text)
        last = text


def text_of(report: Report) -> str:
    """Return a report as one line."""
    figures = report.figures
    parts = [f"copied {figures.copied}", f"deleted {figures.deleted}"]
    if figures.overwritten:
        parts.append(f"overwritten {figures.overwritten}")
    if not report.is_connected_from:
        parts.append("no connection to the source")
    if not report.is_connected_to:
        parts.append("no connection to the target")
    if figures.is_comparing:
        parts.append(f"comparing ({figures.compared} znodes)")
    parts.append(f"waiting {report.waiting}")
    lag_ms = report.lag_ms or figures.copied_lag_ms
    parts.append(f"lag {lag_ms:.0f} ms")
    return ", ".join(parts)
