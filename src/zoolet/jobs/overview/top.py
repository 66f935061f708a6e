"""``zoolet jobs top``: shows a queue as tables that are redrawn periodically.

This module contains the layout; `zoolet.jobs.overview` reads the data. Without a terminal, the
tables are printed one time, as plain text. This module imports rich.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from zoolet.console.printing import Printer, cell, plain_table, table
from zoolet.console.terminal import one_line
from zoolet.console.texts import duration
from zoolet.jobs.overview.overview import Overview, queue_overview
from zoolet.jobs.overview.recent import RecentFailures, running_jobs
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import Place
from zoolet.jobs.records.worker_reports import executors_text

WORKERS_SHOWN = 20
JOBS_SHOWN = 10
LOOK_SHARE = 10
"""Reading a queue takes at most 1/N of the time (N: this number): a queue with many
jobs is read less often."""

_PRIORITIES = "priority"
_WORKERS = ("worker", "executors", "done#", "failed#", "hits#", "groups#")
_RUNNING = ("running", "task", "started", "worker", "progress")
_FAILED = ("failed", "task", "attempts", "error")


@dataclass(frozen=True, slots=True)
class View:
    """The shown state of a queue at one moment.

    Attributes:
        root: the path of the queue's root.
        now: the overview of the queue.
        running: the jobs that run, in the order of their starts.
        failed: the jobs that failed lately, the last failure first.
        rate_per_s: the number of jobs that end in a second; None if it is not known yet.
    """

    root: str
    now: Overview
    running: Sequence[Job]
    failed: Sequence[Job]
    rate_per_s: float | None = None

    def heading(self) -> str:
        """Return the first line."""
        hits, misses = self.now.tally("cache_hits"), self.now.tally("cache_misses")
        rate = "-" if self.rate_per_s is None else f"{self.rate_per_s:,.1f}/s"
        return f"queue {self.root}   done {rate}   found in cache {_share(hits, misses)}"

    def paused(self) -> str:
        """Return a text that names the paused queue or datasets; "" if nothing is paused."""
        if self.now.control.paused:
            return "PAUSED"
        datasets = sorted(self.now.control.paused_datasets)
        return f"paused: {', '.join(datasets)}" if datasets else ""

    def tables(self) -> list[tuple[Sequence[str], list[Sequence[str]]]]:
        """Return the columns and rows of each table."""
        found: list[tuple[Sequence[str], list[Sequence[str]]]] = [self._priorities()]
        if self.now.workers:
            found.append((_WORKERS, self._workers()))
        if self.running:
            found.append((_RUNNING, [_running(job) for job in self.running[:JOBS_SHOWN]]))
        if self.failed:
            found.append((_FAILED, [_failed(job) for job in self.failed[:JOBS_SHOWN]]))
        return found

    def _priorities(self) -> tuple[Sequence[str], list[Sequence[str]]]:
        counts = self.now.counts
        priorities = sorted({p for place in Place for p in counts[place]}, reverse=True)
        rows: list[Sequence[str]] = [
            (str(priority), *(f"{counts[place][priority]:,}" for place in Place))
            for priority in priorities
        ]
        rows.append(("all", *(f"{self.now.total(place):,}" for place in Place)))
        return (_PRIORITIES, *(f"{_TITLES.get(place, place)}#" for place in Place)), rows

    def _workers(self) -> list[Sequence[str]]:
        rows: list[Sequence[str]] = []
        for worker, report in sorted(self.now.workers.items())[:WORKERS_SHOWN]:
            rows.append(
                (
                    worker,
                    f"{executors_text(report)} {report.get('kind', '')}",
                    str(report.get("successful", "-")),
                    str(report.get("failed_attempts", "-")),
                    _share(report.get("cache_hits", 0), report.get("cache_misses", 0)),
                    str(report.get("groups", "-")),
                )
            )
        more = len(self.now.workers) - WORKERS_SHOWN
        if more > 0:
            rows.append((f"and {more} more", "", "", "", "", ""))
        return rows

    def footing(self) -> list[str]:
        """Return the last lines."""
        lines = [] if self.now.workers else ["no workers"]
        if self.now.oldest is None:
            return [*lines, "no job waits"]
        age_s = max(0.0, time.time() - self.now.oldest.submitted_ms / 1000)
        return [
            *lines,
            f"oldest waiting job: {self.now.oldest.name}, {age_s:,.0f} s: {self.now.why}",
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the view as a JSON object."""
        oldest = self.now.oldest
        return {
            "queue": self.root,
            "done_per_s": self.rate_per_s,
            "jobs": {place: self.now.total(place) for place in Place},
            "by_priority": {
                place: {str(p): count for p, count in self.now.counts[place].items()}
                for place in Place
            },
            "workers": self.now.workers,
            "paused": self.now.control.paused,
            "paused_datasets": sorted(self.now.control.paused_datasets),
            "running": [
                {
                    "job": job.name,
                    "task": job.task,
                    "started_ms": job.started_ms,
                    "worker": job.worker,
                    "progress": None if job.progress is None else job.progress._asdict(),
                }
                for job in self.running
            ],
            "failed": [
                {"job": job.name, "task": job.task, "attempts": job.attempts,
                 "error": job.last_error}
                for job in self.failed
            ],
            "waits_longest": None if oldest is None else {"job": oldest.name, "why": self.now.why},
        }  # fmt: skip


