"""A cancellation at each await of each method of an `AsyncClient`.

Each run of an operation counts the points at which it waits. Then the operation runs once for each
point, and is cancelled there: before it has what it waits for, or in the moment in which it gets
it. Afterwards the client works, and nothing is left: no task, call, timer, watch or ephemeral.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from tests.client_simulation.async_world import AsyncWorld
from tests.client_simulation.world import ROOT, SERVED_AGAIN_S
from zoolet.client import AsyncClient, CreateMode, Multi, ZooKeeperError
from zoolet.model.codes import OpCode

Operation = Callable[[AsyncClient], Coroutine[Any, Any, object]]

QUIET_S = 8.0
"""The time after which everything that an operation has begun in the background has ended."""


def ignore(what: object) -> None:
    del what


class CancelledAt:
    """Runs a coroutine in this task, and cancels the task while the coroutine waits.

    Attributes:
        count: how often the coroutine has waited.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, object], at: int, *, is_late: bool) -> None:
        """Cancel at the wait number ``at``; with ``is_late``, when the wait is over."""
        self.count = 0
        self._coroutine = coroutine
        self._at = at
        self._is_late = is_late

    def __await__(self) -> Generator[Any, Any, object]:
        failure: BaseException | None = None
        while True:
            try:
                waits_for = (
                    self._coroutine.send(None)
                    if failure is None
                    else self._coroutine.throw(failure)
                )
            except StopIteration as end:
                return end.value
            failure = None
            self.count += 1
            if self.count == self._at:
                self._cancel(waits_for)
            try:
                yield waits_for
            except BaseException as error:  # noqa: BLE001 -- the coroutine gets it
                failure = error

    def _cancel(self, waits_for: "asyncio.Future[Any] | None") -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._is_late and waits_for is not None:
            # Before the task itself learns that the wait is over.
            waits_for.add_done_callback(lambda _: task.cancel())
        else:
            asyncio.get_running_loop().call_soon(task.cancel)


class Run(AsyncWorld):
    """One operation, cancelled at one point."""

    def __init__(self, operation: Operation, seed: int, at: int, *, is_late: bool) -> None:
        """Cancel at the wait number ``at``; cut the connections meanwhile, except with seed 0."""
        super().__init__(seed)
        self.chroot = self.history._chroot = ""
        self.base = ROOT
        self._operation = operation
        self._at = at
        self._is_late = is_late
        self.waits = 0
        self._cuts = seed > 0

    async def _program(self) -> None:
        self.client = client = AsyncClient(self.hosts, self.options())
        self.tap(client)
        await client.start()
        await client.create(f"{ROOT}/a", b"a")
        if self._cuts:
            self.clock.after(0.3 * self.chance.random(), self._cut)
        await asyncio.create_task(self._cancelled())
        await self._settle()
        watches = client._engine.session.watches._watchers
        assert not any(watches), f"watches are left: {watches}"
        tasks = asyncio.all_tasks() - {asyncio.current_task(), client._engine._task}
        assert not tasks, f"tasks are left: {tasks}"
        left = self.ensemble.machine.tree.ephemerals_of(client.session_id.id)
        assert not left, f"ephemerals are left: {left}"
        await client.close()
        self.history.check_end(is_served=False)

    async def _cancelled(self) -> None:
        runs = CancelledAt(self._operation(self.client), self._at, is_late=self._is_late)
        with contextlib.suppress(ZooKeeperError, TimeoutError, asyncio.CancelledError):
            await runs
        self.waits = runs.count

    async def _settle(self) -> None:
        self.heal()
        async with asyncio.timeout(SERVED_AGAIN_S):
            while True:
                with contextlib.suppress(ZooKeeperError):
                    await self.client.sync(ROOT)
                    break
        # The watches of calls that were not cancelled in time get their event now.
        for kind, path in ((OpCode.CREATE, "a"), (OpCode.SET_DATA, "a"), (OpCode.CREATE, "z")):
            self._change(kind, f"{ROOT}/{path}")
        await asyncio.sleep(QUIET_S)
        assert not self.client._engine.session.has_outstanding
        self.history.check_end(is_served=True)
        self.check_watches(self.client)


async def watch(client: AsyncClient) -> None:
    async with client.watch(ROOT, recursive=True) as changes:
        await client.create(f"{ROOT}/b")
        await changes.next(timeout_s=1.0)


async def watch_once(client: AsyncClient) -> None:
    await client.get(f"{ROOT}/a", watch=ignore)
    await client.children(ROOT, watch=ignore)
    await client.delete(f"{ROOT}/a")
    await client.create(f"{ROOT}/a")


