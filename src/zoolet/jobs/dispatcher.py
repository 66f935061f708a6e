"""Submitting work to a queue. Imports the job system's queue, batches and records."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

from kazoo.client import KazooClient

from zoolet.jobs.batch import Batch
from zoolet.jobs.connection import connect, without_chroot
from zoolet.jobs.queue import JobQueue
from zoolet.jobs.records import Job, JobRequest
from zoolet.jobs.results import ResultReader
from zoolet.jobs.submission import KeyNamer, Submitter


class Dispatcher:
    """Submits jobs to a queue; also a context manager that closes what it opened.

    Args:
        client: a started KazooClient, or the servers to connect to, as kazoo takes them.
        root: the queue's root.
        create: make the queue where there is none.
        result_store: URL of the store of large results, where it is not the one that the queue
            names (which may leave out the password, for instance).

    Raises:
        UnknownQueueError: there is no such queue, and ``create`` was not said.
        TimeoutError: no server answered within ``connect_timeout_ms``.
    """

    def __init__(
        self,
        client: KazooClient | str,
        root: str = "/",
        *,
        create: bool = False,
        result_store: str | None = None,
        connect_timeout_ms: int = 10_000,
    ) -> None:
        self._opened: KazooClient | None = None
        if isinstance(client, str):
            hosts, root = without_chroot(client, root)
            client = self._opened = connect(
                hosts, session_timeout_ms=10_000, connect_timeout_ms=connect_timeout_ms
            )
        self.queue = JobQueue(client, root)
        self._namer = KeyNamer(self.queue.layout)
        self._results = ResultReader(self.queue, result_store)
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
        task: str,
        dataset: str,
        groupid: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        reuse: bool = True,
        **options: Any,
    ) -> Batch:
        """Submit one job, and return the batch that consists of it; see `submit_batch`.

        ``options`` are the other attributes of `JobRequest`.
        """
        request = JobRequest(task, dataset, groupid, parameters or {}, **options)
        submissions = self._submitter.submit([request], reuse=reuse)
        return Batch(self.queue, submissions, results=self._results)

    def submit_batch(
        self,
        requests: Sequence[JobRequest],
        *,
        reuse: bool = True,
        name: str | None = None,
        after: str | Batch | None = None,
    ) -> Batch:
        """Submit jobs, as a batch that any process can follow by its name.

        With ``reuse``, work (of the same idempotency key; by default: the same task, dataset,
        groupid and parameters) that is done is answered from its stored result, and work that is
        under way is joined; work that FAILED is submitted again. Without it, every job is submitted
        anew. With ``after``, no job of it is started before all of that batch have ended.

        Raises:
            InvalidJobError: one of the requests cannot be a job; nothing was submitted.
            BatchExistsError: there is a batch of this name.
            UnknownBatchError: there is no batch that it could come after.
        """
        name = name or uuid.uuid4().hex[:16]
        if isinstance(after, Batch) and after.name is None:
            raise ValueError("a job on its own has no name to come after: submit it as a batch")
        after = after.name if isinstance(after, Batch) else after
        submissions = self._submitter.submit_batch(requests, name, reuse=reuse, after=after)
        return Batch(self.queue, submissions, name, self._results)

    def batch(self, name: str) -> Batch:
        """Return the batch of this name, whoever submitted it.

        Raises:
            UnknownBatchError: there is none.
            BatchIncompleteError: not all of its jobs were submitted, or not yet.
        """
        return Batch.follow(self.queue, name, self._results)

    def job(self, name: str) -> Job:
        """Return a job, wherever it is, with its result.

        Raises:
            JobNotFoundError: it is nowhere.
        """
        return self._results.complete(self.queue.find(name))

    def close(self) -> None:
        """Close what it opened."""
        self._namer.close()
        self._results.close()
        if self._opened is not None:
            self._opened.stop()
            self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
