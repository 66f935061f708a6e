"""What all recipes use of a client: calls that are repeated after a lost reply, and cleaning up.

Made by `release.client_methods` from `asyncio_client/recipes/tools.py`: change that module.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from zoolet.client.thread_client.engine import Engine
from zoolet.client.thread_client.primitives import Deadline, Event, in_background, is_set_within
from zoolet.client.thread_client.subtrees.methods import Subtrees
from zoolet.client.errors import (
    AuthFailedError,
    ClientClosedError,
    ConnectionLossError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.calls import Call
from zoolet.client.protocol.requests import RequestMaker
from zoolet.client.protocol.states import SessionState
from zoolet.model import paths
from zoolet.model.stat import Stat

if TYPE_CHECKING:
    from zoolet.client.protocol.watches import Watcher

T = TypeVar("T")


class Tools:
    """A client as recipes see it.

    Attributes:
        client: the client, for its methods.
        engine: the client's engine, for calls whose watchers a recipe must forget.
        make: makes the calls of the client.
    """

    def __init__(self, client: Subtrees, engine: Engine, make: RequestMaker) -> None:
        self.client = client
        self.engine = engine
        self.make = make

    def run(self, make_call: Callable[[], Call[T]], deadline: Deadline) -> T:
        """Return the result of a call that may be applied twice; repeat it after a lost reply.

        Each try waits for a connection.

        Raises:
            DeadlineError: the time is over.
        """
        return (self.watch(make_call, deadline))[0]

    def watch(
        self, make_call: Callable[[], Call[T]], deadline: Deadline
    ) -> "tuple[T, Watcher | None]":
        """Like `run`, but return the watcher that was set too; its function must not block."""
        while True:
            call = make_call()
            if call.watcher is not None:
                call.watcher.is_quick = True
            try:
                with deadline.of_call() as limit_s:
                    self.engine.run(call, limit_s)
            except ConnectionLossError:
                continue
            except BaseException:
                self.forget(call.watcher)  # the reply may have come just now
                raise
            return cast("T", call.result), call.watcher

    def forget(self, watcher: "Watcher | None") -> None:
        """Remove a watcher, and the watch at the server if nothing else needs it."""
        if watcher is not None and self.engine.discard(watcher):
            self.engine.abandon(watcher)

    def repeat(self, function: Callable[[], T], deadline: Deadline) -> T:
        """Return what a function returns; repeat it after a lost reply or an expired session."""
        while True:
            try:
                return function()
            except ConnectionLossError:
                continue
            except SessionExpiredError:
                self.wait_for_session(deadline)

    def data_of(self, path: str, deadline: Deadline) -> bytes | None:
        """Return the data of a znode; None if it does not exist."""
        try:
            read = self.repeat(lambda: self.run(lambda: self.make.get(path), deadline), deadline)
        except NoNodeError:
            return None
        return read.data or b""

    def stat_of(self, path: str, deadline: Deadline) -> Stat | None:
        """Return the Stat of a znode; None if it does not exist."""
        return self.run(lambda: self.make.exists(path), deadline)

    def delete(self, path: str, deadline: Deadline) -> None:
        """Delete a znode, if it exists."""
        try:
            self.run(lambda: self.make.delete(path, -1), deadline)
        except NoNodeError:
            return

    def wait_until_deleted(self, path: str, deadline: Deadline) -> None:
        """Wait until a znode does not exist.

        Raises:
            DeadlineError: the time is over.
        """
        changed = Event()

        def note(_: object) -> None:
            changed.set()

        self.engine.listeners.append(note)
        watcher: Watcher | None = None
        try:
            while True:
                changed.clear()
                try:
                    # This watch is set only if the znode exists.
                    _, watcher = self.watch(lambda: self.make.children(path, note), deadline)
                except NoNodeError:
                    return
                except SessionExpiredError:
                    self.wait_for_session(deadline)
                    continue
                if not is_set_within(changed, deadline.left_s()):
                    raise deadline.error()
                self.forget(watcher)
        finally:
            self.engine.listeners.remove(note)
            self.forget(watcher)

    def ensure_path(self, path: str, deadline: Deadline) -> None:
        """Create a znode and its ancestors, if they are missing."""
        while True:
            try:
                with deadline.of_call() as limit_s:
                    self.client.ensure_path(path, timeout_s=limit_s)
            except ConnectionLossError:
                continue
            return

    def wait_for_session(self, deadline: Deadline) -> None:
        """After the session has expired, wait until the client asks for another one.

        Raises:
            SessionExpiredError: the client asks for no other session.
            ClientClosedError: the client is closed.
            AuthFailedError: the server refused the login.
            DeadlineError: the time is over.
        """
        changed = Event()

        def note(_: SessionState) -> None:
            changed.set()

        self.engine.listeners.append(note)
        try:
            while True:
                changed.clear()
                state = self.engine.session.state
                if state is SessionState.CLOSED:
                    raise ClientClosedError
                if state is SessionState.AUTH_FAILED:
                    raise AuthFailedError
                if state is not SessionState.EXPIRED:
                    return
                if not self.engine.renews_session:
                    raise SessionExpiredError
                if not is_set_within(changed, deadline.left_s()):
                    raise deadline.error()
        finally:
            self.engine.listeners.remove(note)

    def delete_soon(self, parent: str, prefix: str, path: str) -> None:
        """Delete a znode in the background: ``path``, or the child that begins with ``prefix``.

        This goes on until the znode is deleted, or the client is closed. The name of the znode must
        be unique.
        """
        in_background(self._delete, parent, prefix, path)

    def _delete(self, parent: str, prefix: str, path: str) -> None:
        deadline = Deadline(None, "delete", path)
        while True:
            try:
                if not path:
                    found = self.client.find_child(parent, prefix, timeout_s=0.0)
                    if found is None:
                        return
                    path = paths.join(parent, found)
                self.delete(path, deadline)
            except NoNodeError:
                return
            except SessionExpiredError:
                try:
                    self.wait_for_session(deadline)
                except ZooKeeperError:
                    return
            except ZooKeeperError as error:
                if not isinstance(error, ClientClosedError):
                    self.engine.log.warning("a znode of a recipe is not deleted: %s", error)
                return
            else:
                return
