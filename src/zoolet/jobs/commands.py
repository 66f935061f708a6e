"""The commands ``zoolet worker`` and ``zoolet jobs``: options in, tables and exit codes out.

What holds: bad input is a message that says what to do and an exit code other than 0, never a
traceback. Imports click, rich and the job system's other modules.
"""

import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from kazoo.exceptions import KazooException
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from zoolet.jobs.dispatcher import Dispatcher, JobFailedError
from zoolet.jobs.errors import JobError
from zoolet.jobs.records import JobState
from zoolet.jobs.worker import Worker
from zoolet.model import paths


@contextmanager
def _errors_as_messages() -> Iterator[None]:
    try:
        yield
    except (JobError, KazooException, TimeoutError, ValueError) as error:
        raise click.ClickException(str(error) or type(error).__name__) from error


def _queue_path(_: click.Context, __: click.Parameter, value: str) -> str:
    if (reason := paths.reason_invalid(value)) is not None:
        raise click.BadParameter(f"{value!r} is no path of a znode: {reason}")
    return value


def _json_object(_: click.Context, __: click.Parameter, value: str) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f'{value!r} is not a JSON object, like {{"year": 2013}}')
    return found


def _queue_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say which queue it works on."""
    for option in (
        click.option(
            "--connect-timeout-ms",
            type=click.IntRange(min=1),
            default=10_000,
            show_default=True,
            help="How long to wait for the server.",
        ),
        click.option(
            "--queue",
            "root",
            required=True,
            callback=_queue_path,
            help="The queue's root, like /jobs/flights.",
        ),
        click.option(
            "--server",
            "hosts",
            default="127.0.0.1:2181",
            show_default=True,
            help="ZooKeeper servers, host:port[,host:port...].",
        ),
    ):
        command = option(command)
    return command


@click.command()
@_queue_options
@click.option("--loader", required=True, help="Loads a group of data: module:function.")
@click.option(
    "--executors",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Jobs to work on at a time.",
)
@click.option(
    "--cache-groups",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Loaded groups to keep.",
)
@click.option(
    "--locality-wait-ms",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="How long to wait for a job whose data is here while others wait.",
)
@click.option(
    "--session-timeout-ms",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="When this worker dies, its jobs go to others after this.",
)
@click.option(
    "--grace-ms",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="At a stop, how long running jobs may take to finish before they are given back.",
)
@click.option(
    "--import-path",
    "import_paths",
    multiple=True,
    default=["."],
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory to import loader and tasks from; may be repeated.  [default: .]",
)
def worker(
    *,
    hosts: str,
    root: str,
    connect_timeout_ms: int,
    loader: str,
    executors: int,
    cache_groups: int,
    locality_wait_ms: int,
    session_timeout_ms: int,
    grace_ms: int,
    import_paths: tuple[Path, ...],
) -> None:
    """Take jobs from a queue and run them, until SIGTERM or Ctrl-C."""
    sys.path[:0] = [str(path.resolve()) for path in import_paths]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    logging.getLogger("kazoo").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _errors_as_messages():
        running = Worker(
            hosts,
            root,
            loader=loader,
            executors=executors,
            cache_groups=cache_groups,
            locality_wait_ms=locality_wait_ms,
            session_timeout_ms=session_timeout_ms,
            connect_timeout_ms=connect_timeout_ms,
        )
        running.start()
    try:
        click.echo(
            f"worker {running.worker_id}: queue {root} on {hosts}, {executors} executor(s),"
            f" cache of {cache_groups} groups, loader {loader}"
        )
        running.wait()
    except KeyboardInterrupt:
        click.echo("stopping: finishing what runs, or giving it back")
    except Exception as error:
        raise click.ClickException(f"the worker ended: {error!r}") from error
    finally:
        # The stop is bounded by --grace-ms; a second Ctrl-C must not lose what it can give back.
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, signal.SIG_IGN)
        running.stop(grace_ms)


@click.group()
def jobs() -> None:
    """Submit jobs to a queue, and look at it."""


@jobs.command()
@_queue_options
def status(hosts: str, root: str, connect_timeout_ms: int) -> None:
    """Show how many jobs are in each state, and the workers."""
    with _errors_as_messages(), _dispatcher(hosts, root, connect_timeout_ms) as dispatcher:
        counts = dispatcher.queue.counts()
        owned = {job.worker: job.name for job in dispatcher.queue.owned()}
        states = Table("state", "jobs", title=f"queue {root}")
        for state, count in counts.items():
            states.add_row(state, str(count))
        workers = Table("worker", "has")
        for name in sorted(dispatcher.queue.workers()):
            workers.add_row(Text(name), Text(owned.get(name, "")))
    console = Console()
    console.print(states)
    console.print(workers if workers.row_count else "no workers")


@jobs.command(name="list")
@_queue_options
@click.option("--state", type=click.Choice([*JobState]), help="Only jobs in this state.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most to show."
)
def list_jobs(
    hosts: str, root: str, connect_timeout_ms: int, state: str | None, limit: int
) -> None:
    """List jobs: those that workers have, then those that wait, then those that have ended."""
    with _errors_as_messages(), _dispatcher(hosts, root, connect_timeout_ms) as dispatcher:
        found = [job for job in dispatcher.queue.jobs() if state in {None, job.state}]
    table = Table(Column("job", overflow="fold"), "state", "attempts", "worker", "last error")
    for job in found[:limit]:
        attempts = f"{job.attempts} of {job.max_attempts}"
        # As Text: what a task raises may look like rich's markup.
        table.add_row(*map(Text, (job.name, job.state, attempts, job.worker or "", job.last_error)))
    console = Console()
    console.print(table)
    if len(found) > limit:
        console.print(f"{len(found) - limit} more; raise --limit to see them")


@jobs.command()
@_queue_options
@click.option("--task", required=True, help="What to run: module:function.")
@click.option("--dataset", required=True, help="The dataset it works on.")
@click.option("--group", "groupid", required=True, help="Which group of the dataset.")
@click.option(
    "--priority",
    type=click.IntRange(0, 999),
    default=0,
    show_default=True,
    help="The greater goes first.",
)
@click.option(
    "--parameters",
    default="{}",
    show_default=True,
    callback=_json_object,
    help="What the task gets beside the data, a JSON object.",
)
@click.option(
    "--max-attempts", type=int, default=3, show_default=True, help="Attempts before it is FAILED."
)
@click.option("--reuse/--no-reuse", default=True, help="Whether to answer from a stored result.")
@click.option("--wait", is_flag=True, help="Wait for the result, and print it.")
def submit(
    *,
    hosts: str,
    root: str,
    connect_timeout_ms: int,
    task: str,
    dataset: str,
    groupid: str,
    priority: int,
    parameters: dict[str, Any],
    max_attempts: int,
    reuse: bool,
    wait: bool,
) -> None:
    """Submit one job; print its name, or with --wait its result as JSON."""
    with _errors_as_messages(), _dispatcher(hosts, root, connect_timeout_ms) as dispatcher:
        batch = dispatcher.submit(
            task,
            dataset,
            groupid,
            parameters,
            priority=priority,
            max_attempts=max_attempts,
            reuse=reuse,
        )
        [submission] = batch.submissions
        click.echo(f"{submission.name} {submission.origin}", err=wait)
        if wait:
            try:
                click.echo(json.dumps(next(batch.values())))
            except JobFailedError as failed:
                click.echo(failed.job.errors[-1].message, err=True)
                raise


@contextmanager
def _dispatcher(hosts: str, root: str, connect_timeout_ms: int) -> Iterator[Dispatcher]:
    logging.getLogger("kazoo").setLevel(logging.CRITICAL)
    with Dispatcher(hosts, root, connect_timeout_ms=connect_timeout_ms) as dispatcher:
        yield dispatcher
