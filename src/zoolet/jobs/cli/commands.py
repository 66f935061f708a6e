"""The commands ``zoolet jobs``: their options, output and exit codes.

This module contains the command that submits jobs. The commands that operate a queue are in
`zoolet.jobs.cli.queue_commands`, and ``zoolet worker`` is in `zoolet.jobs.cli.worker_command`.
Invariant: bad input leads to a message that says what to do and to an exit code other than 0, never
to a traceback. This module imports click, rich and other packages of `zoolet.jobs`.
"""

import json
from collections.abc import Iterator
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from zoolet.console.printing import Printer
from zoolet.jobs.cli.dataset_commands import dataset as dataset_commands
from zoolet.jobs.cli.history_command import history
from zoolet.jobs.cli.limit_commands import limit_group
from zoolet.jobs.cli.options import (
    Target,
    by_servers_time,
    dispatcher_on,
    errors_as_messages,
    json_object,
    moment,
    queue_options,
)
from zoolet.jobs.cli.queue_commands import commands as operating_commands
from zoolet.jobs.cli.schedule_commands import schedule
from zoolet.jobs.dispatcher.batch import Batch, JobFailedError
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.dependencies import When
from zoolet.jobs.records.job_names import PRIORITY_MAX
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.job_values import MAX_ATTEMPTS_LIMIT
from zoolet.jobs.records.transitions import JobState

REQUEST_NAMES = frozenset(JobRequest.__dataclass_fields__)


@click.group()
def jobs() -> None:
    """Submit jobs to a queue, inspect the queue, and operate the queue."""


for command in (*operating_commands, schedule, dataset_commands, limit_group):
    jobs.add_command(command)
jobs.add_command(history)


@jobs.command()
@queue_options
@click.option("--task", help="Function to run: module:function.")
@click.option(
    "--dataset", help="Dataset of the job. Needs --group; without both, a task gets None."
)
@click.option("--group", "groupid", help="Group of the dataset.")
@click.option(
    "--priority",
    type=click.IntRange(0, PRIORITY_MAX),
    default=0,
    show_default=True,
    help="Priority; jobs of greater priority start first.",
)
@click.option(
    "--parameters",
    default="{}",
    show_default=True,
    callback=json_object,
    help="Parameters of the task, a JSON object.",
)
@click.option(
    "--max-attempts",
    type=click.IntRange(1, MAX_ATTEMPTS_LIMIT),
    default=3,
    show_default=True,
    help="Number of failed attempts after which the job is FAILED.",
)
@click.option(
    "--backoff-ms",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Delay before the first retry. It doubles with each attempt.",
)
@click.option(
    "--timeout-ms", type=click.IntRange(min=1), help="Time limit of an attempt; then it fails."
)
@click.option(
    "--not-before",
    "not_before_ms",
    callback=moment,
    help="Earliest start time, like 2026-01-31T08:00, or like +30s from now.",
)
@click.option(
    "--expires",
    "expires_ms",
    callback=moment,
    help="Latest start time, in the forms of --not-before; a job that has not started then is"
    " FAILED.",
)
@click.option(
    "--idempotency-key",
    help="Text that identifies the work for --reuse, instead of task, data and parameters.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    help="Tag that a worker must have to take the job. May be repeated.",
)
@click.option("--limit-key", help="Key by which limits of the queue count the job.")
@click.option(
    "--file",
    "source",
    type=click.File(encoding="utf-8"),
    help="Submit a batch: a JSON object in each line, with task, dataset, groupid, ...",
)
@click.option("--batch", "name", help="Name of the batch, by which any process can follow it.")
@click.option(
    "--after",
    multiple=True,
    help="Name of a batch or a job; the jobs start after it. May be repeated.",
)
@click.option(
    "--when",
    type=click.Choice([one.value for one in When]),
    default=When.ALL_ENDED.value,
    show_default=True,
    help="Condition for the jobs of --after under which the jobs start.",
)
@click.option(
    "--receive", help="Parameter of the task that gets the results of the jobs of --after."
)
@click.option(
    "--reuse/--no-reuse",
    default=None,
    help="Use the job or result of the same work if there is one, or always submit a new job."
    "  [default: --reuse if the job has data or --idempotency-key]",
)
@click.option("--create", is_flag=True, help="Create the queue if it does not exist.")
@click.option("--wait", is_flag=True, help="Wait for the results, and print them.")
def submit(
    *,
    target: Target,
    source: TextIO | None,
    name: str | None,
    after: tuple[str, ...],
    when: str,
    receive: str | None,
    reuse: bool | None,
    create: bool,
    wait: bool,
    **request: Any,
) -> None:
    """Submit a job or a file of jobs; print their names, or with --wait their results as JSON."""
    with errors_as_messages():
        requests = [_one_request(request)] if source is None else list(_read_requests(source))
    with errors_as_messages(), dispatcher_on(target, create=create) as dispatcher:
        if source is None:
            request = by_servers_time(dispatcher, request)
            requests = [JobRequest(**request)]
        if source is None and name is None:
            batch = dispatcher.submit(
                **request, reuse=reuse, after=after or None, when=When(when), receive=receive
            )
        else:
            batch = dispatcher.submit_batch(
                requests,
                reuse=reuse,
                name=name,
                after=after or None,
                when=When(when),
                receive=receive,
            )
        _print_submissions(target.printer, batch, is_single=source is None, wait=wait)
        if wait:
            _print_results(target.printer, batch)


