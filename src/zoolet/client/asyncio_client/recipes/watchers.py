"""The value of a znode, or its children, each time they change.

`release.client_methods` makes the module of the client for threads from this module. So it contains
nothing that depends on asyncio except ``async`` and ``await``.
"""

from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from zoolet.client.asyncio_client.primitives import (
    Deadline,
    Event,
    called,
    in_background,
    is_set_within,
)
from zoolet.client.asyncio_client.recipes.tools import AsyncTools
from zoolet.client.errors import (
    ClientClosedError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.states import ENDED, SessionState
from zoolet.model.results import Children, ZnodeData

if TYPE_CHECKING:
    from zoolet.client.protocol.watches import Watcher

V = TypeVar("V")


class AsyncValueWatcher(Generic[V]):
    """The values of a znode: the present one, then each newer one; None if there is no znode.

    Use it as an iterator, or give `start` a function. Stop it with `stop`, or use it as a context
    manager.

    Guarantees: values come in their order, and the newest value always comes, also after a lost
    connection or an expired session. The same value does not come twice in succession.

    Not guaranteed: values between two reads are left out. The iteration ends when the client is
    closed.
    """

    def __init__(self, tools: AsyncTools, path: str) -> None:
        """Make a watcher; a program calls a method of the client instead."""
        self._tools = tools
        self._path = path
        self._changed = Event()
        self._watcher: Watcher | None = None
        self._seen: tuple[int, int] | None = None
        self._is_stopped = False

    @abstractmethod
    async def _read(self, deadline: Deadline) -> tuple[V | None, tuple[int, int]]:
        """Read the value and set the watch; return what changes with each value too."""

    async def next(self, *, timeout_s: float | None = None) -> V | None:
        """Return the next value; None if the znode does not exist.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: there is no other value in time.
            StopAsyncIteration: the watcher is stopped, or the client is closed.
            SessionExpiredError: the session has expired, and the client asks for no other one.
        """
        deadline = Deadline(timeout_s, "watch", self._path)
        changed = self._changed

        def note(state: SessionState) -> None:
            if state in ENDED:
                changed.set()

        self._tools.engine.listeners.append(note)
        try:
            note(self._tools.engine.session.state)  # it may have ended before
            while True:
                if self._watcher is not None and not await is_set_within(
                    changed, deadline.left_s()
                ):
                    raise deadline.error()
                if self._is_stopped:
                    raise StopAsyncIteration
                changed.clear()
                try:
                    value, mark = await self._read(deadline)
                except SessionExpiredError:
                    changed.set()
                    await self._tools.wait_for_session(deadline)
                    continue
                except BaseException:
                    changed.set()  # the next call reads again
                    raise
                if mark != self._seen:
                    self._seen = mark
                    return value
        except ClientClosedError:
            raise StopAsyncIteration from None
        finally:
            self._tools.engine.listeners.remove(note)

    def start(self, function: Callable[[V | None], object]) -> None:
        """Call a function with each value, in the background.

        This ends when the function returns False, or with `stop`. If the function fails, its error
        is logged, and the next value follows.
        """
        in_background(self._call, function)

    def stop(self) -> None:
        """End the iteration, or the calls of the function."""
        self._is_stopped = True
        self._use(None)
        self._changed.set()

    async def _call(self, function: Callable[[V | None], object]) -> None:
        while True:
            try:
                value = await self.next()
            except StopAsyncIteration:
                return
            except ZooKeeperError:
                self._tools.engine.log.exception("the watcher of %s has ended", self._path)
                return
            try:
                if await called(function, value) is False:
                    self.stop()
            except Exception:
                self._tools.engine.log.exception("a function of the program failed: %r", function)

    def _notify(self) -> Callable[[object], None]:
        changed = self._changed
        return lambda _: changed.set()

    def _use(self, watcher: "Watcher | None") -> None:
        last, self._watcher = self._watcher, watcher
        self._tools.forget(last)

    async def _wait_for_creation(self, deadline: Deadline) -> bool:
        """Watch the creation of the znode; return False if it exists already."""
        make = self._tools.make
        stat, watcher = await self._tools.watch(
            lambda: make.exists(self._path, self._notify()), deadline
        )
        self._use(watcher)
        return stat is None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> V | None:
        return await self.next()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        self._use(None)


class AsyncDataWatcher(AsyncValueWatcher[ZnodeData]):
    """The data and the Stat of a znode, each time the data are set; None if there is no znode.

    ``client.data_watcher(path)`` makes it: ``async for found in client.data_watcher(path)``. It is
    like kazoo's ``DataWatch``.
    """

    async def _read(self, deadline: Deadline) -> tuple[ZnodeData | None, tuple[int, int]]:
        make = self._tools.make
        while True:
            try:
                found, watcher = await self._tools.watch(
                    lambda: make.get(self._path, self._notify()), deadline
                )
            except NoNodeError:
                if await self._wait_for_creation(deadline):
                    return None, (0, 0)
                continue
            self._use(watcher)
            return found, (found.stat.czxid, found.stat.mzxid)


class AsyncChildrenWatcher(AsyncValueWatcher[Children]):
    """The names of the children, each time they change; None if there is no znode.

    ``client.children_watcher(path)`` makes it. It is like kazoo's ``ChildrenWatch``, but it goes on
    when the znode is deleted, and waits for its creation.
    """

    async def _read(self, deadline: Deadline) -> tuple[Children | None, tuple[int, int]]:
        make = self._tools.make
        while True:
            try:
                found, watcher = await self._tools.watch(
                    lambda: make.children(self._path, self._notify()), deadline
                )
            except NoNodeError:
                if await self._wait_for_creation(deadline):
                    return None, (0, 0)
                continue
            self._use(watcher)
            return found, (found.stat.czxid, found.stat.pzxid)
