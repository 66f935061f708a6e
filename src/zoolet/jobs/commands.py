"""The commands ``zoolet worker`` and ``zoolet jobs``."""

import json
import logging
import queue as queues
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from kazoo.client import KazooClient
from kazoo.handlers.threading import KazooTimeoutError
from rich.console import Console
from rich.table import Table

from zoolet.jobs import worker as workers
from zoolet.jobs.dispatcher import Dispatcher
from zoolet.jobs.errors import JobError
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, JobRequest, JobState
from zoolet.jobs.tasks import find_loader

_CONNECT_TIMEOUT_S = 15.0

_server_option = click.option(
    "--server",
    default="127.0.0.1:2181",
    show_default=True,
    metavar="HOST:PORT[,HOST:PORT...]",
    help="The ZooKeeper server, or the members of an ensemble.",
)
_queue_option = click.option(
    "--queue", default="/jobs", show_default=True, metavar="PATH", help="The queue's root znode."
)


@contextmanager
def _connected(server: str, session_timeout_s: float = 10.0) -> Iterator[KazooClient]:
    client = KazooClient(hosts=server, timeout=session_timeout_s)
    try:
        client.start(timeout=_CONNECT_TIMEOUT_S)
    except KazooTimeoutError:
        raise click.ClickException(
            f"no ZooKeeper server answers at {server} within {_CONNECT_TIMEOUT_S:g} s: is it"
            " running (zkServer.sh status), and is the address right (--server)?"
        ) from None
    try:
        yield client
    except JobError as error:
        raise click.ClickException(str(error)) from error
    finally:
        client.stop()
        client.close()


def _call_when_signalled(stop: Callable[[], None]) -> None:
    """Call ``stop``, which takes locks, on a thread of its own at SIGTERM or Ctrl-C."""
    signals: queues.SimpleQueue[int] = queues.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: signals.put(number))

    def wait() -> None:
        signals.get()
        stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()


@click.command("worker")
@_server_option
@_queue_option
@click.option(
    "--loader",
    required=True,
    metavar="MODULE:FUNCTION",
    help="Loads a group: called with the data set and the group's id.",
)
@click.option("--executors", default=1, show_default=True, type=click.IntRange(1))
@click.option(
    "--cache-groups",
    default=workers.DEFAULT_MAX_GROUPS,
    show_default=True,
    type=click.IntRange(1),
    help="How many loaded groups are kept.",
)
@click.option(
    "--locality-wait",
    default=workers.DEFAULT_LOCALITY_WAIT_S,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long to wait for a job whose group is held, before taking the first of all.",
)
@click.option(
    "--grace",
    default=workers.DEFAULT_GRACE_S,
    show_default=True,
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long running jobs may go on after SIGTERM; then they are given back.",
)
@click.option(
    "--session-timeout",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="After this much silence the worker counts as lost.",
)
@click.option(
    "--import-path",
    default=".",
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where tasks and the loader are imported from, before what is installed.",
)
def worker(
    server: str,
    queue: str,
    loader: str,
    executors: int,
    cache_groups: int,
    locality_wait: float,
    grace: float,
    session_timeout: float,
    import_path: Path,
) -> None:
    """Take and run the jobs of a queue until SIGTERM or Ctrl-C."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    sys.path.insert(0, str(import_path.absolute()))
    try:
        load = find_loader(loader)
    except JobError as error:
        raise click.ClickException(str(error)) from error
    with _connected(server, session_timeout) as client:
        running = workers.Worker(
            client,
            queue,
            load,
            executors=executors,
            max_groups=cache_groups,
            locality_wait_s=locality_wait,
            grace_s=grace,
        )
        _call_when_signalled(running.stop)
        click.echo(f"worker: {executors} executors on the queue {queue} of {server}", err=True)
        running.run()


@click.group("jobs")
def jobs() -> None:
    """Submit jobs to a queue, and look at it."""


@jobs.command("submit")
@_server_option
@_queue_option
@click.option("--task", required=True, metavar="MODULE:FUNCTION")
@click.option("--dataset", required=True)
@click.option("--group", "groupid", required=True)
@click.option("--parameters", default="{}", metavar="JSON", help="A JSON object for the task.")
@click.option("--priority", default=DEFAULT_PRIORITY, show_default=True)
@click.option("--max-attempts", default=DEFAULT_MAX_ATTEMPTS, show_default=True)
@click.option("--anew", is_flag=True, help="Do it even if the same work is done or under way.")
@click.option("--wait", is_flag=True, help="Print the result; exit status 1 if the job fails.")
def submit(
    server: str,
    queue: str,
    task: str,
    dataset: str,
    groupid: str,
    parameters: str,
    priority: int,
    max_attempts: int,
    *,
    anew: bool,
    wait: bool,
) -> None:
    """Submit one job, and print its name."""
    try:
        parsed = json.loads(parameters)
    except ValueError as error:
        raise click.BadParameter(f"{parameters!r} is no JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise click.BadParameter(f"{parameters!r} is no JSON object: write {{...}}")
    request = JobRequest(
        task=task,
        dataset=dataset,
        groupid=groupid,
        parameters=parsed,
        priority=priority,
        max_attempts=max_attempts,
    )
    with _connected(server) as client:
        batch = Dispatcher(client, queue).submit(request, reuse=not anew)
        click.echo(batch.submitted[0].name)
        if wait:
            for value in batch.values():
                click.echo(json.dumps(value, ensure_ascii=False))


@jobs.command("status")
@_server_option
@_queue_option
def status(server: str, queue: str) -> None:
    """Print how many jobs wait, are owned, and are done, and which workers there are."""
    with _connected(server) as client:
        job_queue = JobQueue(client, queue)
        if client.exists(job_queue.unowned_path) is None:
            raise click.ClickException(
                f"there is no queue at {queue} of {server}: submitting to it, or a worker on it,"
                " makes it"
            )
        owned = [job_queue.find(name) for name in job_queue.owned()]
        failed = sum(
            job is not None and job.state is JobState.FAILED
            for job in map(job_queue.finished, job_queue.done())
        )
        table = Table("", "jobs", title=f"{queue} on {server}")
        table.add_row("unowned", str(len(job_queue.unowned())))
        table.add_row("owned", str(len(owned)))
        table.add_row("done", str(len(job_queue.done())))
        table.add_row("  of these FAILED", str(failed))
        workers_table = Table("worker", "has")
        for name in sorted(job_queue.workers()):
            has = [job.name for job in owned if job is not None and job.worker == name]
            workers_table.add_row(name, "\n".join(has))
        console = Console()
        console.print(table)
        console.print(workers_table)
