"""The commands that operate a queue: show and pause it; cancel, retry, remove and export jobs.

This module imports click, rich, `zoolet.console` and other packages of `zoolet.jobs`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any, TextIO

import click

from zoolet.console.terminal import one_line
from zoolet.console.texts import counted, duration, indented
from zoolet.jobs.cli.options import (
    Target,
    command_on_queue,
    errors_as_messages,
    queue_options,
)
from zoolet.jobs.cli.selecting import filter_of, retry, selecting_options
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.errors import JobNotFoundError
from zoolet.jobs.housekeeping.removal import Remover
from zoolet.jobs.overview.attempts import attempt_duration_ms, attempts_of
from zoolet.jobs.overview.graphs import Node, tree
from zoolet.jobs.overview.overview import explain_job, queue_overview
from zoolet.jobs.overview.top import top as show_top
from zoolet.jobs.queue.changing import JobChanges
from zoolet.jobs.queue.pausing import PauseKind, task_pause_name
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_changes import JobChange
from zoolet.jobs.records.job_filters import JobFilter
from zoolet.jobs.records.settings import QueueSettings
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.records.worker_reports import executors_text
from zoolet.jobs.znodes.connection import CLOSE_S, connect

commands: list[click.Command] = []


def _command(
    *options: Callable[..., Any], name: str | None = None, needs_one_of: str | None = None
) -> Callable[..., Any]:
    """Make a function a command on a queue; see `command_on_queue`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        commands.append(
            command_on_queue(
                function, options, name=name or function.__name__, needs_one_of=needs_one_of
            )
        )
        return function

    return decorate


_settings = (
    click.option(
        "--inline-limit-bytes",
        type=click.IntRange(min=0),
        help="Size limit of results in ZooKeeper; larger results go to the result store.",
    ),
    click.option(
        "--result-store",
        help="Name of the result store; each program has its URL (--result-store-url NAME=URL).",
    ),
    click.option(
        "--keep-done-ms",
        type=click.IntRange(min=0),
        help="Time after which finished jobs are removed.",
    ),
    click.option(
        "--keep-done-jobs",
        type=click.IntRange(min=0),
        help="Approximate number of finished jobs to keep; the oldest are removed.",
    ),
    click.option(
        "--keep-failed-ms",
        type=click.IntRange(min=0),
        help="Time after which FAILED jobs are removed; the other limits then apply only to"
        " SUCCESSFUL jobs.",
    ),
    click.option(
        "--history/--no-history",
        default=None,
        help="Write the attempts and times of jobs to the result store's database before the jobs"
        " are removed.  [default: --history if the queue has a --result-store]",
    ),
    click.option(
        "--max-waiting-jobs",
        type=click.IntRange(min=1),
        help="Largest number of waiting jobs; a submission that would exceed it is refused.",
    ),
    click.option(
        "--oldest-share-percent",
        type=click.IntRange(0, 100),
        help="Percentage of jobs that workers take by age alone, so that jobs of low priority do"
        " not wait for ever.  [default: 0]",
    ),
)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    for option in _settings:
        command = option(command)
    return command


