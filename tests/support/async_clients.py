"""Runs tests of `AsyncClient`: on each event loop, in debug mode; nothing may be left over."""

import asyncio
import contextlib
import functools
import gc
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest

from tests.support.loops import LOOPS
from tests.support.waiting import WAIT_S
from zoolet.client import (
    AsyncClient,
    ClientOptions,
    Event,
    Resynced,
    SessionState,
    ZooKeeperError,
)
from zoolet.testing import EmbeddedServer


async def _run(scenario: Coroutine[Any, Any, None], limit_s: float) -> None:
    loop = asyncio.get_running_loop()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    async with asyncio.timeout(limit_s):
        await scenario
    await asyncio.sleep(0)
    gc.collect()  # reports the errors of futures that nobody looked at
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks are left over: {left}"
    timers = [each for each in getattr(loop, "_scheduled", ()) if not each.cancelled()]
    assert not timers, f"timers are left over: {timers}"
    assert not errors, f"the loop reported errors: {errors}"


def _run_on(name: str, scenario: Coroutine[Any, Any, None], limit_s: float = WAIT_S) -> None:
    gc.collect()  # what earlier tests left, so that no finalizer of theirs makes tasks in this loop
    with asyncio.Runner(debug=True, loop_factory=LOOPS[name]) as runner:
        runner.run(_run(scenario, limit_s))


on_loops = pytest.mark.parametrize(
    "run", [functools.partial(_run_on, name) for name in LOOPS], ids=list(LOOPS)
)
"""Runs a test on each event loop: ``run`` runs a coroutine, and checks that nothing is left."""


Calls = list[asyncio.Future[Any]]
"""Calls with results of any types."""


class Inbox:
    """What a watch or a listener was called with, in order."""

    def __init__(self) -> None:
        self._came: asyncio.Queue[Any] = asyncio.Queue()

    def __call__(self, what: Event | Resynced | SessionState) -> None:
        self._came.put_nowait(what)

    async def next(self) -> Any:
        """Wait for the next one; of an event, return only its type and its path."""
        what = await self._came.get()
        return (what.type, what.path) if isinstance(what, Event) else what

    async def until(self, state: SessionState) -> None:
        """Wait for a state."""
        while await self.next() is not state:
            pass

    def is_empty(self) -> bool:
        return self._came.empty()


@contextlib.asynccontextmanager
async def started(hosts: str, **options: Any) -> AsyncIterator[AsyncClient]:
    """A started client, which is closed at the end."""
    async with AsyncClient(hosts, ClientOptions(**options)) as client:
        yield client


async def until_sent(client: AsyncClient) -> None:
    """Let the loop run until a request is sent and has no reply."""
    while not client._engine.session.outstanding_bytes:
        await asyncio.sleep(0)


async def outcome(awaited: "asyncio.Future[Any] | Coroutine[Any, Any, Any]") -> object:
    """Return the result of a call, or its error."""
    try:
        return await awaited
    except ZooKeeperError as error:
        return error


def watches_of(server: EmbeddedServer, client: AsyncClient) -> set[str]:
    """Return the paths on which the server has a watch of a client."""
    return {watch.path for watch in server.inside.watches(client.session_id.id)}
