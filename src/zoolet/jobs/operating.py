"""The commands that operate a queue: look at it, pause it, cancel, retry, remove and export jobs.

Imports click, rich and the job system's other modules.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from zoolet.jobs import inspection
from zoolet.jobs.batch import Batch
from zoolet.jobs.connection import connect, without_chroot
from zoolet.jobs.dispatcher import Dispatcher
from zoolet.jobs.errors import JobNotFoundError
from zoolet.jobs.layout import DONE
from zoolet.jobs.options import dispatcher_on, errors_as_messages, queue_options
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import Job, JobState
from zoolet.jobs.removal import Remover
from zoolet.jobs.settings import QueueSettings
from zoolet.jobs.texts import escaped, escaped_lines, indented
from zoolet.jobs.top import top as show_top

commands: list[click.Command] = []


def _command(
    *options: Callable[..., Any], name: str | None = None, needs_one_of: str | None = None
) -> Callable[..., Any]:
    """Make a function a command on a queue: it gets a dispatcher, and its options' values.

    ``needs_one_of`` is the message where none of the options was given.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def run(*, hosts: str, root: str, connect_timeout_ms: int, **values: Any) -> None:
            if needs_one_of is not None and all(v in {None, ()} for v in values.values()):
                raise click.UsageError(needs_one_of)
            with (
                errors_as_messages(),
                dispatcher_on(hosts, root, connect_timeout_ms) as dispatcher,
            ):
                function(dispatcher, root=root, **values)

        run.__doc__ = function.__doc__
        command: Any = queue_options(run)
        for option in reversed(options):
            command = option(command)
        commands.append(click.command(name or function.__name__)(command))
        return function

    return decorate


_settings = (
    click.option(
        "--inline-limit-bytes",
        type=click.IntRange(min=0),
        help="Results of more bytes go to the result store.",
    ),
    click.option("--result-store", help="Where they go: a URL of SQLAlchemy."),
    click.option(
        "--keep-done-s", type=click.IntRange(min=0), help="Remove finished jobs after this."
    ),
    click.option(
        "--keep-done-jobs", type=click.IntRange(min=0), help="Keep about so many of them."
    ),
)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in _settings:
        command = option(command)
    return command


def _changes(values: dict[str, Any]) -> dict[str, Any]:
    keep_s = values.pop("keep_done_s", None)
    values["keep_done_ms"] = None if keep_s is None else keep_s * 1000
    return {name: value for name, value in values.items() if value is not None}


@click.command("create")
@queue_options
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Parts that waiting jobs are split into; cannot be changed later.",
)
@_with_settings
def create(*, hosts: str, root: str, connect_timeout_ms: int, **values: Any) -> None:
    """Make a queue; one that is there keeps its settings."""
    with errors_as_messages():
        hosts, root = without_chroot(hosts, root)
        client = connect(hosts, session_timeout_ms=10_000, connect_timeout_ms=connect_timeout_ms)
        try:
            queue = JobQueue(client, root)
            queue.ensure_layout(QueueSettings(**_changes(values)))
            _print_settings(root, queue.settings)
        finally:
            client.stop()
            client.close()


commands.append(create)


def _print_settings(root: str, settings: QueueSettings) -> None:
    click.echo(f"queue {root}: {json.dumps(asdict(settings))}")


@_command(*_settings)
def configure(dispatcher: Dispatcher, root: str, **values: Any) -> None:
    """Change a queue's settings; those that are not given stay."""
    _print_settings(root, dispatcher.queue.configure(**_changes(values)))


@_command()
def status(dispatcher: Dispatcher, root: str) -> None:
    """Show how many jobs are in each state, the workers, and why the oldest job waits."""
    now = inspection.overview(dispatcher.queue)
    states = Table("state", Column("jobs", justify="right"), title=f"queue {root}")
    for state, count in dispatcher.queue.states().items():
        states.add_row(state, f"{count:,}")
    workers = Table("worker", "executors", "done", "groups")
    for worker, report in sorted(now.workers.items()):
        figures = (report.get(name, "") for name in ("executors", "successful", "groups"))
        workers.add_row(Text(worker), *map(str, figures))
    console = Console()
    console.print(states)
    console.print(workers if now.workers else "no workers")
    for worker, report in sorted(now.workers.items()):
        if report.get("result_store_problem"):
            console.print(Text(f"{worker}: large results fail: {report['result_store_problem']}"))
    if now.control.paused or now.control.paused_datasets:
        paused = "the queue" if now.control.paused else ", ".join(now.control.paused_datasets)
        console.print(Text(f"paused: {paused}"))
    if now.oldest is not None:
        console.print(Text(f"waits longest: {now.oldest.name}: {now.why}"))


