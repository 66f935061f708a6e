"""The dispatcher, which submits jobs to a queue.

This module imports `zoolet.client`, `zoolet.jobs.context`, `zoolet.jobs.queue`,
`zoolet.jobs.records`, `zoolet.jobs.results`, `zoolet.jobs.schedules`, `zoolet.jobs.signing` and
other modules of its package.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.jobs.context.current_dispatcher import enter_dispatcher, leave_dispatcher
from zoolet.jobs.datasets.datasets import Datasets
from zoolet.jobs.dispatcher.batch import Batch
from zoolet.jobs.dispatcher.graphs import After, dependencies_of
from zoolet.jobs.dispatcher.maps import MapResult, map_requests, submit_map
from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.hooks.job_hooks import HookCalls, JobHooks
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.queue.retrying import RetriedJobs, retry_failed
from zoolet.jobs.records.dependencies import When
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_filters import JobFilter
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.schedules.schedules import Schedules
from zoolet.jobs.signing.keys import KeysPath
from zoolet.jobs.submit.keys import KeyNamer
from zoolet.jobs.submit.submission import Submitter
from zoolet.jobs.znodes.connection import CLOSE_S, connect
from zoolet.jobs.znodes.deadlines import TIMEOUT_S, Deadline
from zoolet.jobs.znodes.forks import HomeProcess
from zoolet.jobs.znodes.layout import Layout

if TYPE_CHECKING:
    from zoolet.jobs.znodes.connection import AnyClient
    from zoolet.jobs.znodes.link import Link


class Dispatcher:
    """Submits jobs to a queue. As a context manager, it closes the connections that it opened.

    Args:
        client: a started `zoolet.client.Client` or KazooClient; or the servers to connect to,
            ``host:port[,host:port...]``; or `ConnectionSettings`, which also have TLS files and
            logins.
        root: the path of the queue's root.
        create: whether to create the queue if it does not exist.
        result_stores: the SQLAlchemy URLs of result stores by name. The queue's settings have the
            name of the queue's store; without a name in the settings, it is ``default``.
        connect_timeout_ms: the time limit for connecting if ``client`` is a text.
        hooks: objects whose methods are called when jobs are submitted and results are received.
        signing_keys: a file of keys, by which the dispatcher signs jobs and schedules; it then
            joins only jobs with a valid signature. None: it signs nothing.
        loaders: patterns of the loaders ``module:function`` that this process may import because
            the description of a dataset names them, like ``shop.data:*``.

    Attributes:
        queue: the queue.
        results: the reader of the queue's large results.
        schedules: the schedules of the queue, which submit jobs at times.
        datasets: the datasets that the queue describes.

    Raises:
        UnknownQueueError: the queue does not exist, and ``create`` is False.
        JobTimeoutError: no server replied within the connect timeout.
        ConnectError: the client cannot connect with these settings.
        SigningKeyError: the file of keys cannot be used.
        InvalidJobError: a result store or a pattern is invalid.
    """

    def __init__(
        self,
        client: "AnyClient | ConnectionSettings | str",
        root: str = "/",
        *,
        create: bool = False,
        result_stores: Mapping[str, str] | None = None,
        connect_timeout_ms: int = 10_000,
        hooks: Sequence[JobHooks] = (),
        signing_keys: KeysPath | None = None,
        loaders: Sequence[str] = (),
    ) -> None:
        self._hooks = HookCalls(hooks)
        self._home = HomeProcess()
        self._opened: Link | None = None
        self._namer: KeyNamer | None = None
        if isinstance(client, str):
            client = ConnectionSettings(client, connect_timeout_ms=connect_timeout_ms)
        if isinstance(client, ConnectionSettings):
            settings, root = client.moving_chroot(root)
            client = self._opened = connect(settings)
        try:
            self._make_parts(client, root, result_stores, signing_keys, loaders)
            if create:
                self.queue.ensure_layout()
            else:
                self.queue.check()
        except BaseException:
            self.close()
            raise

    def _make_parts(
        self,
        client: "AnyClient",
        root: str,
        result_stores: Mapping[str, str] | None,
        signing_keys: KeysPath | None,
        loaders: Sequence[str],
    ) -> None:
        self.queue = JobQueue(client, root, signing_keys=signing_keys)
        self.schedules = Schedules(self.queue)
        self.results = ResultReader(self.queue, result_stores)
        self.datasets = Datasets(self.queue, loaders)
        layout = self.queue.layout
        self._namer = self._new_namer(layout)
        name_later = self._namer.name_later
        self._submitter = Submitter(layout, self.queue.clock_ms, name_later, self.queue.signer)

    def submit(
        self,
        task: str | Callable[..., Any],
        dataset: str | None = None,
        groupid: str | int | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        priority: int = 0,
        max_attempts: int = 3,
        backoff_ms: int = 0,
        timeout_ms: int | None = None,
        not_before_ms: int | None = None,
        expires_ms: int | None = None,
        idempotency_key: str | None = None,
        soft_timeout_ms: int | None = None,
        jitter_percent: int = 0,
        limit_key: str | None = None,
        tags: Sequence[str] = (),
        reuse: bool | None = None,
        after: After = None,
        when: When = When.ALL_ENDED,
        receive: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Batch:
        """Submit one job, and return a batch that has only this job; see `submit_batch`.

        ``reuse``, ``after``, ``when`` and ``receive`` have the same meaning as in `submit_batch`.
        ``timeout_s`` is the time limit of the call in seconds; None: no limit. The other arguments
        are the attributes of a `JobRequest`.

        Raises:
            InvalidJobError: the request is invalid; nothing was submitted.
            UnknownBatchError: a batch of ``after`` does not exist.
            JobNotFoundError: a job of ``after`` does not exist.
            JobTimeoutError: the server did not reply in time. If its ``is_outcome_unknown`` is
                true, the job may have been submitted.
        """
        request = JobRequest(
            task,
            dataset,
            groupid,
            parameters or {},
            priority=priority,
            max_attempts=max_attempts,
            backoff_ms=backoff_ms,
            timeout_ms=timeout_ms,
            not_before_ms=not_before_ms,
            expires_ms=expires_ms,
            idempotency_key=idempotency_key,
            soft_timeout_ms=soft_timeout_ms,
            jitter_percent=jitter_percent,
            limit_key=limit_key,
            tags=tags,
        )
        return self.submit_request(
            request, reuse=reuse, after=after, when=when, receive=receive, timeout_s=timeout_s
        )

    def submit_request(
        self,
        request: JobRequest,
        *,
        reuse: bool | None = None,
        after: After = None,
        when: When = When.ALL_ENDED,
        receive: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Batch:
        """Submit the job of a request, and return a batch that has only this job; see `submit`."""
        if after is not None or receive is not None:
            # Dependencies belong to a batch.
            return self.submit_batch(
                [request],
                reuse=reuse,
                after=after,
                when=when,
                receive=receive,
                timeout_s=timeout_s,
            )
        with self._within(timeout_s, "submit", unknown="the job may have been submitted"):
            submissions = self._hooks.submitting(
                [request], lambda requests: self._submitter.submit(requests, reuse=reuse)
            )
        return Batch(self.queue, submissions, None, self.results, self._hooks)

    def submit_batch(
        self,
        requests: Sequence[JobRequest],
        *,
        reuse: bool | None = None,
        name: str | None = None,
        after: After = None,
        when: When = When.ALL_ENDED,
        receive: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Batch:
        """Submit jobs as a batch that any process can follow by its name.

        If an earlier job for the same work exists, a request can reuse that job instead of
        submitting a new job. If the earlier job has ended, its stored result is used; if it FAILED,
        the work is submitted again. Two requests are for the same work if their idempotency keys
        are equal, or, without a key, their task, dataset, groupid and parameters.
        `Batch.submissions` has the job for each request.

        Args:
            requests: the requests for the jobs.
            reuse: whether requests reuse earlier jobs. None: only requests that have data or an
                idempotency key do so.
            name: the name of the batch; None: a random name.
            after: another batch, the name of a batch or a job, or up to 1,000 of them. The jobs of
                this batch start when ``when`` is true for all jobs of ``after``. None: the jobs do
                not wait.
            when: the condition under which the jobs start. If it cannot become true any more, the
                jobs are FAILED.
            receive: the name of a parameter. It gets the list of the results of the jobs of
                ``after``, in the order of ``after``, and None for a FAILED job. Only requests with
                an idempotency key then reuse earlier jobs.
            timeout_s: the time limit, in seconds, for each request to the server; one request
                submits up to 50 jobs. None: no limit.

        Raises:
            InvalidJobError: one of the requests is invalid; nothing was submitted.
            BatchExistsError: the queue already has a batch of this name.
            UnknownBatchError: a batch of ``after`` does not exist.
            JobNotFoundError: a job of ``after`` does not exist.
            QueueFullError: the queue may not have this number of waiting jobs.
            JobTimeoutError: the server did not reply in time. If its ``is_outcome_unknown`` is
                true, jobs may have been submitted.
        """
        return self._submit_batch(
            requests,
            reuse=reuse,
            name=name,
            after=after,
            when=when,
            receive=receive,
            timeout_s=timeout_s,
        )

    def _submit_batch(
        self,
        requests: Sequence[JobRequest],
        *,
        reuse: bool | None = None,
        name: str | None = None,
        after: After = None,
        when: When = When.ALL_ENDED,
        receive: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
        room: int | None = None,
    ) -> Batch:
        """Submit a batch; ``room`` is the number of jobs that the queue must have room for."""
        name = name or uuid.uuid4().hex[:16]
        dependencies = dependencies_of(after, when)
        if receive is not None and dependencies is None:
            raise InvalidJobError("receive needs after, which says whose results are received")
        unknown = f"jobs of the batch {name} may have been submitted"
        with self._within(timeout_s, "submit", unknown=unknown, each_request=True):
            submissions = self._hooks.submitting(
                requests,
                lambda all_: self._submitter.submit_batch(
                    all_, name, reuse=reuse, after=dependencies, receives=receive, room=room
                ),
            )
        return Batch(self.queue, submissions, name, self.results, self._hooks)

    def submit_chord(
        self,
        requests: Sequence[JobRequest],
        then: JobRequest,
        *,
        name: str | None = None,
        when: When = When.ALL_SUCCEEDED,
        receive: str = "results",
        timeout_s: float | None = TIMEOUT_S,
    ) -> Batch:
        """Submit jobs, and a job that starts after them and receives their results.

        Args:
            requests: the requests for the jobs. Their batch has the name ``<name>-jobs``.
            then: the request for the job that starts after them.
            name: the name of the batch of this job, which is returned; None: a random name.
            when: the condition under which this job starts.
            receive: the parameter of this job that gets the list of the results.
            timeout_s: the time limit, in seconds, for each request to the server.

        All checks are made before the first job is submitted.

        Raises:
            InvalidJobError: one of the requests is invalid; nothing was submitted.
            BatchExistsError: the queue already has a batch of one of the names.
            QueueFullError: the queue may not have this number of waiting jobs.
            JobTimeoutError: the server did not reply in time. If its ``is_outcome_unknown`` is
                true, jobs may have been submitted.
        """
        name = name or uuid.uuid4().hex[:16]
        when = When(when)
        self._check([then], [name], timeout_s)
        first = self._submit_batch(
            requests, name=f"{name}-jobs", timeout_s=timeout_s, room=len(requests) + 1
        )
        # The queue has room for all jobs: only other programs can have used it meanwhile.
        return self._submit_batch(
            [then], name=name, after=first, when=when, receive=receive, timeout_s=timeout_s, room=0
        )

    def _check(
        self, requests: Sequence[JobRequest], batches: Sequence[str], timeout_s: float | None
    ) -> None:
        """Check requests and names of batches before other jobs are submitted."""
        with self._within(timeout_s, "submit", each_request=True):
            self._submitter.check(requests, batches)

    def map(
        self,
        task: str | Callable[..., Any],
        dataset: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        columns: Sequence[str] | None = None,
        reduce: str | Callable[[list[Any]], Any] | None = None,
        refresh: bool = True,
        name: str | None = None,
        reuse: bool | None = None,
        priority: int = 0,
        max_attempts: int = 3,
        backoff_ms: int = 0,
        timeout_ms: int | None = None,
        limit_key: str | None = None,
        tags: Sequence[str] = (),
        timeout_s: float | None = TIMEOUT_S,
    ) -> MapResult:
        """Submit a task for each group of a described dataset, as a batch.

        Args:
            task: the task, which gets the group in the form that the dataset's loader gives it.
            dataset: the name of a dataset that the queue describes (`Datasets.create`).
            parameters: the JSON object that the task gets for each group.
            columns: the names of the columns that the task needs; only these are read. None: all.
            reduce: a function that merges a list of results into one result of the same form, or
                its name. It must not depend on the order or the grouping of the results. Jobs on
                the workers merge the results in a tree (`MapResult.value`).
            refresh: whether to refresh the description first, so that changed files get new
                versions (`Datasets.refresh`). This process must then reach the data.
            name: the name of the batch; None: a random name.
            reuse: whether requests reuse earlier jobs, as in `submit_batch`.
            priority: as in `JobRequest`.
            max_attempts: as in `JobRequest`.
            backoff_ms: as in `JobRequest`.
            timeout_ms: as in `JobRequest`.
            limit_key: as in `JobRequest`, for the jobs that merge, too.
            tags: as in `JobRequest`, for the jobs that merge, too.
            timeout_s: the time limit, in seconds, for each request to the server; None: no limit.

        Raises:
            UnknownDatasetError: the queue describes no dataset of this name.
            DatasetError: ``refresh`` is true, and this process cannot read the data.
            InvalidJobError: an argument is invalid; nothing was submitted.
            BatchExistsError: the queue already has a batch of this name; nothing was submitted.
            QueueFullError: the queue may not have all these jobs; nothing was submitted.
            JobTimeoutError: the server did not reply in time, as for `submit_batch`.
        """
        read = self.datasets.refresh if refresh else self.datasets.for_map
        described = read(dataset, timeout_s=timeout_s)
        attributes: dict[str, Any] = {"priority": priority, "max_attempts": max_attempts}
        attributes |= {"backoff_ms": backoff_ms, "timeout_ms": timeout_ms}
        attributes |= {"limit_key": limit_key, "tags": tags}
        requests = map_requests(task, described, parameters or {}, columns, **attributes)
        submit = partial(self._submit_batch, reuse=reuse, timeout_s=timeout_s)
        check = partial(self._check, (), timeout_s=timeout_s)
        return submit_map(submit, check, described, requests, reduce, name, attributes)

    def retry_failed(
        self, selected: JobFilter | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> RetriedJobs:
        """Let FAILED jobs wait again, at their old positions; their attempts start from 0.

        If the call is interrupted, the next call with the same filter continues it, and no job is
        retried twice.

        Args:
            selected: which FAILED jobs are retried; None: all.
            timeout_s: the time limit, in seconds, for each request to the server; None: no limit.

        Raises:
            UnknownBatchError: the queue does not have the batch of the filter.
            JobTimeoutError: the server did not reply in time. If its ``is_outcome_unknown`` is
                true, jobs may wait again.
        """
        with self._within(
            timeout_s, "retry jobs", unknown="jobs may wait again", each_request=True
        ):
            return retry_failed(self.queue, selected or JobFilter())

    def batch(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Batch:
        """Return the batch of this name, which any process may have submitted.

        ``timeout_s`` is the time limit of each request, in seconds; None: no limit.

        Raises:
            UnknownBatchError: the queue has no batch of this name.
            BatchIncompleteError: some jobs of the batch are not submitted yet, or never will be.
            JobTimeoutError: the server did not reply in time.
        """
        return Batch.follow(self.queue, name, self.results, hooks=self._hooks, timeout_s=timeout_s)

    def job(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Return a job from any place, with its result.

        ``timeout_s`` is the time limit of the call, in seconds; None: no limit.

        Raises:
            JobNotFoundError: the job is in no place.
            JobTimeoutError: the server did not reply in time.
        """
        with self._within(timeout_s, "find a job"):
            return self.results.complete(self.queue.find(name))

    @property
    def _within(self) -> Callable[..., AbstractContextManager[Deadline]]:
        return self.queue.layout.znodes.within

    def close(self, *, timeout_s: float | None = CLOSE_S) -> None:
        """Close the connections that this dispatcher opened.

        After ``timeout_s``, daemon threads complete the work; None: no limit. In a forked child,
        this does nothing, because the connections belong to the parent process.
        """
        if not self._home.is_here:
            return
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._finish(timeout_s)
        if self._opened is not None:
            left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            self._opened.close(left_s)

    def _new_namer(self, layout: Layout) -> KeyNamer:
        return KeyNamer(layout)

    def _finish(self, timeout_s: float | None) -> None:
        """Write what is not written yet, and close the result store."""
        if self._namer is not None:
            self._namer.close(timeout_s)
            self.results.close()

    def __enter__(self) -> Self:
        """Make this the dispatcher that ``task.submit(...)`` uses (`zoolet.jobs.task`)."""
        enter_dispatcher(self)
        return self

    def __exit__(self, *_: object) -> None:
        leave_dispatcher(self)
        self.close()
