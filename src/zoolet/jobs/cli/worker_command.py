"""The command ``zoolet worker``: its options, its output and its exit code.

Invariant: bad input leads to a message that says what to do and to an exit code other than 0, never
to a traceback. This module imports click and other packages of `zoolet.jobs`.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from zoolet.console.os_errors import needs_posix
from zoolet.jobs.cli.options import Target, errors_as_messages, queues_options
from zoolet.jobs.cli.queue_values import queues_of
from zoolet.jobs.errors import JobError
from zoolet.jobs.execution.logs import LEVELS, LogFormat, set_up
from zoolet.jobs.hooks.job_hooks import JobHooks, load_hooks
from zoolet.jobs.worker import health
from zoolet.jobs.worker.executor_control import IDLE_LEAST_S, IDLE_S
from zoolet.jobs.worker.served_queues import WorkerQueue
from zoolet.jobs.worker.service_reports import ServiceReports
from zoolet.jobs.worker.task_histograms import TaskHistograms
from zoolet.jobs.worker.worker import GRACE_MS, Worker
from zoolet.process.service_manager import ServiceManager

TIMEOUT_MS = 30_000
"""The default of the time limit of the command of --on-failure, in ms."""


@click.command()
@queues_options
@click.option(
    "--weight",
    "weights",
    multiple=True,
    metavar="PATH=NUMBER",
    help="Share of a queue, compared with the other queues that have waiting jobs.  [default: 1]",
)
@click.option(
    "--loader",
    "group_loaders",
    multiple=True,
    metavar="[PATH=]NAME",
    help="Function that loads a group of data: module:function. Without it, tasks get None. With"
    " PATH=, it is for the data of one --queue.",
)
@click.option(
    "--executors",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of jobs that run at the same time, each in its own process.",
)
@click.option(
    "--min-executors",
    type=click.IntRange(min=1),
    help="Smallest number of executors; more are started for waiting jobs.  [default: --executors]",
)
@click.option(
    "--max-executors",
    type=click.IntRange(min=1),
    help="Greatest number of executors.  [default: --executors]",
)
@click.option(
    "--executor-idle-ms",
    type=click.IntRange(min=int(IDLE_LEAST_S * 1000)),
    default=int(IDLE_S * 1000),
    show_default=True,
    help="Time without a job after which an executor is stopped, down to --min-executors.",
)
@click.option(
    "--max-jobs-per-executor",
    type=click.IntRange(min=1),
    help="Number of jobs after which the process of an executor is replaced.",
)
@click.option(
    "--max-executor-mib",
    type=click.IntRange(min=1),
    help="Replace the process of an executor if it uses more than N MiB of memory after a job.",
)
@click.option(
    "--attempt-memory-mib",
    type=click.IntRange(min=1),
    help="Limit of the memory of an executor's processes during an attempt, in MiB; an attempt that"
    " exceeds it fails.",
)
@click.option(
    "--async-concurrency",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of jobs that an executor runs at the same time, for tasks that are async def.",
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
    "--tag",
    "tags",
    multiple=True,
    help="Tag of this worker, such as gpu. Jobs that require a tag run only on workers that have"
    " it. May be repeated.",
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
    "--tasks",
    multiple=True,
    help="Run only tasks that match this pattern, like mail:*, and leave all other jobs to other"
    " workers. May be repeated.  [default: all tasks]",
)
@click.option(
    "--loaders",
    multiple=True,
    help="Let jobs name only loaders that match this pattern, like csv or shop.data:*. May be"
    " repeated.  [default: all; with --tasks, the built-in loaders]",
)
@click.option(
    "--accept-unsigned",
    is_flag=True,
    help="With --signing-keys, also run jobs without a signature.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Port of the metrics for Prometheus on 127.0.0.1; 0: any free port.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    help="Port for health probes with HTTP: /live, /ready and /status; 0: any free port.",
)
@click.option(
    "--health-address",
    default=health.ADDRESS,
    show_default=True,
    help="Address of --health-port; 0.0.0.0 for probes from other hosts.",
)
@click.option(
    "--status-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the worker's health and counters as JSON; it is replaced at each change and"
    " every 10 s.",
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
@click.option(
    "--hooks",
    "hook_names",
    multiple=True,
    help="Class of hooks that are called when attempts start and end, and when jobs fail:"
    " module:class. May be repeated.",
)
@click.option(
    "--on-failure",
    help="Command to run for each job that has become FAILED. It gets the job as JSON on its"
    " standard input. It runs without a shell: write sh -c '...' if you need one.",
)
@click.option(
    "--on-failure-timeout-ms",
    type=click.IntRange(min=1),
    default=TIMEOUT_MS,
    show_default=True,
    help="Time limit of the command of --on-failure; after it, the worker ends the command.",
)
def worker(
    *,
    target: Target,
    roots: tuple[str, ...],
    weights: tuple[str, ...],
    group_loaders: tuple[str, ...],
    session_timeout_ms: int,
    executor_idle_ms: int,
    grace_ms: int,
    import_paths: tuple[Path, ...],
    metrics_port: int | None,
    health_port: int | None,
    health_address: str,
    status_file: Path | None,
    hook_names: tuple[str, ...],
    on_failure: str | None,
    on_failure_timeout_ms: int,
    log_level: str,
    log_format: str,
    tasks: tuple[str, ...],
    loaders: tuple[str, ...],
    **options: Any,
) -> None:
    """Take jobs from one or several queues and run them, until SIGTERM or Ctrl-C.

    SIGHUP replaces the executors when their jobs have ended, so that they load new code.
    """
    # Windows does not have the signals of this module.
    from zoolet.jobs.worker.program import become_init, run  # noqa: PLC0415

    sys.path[:0] = [str(path.resolve()) for path in import_paths]
    set_up(log_level, LogFormat(log_format))
    become_init()
    queues, loader = queues_of(roots, weights, group_loaders)
    with errors_as_messages():
        connection = replace(target.connection, session_timeout_ms=session_timeout_ms)
        hooks = _hooks(hook_names, on_failure, on_failure_timeout_ms)
        histograms = None if metrics_port is None else TaskHistograms()
        running = Worker(
            connection,
            queues=queues,
            loader=loader,
            executor_idle_s=executor_idle_ms / 1000,
            hooks=[*hooks, *([histograms] if histograms is not None else [])],
            **_of_security(target, tasks, loaders),
            **options,
        )

    def on_started() -> None:
        _tell_started(target, running, connection.hosts, queues, options | {"loader": loader})
        if metrics_port is not None:
            _serve_metrics(running, metrics_port, histograms)

    manager = ServiceManager.take(os.environ, os.getpid())
    reports = ServiceReports(running, roots, status_file, manager)
    if health_port is not None:
        _serve_health(running, health_port, health_address)
    with errors_as_messages():
        run(running, on_started, click.echo, grace_ms, reports)
    _tell_failure(running)


def _hooks(names: tuple[str, ...], on_failure: str | None, timeout_ms: int) -> list[JobHooks]:
    hooks = load_hooks(names)
    if on_failure is not None:
        if sys.platform == "win32":
            raise click.ClickException(needs_posix("--on-failure"))
        # Imported here because Windows does not have the system calls of this module.
        from zoolet.jobs.hooks.failure_command import FailureCommand  # noqa: PLC0415

        hooks.append(FailureCommand(on_failure, timeout_ms))
    return hooks


def _tell_failure(running: Worker) -> None:
    """End the command with the failure of the worker, if there is one."""
    if running.failure is not None:
        reason = running.failure if isinstance(running.failure, JobError) else repr(running.failure)
        raise click.ClickException(f"the worker ended: {reason}") from running.failure


def _of_security(
    target: Target, tasks: tuple[str, ...], loaders: tuple[str, ...]
) -> dict[str, Any]:
    """Return the arguments of a worker that say what it requires of jobs, and its stores."""
    return {
        "tasks": tasks or None,
        "loaders": loaders or None,
        "signing_keys": target.signing_keys,
        "result_stores": target.result_stores,
    }


def _tell_started(
    target: Target,
    running: Worker,
    hosts: str,
    queues: dict[str, WorkerQueue],
    options: dict[str, Any],
) -> None:
    kind = "threads" if options["threads"] else "processes"
    loader = options["loader"]
    answer = {
        "worker": running.worker_id,
        "queue": target.root,
        "server": hosts,
        "executors": running.executor_count,
        "kind": kind,
        "loader": loader,
    }
    named = f"queue {target.root}"
    if len(queues) > 1:
        answer["queues"] = {root: one.weight for root, one in queues.items()}
        weights = [f"{root} (weight {one.weight})" for root, one in queues.items()]
        named = f"queues {', '.join(weights)}"
    target.printer.answer(
        answer,
        f"worker {running.worker_id}: {named} on {hosts},"
        f" {running.executor_count} executor(s) in {kind}, loader {loader or '(none)'}",
    )


def _serve_health(running: Worker, port: int, address: str) -> None:
    """Serve the health from the start on, so that probes see a worker that starts."""
    from zoolet.jobs.worker.health_server import HealthServer  # noqa: PLC0415 -- http takes 8 ms

    try:
        server = HealthServer(running.health, port, address)
    except OSError as error:
        raise click.ClickException(
            f"cannot serve the health on {address}, port {port}: {error}"
        ) from None
    click.echo(f"health on port {server.server_port} of {address}", err=True)


def _serve_metrics(running: Worker, port: int, histograms: TaskHistograms | None) -> None:
    from zoolet.jobs.worker import metrics  # noqa: PLC0415 -- only if metrics are asked for

    try:
        port = metrics.serve(running, port, histograms=histograms)
    except OSError as error:
        raise click.ClickException(f"cannot serve metrics on port {port}: {error}") from None
    click.echo(f"metrics on http://{metrics.ADDRESS}:{port}/metrics")