@_command(
    click.option("--state", type=click.Choice([*JobState]), help="Only jobs in this state."),
    click.option("--batch", "batch_name", help="Only jobs of this batch."),
    click.option(
        "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most to show."
    ),
    name="list",
)
def list_jobs(
    dispatcher: Dispatcher, root: str, state: str | None, batch_name: str | None, limit: int
) -> None:
    """List jobs: those that workers have, then those that wait, then those that have ended."""
    del root
    found = (
        job
        for job in dispatcher.queue.jobs()
        if state in {None, job.state} and batch_name in {None, job.batch}
    )
    table = Table(Column("job", overflow="fold"), "state", "attempts", "worker", "last error")
    for job in islice(found, limit):
        attempts = f"{job.attempts} of {job.max_attempts}"
        # As Text: what a task raises may look like rich's markup.
        table.add_row(*map(Text, (job.name, job.state, attempts, job.worker or "", job.last_error)))
    console = Console()
    console.print(table)
    if next(found, None) is not None:
        console.print("there are more; raise --limit to see them")


@_command(
    click.argument("names", nargs=-1),
    click.option("--batch", "batch_name", help="Show how a batch comes on."),
    needs_one_of="name jobs, or give --batch",
)
def show(dispatcher: Dispatcher, root: str, names: Sequence[str], batch_name: str | None) -> None:
    """Show all there is to know of jobs, as JSON, and why they are where they are."""
    del root
    for name in names:
        job = dispatcher.job(name)
        why = inspection.explain(dispatcher.queue, job)
        click.echo(json.dumps({"job": name, "why": why} | _as_json(job), indent=2))
    if batch_name is not None:
        batch = dispatcher.batch(batch_name)
        progress = {state: count for state, count in batch.progress().items() if count}
        click.echo(json.dumps({"batch": batch_name, "jobs": len(batch.names)} | progress))


@_command(
    click.argument("name"),
    click.option("--attempt", type=click.IntRange(min=1), help="Only this attempt, from 1."),
)
def logs(dispatcher: Dispatcher, root: str, name: str, attempt: int | None) -> None:
    """Show the last lines that each attempt of a job has printed and logged."""
    del root
    job = dispatcher.queue.find(name)
    output = {one.attempt: one for one in job.output}
    errors = {one.attempt: one for one in job.errors}
    wanted = sorted({*output, *errors} if attempt is None else {attempt} & {*output, *errors})
    for number in wanted:
        worker = (output.get(number) or errors[number]).worker
        error = errors[number].summary if number in errors else "no error"
        click.echo(f"attempt {number}, worker {escaped(worker)}: {escaped(error)}")
        if number in output:
            click.echo(indented(escaped_lines(output[number].last_lines)))
    if not wanted:
        which = "no attempt" if attempt is None else f"no attempt {attempt}"
        click.echo(
            f"{escaped(name)} is {job.state}: {which} of it has ended with output or an error"
        )


def _as_json(job: Job) -> dict[str, Any]:
    return json.loads(job.encode()) | {"result": job.result}  # type: ignore[no-any-return]


def _chosen(
    dispatcher: Dispatcher, names: Sequence[str], batch_name: str | None, state: JobState
) -> list[str]:
    """Return the names that a command is about: those given, and those of the batch."""
    chosen = list(names)
    if batch_name is not None:
        batch = dispatcher.batch(batch_name)
        chosen += _in_state(dispatcher, batch, state)
    return chosen


