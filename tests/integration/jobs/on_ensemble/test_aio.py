"""`AsyncDispatcher` on an ensemble whose leader is killed."""

import asyncio
from collections.abc import Callable

from tests.support.jobs import WorkerProcess, assert_done_once, numbered
from zoolet.jobs import AsyncDispatcher, Dispatcher, Submission


def test_each_job_ends_once_although_the_leader_is_killed(
    hosts: str,
    root: str,
    dispatcher: Dispatcher,
    start_worker: Callable[..., WorkerProcess],
    kill_leader: Callable[[], None],
) -> None:
    start_worker()

    async def scenario() -> tuple[str, tuple[Submission, ...]]:
        async with AsyncDispatcher(hosts, root) as asynchronous:
            batch = await asynchronous.submit_batch(numbered(100))
            killing = asyncio.create_task(asyncio.to_thread(kill_leader))
            more = [await asynchronous.submit_batch(numbered(1, n=1000 + n)) for n in range(20)]
            results = [job.result for one in more for job in await one]
            assert results == list(range(1000, 1020))
            jobs = await batch
            await killing
            assert sorted(job.result for job in jobs) == list(range(100))
            assert batch.name is not None
            return batch.name, batch.submissions

    name, submissions = asyncio.run(scenario())
    batch = dispatcher.batch(name)
    assert batch.submissions == submissions
    assert_done_once(dispatcher.queue, batch, list(batch.results()))