def _one_request(request: dict[str, Any]) -> JobRequest:
    if request["task"] is None:
        raise click.UsageError("give --task for a job, or --file for a batch")
    if (request["dataset"] is None) != (request["groupid"] is None):
        raise click.UsageError("give both --dataset and --group, or neither")
    return JobRequest(**request)


def _read_requests(source: TextIO) -> Iterator[JobRequest]:
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise InvalidJobError("it is not a JSON object")
            unknown = found.keys() - REQUEST_NAMES
            if unknown:
                raise InvalidJobError(
                    f"a job has no field {', '.join(sorted(unknown))}; its fields are"
                    f" {', '.join(sorted(REQUEST_NAMES))}"
                )
            yield JobRequest(**found)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidJobError(f"line {number}: {error}; nothing was submitted") from None


def _print_submissions(printer: Printer, batch: Batch, *, is_single: bool, wait: bool) -> None:
    """Print the job of each request; to standard error if the results follow."""
    if printer.is_json and not wait:
        jobs = [{"job": job.name, "origin": job.origin} for job in batch.submissions]
        printer.answer({"batch": batch.name, "jobs": jobs})
        return
    lines = []
    if is_single:
        [submission] = batch.submissions
        lines.append(f"{submission.name} {submission.origin}")
    if batch.name is not None:
        lines.append(f"batch {batch.name}: {len(batch.submissions)} jobs")
    for line in lines:
        if wait:
            printer.note(line)
        else:
            printer.answer(None, line)


def _print_results(printer: Printer, batch: Batch) -> None:
    """Print the results as jobs finish, with a progress bar if standard error is a terminal."""
    failed = 0
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal or len(batch.names) == 1,
    )
    is_single = len(batch.submissions) == 1 and batch.name is None
    with progress:
        bar = progress.add_task("jobs", total=batch.outstanding)
        for job in batch.results():
            progress.advance(bar)
            is_failed = job.state is JobState.FAILED
            failed += is_failed
            if is_failed and job.errors:
                printer.note(job.errors[-1].message)
            if printer.is_json:
                printer.answer(
                    {"job": job.name, "state": job.state, "result": job.result}
                    | {"errors": [error._asdict() for error in job.errors]}
                )
            elif not is_failed:
                found = job.result if is_single else {"job": job.name, "result": job.result}
                printer.answer(None, json.dumps(found))
            if is_failed and is_single:
                raise JobFailedError(job)
    if failed:
        raise click.ClickException(f"{failed} of {len(batch.names)} jobs FAILED")
