"""`current_job`: what a task can find out about its job.

Executors call `begin_job` and `end_job` around each attempt. Imports `zoolet.jobs.errors`,
`zoolet.jobs.records` and other modules of its package.
"""

import logging
import time
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Protocol

from zoolet.jobs.context.task_dispatcher import TaskDispatcher
from zoolet.jobs.errors import JobCancelledError, JobError
from zoolet.jobs.records.progress import Progress, checked_progress

if TYPE_CHECKING:
    from zoolet.jobs.records.job_names import Group


class RunningAttempt(Protocol):
    """What an executor does for a running attempt."""

    def progressed(self, progress: Progress) -> None:
        """The task has reported its progress."""

    def is_wanted(self) -> bool:
        """Return whether the worker still wants the result of the attempt."""


class CurrentJob:
    """The job that runs now.

    Attributes:
        name: the name of the job.
        task: the name of its task.
        group: the dataset and the groupid of its data; None for a job without data.
        attempt: the number of the attempt, from 1.
        deadline_ms: the time of the timeout or of the soft timeout, whichever is earlier, in
            milliseconds since the epoch; None without a timeout.
    """

    __slots__ = (
        "_attempt",
        "_dispatcher",
        "attempt",
        "deadline_ms",
        "group",
        "name",
        "task",
        "work_name",
    )

    def __init__(
        self,
        name: str,
        task: str,
        group: "Group | None",
        attempt: int,
        timeout_ms: int | None,
        dispatcher: TaskDispatcher,
        running: RunningAttempt,
        work_name: str | None = None,
    ) -> None:
        self.name = name
        self.work_name = name if work_name is None else work_name
        """The name of the job in its executor, which may have jobs of several queues."""
        self.task = task
        self.group = group
        self.attempt = attempt
        self._dispatcher = dispatcher
        self._attempt = running
        self.deadline_ms = None if timeout_ms is None else int(time.time() * 1000) + timeout_ms

    @property
    def log(self) -> logging.Logger:
        """A logger whose records get into the worker's log, with the job's name."""
        return logging.getLogger(self.task.partition(":")[0])

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how much of the work is done, for people who look at the job.

        A task may call this often: at most two values a second are recorded, and always the last.

        Args:
            done: the amount of work that is done, at least 0.
            total: the amount of all work; None if it is not known.
            note: a text for people; characters after the first 200 are cut off.

        Raises:
            ValueError: ``done`` or ``total`` is not a number from 0 to 2**53.
        """
        self._attempt.progressed(checked_progress(done, total, note))

    def check_cancelled(self) -> None:
        """Raise JobCancelledError if the result of this attempt is not wanted any more.

        Tasks need this only with ``--threads``: a process is ended when its job is cancelled.

        Raises:
            JobCancelledError: the job was cancelled, or the worker has lost the job.
        """
        if not self._attempt.is_wanted():
            raise JobCancelledError(
                f"{self.name} was cancelled, or its worker lost the connection to ZooKeeper"
            )

    @property
    def dispatcher(self) -> Any:
        """A `zoolet.jobs.Dispatcher` for the queue of this job, which all tasks of a process share.

        Tasks must not close it. ``task.submit(...)`` inside of a task uses it, too.

        Raises:
            JobTimeoutError: no server replied in time.
            JobError: the job runs outside of a worker.
        """
        return self._dispatcher.get()


_running: ContextVar[CurrentJob | None] = ContextVar("zoolet_job", default=None)


def running_job() -> CurrentJob | None:
    """Return the job that runs now, in this thread or asynchronous task; None if none runs."""
    return _running.get()


def current_job() -> CurrentJob:
    """Return the job that runs now, in this thread or asynchronous task.

    Raises:
        JobError: no job runs here; for example, the task was called as a function.
    """
    job = _running.get()
    if job is None:
        raise JobError(
            "no job runs here: current_job() works only in a task that a worker has called, and in"
            " the thread of this call"
        )
    return job


def begin_job(job: CurrentJob) -> Token[CurrentJob | None]:
    """Make a job the current one; `end_job` gets the returned token."""
    return _running.set(job)


def end_job(token: Token[CurrentJob | None]) -> None:
    """End the state that `begin_job` has begun."""
    _running.reset(token)
