"""`AsyncDispatcher`: a `Dispatcher` for asyncio, on `zoolet.client.AsyncClient`.

Each method runs the method of `Dispatcher` with `zoolet.jobs.aio.bridge`, so both do the same.
Invariant: if a call that submits jobs is cancelled, the jobs, the keys and the batch that it has
created are removed; a job that a worker has started meanwhile is cancelled first. Imports
`zoolet.client` and other packages of the job system.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar

from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.jobs.aio.async_link import AsyncLink, close_client
from zoolet.jobs.aio.batch import AsyncBatch, AsyncMapResult
from zoolet.jobs.aio.bridge import run
from zoolet.jobs.aio.connection import opened
from zoolet.jobs.aio.key_namer import AsyncKeyNamer
from zoolet.jobs.aio.undoing import undo
from zoolet.jobs.datasets.datasets import Datasets
from zoolet.jobs.dispatcher.dispatcher import Dispatcher
from zoolet.jobs.dispatcher.graphs import After
from zoolet.jobs.errors import JobError
from zoolet.jobs.hooks.job_hooks import JobHooks
from zoolet.jobs.queue.queue import JobQueue
from zoolet.jobs.queue.retrying import RetriedJobs
from zoolet.jobs.records.dependencies import When
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_filters import JobFilter
from zoolet.jobs.records.job_requests import JobRequest
from zoolet.jobs.schedules.schedules import Schedules
from zoolet.jobs.signing.keys import KeysPath
from zoolet.jobs.submit.keys import KeyNamer
from zoolet.jobs.znodes.connection import CLOSE_S
from zoolet.jobs.znodes.deadlines import TIMEOUT_S
from zoolet.jobs.znodes.layout import Layout

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


AsyncAfter = str | AsyncBatch | Sequence[str | AsyncBatch] | None
"""What a batch waits for: batches, or names of batches and jobs."""


class _Bridged(Dispatcher):
    """The dispatcher whose methods are run; it writes names into keys in a task."""

    def _new_namer(self, layout: Layout) -> KeyNamer:
        return AsyncKeyNamer(layout)


class AsyncDispatcher:
    """Submits jobs to a queue from a program that uses asyncio.

    Use it as ``async with AsyncDispatcher("127.0.0.1:2181", "/jobs/flights") as dispatcher``, or
    call `open` and `close`. It has the methods of `Dispatcher`, with the same arguments, results
    and errors; they are coroutines, and batches are `AsyncBatch` objects. It belongs to one event
    loop, and many calls can run at the same time.

    If a task that waits for a call is cancelled, the call ends after the request that it has just
    sent to the server. A cancelled call of `submit` or `submit_batch` leaves no jobs.

    Args:
        client: a started `zoolet.client.AsyncClient`; or the servers to connect to,
            ``host:port[,host:port...]``; or `ConnectionSettings`, which also have TLS files and
            logins.
        root: the path of the queue's root.
        create: whether to create the queue if it does not exist.
        result_stores: the URLs of result stores by name, as for `Dispatcher`.
        connect_timeout_ms: the time limit for connecting if ``client`` is a text.
        hooks: objects whose methods are called when jobs are submitted and results are received.
        signing_keys: a file of keys, by which jobs are signed, as for `Dispatcher`.
        loaders: patterns of loaders, as for `Dispatcher`.
    """

    def __init__(
        self,
        client: AsyncClient | ConnectionSettings | str,
        root: str = "/",
        *,
        create: bool = False,
        result_stores: Mapping[str, str] | None = None,
        connect_timeout_ms: int = 10_000,
        hooks: Sequence[JobHooks] = (),
        signing_keys: KeysPath | None = None,
        loaders: Sequence[str] = (),
    ) -> None:
        self._client = client
        self._root = root
        self._create = create
        self._result_stores = result_stores
        self._signing_keys = signing_keys
        self._loaders = loaders
        self._connect_timeout_ms = connect_timeout_ms
        self._hooks = hooks
        self._opened: AsyncClient | None = None
        self._inner: Dispatcher | None = None
        self._undoing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Connect, and look for the queue or create it.

        Raises:
            UnknownQueueError: the queue does not exist, and ``create`` is False.
            JobTimeoutError: no server replied within the connect timeout.
            ConnectError: the client cannot connect with these settings.
        """
        if self._inner is not None:
            raise RuntimeError("the dispatcher is open already")
        client, root = self._client, self._root
        if isinstance(client, str):
            client = ConnectionSettings(client, connect_timeout_ms=self._connect_timeout_ms)
        if isinstance(client, ConnectionSettings):
            settings, root = client.moving_chroot(root)
            client = self._opened = await opened(settings)
        link = AsyncLink(client)
        new = partial(
            _Bridged,
            link,
            root,
            create=self._create,
            result_stores=self._result_stores,
            hooks=self._hooks,
            signing_keys=self._signing_keys,
            loaders=self._loaders,
        )
        try:
            self._inner = await run(new)
        except BaseException:
            await self.close()
            raise

    @property
    def queue(self) -> JobQueue:
        """The queue, whose methods are called with `run`.

        An example: ``await dispatcher.run(dispatcher.queue.counts)``. The same is true for all
        objects of the job system that are made with this queue.
        """
        return self._open.queue

    @property
    def datasets(self) -> Datasets:
        """The datasets that the queue describes, whose methods are called with `run`."""
        return self._open.datasets

    @property
    def schedules(self) -> Schedules:
        """The schedules of the queue, whose methods are called with `run`."""
        return self._open.schedules

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an ordinary function that uses `queue`; the event loop runs while it waits.

        The function runs in the event loop's thread. It must not wait for anything else.
        """
        return await run(partial(function, *args, **kwargs))

    @property
    def _open(self) -> Dispatcher:
        if self._inner is None:
            raise RuntimeError(
                "the dispatcher is not open: use it as 'async with AsyncDispatcher(...)', or call"
                " open()"
            )
        return self._inner

    async def submit(
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
        after: AsyncAfter = None,
        when: When = When.ALL_ENDED,
        receive: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> AsyncBatch:
        """Submit one job, and return a batch that has only this job; see `Dispatcher.submit`."""
        return AsyncBatch(
            await self._submitted(
                partial(
                    self._open.submit,
                    task,
                    dataset,
                    groupid,
                    parameters,
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
                    reuse=reuse,
                    after=_after(after),
                    when=when,
                    receive=receive,
                    timeout_s=timeout_s,
                )
            )
        )

    async def submit_request(
        self,
        request: JobRequest,
        *,
        reuse: bool | None = None,
        after: AsyncAfter = None,
        when: When = When.ALL_ENDED,
        receive: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> AsyncBatch:
        """Submit the job of a request, for example of ``task.request(...)``."""
        submit = partial(
            self._open.submit_request,
            request,
            reuse=reuse,
            after=_after(after),
            when=when,
            receive=receive,
            timeout_s=timeout_s,
        )
        return AsyncBatch(await self._submitted(submit))

    async def submit_batch(
        self,
        requests: Sequence[JobRequest],
        *,
        reuse: bool | None = None,
        name: str | None = None,
        after: AsyncAfter = None,
        when: When = When.ALL_ENDED,
        receive: str | None = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> AsyncBatch:
        """Submit jobs as a batch that any process can follow; see `Dispatcher.submit_batch`."""
        submit = partial(
            self._open.submit_batch,
            requests,
            reuse=reuse,
            name=name,
            after=_after(after),
            when=when,
            receive=receive,
            timeout_s=timeout_s,
        )
        return AsyncBatch(await self._submitted(submit))

    async def submit_chord(
        self,
        requests: Sequence[JobRequest],
        then: JobRequest,
        *,
        name: str | None = None,
        when: When = When.ALL_SUCCEEDED,
        receive: str = "results",
        timeout_s: float | None = TIMEOUT_S,
    ) -> AsyncBatch:
        """Submit jobs, and a job that receives their results; see `Dispatcher.submit_chord`."""
        submit = partial(
            self._open.submit_chord,
            requests,
            then,
            name=name,
            when=when,
            receive=receive,
            timeout_s=timeout_s,
        )
        return AsyncBatch(await self._submitted(submit))

    async def map(
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
    ) -> AsyncMapResult:
        """Submit a task for each group of a described dataset; see `Dispatcher.map`.

        With ``refresh``, the files are read in the event loop's thread.
        """
        submit = partial(
            self._open.map,
            task,
            dataset,
            parameters,
            columns=columns,
            reduce=reduce,
            refresh=refresh,
            name=name,
            reuse=reuse,
            priority=priority,
            max_attempts=max_attempts,
            backoff_ms=backoff_ms,
            timeout_ms=timeout_ms,
            limit_key=limit_key,
            tags=tags,
            timeout_s=timeout_s,
        )
        return AsyncMapResult(await self._submitted(submit))

    async def retry_failed(
        self, selected: JobFilter | None = None, *, timeout_s: float | None = TIMEOUT_S
    ) -> RetriedJobs:
        """Let FAILED jobs wait again; see `Dispatcher.retry_failed`."""
        return await run(partial(self._open.retry_failed, selected, timeout_s=timeout_s))

    async def batch(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> AsyncBatch:
        """Return the batch of this name, which any process may have submitted."""
        return AsyncBatch(await run(partial(self._open.batch, name, timeout_s=timeout_s)))

    async def job(self, name: str, *, timeout_s: float | None = TIMEOUT_S) -> Job:
        """Return a job from any place, with its result; see `Dispatcher.job`."""
        return await run(partial(self._open.job, name, timeout_s=timeout_s))

    async def close(self, *, timeout_s: float | None = CLOSE_S) -> None:
        """Close the connections that this dispatcher opened, within about ``timeout_s``."""
        inner, self._inner = self._inner, None
        try:
            if self._undoing:
                await asyncio.wait(self._undoing, timeout=timeout_s)
            if inner is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(timeout_s):
                        await run(partial(inner.close, timeout_s=None))
        finally:
            client, self._opened = self._opened, None
            if client is not None:
                await close_client(client, timeout_s)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _submitted(self, submit: Callable[[], T]) -> T:
        created: list[str] = []
        try:
            return await run(submit, created)
        except asyncio.CancelledError:
            if created:
                task = asyncio.create_task(self._undo(created))
                self._undoing.add(task)
                task.add_done_callback(self._undoing.discard)
                await asyncio.shield(task)
            raise

    async def _undo(self, created: Sequence[str]) -> None:
        try:
            await run(partial(undo, self._open.queue, self._open.results, created))
        except JobError as error:
            log.warning("a cancelled call has left jobs in the queue: %s", error)


def _after(after: AsyncAfter) -> After:
    """Return the same batches and names for the synchronous dispatcher."""
    if after is None or isinstance(after, str):
        return after
    named = [after] if isinstance(after, AsyncBatch) else after
    return [one._batch if isinstance(one, AsyncBatch) else one for one in named]  # noqa: SLF001