def _changes(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


@click.command("create")
@queue_options
@click.option(
    "--shards",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of shards that the waiting jobs are split into; cannot be changed later.",
)
@click.option(
    "--acl",
    help="ACL of all znodes of the queue: scheme:id:permissions[,...], like auth::cdrwa (with"
    " --auth) or digest:user:hash:cdrwa; cannot be changed later.  [default: everyone has all"
    " permissions]",
)
@_with_settings
def create(*, target: Target, **values: Any) -> None:
    """Create a queue; if the queue exists already, its settings stay the same."""
    with errors_as_messages():
        settings = QueueSettings(**_changes(values))
        connection, root = target.connection.moving_chroot(target.root)
        link = connect(connection)
        try:
            queue = JobQueue(link, root)
            queue.ensure_layout(settings)
            _print_settings(target, queue.settings)
        finally:
            link.close(CLOSE_S)


commands += [create, retry]


def _print_settings(target: Target, settings: QueueSettings) -> None:
    found = asdict(settings)
    target.printer.answer(
        {"queue": target.root, "settings": found}, f"queue {target.root}: {json.dumps(found)}"
    )


@_command(*_settings)
def configure(dispatcher: Dispatcher, target: Target, **values: Any) -> None:
    """Change a queue's settings; settings that are not given stay the same."""
    _print_settings(target, dispatcher.queue.configure(**_changes(values)))


@_command()
def status(dispatcher: Dispatcher, target: Target) -> None:
    """Show how many jobs are in each state, the workers, and why the oldest job waits."""
    printer = target.printer
    now = queue_overview(dispatcher.queue)
    states = dispatcher.queue.states()
    share_percent = dispatcher.queue.settings.oldest_share_percent
    if printer.is_json:
        oldest = None if now.oldest is None else {"job": now.oldest.name, "why": now.why}
        printer.answer(
            {
                "queue": target.root,
                "states": states,
                "workers": now.workers,
                "waits_longest": oldest,
                "oldest_share_percent": share_percent,
            }
            | _pauses(now.control)
        )
        return
    counts = [(state, f"{count:,}") for state, count in states.items()]
    printer.table(("state", "jobs#"), counts, f"queue {target.root}")
    if now.workers:
        columns = ("successful", "groups")
        printer.table(
            ("worker", "executors#", "done#", "groups#"),
            [
                (worker, executors_text(report), *(str(report.get(name, "")) for name in columns))
                for worker, report in sorted(now.workers.items())
            ],
        )
    else:
        printer.answer(None, "no workers")
    for worker, report in sorted(now.workers.items()):
        for name, effect in _PROBLEMS.items():
            if report.get(name):
                printer.answer(None, f"worker {worker}: {effect}: {report[name]}")
    if now.control.paused or now.control.paused_datasets:
        paused = "the queue" if now.control.paused else ", ".join(now.control.paused_datasets)
        printer.answer(None, f"paused: {paused}")
    if share_percent:
        printer.answer(None, f"share of the oldest jobs: {share_percent}%")
    if now.oldest is not None:
        printer.answer(None, f"oldest waiting job: {now.oldest.name}: {now.why}")


_PROBLEMS = {
    "result_store_problem": "attempts with large results fail",
    "history_problem": "finished jobs are not removed",
}
"""The fields of a worker's report that name a problem, and the effect of each."""


def _pauses(control: Control) -> dict[str, Any]:
    return {"paused": control.paused, "paused_datasets": sorted(control.paused_datasets)}


@_command(
    click.option(
        "--state",
        type=click.Choice([one.value for one in JobState]),
        help="List only jobs in this state.",
    ),
    *selecting_options("List"),
    click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=50,
        show_default=True,
        help="Largest number of jobs to list.",
    ),
    name="list",
)
def list_jobs(
    dispatcher: Dispatcher, target: Target, state: str | None, limit: int, **selected: Any
) -> None:
    """List jobs: first jobs that workers have, then waiting jobs, then ended jobs.

    Without a terminal, each job is one line: name, task, state, attempts, duration, worker and last
    error, separated by tabs.
    """
    printer = target.printer
    wanted = filter_of(dispatcher, state=None if state is None else JobState(state), **selected)
    found = (job for job in dispatcher.queue.jobs() if wanted.selects(job))
    now_ms = dispatcher.queue.clock_ms()
    if printer.is_json:
        for job in islice(found, limit):
            printer.answer(_summary(job, now_ms))
    else:
        printer.records(
            ("job", "task", "state", "attempts", "duration#", "worker", "last error"),
            (_row(job, now_ms) for job in islice(found, limit)),
        )
    if next(found, None) is not None:
        printer.note("there are more jobs; increase --limit to see them")


def _row(job: Job, now_ms: int) -> tuple[str, ...]:
    return (
        job.name,
        job.task,
        job.state,
        f"{job.attempts} of {job.max_attempts}",
        duration(attempt_duration_ms(job, now_ms)),
        job.worker or "",
        job.last_error,
    )


_SUMMARY = (
    "task", "dataset", "groupid", "state", "attempts", "max_attempts", "priority", "batch",
    "worker", "submitted_ms", "started_ms", "finished_ms", "last_error",
)  # fmt: skip


