"""The commands ``zoolet worker`` and ``zoolet jobs``: their options, output and exit codes.

This module contains the commands that run a worker and submit jobs; the commands that operate a
queue are in `zoolet.jobs.cli.queue_commands`. Invariant: bad input leads to a message that says
what to do and to an exit code other than 0, never to a traceback. This module imports click, rich
and other packages of `zoolet.jobs`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from zoolet.console.printing import Printer
from zoolet.jobs.cli.options import (
    FromNow,
    Target,
    dispatcher_on,
    errors_as_messages,
    json_object,
    moment,
    queue_options,
)
from zoolet.jobs.cli.queue_commands import commands as operating_commands
from zoolet.jobs.dispatcher.batch import Batch, JobFailedError
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.errors import InvalidJobError, JobError
from zoolet.jobs.execution.logs import LEVELS, LogFormat, set_up
from zoolet.jobs.records.job_names import PRIORITY_MAX
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.records.job_values import MAX_ATTEMPTS_LIMIT
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.worker.worker import GRACE_MS, Worker

REQUEST_NAMES = frozenset(JobRequest.__dataclass_fields__)


@click.command()
@queue_options
@click.option(
    "--loader",
    help="Function that loads a group of data: module:function. Without it, tasks get None.",
)
@click.option(
    "--executors",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of jobs that run at the same time, each in its own process.",
)
@click.option(
    "--threads",
    is_flag=True,
    help="Run tasks in threads of this process, with one cache; tasks with timeouts then fail.",
)
@click.option(
    "--cache-groups",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Number of loaded groups to keep in each cache; each executor process has a cache.",
)
@click.option(
    "--cache-bytes",
    type=click.IntRange(min=0),
    help="Limit, in bytes, of the groups in each cache. Without it, there is no limit.",
)
@click.option(
    "--locality-wait-ms",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="The longest time for which the worker passes over a job because it has not loaded the"
    " job's data; 0: it never does.",
)
@click.option(
    "--session-timeout-ms",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="If this worker dies, other workers get its jobs after this time.",
)
@click.option(
    "--grace-ms",
    type=click.IntRange(min=0),
    default=GRACE_MS,
    show_default=True,
    help="Time that running jobs have to finish after a stop signal. Then, or after a second"
    " signal, the worker gives them back to the queue.",
)
@click.option(
    "--import-path",
    "import_paths",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory to import the loader and tasks from, for example . (the working directory)."
    " May be repeated. Without it, only installed modules and PYTHONPATH are used.",
)
@click.option(
    "--result-store",
    help="URL of the store of large results. Without it, the URL in the queue's settings is used.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Port of the metrics for Prometheus on 127.0.0.1; 0: any free port.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    default="info",
    show_default=True,
    help="Least level of log records of this worker and its tasks.",
)
@click.option(
    "--log-format",
    type=click.Choice([one.value for one in LogFormat]),
    default=LogFormat.TEXT.value,
    show_default=True,
    help="Format of the log; json: one JSON object in each line.",
)
@click.option(
    "--on-step", help="Function that is called at each step of jobs, for tracing: module:function."
)
def worker(
    *,
    target: Target,
    session_timeout_ms: int,
    grace_ms: int,
    import_paths: tuple[Path, ...],
    metrics_port: int | None,
    log_level: str,
    log_format: str,
    **options: Any,
) -> None:
    """Take jobs from a queue and run them, until SIGTERM or Ctrl-C."""
    # Imported here because Windows does not have the signals of this module.
    from zoolet.jobs.worker.program import become_init, run  # noqa: PLC0415

    sys.path[:0] = [str(path.resolve()) for path in import_paths]
    set_up(log_level, LogFormat(log_format))
    become_init()
    with errors_as_messages():
        connection = replace(target.connection, session_timeout_ms=session_timeout_ms)
        running = Worker(connection, target.root, **options)

    def on_started() -> None:
        kind = "threads" if options["threads"] else "processes"
        loader = options["loader"]
        target.printer.answer(
            {
                "worker": running.worker_id,
                "queue": target.root,
                "server": connection.hosts,
                "executors": options["executors"],
                "kind": kind,
                "loader": loader,
            },
            f"worker {running.worker_id}: queue {target.root} on {connection.hosts},"
            f" {options['executors']} executor(s) in {kind}, loader {loader or '(none)'}",
        )
        if metrics_port is not None:
            _serve_metrics(running, metrics_port)

    with errors_as_messages():
        run(running, on_started, click.echo, grace_ms)
    if running.failure is not None:
        reason = running.failure if isinstance(running.failure, JobError) else repr(running.failure)
        raise click.ClickException(f"the worker ended: {reason}") from running.failure


def _serve_metrics(running: Worker, port: int) -> None:
    from zoolet.jobs.worker import metrics  # noqa: PLC0415 -- only if metrics are asked for

    try:
        port = metrics.serve(running, port)
    except OSError as error:
        raise click.ClickException(f"cannot serve metrics on port {port}: {error}") from None
    click.echo(f"metrics on http://{metrics.ADDRESS}:{port}/metrics")


@click.group()
def jobs() -> None:
    """Submit jobs to a queue, inspect the queue, and operate the queue."""


for command in operating_commands:
    jobs.add_command(command)


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
    "--file",
    "source",
    type=click.File(encoding="utf-8"),
    help="Submit a batch: a JSON object in each line, with task, dataset, groupid, ...",
)
@click.option("--batch", "name", help="Name of the batch, by which any process can follow it.")
@click.option("--after", help="Name of another batch; the jobs start when that batch is done.")
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
    after: str | None,
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
            request = _by_servers_time(dispatcher, request)
            requests = [JobRequest(**request)]
        if source is None and name is None and after is None:
            batch = dispatcher.submit(**request, reuse=reuse)
        else:
            batch = dispatcher.submit_batch(requests, reuse=reuse, name=name, after=after)
        _print_submissions(target.printer, batch, is_single=source is None, wait=wait)
        if wait:
            _print_results(target.printer, batch)


def _by_servers_time(dispatcher: Dispatcher, request: dict[str, Any]) -> dict[str, Any]:
    """Return a request in which `FromNow` times are replaced by times of the server's clock."""
    spans = {name: value for name, value in request.items() if isinstance(value, FromNow)}
    if not spans:
        return request
    now_ms = dispatcher.queue.server_time_ms()
    return request | {name: now_ms + value for name, value in spans.items()}


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
