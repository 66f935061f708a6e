"""A feed: one persistent watch on a path, and all browsers that follow it.

All browsers with the same rights share a feed, so each change is read and encoded once. Invariants:
changes that come together are read together; a feed asks for a client once, and ends with it, so it
never uses a login that has ended.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, NamedTuple

from zoolet.client import (
    AsyncWatch,
    Event,
    Resynced,
    SessionState,
    ThrottledError,
    UnimplementedError,
    ZooKeeperError,
)
from zoolet.web.clusters.clients import Connection, TooManyClientsError
from zoolet.web.clusters.lists import TooManyChildrenError
from zoolet.web.live.streams import Stream, encoded

COALESCE_S: Final = 0.25
"""Changes within this time after the first one are shown together."""

CHECK_S: Final = 10.0
"""A feed without changes looks again after this time: no event says that an ACL has changed."""

MAX_EVENTS: Final = 10_000
"""The most events that wait for a read that works; above it, changes are missing."""

RETRY_S: Final = 1.0
"""The delay before a feed tries again, after a failure."""

Open = Callable[[], AbstractAsyncContextManager[Connection]]
"""Gives a block the connection to use."""

OnEnd = Callable[["Feed"], None]
"""Is called with a feed that has ended."""

_FAILURES: Final = (ZooKeeperError, OSError, ValueError, TooManyChildrenError)
_ENDED: Final = frozenset({SessionState.CLOSED, SessionState.AUTH_FAILED})
_LOST: Final = "The connection to ZooKeeper is lost. This page continues when it is back."


class Form(NamedTuple):
    """How a browser wants to see news.

    Attributes:
        name: browsers with the same name get the same bytes.
        show: returns the encoded event for news; None if this form does not show them.
    """

    name: Hashable
    show: Callable[[Any], bytes | None]


class Feed:
    """A watch and its browsers; a subclass reads what has changed.

    Args:
        path: the znode.
        recursive: whether the feed also follows all znodes below it.
        open_connection: gives the connection of the browsers' login.
        on_end: is called with this feed when it has ended.
    """

    def __init__(
        self,
        path: str,
        open_connection: Open,
        on_end: OnEnd,
        *,
        recursive: bool = False,
    ) -> None:
        self.path = path
        self._recursive = recursive
        self._open = open_connection
        self._on_end = on_end
        self.subscribers: dict[tuple[Stream, Hashable], Form] = {}
        self._problem = ""
        self._task = asyncio.create_task(self._run())

    @property
    def coalesce_s(self) -> float:
        """Changes within this time after the first one are read together."""
        return COALESCE_S

    def add(self, stream: Stream, form: Form) -> None:
        """Send all news to a stream, and what is known already."""
        if self._task.done():
            stream.end("connection")
            return
        self.subscribers[stream, form.name] = form
        for news in self.known():
            event = form.show(news)
            if event is not None:
                stream.put(event)
        if self._problem:
            stream.put(self._problem_event())

    def remove(self, stream: Stream) -> bool:
        """Forget a stream; return whether the feed had it."""
        found = [key for key in self.subscribers if key[0] is stream]
        for key in found:
            del self.subscribers[key]
        return bool(found)

    def cancel(self) -> None:
        """Begin to end the feed."""
        self._task.cancel()

    async def close(self) -> None:
        """End the feed; return when it has ended."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def known(self) -> Iterable[Any]:
        """Return the news for a browser that comes later."""
        return ()

    async def update(self, connection: Connection, events: list[Event | Resynced], /) -> None:
        """Read what has changed, and call `tell` with the news; there may be no events."""
        raise NotImplementedError

    def tell(self, news: object) -> None:
        """Send news to all browsers; each form of it is encoded once."""
        events: dict[Hashable, bytes | None] = {}
        for (stream, name), form in self.subscribers.items():
            if name not in events:
                events[name] = form.show(news)
            event = events[name]
            if event is not None:
                stream.put(event)

    async def _run(self) -> None:
        reason = ""
        try:
            async with self._open() as connection:
                await self._follow(connection)
        except (*_FAILURES, TooManyClientsError) as error:
            reason = str(error)
        finally:
            self._on_end(self)
            for stream, _ in self.subscribers:
                stream.end("connection", reason)

    async def _follow(self, connection: Connection) -> None:
        """Follow the path until the client has ended."""
        client = connection.client
        client.add_listener(self._note_state)
        try:
            while client.state not in _ENDED:
                try:
                    async with client.watch(self.path, recursive=self._recursive) as watch:
                        await self._read_on(connection, watch)
                except StopAsyncIteration:
                    return
                except _FAILURES as error:
                    self._say(_advice(error))
                    await asyncio.sleep(RETRY_S)
        finally:
            client.remove_listener(self._note_state)

    async def _read_on(self, connection: Connection, watch: AsyncWatch) -> None:
        events: list[Event | Resynced] = []
        while connection.client.state not in _ENDED:
            try:
                await self.update(connection, events)
            except _FAILURES as error:
                self._say(_advice(error))
                wait_s = RETRY_S
            else:
                events = []
                self._say("")
                wait_s = CHECK_S
            with suppress(TimeoutError):
                events.append(await watch.next(timeout_s=wait_s))
                await asyncio.sleep(self.coalesce_s)
                events += watch.take_waiting()
            if len(events) > MAX_EVENTS:  # the reads fail, and changes still come
                events = [Resynced(self.path)]

    def _note_state(self, state: SessionState) -> None:
        if state is SessionState.SUSPENDED:
            self._say(_LOST)

    def _say(self, problem: str) -> None:
        """Tell the browsers that something does not work, or that it works again."""
        if problem != self._problem:
            self._problem = problem
            event = self._problem_event()
            for stream in {stream for stream, _ in self.subscribers}:
                stream.put(event)

    def _problem_event(self) -> bytes:
        return encoded("problem", {"path": self.path, "error": self._problem})


def _advice(error: Exception) -> str:
    if isinstance(error, ThrottledError):
        return (
            "The server allows this client no more watches, so changes are not shown. Raise"
            " zoolet.maxWatchesPerConnection, or close other pages."
        )
    if isinstance(error, UnimplementedError):
        return (
            "The server has no persistent watches, so changes are not shown. They need ZooKeeper"
            " 3.6 or later."
        )
    return str(error)