def _summary(job: Job, now_ms: int) -> dict[str, Any]:
    found = {"job": job.name} | {name: getattr(job, name) for name in _SUMMARY}
    return found | {"duration_ms": attempt_duration_ms(job, now_ms)}


@_command(
    click.argument("names", nargs=-1),
    click.option("--batch", "batch_name", help="Show the progress of this batch."),
    needs_one_of="give the names of jobs, or --batch",
)
def show(
    dispatcher: Dispatcher, target: Target, names: Sequence[str], batch_name: str | None
) -> None:
    """Show all data of jobs as JSON, and the reason for their state."""
    for name in names:
        job = dispatcher.job(name)
        why = explain_job(dispatcher.queue, job)
        found = {"job": name, "why": why} | _as_json(job)
        graph = None if job.batch is None else tree(dispatcher.queue, name)
        _show_with_graph(target, found, json.dumps(found, indent=2), graph)
    if batch_name is not None:
        batch = dispatcher.batch(batch_name)
        progress = batch.progress()
        shown: dict[str, Any] = {"batch": batch_name, "jobs": len(batch.names)}
        shown |= {state: count for state, count in progress.items() if count}
        if progress.reported:
            shown["progress"] = {name: str(one) for name, one in progress.reported.items()}
            shown["share"] = round(progress.share, 4)
        graph = tree(dispatcher.queue, batch_name)
        _show_with_graph(target, shown, json.dumps(shown), graph)


def _show_with_graph(target: Target, shown: dict[str, Any], text: str, graph: Node | None) -> None:
    """Print a job or a batch, and its dependencies as a tree if it has dependencies."""
    if graph is None or graph.when is None:
        target.printer.answer(shown, text)
        return
    target.printer.answer(shown | {"graph": graph.as_json()}, text, *map(one_line, graph.lines()))


@_command(
    click.argument("name"),
    click.option(
        "--attempt",
        type=click.IntRange(min=1),
        help="Show only this attempt; the first is 1.",
    ),
)
def logs(dispatcher: Dispatcher, target: Target, name: str, attempt: int | None) -> None:
    """Show the last lines that each attempt of a job has printed and logged."""
    job = dispatcher.queue.find(name)
    wanted = [one for one in attempts_of(job) if attempt in {None, one.attempt}]
    for one in wanted:
        error = one.errors[-1].summary if one.errors else None
        about = f"attempt {one.attempt}, worker {one_line(one.worker)}"
        lines = [f"{about}: {one_line(error or 'no error')}"]
        if one.output:
            lines.append(indented(one.output))
        found = {"job": name, "attempt": one.attempt, "worker": one.worker, "error": error}
        target.printer.answer(found | {"output": one.output}, *lines)
    if not wanted:
        which = "no attempt" if attempt is None else f"no attempt {attempt}"
        target.printer.note(f"{name} is {job.state}: {which} has ended with output or an error")


def _as_json(job: Job) -> dict[str, Any]:
    return json.loads(job.encode()) | {"result": job.result}  # type: ignore[no-any-return]


@_command(
    click.argument("names", nargs=-1),
    click.option("--batch", help="Cancel only jobs of this batch."),
    click.option("--task", help="Cancel only jobs of this task, module:function."),
    click.option("--dataset", help="Cancel only jobs of this dataset."),
    click.option("--error", help="Cancel only jobs whose last error contains this text."),
    click.option(
        "--state",
        type=click.Choice([JobState.PENDING, JobState.STAGING, JobState.RUNNING]),
        help="Cancel only jobs in this state.",
    ),
    needs_one_of="give the names of jobs, or options that select jobs",
)
def cancel(
    dispatcher: Dispatcher, target: Target, names: Sequence[str], state: str | None, **selected: Any
) -> None:
    """Cancel jobs that have not ended: they become FAILED, and running tasks are ended.

    If a cancellation with options is interrupted, the same command continues it.
    """
    printer = target.printer
    if names:
        if state is not None or any(value is not None for value in selected.values()):
            raise click.UsageError("give either the names of jobs, or options that select jobs")
        for name in names:
            dispatcher.queue.find(name)
        cancelled = dispatcher.queue.cancel(names)
        printer.answer(
            {"cancelled": [job.name for job in cancelled], "jobs": len(names)},
            f"{len(cancelled)} of {len(names)} jobs cancelled; all other jobs had already ended",
        )
        return
    wanted = JobFilter(state=None if state is None else JobState(state), **selected)
    ended: list[Job] = []
    changes = JobChanges(dispatcher.queue)
    made = changes.make(JobChange.CANCEL, wanted, on_changed=ended.append)
    printer.answer(
        {"cancelled": [job.name for job in ended], "jobs": made.jobs, "skipped": made.skipped},
        f"{counted(made.jobs, 'job')} cancelled"
        + (f"; {made.skipped} left out, which other programs have changed" if made.skipped else ""),
    )


