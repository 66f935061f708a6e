"""Jobs for tests of the web page: hostile tasks, a real worker, interrupted changes, histories."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import WorkerProcess
from zoolet.jobs import (
    ChangeProgress,
    Dispatcher,
    Job,
    JobChange,
    JobChanges,
    JobFilter,
    JobRequest,
)
from zoolet.jobs.housekeeping.removal import Remover

ROOT = "/jobs/flights"
URL = "/c/local/jobs/flights"
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\u202e{{7*7}}"
"""Markup, an escape of a terminal, right-to-left text, a template."""

TASKS = '''
import time
from pathlib import Path

HOSTILE = "<img src=x onerror=alert(1)>\\x1b[31m\\u202e{{7*7}}"

def repaired(group, parameters):
    """Fail until a file exists."""
    print("looks for the file", HOSTILE)
    if not Path(parameters["file"]).exists():
        raise FileNotFoundError(f"{HOSTILE} {'x' * 5000}")
    return {"found": True}

def echo(group, parameters):
    return parameters

def waits(group, parameters):
    """End when a file exists, at the latest after a minute."""
    until = time.monotonic() + 60
    while not Path(parameters["file"]).exists() and time.monotonic() < until:
        time.sleep(0.01)

def wrong(group, parameters):
    raise ValueError(parameters.get("text", "no"))
'''


@contextmanager
def working(hosts: str, directory: Path, root: str = ROOT) -> Iterator[WorkerProcess]:
    """Run a worker with these tasks on a queue."""
    (directory / "web_tasks.py").write_text(TASKS)
    worker = WorkerProcess(hosts, directory, "--executors", "2", root=root, loader=None)
    try:
        yield worker
    finally:
        worker.close()


def request(task: str, parameters: dict[str, Any] | None = None, **more: Any) -> JobRequest:
    """Return the request of a job with one attempt."""
    return JobRequest(f"web_tasks:{task}", None, None, parameters or {}, max_attempts=1, **more)


def ended(dispatcher: Dispatcher, *requests: JobRequest) -> list[Job]:
    """Submit jobs and wait for their ends; return them in the order of the requests."""
    batch = dispatcher.submit_batch(requests)
    found = {job.name: job for job in batch.results(timeout_s=60)}
    return [found[name] for name in batch.names]


class InterruptionError(Exception):
    """The end of a program in the middle of a change."""


def interrupt(dispatcher: Dispatcher, change: JobChange, selected: JobFilter) -> None:
    """Begin a change as a program that dies after its first fifty jobs."""

    def stop(_: ChangeProgress) -> None:
        raise InterruptionError

    with pytest.raises(InterruptionError):
        JobChanges(dispatcher.queue).make(change, selected, stop)


def remove_all(dispatcher: Dispatcher, store: str) -> None:
    """Remove all ended jobs of the queue, as its housekeeping does."""
    dispatcher.queue.configure(result_store=store, keep_done_jobs=0)
    Remover(dispatcher.queue, dispatcher.results).apply(0, None)
