"""``zoolet jobs top``: a queue as a table that is drawn anew again and again.

Owns how it looks; what is shown is gathered by `zoolet.jobs.inspection`. Imports rich.
"""

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from zoolet.jobs.inspection import Overview, overview
from zoolet.jobs.layout import DONE, OWNED, UNOWNED
from zoolet.jobs.queue import JobQueue

WORKERS_SHOWN = 20
LOOK_SHARE = 10
"""Looking may take one of so many parts of the time: a queue of many jobs is looked at less often.
"""


def render(root: str, now: Overview, rate_per_s: float | None) -> Group:
    """Return what is shown of a queue; the rate is of jobs that came to an end."""
    return Group(_heading(root, now, rate_per_s), _priorities(now), _workers(now), _oldest(now))


def _heading(root: str, now: Overview, rate_per_s: float | None) -> Text:
    hits, misses = now.tally("cache_hits"), now.tally("cache_misses")
    cache = f"{hits / (hits + misses):.0%}" if hits + misses else "-"
    rate = "-" if rate_per_s is None else f"{rate_per_s:,.1f}/s"
    text = Text(f"queue {root}   done {rate}   found in cache {cache}", style="bold")
    if now.control.paused:
        text.append("   PAUSED", style="bold red")
    elif now.control.paused_datasets:
        text.append(f"   paused: {', '.join(sorted(now.control.paused_datasets))}", style="red")
    return text


def _priorities(now: Overview) -> Table:
    table = Table("priority", title_justify="left")
    for name in ("waiting", "owned", "done"):
        table.add_column(name, justify="right")
    places = (UNOWNED, OWNED, DONE)
    priorities = sorted({p for place in places for p in now.counts[place]}, reverse=True)
    for priority in priorities:
        table.add_row(str(priority), *(f"{now.counts[place][priority]:,}" for place in places))
    table.add_section()
    table.add_row("all", *(f"{now.total(place):,}" for place in places), style="bold")
    return table


def _workers(now: Overview) -> Table | Text:
    if not now.workers:
        return Text("no workers", style="yellow")
    table = Table("worker", "executors", "done", "failed", "hits", "groups")
    for worker, report in sorted(now.workers.items())[:WORKERS_SHOWN]:
        hits, misses = report.get("cache_hits", 0), report.get("cache_misses", 0)
        table.add_row(
            Text(worker),
            f"{report.get('executors', '?')} {report.get('kind', '')}",
            str(report.get("successful", "-")),
            str(report.get("failed_attempts", "-")),
            f"{hits / (hits + misses):.0%}" if hits + misses else "-",
            str(report.get("groups", "-")),
        )
    more = len(now.workers) - WORKERS_SHOWN
    if more > 0:
        table.add_row(Text(f"and {more} more"))
    return table


def _oldest(now: Overview) -> Text:
    if now.oldest is None:
        return Text("nothing waits")
    age_s = max(0.0, time.time() - now.oldest.submitted_ms / 1000)
    return Text(f"waits longest: {now.oldest.name}, {age_s:,.0f} s: {now.why}")


def top(
    queue: JobQueue,
    root: str,
    console: Console,
    every_s: float,
    pause: Callable[[float], None] = time.sleep,
    rounds: int | None = None,
) -> None:
    """Show a queue until it is interrupted, or for so many rounds."""
    done_before: tuple[float, int] | None = None
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while rounds is None or rounds > 0:
            began = time.monotonic()
            now = overview(queue)
            ended = now.total(DONE)
            rate = None
            if done_before is not None and began > done_before[0]:
                # Removing old jobs makes fewer of them; that is no rate.
                rate = max(0, ended - done_before[1]) / (began - done_before[0])
            done_before = (began, ended)
            live.update(render(root, now, rate), refresh=True)
            if rounds is not None:
                rounds -= 1
            if rounds != 0:
                pause(max(every_s, LOOK_SHARE * (time.monotonic() - began)))