async def lock(client: AsyncClient) -> None:
    async with client.lock(f"{ROOT}/lock") as held:
        assert held.is_held
        waits = client.lock(f"{ROOT}/lock", timeout_s=0.2)
        with contextlib.suppress(TimeoutError, ZooKeeperError):
            await waits.acquire(timeout_s=0.2)
    await client.get(f"{ROOT}/a")


async def semaphore(client: AsyncClient) -> None:
    async with await client.semaphore(f"{ROOT}/semaphore", 1).acquire():
        await client.get(f"{ROOT}/a")


async def election(client: AsyncClient) -> None:
    async with client.election(f"{ROOT}/election"):
        await client.get(f"{ROOT}/a")


async def queue(client: AsyncClient) -> None:
    waiting = client.queue(f"{ROOT}/queue")
    await waiting.put(b"1")
    await waiting.get(timeout_s=1.0)
    await waiting.get(timeout_s=0.2)


async def locking_queue(client: AsyncClient) -> None:
    waiting = client.locking_queue(f"{ROOT}/queue")
    try:
        await waiting.put(b"1")
        async with await waiting.get(timeout_s=1.0) as entry:
            await entry.consume()
    finally:
        await waiting.close()


async def counter(client: AsyncClient) -> None:
    number = client.counter(f"{ROOT}/counter")
    await number.add(2)
    await number.value()


async def party(client: AsyncClient) -> None:
    async with client.party(f"{ROOT}/party", "me") as members:
        await members.members()


async def tree_cache(client: AsyncClient) -> None:
    async with client.tree_cache(ROOT) as cache:
        await client.create(f"{ROOT}/b")
        await cache.next(timeout_s=0.5)


async def data_watcher(client: AsyncClient) -> None:
    async with client.data_watcher(f"{ROOT}/a") as values:
        await values.next(timeout_s=0.5)
        await client.set(f"{ROOT}/a", b"2")
        await values.next(timeout_s=0.5)


async def double_barrier(client: AsyncClient) -> None:
    async with client.double_barrier(f"{ROOT}/barrier", 1):
        await client.get(f"{ROOT}/a")


async def partitioner(client: AsyncClient) -> None:
    async with client.set_partitioner(f"{ROOT}/parts", ["1", "2"]) as parts:
        await parts.next(timeout_s=2.0)


async def consumed(found: AsyncIterator[object]) -> None:
    async for _ in found:
        pass


async def call(future: Awaitable[object]) -> object:
    return await future


OPERATIONS: dict[str, Operation] = {
    "get": lambda client: call(client.get(f"{ROOT}/a")),
    "create": lambda client: call(client.create(f"{ROOT}/b")),
    "multi": lambda client: call(client.multi(Multi().create(f"{ROOT}/b").delete(f"{ROOT}/b"))),
    "sync": lambda client: call(client.sync(ROOT)),
    "ensure path": lambda client: client.ensure_path(f"{ROOT}/b/c/d"),
    "protected": lambda client: client.create_protected(
        f"{ROOT}/p-", mode=CreateMode.PERSISTENT_SEQUENTIAL
    ),
    "walk": lambda client: consumed(client.walk(ROOT)),
    "read many": lambda client: consumed(client.read_many([f"{ROOT}/a", f"{ROOT}/b"])),
    "delete": lambda client: client.delete_recursive(f"{ROOT}/a"),
    "watch": watch,
    "watch once": watch_once,
    "lock": lock,
    "semaphore": semaphore,
    "election": election,
    "queue": queue,
    "locking queue": locking_queue,
    "counter": counter,
    "party": party,
    "tree cache": tree_cache,
    "data watcher": data_watcher,
    "double barrier": double_barrier,
    "partitioner": partitioner,
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Cut the connections too in long runs; with seed 0, they are not cut."""
    worlds = metafunc.config.getoption("--client-worlds")
    metafunc.parametrize("seed", range(1 + worlds // 2000))


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_cancellation_at_each_await(name: str, seed: int) -> None:
    for is_late in (False, True):
        at = 0
        while True:
            at += 1
            run = Run(OPERATIONS[name], seed, at, is_late=is_late)
            try:
                run.run()
            except BaseException as error:
                story = "\n".join(run.story[-60:])
                raise AssertionError(
                    f"{name}, {seed=}, {at=}, {is_late=}: {error!r}\n{story}"
                ) from error
            if at > run.waits:
                break