def _in_state(dispatcher: Dispatcher, batch: Batch, state: JobState) -> list[str]:
    if state is not JobState.FAILED:
        return batch.names
    done = dispatcher.queue.layout.read(DONE, batch.names)
    return [job.name for job in done if job.state is state]


@_command(
    click.argument("names", nargs=-1),
    click.option("--batch", "batch_name", help="All of a batch."),
    needs_one_of="name jobs, or give --batch",
)
def cancel(dispatcher: Dispatcher, root: str, names: Sequence[str], batch_name: str | None) -> None:
    """End jobs that have not ended, as FAILED; tasks that run are ended too."""
    del root
    wanted = _chosen(dispatcher, names, batch_name, JobState.PENDING)
    for name in names:
        dispatcher.queue.find(name)
    cancelled = dispatcher.queue.cancel(wanted)
    click.echo(f"{len(cancelled)} of {len(wanted)} jobs cancelled; the others had ended")


@_command(
    click.argument("names", nargs=-1),
    click.option("--batch", "batch_name", help="All of a batch that are FAILED."),
    needs_one_of="name jobs, or give --batch",
)
def retry(dispatcher: Dispatcher, root: str, names: Sequence[str], batch_name: str | None) -> None:
    """Let FAILED jobs wait again in their old places, with all their attempts before them."""
    del root
    chosen = _chosen(dispatcher, names, batch_name, JobState.FAILED)
    for name in chosen:
        click.echo(f"{dispatcher.queue.requeue(name).name} waits again")
    if not chosen:
        click.echo("no job of the batch is FAILED")


@_command(
    click.option("--older-than-s", type=click.IntRange(min=0), help="Jobs that ended before."),
    click.option("--keep", type=click.IntRange(min=0), help="All but so many of the newest."),
    needs_one_of="say which: --older-than-s (0 is all), or --keep",
)
def purge(dispatcher: Dispatcher, root: str, older_than_s: int | None, keep: int | None) -> None:
    """Remove finished jobs, with their results."""
    del root
    queue = dispatcher.queue
    remover = Remover(queue, dispatcher.results)
    removed = remover.apply(None if older_than_s is None else older_than_s * 1000, keep)
    click.echo(f"{removed.jobs} jobs removed, and {removed.batches} batches")


@_command(
    click.option("--state", type=click.Choice([*JobState]), help="Only jobs in this state."),
    click.option("--output", type=click.File("w"), default="-", help="Where to; else here."),
)
def export(dispatcher: Dispatcher, root: str, state: str | None, output: TextIO) -> None:
    """Write jobs as JSON, one a line, with their results."""
    del root
    output.writelines(
        json.dumps({"job": job.name} | _as_json(job)) + "\n"
        for job in _completed(dispatcher, state)
    )


def _completed(dispatcher: Dispatcher, state: str | None) -> Iterator[Job]:
    for job in dispatcher.queue.jobs():
        if state in {None, job.state}:
            try:
                yield dispatcher.job(job.name) if job.stored else job
            except JobNotFoundError:
                continue


_dataset = click.option("--dataset", help="Only jobs of this dataset.")


@_command(_dataset)
def pause(dispatcher: Dispatcher, root: str, dataset: str | None) -> None:
    """Let no worker take jobs; what runs goes on."""
    dispatcher.queue.pause(dataset)
    click.echo(f"paused: {dataset or root}")


@_command(_dataset)
def resume(dispatcher: Dispatcher, root: str, dataset: str | None) -> None:
    """End a pause."""
    control = dispatcher.queue.pause(dataset, paused=False)
    click.echo(f"resumed: {dataset or root}")
    if dataset is None and control.paused_datasets:
        click.echo(f"still paused: dataset {', '.join(sorted(control.paused_datasets))}")


@_command(
    click.option(
        "--every-s", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Redraw."
    ),
    click.option("--rounds", type=click.IntRange(min=1), help="End after so many."),
)
def top(dispatcher: Dispatcher, root: str, every_s: float, rounds: int | None) -> None:
    """Watch a queue: what waits, is owned and done, the workers, and why the oldest job waits."""
    try:
        show_top(dispatcher.queue, root, Console(), every_s, rounds=rounds)
    except KeyboardInterrupt:
        click.echo()
