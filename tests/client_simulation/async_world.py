"""An `AsyncClient` in the simulation: several tasks on one client, with cancellations."""

import asyncio
import contextlib
import gc
import random
from collections.abc import Callable, Coroutine
from typing import Any, cast

from tests.client_simulation.history import CallRecord
from tests.client_simulation.loop import NotedFuture, SimulatedLoop
from tests.client_simulation.world import CALL_S, SERVED_AGAIN_S, World
from zoolet.client import AsyncClient, NoServerError, SessionState, ZooKeeperError
from zoolet.client.protocol.calls import Call
from zoolet.model.codes import WatcherType

TASKS = 4
ROUNDS = 12
LIMIT_S = 1000.0
SLACK_S = 0.001


class AsyncWorld(World):
    """One run."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, SLACK_S, is_exact=True)
        self.loop = SimulatedLoop(self.clock, self.network)
        self.client: AsyncClient
        self._end_limit_s = 0.0

    def run(self) -> None:
        """Run the program, and check everything."""
        with self.seeded():
            try:
                self.loop.run_until_complete(self._limited(self._program()))
                self.loop.run_until_complete(asyncio.sleep(0))
                self.check_nothing_is_left()
            finally:
                self._end_tasks()
                self.loop.close()

    def _end_tasks(self) -> None:
        """End the tasks that a failed run has left."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left))

    async def _limited(self, program: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(LIMIT_S):
                await program
                self.check_no_error()
        except TimeoutError:
            raise AssertionError("the program hangs") from None

    async def _program(self) -> None:
        self.client = client = AsyncClient(self.hosts, self.options())
        self.tap(client)
        client.add_listener(lambda state: self.history.tell(f"state {state.value}"))
        if self.chance.random() < 0.2:
            self.begin_faults()  # faults during the start
        try:
            await client.start()
        except NoServerError:
            self.history.tell("no server")
            self.heal()
            return
        self.begin_faults()
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(self._work(random.Random(self.chance.random())))
        ends_early = self.chance.random() < 0.2
        if not ends_early:
            await self._settle()
        await self._close()
        self.history.check_end(is_served=False)

    async def _settle(self) -> None:
        """Wait until the client is served without faults, and check what it has got."""
        self.heal()
        self.client.change_hosts(self.hosts.partition("/")[0])
        async with asyncio.timeout(SERVED_AGAIN_S):
            while True:
                with contextlib.suppress(ZooKeeperError):
                    await self.client.sync(self.base)
                    await asyncio.sleep(2.0)  # events of changes before, and of removed watches
                    await self.client.sync(self.base)
                    break
        assert self.client.state is SessionState.CONNECTED
        assert not self.client._engine.session.has_outstanding
        assert self.client._engine.session.outstanding_bytes == 0
        self.history.check_end(is_served=True)
        self.check_watches(self.client)

    async def _close(self) -> None:
        limit_s = self.chance.choice([0.0, 0.01, 5.0])
        calls = [self.client.get(self.path()) for _ in range(self.chance.randrange(4))]
        begun_s = self.clock.now_s
        await self.client.close(limit_s)
        assert self.clock.now_s <= begun_s + limit_s + 1.0, "close took too long"
        assert self.client.state is SessionState.CLOSED
        await asyncio.wait(calls) if calls else None
        for call in calls:
            call.exception()

    def check_nothing_is_left(self) -> None:
        left = asyncio.all_tasks(self.loop)
        assert not left, f"tasks are left: {left}"
        assert not self.loop.timers(), f"timers are left: {self.loop.timers()}"
        assert not self.network.links, "a connection is left"
        self.check_no_error()

    def check_no_error(self) -> None:
        """Raise what a function of the program, or the client, has raised in a callback."""
        gc.collect(1)  # asyncio reports the errors of futures that nobody looked at
        for context in self.loop.errors:
            raise context.get("exception") or AssertionError(context["message"])

    # The history.

    def tap(self, client: AsyncClient) -> None:
        """Let the history see each call, and each watcher that is dropped."""
        engine = cast("Any", client._engine)
        run = engine.run

        def run_noted(call: Call[object], timeout_s: float | None) -> asyncio.Future[object]:
            record = self.history.begin(call, CALL_S if timeout_s is None else timeout_s)
            future = run(call, timeout_s)
            if future.done():
                self.history.end(record)
            else:
                self._follow(record, cast("NotedFuture", future))
            return cast("asyncio.Future[object]", future)

        engine.run = run_noted
        self.tap_watchers(engine)

    def _follow(self, record: CallRecord, future: NotedFuture) -> None:
        future.on_done = lambda: self.history.end(record)
        future.add_done_callback(
            lambda done: self.history.cancelled(record) if done.cancelled() else None
        )

    # The tasks.

    async def _work(self, chance: random.Random) -> None:
        acts: list[tuple[int, Callable[[], Coroutine[Any, Any, None]]]] = [
            (12, self._call),
            (3, self._pipeline),
            (4, self._watch),
            (2, self._protected),
            (1, self._remove_watches),
            (1, self._change_hosts),
        ]
        for _ in range(ROUNDS):
            act = chance.choices([act for _, act in acts], [often for often, _ in acts])[0]
            timer = None
            if chance.random() < 0.4:
                timer = self._cancel_later(chance)
            try:
                await act()
            except ZooKeeperError:
                pass
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.uncancel()
            finally:
                if timer is not None:
                    timer.cancel()
            await self._pause(chance)

    @staticmethod
    async def _pause(chance: random.Random) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(chance.choice([0.0, 0.0, 0.01, 0.3]) * chance.random())

    def _cancel_later(self, chance: random.Random) -> asyncio.Handle:
        """Cancel this task after some turns of the loop, or some time."""
        task = asyncio.current_task()
        assert task is not None
        delay_s = chance.choice([0.0, 0.001, 0.05, 1.0]) * chance.random()
        return self.loop.call_later(delay_s, task.cancel)

    async def _call(self) -> None:
        await self.request(self.client)

    async def _pipeline(self) -> None:
        calls = [self.request(self.client) for _ in range(self.chance.randrange(2, 8))]
        await asyncio.gather(*calls, return_exceptions=True)

    async def _watch(self) -> None:
        path = self.chance.choice([self.path(), self.base])
        watch = self.client.watch(path, recursive=self.chance.random() < 0.5)
        try:
            async with watch:
                for _ in range(self.chance.randrange(4)):
                    with contextlib.suppress(TimeoutError):
                        await watch.next(timeout_s=self.chance.random())
        finally:
            self.history.stopped(watch._mailbox)

    async def _protected(self) -> None:
        prefix = f"{self.base.rstrip('/')}/p-"
        path = await self.client.create_protected(prefix, timeout_s=self.chance.choice([None, 9.0]))
        assert path.startswith(self.base)

    async def _remove_watches(self) -> None:
        path = self.path()
        self.history.removes(path, begins=True)
        try:
            await self.client.remove_watches(path, WatcherType.ANY)
        finally:
            self.history.removes(path, begins=False)

    async def _change_hosts(self) -> None:
        self.client.change_hosts(self.random_hosts())
