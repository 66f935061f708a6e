"""One scenario for both clients: `Threaded` gives a `Client` the methods of an `AsyncClient`.

Each method that is a coroutine or returns a future in the asyncio version runs in a thread. Other
methods and attributes are those of the object. So a test is written once, with async and await.
"""

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future as ThreadFuture
from importlib import import_module
from typing import Any

import pytest

from zoolet.client import AsyncClient, Client, ClientOptions
from zoolet.client.asyncio_client.methods import AsyncRequests
from zoolet.client.thread_client.methods import Requests
from zoolet.testing import EmbeddedServer

LIMIT_S = 60.0
"""The longest wait of a test for something that must happen."""

OPTIONS = ClientOptions(session_timeout_ms=10_000, connect_timeout_s=10, call_timeout_s=20)


class _EndError(Exception):
    """An iterator of the thread version has ended."""


def in_thread(function: Callable[..., Any], *arguments: Any, **named: Any) -> asyncio.Future[Any]:
    """Run a function in a thread of its own, because it may wait for a long time."""
    loop = asyncio.get_running_loop()
    result: ThreadFuture[Any] = ThreadFuture()

    def run() -> None:
        try:
            found = function(*arguments, **named)
        except StopIteration:
            result.set_exception(_EndError())
        except BaseException as error:  # noqa: BLE001 -- the waiting test gets it
            result.set_exception(error)
        else:
            result.set_result(found)

    threading.Thread(target=run, daemon=True).start()
    return asyncio.wrap_future(result, loop=loop)


def _twin(kind: type) -> type | None:
    """Return the class of the asyncio version."""
    if not kind.__module__.startswith("zoolet.client.thread_client"):
        return None
    module = import_module(kind.__module__.replace("thread_client", "asyncio_client"))
    twin: type | None = getattr(module, f"Async{kind.__name__}", None)
    return twin


def wrapped(value: Any) -> Any:
    """Wrap an object of the thread version; return other values as they are."""
    if inspect.isgenerator(value):
        return Threaded(value, None)
    twin = _twin(type(value))
    return value if twin is None else Threaded(value, twin)


class Threaded:
    """An object of the thread version, used like one of the asyncio version."""

    def __init__(self, inner: Any, twin: type | None) -> None:
        self.__dict__["inner"] = inner
        self.__dict__["twin"] = twin

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not inspect.ismethod(value):
            return wrapped(value)
        method = getattr(self.twin, name)
        is_request = hasattr(AsyncRequests, name) and isinstance(self.inner, Requests)
        waits = inspect.iscoroutinefunction(method) or is_request

        async def call(*arguments: Any, **named: Any) -> Any:
            return wrapped(await in_thread(value, *arguments, **named))

        def call_at_once(*arguments: Any, **named: Any) -> Any:
            return wrapped(value(*arguments, **named))

        return call if waits else call_at_once

    async def __aenter__(self) -> Any:
        entered = await in_thread(self.inner.__enter__)
        return self if entered is self.inner else wrapped(entered)

    async def __aexit__(self, *error: object) -> Any:
        return await in_thread(self.inner.__exit__, *error)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        try:
            return wrapped(await in_thread(next, self.inner))
        except _EndError:
            raise StopAsyncIteration from None

    def __len__(self) -> int:
        return len(self.inner)


class Clients:
    """Makes clients of one version for a test, and closes them."""

    def __init__(self, kind: str, stack: contextlib.AsyncExitStack) -> None:
        self.kind = kind
        self._stack = stack

    async def __call__(self, hosts: str, options: ClientOptions = OPTIONS) -> Any:
        if self.kind == "asyncio":
            return await self._stack.enter_async_context(AsyncClient(hosts, options))
        client = Threaded(Client(hosts, options), AsyncClient)
        return await self._stack.enter_async_context(client)


@contextlib.asynccontextmanager
async def clients_of(kind: str) -> AsyncIterator[Clients]:
    """Yield what makes clients of a version: ``asyncio`` or ``threads``."""
    async with contextlib.AsyncExitStack() as stack:
        yield Clients(kind, stack)


def run(main: Coroutine[Any, Any, None], limit_s: float = 250.0) -> None:
    """Run a scenario; it must end in time."""

    async def limited() -> None:
        async with asyncio.timeout(limit_s):
            await main

    asyncio.run(limited())


both = pytest.mark.parametrize("kind", ["asyncio", "threads"])
"""Runs a test with both versions of the client."""


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition is true, which is looked at often."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not in time: {what}") from None


async def is_set(event: Any) -> bool:
    """Wait for an event of either version; return whether it is set in time."""
    await until(event.is_set, "the event")
    return True


async def until_children(server: EmbeddedServer, path: str, count: int) -> list[str]:
    """Wait until a znode has a number of descendants; return their paths."""
    await until(lambda: len(server.inside.paths(path)) == count, f"{count} znodes below {path}")
    return server.inside.paths(path)
