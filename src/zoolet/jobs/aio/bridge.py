"""Runs synchronous code in the event loop: while the code waits, the event loop runs.

`run` starts the code in a greenlet. If the code calls `wait`, the greenlet is suspended, and the
coroutine of `run` awaits in its place. So the job system needs no second version of its code for
asyncio. SQLAlchemy uses the same method for its asyncio extension.

Invariants, if the task that awaits `run` is cancelled:

- A read that the code waits for ends immediately.
- A write that was sent is awaited until its reply, so the code knows what the server has done.
- After that, each `wait` raises CancelledError before it sends anything.

This module imports no module of zoolet.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from greenlet import getcurrent, greenlet

T = TypeVar("T")


class BridgedCall(greenlet):  # type: ignore[misc]  # greenlet has no types
    """A call of synchronous code.

    Attributes:
        values: the values of `CallLocal` objects in this call.
        created: the paths of the znodes that the call has created with multis, in order.
        cancelled: the cancellation of the call; None: it is not cancelled.
    """

    def __init__(self, work: Callable[[], Any], created: list[str]) -> None:
        super().__init__(work)
        self.values: dict[tuple[int, str], Any] = {}
        self.created = created
        self.cancelled: asyncio.CancelledError | None = None


class _Write:
    """A request that is awaited although the call is cancelled."""

    def __init__(self, reply: "asyncio.Future[Any]") -> None:
        self.reply = reply


async def run(work: Callable[[], T], created: list[str] | None = None) -> T:
    """Run synchronous code, and return its result; see the invariants of this module.

    ``created`` gets the paths of the znodes that the code has created with multis, also if the code
    raises an error.
    """
    call = BridgedCall(work, [] if created is None else created)
    driver = getcurrent()
    call.parent = driver
    call.gr_context = driver.gr_context  # the code sees the context variables of its caller
    found = call.switch()
    while not call.dead:
        try:
            if isinstance(found, _Write):
                await _settled(call, found.reply)
                value = found.reply.result()
            else:
                value = await found
        except asyncio.CancelledError as error:
            call.cancelled = call.cancelled or error
            found = call.throw(error)
        except BaseException as error:  # noqa: BLE001 -- raised in the code that waits
            found = call.throw(error)
        else:
            found = call.switch(value)
    if call.cancelled is not None:
        raise call.cancelled
    return cast("T", found)


async def _settled(call: BridgedCall, reply: "asyncio.Future[Any]") -> None:
    """Wait until a reply has come; a cancellation is recorded."""
    while not reply.done():
        try:
            await asyncio.wait([reply])
        except asyncio.CancelledError as error:
            call.cancelled = call.cancelled or error


def current() -> BridgedCall:
    """Return the call that runs now.

    Raises:
        RuntimeError: the code was not started with `run`.
    """
    call = getcurrent()
    if not isinstance(call, BridgedCall):
        raise RuntimeError(  # noqa: TRY004 -- about the caller, not about an argument
            "this queue belongs to an AsyncDispatcher: call its methods with"
            " await dispatcher.run(function, arguments)"
        )
    return call


def check() -> None:
    """Raise CancelledError if the current call is cancelled; call this before a request is sent."""
    cancelled = current().cancelled
    if cancelled is not None:
        raise cancelled


def wait(awaitable: Awaitable[T]) -> T:
    """Wait for ``awaitable`` while the event loop runs, and return its result."""
    try:
        call = current()
    except RuntimeError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise
    return cast("T", call.parent.switch(awaitable))


def wait_for_write(reply: "asyncio.Future[T]") -> T:
    """Wait for the reply to a write, also if the call is cancelled meanwhile."""
    return cast("T", current().parent.switch(_Write(reply)))


class CallLocal:
    """An object whose attributes have a value of their own in each call; see `Link.call_local`."""

    def __getattr__(self, name: str) -> Any:
        call = getcurrent()
        if not isinstance(call, BridgedCall) or (id(self), name) not in call.values:
            raise AttributeError(name)
        return call.values[id(self), name]

    def __setattr__(self, name: str, value: Any) -> None:
        current().values[id(self), name] = value
