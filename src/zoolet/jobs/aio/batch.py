"""`AsyncBatch`: a `Batch` for asyncio. The results are asynchronous iterators.

Invariants: a cancelled call loses no result; a later call returns it. One call at a time reads
results; the others wait. Imports `zoolet.jobs.dispatcher` and `zoolet.jobs.records`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from functools import partial
from typing import Any, TypeVar

from zoolet.jobs.aio.bridge import run
from zoolet.jobs.datasets.datasets import Dataset
from zoolet.jobs.dispatcher.batch import Batch, JobFailedError, late_results
from zoolet.jobs.dispatcher.batch_progress import BatchProgress
from zoolet.jobs.dispatcher.maps import PARTIALS_EVERY_S, MapResult, PartialResult
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.transitions import JobState
from zoolet.jobs.submit.submission import Origin, Submission
from zoolet.jobs.znodes.deadlines import TIMEOUT_S

T = TypeVar("T")


class AsyncBatch:
    """Jobs that were submitted together; `Batch` documents the attributes and methods."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._lock = asyncio.Lock()

    @property
    def name(self) -> str | None:
        """The batch's name; None for a job that was submitted alone."""
        return self._batch.name

    @property
    def submissions(self) -> tuple[Submission, ...]:
        """The job for each request and its origin, in the order of the requests."""
        return self._batch.submissions

    @property
    def names(self) -> list[str]:
        """The names of the jobs, without duplicates."""
        return self._batch.names

    @property
    def outstanding(self) -> int:
        """The number of jobs that were not returned as ended yet."""
        return self._batch.outstanding

    async def next_result(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Job | None:
        """Wait until a job ends, and return the job; see `Batch.next_result`."""
        async with self._lock:
            call = partial(self._batch.next_result, timeout_s, server_timeout_s=server_timeout_s)
            return await run(call)

    async def results(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> AsyncIterator[Job]:
        """Yield each job when it has ended; see `Batch.results`."""
        loop = asyncio.get_running_loop()
        ends_at = None if timeout_s is None else loop.time() + timeout_s
        while self.outstanding:
            left_s = None if ends_at is None else max(0.0, ends_at - loop.time())
            job = await self.next_result(left_s, server_timeout_s=server_timeout_s)
            if job is not None:
                yield job
            elif self.outstanding:
                raise late_results(self.outstanding, len(self.names), timeout_s or 0.0)

    async def values(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> AsyncIterator[Any]:
        """Yield the result of each job when it has ended; see `Batch.values`."""
        async for job in self.results(timeout_s, server_timeout_s=server_timeout_s):
            if job.state is JobState.FAILED:
                raise JobFailedError(job)
            yield job.result

    async def reduce(
        self,
        function: Callable[[T, Any], T],
        initial: T,
        timeout_s: float | None = None,
        *,
        server_timeout_s: float | None = TIMEOUT_S,
    ) -> T:
        """Combine all results; see `Batch.reduce`. ``function`` is an ordinary function."""
        async for value in self.values(timeout_s, server_timeout_s=server_timeout_s):
            initial = function(initial, value)
        return initial

    async def progress(self, *, timeout_s: float | None = TIMEOUT_S) -> BatchProgress:
        """Return the current number of the batch's jobs in each state; see `Batch.progress`."""
        return await run(partial(self._batch.progress, timeout_s=timeout_s))

    def count(self, origin: Origin) -> int:
        """Return the number of requests whose job has this origin."""
        return self._batch.count(origin)

    async def cancel(self, *, timeout_s: float | None = TIMEOUT_S) -> list[Job]:
        """Cancel the jobs that have not ended, and return these jobs; see `Batch.cancel`."""
        return await run(partial(self._batch.cancel, timeout_s=timeout_s))

    def __aiter__(self) -> AsyncIterator[Job]:
        """Yield each job when it has ended, like `results`."""
        return self.results()

    def __await__(self) -> Generator[Any, None, list[Job]]:
        """Wait until all jobs have ended, and return them in the order in which they ended."""

        async def collect() -> list[Job]:
            return [job async for job in self]

        return collect().__await__()


class AsyncMapResult:
    """The results of a task on all groups of a dataset; see `MapResult`."""

    def __init__(self, result: MapResult) -> None:
        self._result = result
        self._lock = asyncio.Lock()
        self.batch = AsyncBatch(result.batch)
        self.merged = None if result.merged is None else AsyncBatch(result.merged)

    @property
    def dataset(self) -> Dataset:
        """The dataset as it was when the jobs were submitted."""
        return self._result.dataset

    async def value(
        self, timeout_s: float | None = None, *, server_timeout_s: float | None = TIMEOUT_S
    ) -> Any:
        """Wait until jobs on the workers have merged all results; see `MapResult.value`."""
        call = partial(self._result.value, timeout_s, server_timeout_s=server_timeout_s)
        async with self._lock:
            return await run(call)

    async def partials(
        self,
        *,
        every_s: float = PARTIALS_EVERY_S,
        timeout_s: float | None = None,
        server_timeout_s: float | None = TIMEOUT_S,
    ) -> AsyncIterator[PartialResult]:
        """Yield the merged results of the groups that have ended; see `MapResult.partials`.

        The merging function runs in the event loop's thread.
        """
        found = self._result.partials(
            every_s=every_s, timeout_s=timeout_s, server_timeout_s=server_timeout_s
        )
        while True:
            async with self._lock:
                partial_result = await run(partial(next, found, None))
            if partial_result is None:
                return
            yield partial_result
