"""`JobHooks`: a class whose methods a user overrides, to be called when something happens to jobs.

A `zoolet.jobs.Dispatcher` calls the methods about submissions and results, in the thread of the
caller. A `zoolet.jobs.Worker` calls the methods about attempts, in a thread of its own
(`zoolet.jobs.hooks.attempt_calls`), and the method about FAILED jobs, in other threads
(`zoolet.jobs.worker.failure_calls`). Invariant: an exception of a hook is logged and changes
nothing.

This module imports `zoolet.jobs.errors`, `zoolet.jobs.records`, `zoolet.jobs.submit` and
`zoolet.jobs.execution`.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.execution.functions import HOOKS, load_function
from zoolet.jobs.records.failure_notes import JobFailure
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.submit.submission import Submission

log = logging.getLogger(__name__)


class Attempt(NamedTuple):
    """An attempt that has ended, and whose outcome is recorded.

    Times are in milliseconds since the epoch, by the server's clock.

    Attributes:
        job: the job after the attempt. Its state is SUCCESSFUL or FAILED, or PENDING if there will
            be another attempt.
        number: the number of the attempt, from 1.
        ready_ms: when the job came to ``unowned`` the last time before this attempt, so that a
            worker could take it. The waiting time of the attempt begins then. None if this is not
            known.
        started_ms: when the task was called; None if the attempt failed before.
        ended_ms: when the attempt ended.
        error: the error of the attempt; None if it succeeded.
    """

    job: Job
    number: int
    ready_ms: int | None
    started_ms: int | None
    ended_ms: int
    error: str | None


class JobHooks:
    """Override the methods that you need, and give an object to `Dispatcher` or `Worker`.

    The methods of this class do nothing. A method must not block for long: a dispatcher waits for
    it. A worker does not wait, but it leaves out calls if too many calls wait.
    """

    def before_submit(self, requests: Sequence[JobRequest]) -> Sequence[JobRequest]:
        """Return the requests that are submitted in place of ``requests``, one for each."""
        return requests

    def submitted(self, requests: Sequence[JobRequest], submissions: Sequence[Submission]) -> None:
        """The requests, as `before_submit` has returned them, were submitted."""

    def not_submitted(self, requests: Sequence[JobRequest], error: BaseException) -> None:
        """The submission of the requests has raised an error."""

    def received(self, job: Job) -> None:
        """A batch returns a job that has ended to the program."""

    def started(self, job: Job, started_ms: int) -> None:
        """A worker has called the task of a job, at ``started_ms`` by the server's clock.

        The waiting time of the attempt is from ``job.ready_ms`` to ``started_ms``.
        """

    def ended(self, attempt: Attempt) -> None:
        """A worker has recorded the outcome of an attempt."""

    def job_failed(self, failure: JobFailure) -> None:
        """A job has become FAILED, in whatever way, and was not cancelled.

        One worker of those with such a hook calls it, up to four times at the same time for each
        queue, in threads of its own. It calls the hook at least once for each failure, unless the
        job was retried or removed before. If the worker ends during the call, another call follows.
        """

    def interrupt(self) -> None:
        """The worker stops, and waits no longer for `job_failed`. Called in another thread."""


class HookCalls:
    """Calls the methods of several hooks, and logs their exceptions."""

    def __init__(self, hooks: Sequence[JobHooks]) -> None:
        for hook in hooks:
            if not isinstance(hook, JobHooks):
                raise InvalidJobError(
                    f"{hook!r:.80} is not an object of a subclass of zoolet.jobs.JobHooks"
                )
        self._hooks = tuple(hooks)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def submitting(
        self,
        requests: Sequence[JobRequest],
        submit: Callable[[Sequence[JobRequest]], list[Submission]],
    ) -> list[Submission]:
        """Call ``submit`` with the requests after the changes of all hooks; return its result."""
        if not self._hooks:
            return submit(requests)
        requests = self._before_submit(requests)
        try:
            submissions = submit(requests)
        except BaseException as error:
            for hook in self._hooks:
                with _guarded(hook, "not_submitted"):
                    hook.not_submitted(requests, error)
            raise
        for hook in self._hooks:
            with _guarded(hook, "submitted"):
                hook.submitted(requests, submissions)
        return submissions

    def _before_submit(self, requests: Sequence[JobRequest]) -> Sequence[JobRequest]:
        for hook in self._hooks:
            with _guarded(hook, "before_submit"):
                changed = list(hook.before_submit(requests))
                if len(changed) != len(requests):
                    raise InvalidJobError("before_submit must return one request for each request")
                requests = changed
        return requests

    def received(self, job: Job) -> None:
        """Call `JobHooks.received`."""
        for hook in self._hooks:
            with _guarded(hook, "received"):
                hook.received(job)

    def started(self, job: Job, started_ms: int) -> None:
        """Call `JobHooks.started`."""
        for hook in self._hooks:
            with _guarded(hook, "started"):
                hook.started(job, started_ms)

    def ended(self, attempt: Attempt) -> None:
        """Call `JobHooks.ended`."""
        for hook in self._hooks:
            with _guarded(hook, "ended"):
                hook.ended(attempt)

    @property
    def wants_failures(self) -> bool:
        """Whether a hook overrides `JobHooks.job_failed`."""
        return any(type(hook).job_failed is not JobHooks.job_failed for hook in self._hooks)

    def job_failed(self, failure: JobFailure) -> None:
        """Call `JobHooks.job_failed`."""
        for hook in self._hooks:
            with _guarded(hook, "job_failed"):
                hook.job_failed(failure)

    def interrupt(self) -> None:
        """Call `JobHooks.interrupt`."""
        for hook in self._hooks:
            with _guarded(hook, "interrupt"):
                hook.interrupt()


@contextlib.contextmanager
def _guarded(hook: JobHooks, method: str) -> Iterator[None]:
    """Log an exception of a hook; also that of `sys.exit`, which would end a worker's thread."""
    try:
        yield
    except (Exception, SystemExit):
        log.exception("the hook %s.%s has failed", type(hook).__qualname__, method)


def load_hooks(names: Sequence[str]) -> list[JobHooks]:
    """Return the objects of subclasses of `JobHooks` of these names, ``module:name``.

    A name is that of a class, or of a function that returns an object. It is called without
    arguments.

    Raises:
        FunctionNotFoundError: a name cannot be imported.
        InvalidJobError: an object is not of a subclass of `JobHooks`.
    """
    found = [load_function(name, HOOKS)() for name in names]
    HookCalls(found)
    return found
