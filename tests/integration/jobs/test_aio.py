"""`AsyncDispatcher` with a real server and a real worker; cancelled calls leave nothing."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.jobs import ROOT, WorkerProcess, numbered, write_tasks
from zoolet.client import AsyncClient, Client
from zoolet.client.protocol.calls import Call
from zoolet.jobs import (
    AsyncDispatcher,
    BatchExistsError,
    ConnectError,
    Dispatcher,
    JobFailedError,
    JobQueue,
    JobRequest,
    JobState,
    JobTimeoutError,
    Origin,
    QueueSettings,
    UnknownQueueError,
)
from zoolet.model.codes import OpCode

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_tasks(tmp_path)
    return tmp_path


def open_async(server: Any, **arguments: Any) -> AsyncDispatcher:
    return AsyncDispatcher(server.hosts, ROOT, create=True, **arguments)


def test_jobs_from_submit_to_result(server: Any, start_worker: StartWorker) -> None:
    start_worker("--executors", "2")

    async def scenario() -> None:
        async with open_async(server) as dispatcher:
            one = await dispatcher.submit("pipe_tasks:text", parameters={"size": 100_000})
            batch = await dispatcher.submit_batch(numbered(60), name="many")
            after = await dispatcher.submit_batch(numbered(1, n=7), after=batch, reuse=False)
            alone = await dispatcher.submit("pipe_tasks:echo", after=after, receive="of")
            request = JobRequest("pipe_tasks:echo")
            last = await dispatcher.submit_request(request, after=alone.names, receive="of")
            [job] = await one
            assert len(job.result) == 100_000
            assert [name async for name in names_of(batch)] != []
            same = await dispatcher.batch("many")
            assert await same.reduce(lambda total, n: total + n, 0) == sum(range(60))
            assert (await same.progress())[JobState.SUCCESSFUL] == 60
            assert [value async for value in after.values()] == [7]
            of: dict[str, Any] = {"group": None, "parameters": {"of": [7]}}
            assert [value async for value in alone.values()] == [of]
            of = {"group": None, "parameters": {"of": [of]}}
            assert [value async for value in last.values()] == [of]
            again = await dispatcher.submit_batch(numbered(60))
            assert again.count(Origin.STORED) == 60
            with pytest.raises(BatchExistsError):
                await dispatcher.submit_batch(numbered(1), name="many")
            bad = await dispatcher.submit("pipe_tasks:trouble", max_attempts=1)
            with pytest.raises(JobFailedError, match="this task raises"):
                await anext(bad.values())
            assert (await dispatcher.job(bad.names[0])).state is JobState.FAILED
            assert (await dispatcher.run(dispatcher.queue.counts))["unowned"] == 0
            request = JobRequest("m:f", tags=["gpu"], limit_key="ada")
            await dispatcher.run(dispatcher.schedules.add, "hourly", request, every_ms=3_600_000)
            schedule = await dispatcher.run(dispatcher.schedules.get, "hourly")
            assert (schedule.request.tags, schedule.request.limit_key) == (("gpu",), "ada")
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def names_of(batch: Any) -> Any:
        async for job in batch:
            yield job.name

    asyncio.run(scenario())


def test_calls_at_the_same_time(server: Any, start_worker: StartWorker) -> None:
    start_worker("--executors", "2")

    async def scenario() -> None:
        async with open_async(server) as dispatcher:
            batches = await asyncio.gather(
                *(dispatcher.submit_batch(numbered(5, n=number)) for number in range(20))
            )
            found = await asyncio.gather(*batches)
            assert sorted({job.result for jobs in found for job in jobs}) == list(range(20))

    asyncio.run(scenario())


def test_timeouts_and_lost_events(server: Any, dispatcher: Dispatcher) -> None:
    async def scenario() -> None:
        async with open_async(server) as asynchronous:
            batch = await asynchronous.submit("m:f", "d", "1")
            assert await batch.next_result(0.01) is None
            with pytest.raises(JobTimeoutError, match="1 of 1 jobs did not finish"):
                await anext(batch.results(0.01))
            waiting = asyncio.create_task(batch.next_result())
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            # A job that ended while nobody waited is found by the next call.
            await asyncio.to_thread(dispatcher.queue.cancel, batch.names)
            job = await batch.next_result()
            assert job is not None
            assert job.state is JobState.FAILED

    asyncio.run(scenario())


def test_a_queue_or_a_server_that_does_not_exist(server: Any) -> None:
    async def scenario() -> None:
        with pytest.raises(UnknownQueueError):
            await AsyncDispatcher(server.hosts, "/none").open()
        with pytest.raises(JobTimeoutError, match="no ZooKeeper server answers"):
            await AsyncDispatcher("127.0.0.1:1", connect_timeout_ms=100).open()
        with pytest.raises(ConnectError, match="no-such-host"):
            await AsyncDispatcher("no-such-host.invalid:2181").open()
        opening = asyncio.create_task(AsyncDispatcher("127.0.0.1:1").open())
        await asyncio.sleep(0.05)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


class Cancelling(AsyncClient):
    """Cancels a task at one of its requests: when it is sent, or when its reply has come."""

    task: "asyncio.Task[Any] | None" = None
    requests_left = 0
    is_after_reply = False

    def _run(self, call: Call[Any], timeout_s: float | None) -> Any:
        reply = super()._run(call, timeout_s)
        if self.task is not None and call.op_code != OpCode.PING.value:
            task = self.task
            self.requests_left -= 1
            if self.requests_left == 0 and self.is_after_reply:
                reply.add_done_callback(lambda _: task.cancel())
            elif self.requests_left == 0:
                asyncio.get_running_loop().call_soon(task.cancel)
        return reply


def random_requests(random_: random.Random) -> list[JobRequest]:
    far_ms = 4_000_000_000_000
    return [
        JobRequest(
            "m:f",
            "d" if has_data else None,
            str(number) if has_data else None,
            not_before_ms=random_.choice([None, far_ms]),
            priority=random_.randrange(3),
        )
        for number in range(random_.choice([1, 3, 120]))
        for has_data in [random_.random() < 0.7]
    ]


@pytest.mark.parametrize("shards", [1, 4])
def test_a_cancelled_submit_leaves_nothing(server: Any, shards: int) -> None:
    """Random requests, cancelled at a random request to the server."""
    random_ = random.Random(shards)

    async def submit(dispatcher: AsyncDispatcher, number: int) -> None:
        requests = random_requests(random_)
        if len(requests) == 1:
            one = requests[0]
            await dispatcher.submit(
                one.task, one.dataset, one.groupid, not_before_ms=one.not_before_ms
            )
        else:
            after = random_.choice([None, "first"])
            await dispatcher.submit_batch(requests, name=f"b{number}", after=after)

    async def scenario() -> None:
        async with Cancelling(server.hosts) as client:
            cancelled = 0
            async with AsyncDispatcher(client, ROOT) as dispatcher:
                await dispatcher.submit_batch([JobRequest("m:first")], name="first")
                before = await everything(client)
                for number in range(60):
                    client.requests_left = random_.randrange(1, 14)
                    client.is_after_reply = random_.random() < 0.5
                    client.task = asyncio.create_task(submit(dispatcher, number))
                    outcome: object
                    (outcome,) = await asyncio.gather(client.task, return_exceptions=True)
                    client.task = None
                    if not isinstance(outcome, asyncio.CancelledError):
                        assert outcome is None
                        before = await everything(client)
                        continue
                    cancelled += 1
                    assert await everything(client) == before
                    assert await client.ephemerals() == ()
            assert cancelled > 10
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with Client(server.hosts) as client:
        JobQueue(client, ROOT).ensure_layout(QueueSettings(shards=shards))
    asyncio.run(scenario())


async def everything(client: AsyncClient) -> set[str]:
    """Return the paths of the queue's znodes, without pages and spans of time, which stay."""
    found = set[str]()
    todo = [ROOT]
    while todo:
        path = todo.pop()
        for name in (await client.children(path)).names:
            todo.append(f"{path}/{name}")
            if not name.replace("-", "").isdigit():
                found.add(f"{path}/{name}")
    return found