_TITLES = {"unowned": "waiting"}


def _share(hits: Any, misses: Any) -> str:
    """Return the share of hits; "-" if the values are not numbers (other programs write them)."""
    if not isinstance(hits, int | float) or not isinstance(misses, int | float):
        return "-"
    return f"{hits / (hits + misses):.0%}" if hits + misses else "-"


def _running(job: Job) -> Sequence[str]:
    started = job.started_ms or 0
    since = duration(time.time_ns() // 1_000_000 - started)
    progress = "" if job.progress is None else str(job.progress)
    return job.name, job.task, f"{_time_of_day(started)} ({since} ago)", job.worker or "", progress


def _failed(job: Job) -> Sequence[str]:
    return job.name, job.task, f"{job.attempts} of {job.max_attempts}", job.last_error


def _time_of_day(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"


def render(view: View) -> Group:
    """Return the view as rich renders it on a terminal."""
    heading = Text(one_line(view.heading()), style="bold")
    if view.paused():
        heading.append(f"   {one_line(view.paused())}", style="bold red")
    parts: list[RenderableType] = [heading]
    parts += [table(columns, rows) for columns, rows in view.tables()]
    parts += map(cell, view.footing())
    return Group(*parts)


def plain(view: View) -> list[str]:
    """Return the view as lines of plain text, for output without a terminal."""
    lines = [one_line(part) for part in (view.heading(), view.paused()) if part]
    for columns, rows in view.tables():
        lines += ["", *plain_table(columns, rows)]
    return [*lines, "", *map(one_line, view.footing())]


class Watcher:
    """Reads a queue periodically, and counts the jobs that ended between two reads."""

    def __init__(self, queue: JobQueue, root: str) -> None:
        self._queue = queue
        self._root = root
        self._failures = RecentFailures(queue)
        self._before: tuple[float, int] | None = None

    def look(self) -> View:
        """Read the queue, and return its view."""
        at = time.monotonic()
        now = queue_overview(self._queue)
        ended = now.total(Place.DONE)
        rate = None
        if self._before is not None and at > self._before[0]:
            # The number of ended jobs decreases when old jobs are removed; the rate is 0 then.
            rate = max(0, ended - self._before[1]) / (at - self._before[0])
        self._before = (at, ended)
        return View(self._root, now, running_jobs(self._queue), self._failures.look(), rate)


def top(
    queue: JobQueue,
    root: str,
    printer: Printer,
    every_s: float,
    pause: Callable[[float], None] = time.sleep,
    rounds: int | None = None,
) -> None:
    """Show a queue ``rounds`` times.

    If ``rounds`` is None: on a terminal until an interrupt; as JSON or plain text one time.
    """
    watcher = Watcher(queue, root)
    if printer.is_json or not printer.has_terminal:
        for number in range(rounds or 1):
            if number:
                pause(every_s)
            view = watcher.look()
            if printer.is_json:
                printer.answer(view.as_json())
            else:
                for line in plain(view):
                    click.echo(line)
        return
    with Live(console=Console(), auto_refresh=False, screen=False) as live:
        while rounds is None or rounds > 0:
            began = time.monotonic()
            live.update(render(watcher.look()), refresh=True)
            if rounds is not None:
                rounds -= 1
            if rounds != 0:
                pause(max(every_s, LOOK_SHARE * (time.monotonic() - began)))
