"""Users with `AsyncDispatcher`: several batches at the same time, in one event loop.

Invariant: each batch gets the results of its own jobs.
"""

import asyncio

from kazoo.exceptions import KazooException

from tests.soak import feature_tasks as tasks
from tests.soak.features.base import AGAIN_S, ROOT, Feature, SkippedError
from zoolet.jobs import (
    AsyncBatch,
    AsyncDispatcher,
    BatchExistsError,
    BatchIncompleteError,
    Dispatcher,
    Job,
    JobNotFoundError,
    QueueFullError,
)

_LOST = (TimeoutError, ConnectionError, KazooException, QueueFullError)


class AsyncioUsers(Feature):
    """See the docstring of the module."""

    def use(self, dispatcher: Dispatcher) -> None:
        del dispatcher
        asyncio.run(self._use())

    async def _use(self) -> None:
        plans = [
            (self.new_name(), [self.chance.randrange(10**6) for _ in range(count)])
            for count in (1, 3, self.chance.randint(4, 30))
        ]
        asynchronous = AsyncDispatcher(self.stage.hosts, ROOT, connect_timeout_ms=60_000)
        async with asynchronous:
            await asyncio.gather(*(self._follow(asynchronous, *plan) for plan in plans))

    async def _follow(self, asynchronous: AsyncDispatcher, name: str, numbers: list[int]) -> None:
        try:
            batch = await self._submitted(asynchronous, name, numbers)
            found: dict[str, Job] = {}
            while batch.outstanding:
                self.check_time()
                try:
                    job = await batch.next_result(timeout_s=AGAIN_S)
                except _LOST:
                    await asyncio.sleep(AGAIN_S)
                    continue
                if job is not None:
                    found[job.name] = job
        except (BatchIncompleteError, JobNotFoundError) as error:
            raise SkippedError(str(error)) from None
        self.count("jobs", len(found))
        for submission, number in zip(batch.submissions, numbers, strict=True):
            self.expect(found[submission.name], number)

    async def _submitted(
        self, asynchronous: AsyncDispatcher, name: str, numbers: list[int]
    ) -> AsyncBatch:
        requests = [tasks.plain.request(number) for number in numbers]
        while True:
            self.check_time()
            try:
                return await asynchronous.submit_batch(requests, name=name)
            except BatchExistsError:
                return await asynchronous.batch(name)
            except _LOST:
                await asyncio.sleep(AGAIN_S)
