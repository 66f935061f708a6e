"""The command ``zoolet jobs history``: searches the jobs that were removed from a queue.

This module imports click, `zoolet.console` and other packages of `zoolet.jobs`.
"""

from datetime import datetime
from typing import Any

import click

from zoolet.console.texts import duration
from zoolet.jobs.cli.options import (
    Target,
    by_servers_time,
    dispatcher_on,
    errors_as_messages,
    past_moment,
    queue_options,
)
from zoolet.jobs.history.entries import HistoryEntry, HistoryFilter, HistoryPosition
from zoolet.jobs.history.job_history import JobHistory
from zoolet.jobs.records.transitions import JobState

_ENDED = [JobState.SUCCESSFUL, JobState.FAILED]


@click.command("history")
@queue_options
@click.option("--state", type=click.Choice(_ENDED), help="List only jobs in this state.")
@click.option("--task", help="List only jobs of this task, module:function.")
@click.option("--batch", help="List only jobs of this batch.")
@click.option("--job", help="List only jobs of this name.")
@click.option("--error", help="List only jobs whose last error contains this text.")
@click.option(
    "--since",
    "since_ms",
    callback=past_moment,
    help="List only jobs that ended at this time or later, like 2026-01-31T08:00, or like 24h for"
    " the last 24 hours.",
)
@click.option(
    "--until",
    "until_ms",
    callback=past_moment,
    help="List only jobs that ended before this time, in the forms of --since.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="Largest number of jobs to list.",
)
@click.option("--after", help="Continue after this position, which the command before printed.")
def history(*, target: Target, limit: int, after: str | None, **values: Any) -> None:
    """List jobs that were removed from the queue, those that ended last first.

    A queue has a history if its setting --history is on, or if it has a --result-store.

    Without a terminal, each job is one line: name, task, state, attempts, duration, end, worker and
    last error, separated by tabs.
    """
    with errors_as_messages(), dispatcher_on(target) as dispatcher:
        state = None if values["state"] is None else JobState(values["state"])
        wanted = HistoryFilter(**(by_servers_time(dispatcher, values) | {"state": state}))
        position = None if after is None else HistoryPosition.parse(after)
        jobs = JobHistory(dispatcher.queue, dispatcher.results)
        # One more than wanted shows whether there are more.
        found = jobs.page(wanted, limit=limit + 1, after=position)
        _print(target, found[:limit])
        if len(found) > limit:
            last = found[limit - 1][0]
            target.printer.note(f"there are more jobs; to continue: --after {last}")


def _print(target: Target, found: list[tuple[HistoryPosition, HistoryEntry]]) -> None:
    printer = target.printer
    if printer.is_json:
        for position, entry in found:
            plain = entry._asdict()
            del plain["details"]
            more = {"parameters": entry.parameters, "errors": entry.errors}
            times = {"duration_ms": entry.duration_ms, "position": str(position)}
            printer.answer(plain | more | times)
        return
    columns = ("job", "task", "state", "attempts", "duration#", "ended", "worker", "last error")
    printer.records(columns, (_row(entry) for _, entry in found))


def _row(entry: HistoryEntry) -> tuple[str, ...]:
    return (
        entry.job,
        entry.task,
        entry.state,
        f"{entry.attempts} of {entry.max_attempts}",
        duration(entry.duration_ms),
        datetime.fromtimestamp(entry.finished_ms / 1000).astimezone().isoformat(timespec="seconds"),
        entry.worker or "",
        entry.last_error,
    )
