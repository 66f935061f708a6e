"""Submitting work to a queue. Imports the job system's queue, batches and records."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

from kazoo.client import KazooClient

from zoolet.client.settings import ConnectionSettings
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.results.reader import ResultReader
from zoolet.jobs.submit.batch import Batch
from zoolet.jobs.znodes.connection import CLOSE_S, close_client, connect
from zoolet.jobs.znodes.deadlines import TIMEOUT_S, Deadline
from zoolet.jobs.znodes.forks import HomeProcess
from zoolet.jobs.znodes.keys import KeyNamer
from zoolet.jobs.znodes.queue import JobQueue
from zoolet.jobs.znodes.submission import Submitter


class Dispatcher:
    """Submits jobs to a queue; also a context manager that closes what it opened.

    Args:
        client: a started KazooClient; or the servers to connect to, ``host:port[,host:port...]``;
            or `ConnectionSettings`, which have TLS and the login too.
        root: the queue's root.
        create: make the queue where there is none.
        result_store: URL of the store of large results, where it is not the one that the queue
            names (which may leave out the password, for instance).
        connect_timeout_ms: how long it waits for a server that is given as text.

    Attributes:
        queue: the queue.
        results: its large results.

    Raises:
        UnknownQueueError: there is no such queue, and ``create`` was not said.
        JobTimeoutError: no server answered within the connect timeout.
        ConnectError: no server can answer with these settings.
    """

    def __init__(
        self,
        client: KazooClient | ConnectionSettings | str,
        root: str = "/",
        *,
        create: bool = False,
        result_store: str | None = None,
        connect_timeout_ms: int = 10_000,
    ) -> None:
        self._home = HomeProcess()
        self._opened: KazooClient | None = None
        if isinstance(client, str):
            client = ConnectionSettings(client, connect_timeout_ms=connect_timeout_ms)
        if isinstance(client, ConnectionSettings):
            settings, root = client.moving_chroot(root)
            client = self._opened = connect(settings)
        self.queue = JobQueue(client, root)
        self._namer = KeyNamer(self.queue.layout)
        self.results = ResultReader(self.queue, result_store)
        self._submitter = Submitter(self.queue.layout, self.queue.clock_ms, self._namer.name_later)
        try:
            if create:
                self.queue.ensure_layout()
            else:
                self.queue.check()
        except BaseException:
            self.close()
            raise

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
        reuse: bool | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Batch:
        """Submit one job, and return the batch that consists of it; see `submit_batch`.

        All arguments but two are the attributes of a `JobRequest`. ``reuse`` is that of
        `submit_batch`; ``timeout_s`` is how long the call may take, None: no limit.

        Raises:
            InvalidJobError: this cannot be a job; nothing was submitted.
            JobTimeoutError: the server did not answer in time. The job may have been submitted if
                ``is_outcome_unknown``.
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
        )
        with self._within(timeout_s, "submit", unknown="the job may have been submitted"):
            submissions = self._submitter.submit([request], reuse=reuse)
        return Batch(self.queue, submissions, None, self.results)

    def submit_batch(
        self,
        requests: Sequence[JobRequest],
        *,
        reuse: bool | None = None,
        name: str | None = None,
        after: str | Batch | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Batch:
        """Submit jobs, as a batch that any process can follow by its name.

        Work that is reused is answered from its stored result if it is done, and joined if it is
        under way; work that FAILED is submitted again. It is the same work if the idempotency key
        is the same; by default: task, dataset, groupid and parameters. ``reuse`` None: jobs with
        data, or with an idempotency key, are reused. True: all are. False: none is.
        `Batch.submissions` says what stands for each request.

        With ``after``, no job of it is started before all of that batch have ended.
        ``timeout_s`` is for each request of up to 50 jobs; None: no limit.

        Raises:
            InvalidJobError: one of the requests cannot be a job; nothing was submitted.
            BatchExistsError: there is a batch of this name.
            UnknownBatchError: there is no batch that it could come after.
            JobTimeoutError: the server did not answer in time. Jobs may have been submitted if
                ``is_outcome_unknown``.
        """
        name = name or uuid.uuid4().hex[:16]
        if isinstance(after, Batch) and after.name is None:
            raise ValueError("a job on its own has no name to come after: submit it as a batch")
        after = after.name if isinstance(after, Batch) else after
        unknown = f"jobs of the batch {name} may have been submitted"
        with self._within(timeout_s, "submit", unknown=unknown, each_request=True):
            submissions = self._submitter.submit_batch(requests, name, reuse=reuse, after=after)
        return Batch(self.queue, submissions, name, self.results)

    def batch(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Batch:
        """Return the batch of this name, whoever submitted it.

        ``timeout_s`` is for each request; None: no limit.

        Raises:
            UnknownBatchError: there is none.
            BatchIncompleteError: not all of its jobs were submitted, or not yet.
            JobTimeoutError: the server did not answer in time.
        """
        return Batch.follow(self.queue, name, self.results, timeout_s=timeout_s)

    def job(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Return a job, wherever it is, with its result.

        ``timeout_s`` is how long the server may take; None: no limit.

        Raises:
            JobNotFoundError: it is nowhere.
            JobTimeoutError: the server did not answer in time.
        """
        with self._within(timeout_s, "find a job"):
            return self.results.complete(self.queue.find(name))

    @property
    def _within(self) -> Callable[..., AbstractContextManager[Deadline]]:
        return self.queue.layout.znodes.within

    def close(self, *, timeout_s: float | None = CLOSE_S) -> None:
        """Close what it opened.

        After ``timeout_s`` the rest of the work is left to a daemon thread; None: no limit. In a
        process that was forked from the one that made it, it does nothing: the connection is the
        parent's.
        """
        if not self._home.is_here:
            return
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._namer.close(timeout_s)
        self.results.close()
        if self._opened is not None:
            left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
            close_client(self._opened, left_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
