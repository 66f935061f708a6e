"""The options that select jobs by their values and times, and the command that retries jobs.

This module imports click and other packages of `zoolet.jobs`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from zoolet.jobs.cli.options import (
    Target,
    by_servers_time,
    dispatcher_on,
    errors_as_messages,
    past_moment,
    queue_options,
)
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.queue.retrying import retry_failed
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_filters import JobFilter


def selecting_options(verb: str) -> tuple[Callable[..., Any], ...]:
    """Return the options that select jobs; ``verb`` begins their help, like "List"."""
    return (
        click.option("--batch", help=f"{verb} only jobs of this batch."),
        click.option("--task", help=f"{verb} only jobs of this task, module:function."),
        click.option("--dataset", help=f"{verb} only jobs of this dataset."),
        click.option(
            "--error",
            help=f"{verb} only jobs whose last error contains this text, for example the type of an"
            " exception.",
        ),
        click.option(
            "--since",
            "since_ms",
            callback=past_moment,
            help=f"{verb} only jobs that ended at this time or later, like 2026-01-31T08:00, or"
            " like 24h for the last 24 hours.",
        ),
        click.option(
            "--until",
            "until_ms",
            callback=past_moment,
            help=f"{verb} only jobs that ended before this time, in the forms of --since.",
        ),
    )


def filter_of(dispatcher: Dispatcher, **selected: Any) -> JobFilter:
    """Return the filter of the options; times like 24h are relative to the server's clock."""
    return JobFilter(**by_servers_time(dispatcher, selected))


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(selecting_options("Retry")):
        command = option(command)
    return command


@click.command("retry")
@queue_options
@click.argument("names", nargs=-1)
@_with_options
@click.option("--all", "is_all", is_flag=True, help="Retry all FAILED jobs of the queue.")
def retry(*, target: Target, names: Sequence[str], is_all: bool, **selected: Any) -> None:
    """Retry FAILED jobs: they wait again in their old order, and their attempts start from 0.

    If a retry with options is interrupted, the same command continues it, and retries no job twice.
    """
    is_filtered = any(value is not None for value in selected.values())
    if sum((bool(names), is_filtered, is_all)) != 1:
        raise click.UsageError("give the names of jobs, or options that select jobs, or --all")
    with errors_as_messages(), dispatcher_on(target) as dispatcher:

        def tell(job: Job) -> None:
            target.printer.answer({"retried": job.name}, f"{job.name} waits again")

        if names:
            for name in names:
                tell(dispatcher.queue.retry(name))
            return
        found = retry_failed(dispatcher.queue, filter_of(dispatcher, **selected), tell)
        if not found.jobs:
            target.printer.note("no job was retried: the options select no FAILED job")
        if found.is_continued:
            began = datetime.fromtimestamp(found.began_ms / 1000, UTC).isoformat(timespec="seconds")
            target.printer.note(
                f"this continued a retry that began at {began}: jobs that FAILED later were not"
                " retried. To retry them, run the command again"
            )