@_command(
    click.option(
        "--older-than-s",
        type=click.IntRange(min=0),
        help="Remove jobs that ended more than this number of seconds ago.",
    ),
    click.option(
        "--keep", type=click.IntRange(min=0), help="Remove all except this number of newest jobs."
    ),
    needs_one_of="give --older-than-s (0 selects all finished jobs) or --keep",
)
def purge(
    dispatcher: Dispatcher, target: Target, older_than_s: int | None, keep: int | None
) -> None:
    """Remove finished jobs, with their results."""
    queue = dispatcher.queue
    remover = Remover(queue, dispatcher.results)
    removed = remover.apply(None if older_than_s is None else older_than_s * 1000, keep)
    target.printer.answer(
        removed._asdict(), f"{removed.jobs} jobs removed, and {removed.batches} batches"
    )


@_command(
    click.option("--state", type=click.Choice([*JobState]), help="Export only jobs in this state."),
    click.option(
        "--to", type=click.File("w"), default="-", help="Output file; default: standard output."
    ),
)
def export(dispatcher: Dispatcher, target: Target, state: str | None, to: TextIO) -> None:
    """Write jobs with their results as JSON, one in each line; --output has no effect."""
    del target
    to.writelines(
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


_dataset = click.option("--dataset", help="Select only jobs of this dataset.")
_task = click.option("--task", help="Select only jobs of this task, module:function.")


@_command(_dataset, _task)
def pause(dispatcher: Dispatcher, target: Target, dataset: str | None, task: str | None) -> None:
    """Pause a queue: workers take no more jobs, and running jobs continue."""
    if task is not None:
        name = dispatcher.queue.pauses.add_task(task, dataset)
        target.printer.answer({"paused_task": task, "limit": name}, f"paused: task {task}")
        return
    control = dispatcher.queue.pause(dataset)
    target.printer.answer(_pauses(control), f"paused: {dataset or target.root}")


@_command(_dataset, _task)
def resume(dispatcher: Dispatcher, target: Target, dataset: str | None, task: str | None) -> None:
    """End the pause of a queue, a dataset or a task; --task needs the same --dataset as pause."""
    if task is not None:
        name = task_pause_name(task, dataset)
        dispatcher.queue.pauses.end(PauseKind.TASK, name)
        target.printer.answer({"resumed_task": task, "limit": name}, f"resumed: task {task}")
        return
    control = dispatcher.queue.pause(dataset, paused=False)
    lines = [f"resumed: {dataset or target.root}"]
    if dataset is None and control.paused_datasets:
        lines.append(f"still paused: dataset {', '.join(sorted(control.paused_datasets))}")
    target.printer.answer(_pauses(control), *lines)


@_command(
    click.option(
        "--every-s",
        type=click.FloatRange(0.1, 86_400),
        default=1.0,
        show_default=True,
        help="Time between two updates.",
    ),
    click.option("--rounds", type=click.IntRange(min=1), help="Number of updates before the end."),
)
def top(dispatcher: Dispatcher, target: Target, every_s: float, rounds: int | None) -> None:
    """Show a queue continuously: its jobs, its workers, and why the oldest job waits.

    Without a terminal, or with --output json, print the queue one time, or --rounds times.
    """
    try:
        show_top(dispatcher.queue, target.root, target.printer, every_s, rounds=rounds)
    except KeyboardInterrupt:
        click.echo()
