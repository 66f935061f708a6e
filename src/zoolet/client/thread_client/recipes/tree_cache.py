"""A local copy of a subtree.

Made by `release.client_methods` from `asyncio_client/recipes/tree_cache.py`: change that module.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from zoolet.client.thread_client.mailbox import Closed, Mailbox
from zoolet.client.thread_client.primitives import (
    Deadline,
    Event,
    in_background,
    is_set_within,
)
from zoolet.client.thread_client.recipes.tools import Tools
from zoolet.client.thread_client.watching import Watch
from zoolet.client.changes import ChangeKind, PendingEvents, Tree, TreeChange, differences
from zoolet.client.errors import (
    ClientClosedError,
    ConnectionLossError,
    DeadlineError,
    NoNodeError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.states import SessionState
from zoolet.client.protocol.watches import Resynced
from zoolet.model import paths
from zoolet.model.results import Event as WatchEvent
from zoolet.model.results import ZnodeData

_NO_LIMIT: Final = Deadline(None, "tree_cache", "")


class _GapError(Exception):
    """Events may be missing: read the whole subtree again."""


class TreeCache:
    """A local copy of the znode at a path and of all its descendants.

    ``client.tree_cache(path)`` makes it. Use it as a context manager: in the block, the copy
    follows the server. The iterator yields each `TreeChange` after the copy has it.

    Guarantees: the copy is the state of the subtree at one zxid, and later states have higher
    zxids. Changes come in the order of their zxids. While no server is connected, `is_stale` is
    true, and the copy stays as it is. After that, it changes at once to the new state, and the
    iterator yields the differences between STALE and FRESH.

    Not guaranteed: states are left out if they follow each other in a short time. Then the copy
    has several changes at once, and a znode that was created and changed has one change, CREATED.
    While others create znodes all the time, the copy may lag behind. The Stat of a znode is that of
    the last change of its data: ``num_children``, ``cversion`` and ``pzxid`` may be older. Use
    `children`. A znode that may not be read ends the cache with NoAuthError. kazoo's ``TreeCache``
    has no such guarantees.
    """

    def __init__(self, tools: Tools, path: str, watch: Watch, max_changes: int) -> None:
        """Make a cache that is not started; a program calls ``client.tree_cache`` instead."""
        self._tools = tools
        self._path = path
        self._watch = watch
        self._found: Tree = {}
        self._children: dict[str, set[str]] = {}
        self._pending = PendingEvents()
        self._is_started = False
        self._is_stopped = False
        self._is_loaded = False
        self._ready = Event()
        self._error: ZooKeeperError | None = None
        missed = TreeChange(ChangeKind.MISSED, path, None, -1)
        self._changes: Mailbox[TreeChange] = Mailbox(max_changes, missed)

    @property
    def is_stale(self) -> bool:
        """Whether the copy may be older than what the server has shown to this client."""
        return not self._is_loaded or self._tools.engine.session.state is not SessionState.CONNECTED

    def get(self, path: str) -> ZnodeData | None:
        """Return the data and the Stat of a znode of the copy; None if it does not exist."""
        return self._found.get(path)

    def children(self, path: str) -> tuple[str, ...]:
        """Return the names of the children of a znode of the copy, sorted."""
        return tuple(sorted(self._children.get(path, ())))

    def paths(self) -> list[str]:
        """Return the paths of all znodes of the copy, sorted."""
        return sorted(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def start(self, *, timeout_s: float | None = None) -> None:
        """Begin to follow the server; return when the copy is complete.

        ``timeout_s`` is the longest wait in seconds; None is no limit.

        Raises:
            DeadlineError: the copy is not complete in time.
            UnimplementedError: the server is older than ZooKeeper 3.6.
        """
        if not self._is_started:
            self._is_started = True
            self._tools.engine.listeners.append(self._note_state)
            in_background(self._work)
        deadline = Deadline(timeout_s, "tree_cache", self._path)
        try:
            is_ready = is_set_within(self._ready, deadline.left_s())
        except BaseException:
            in_background(self.stop)  # nobody else stops a cache that was not started
            raise
        if not is_ready:
            self.stop()
            raise deadline.error()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Follow the server no more; the copy stays as it is."""
        self._is_stopped = True
        if self._note_state in self._tools.engine.listeners:
            self._tools.engine.listeners.remove(self._note_state)
        self._changes.close()
        self._watch.stop()

    def next(self, *, timeout_s: float | None = None) -> TreeChange:
        """Return the next change; wait for it at most for ``timeout_s`` seconds.

        Raises:
            TimeoutError: there is no change in time.
            StopIteration: the cache is stopped, or the client is closed.
            SessionExpiredError: the session has expired, and the client asks for no other one.
            NoAuthError: a znode may not be read.
        """
        try:
            return self._changes.get(timeout_s)
        except Closed:
            raise StopIteration from None

    def _note_state(self, state: SessionState) -> None:
        if state is not SessionState.CONNECTED and self._is_loaded:
            self._is_loaded = False
            self._changes.put(TreeChange(ChangeKind.STALE, self._path, None, -1))

    def _work(self) -> None:
        """Follow the server until the cache is stopped."""
        try:
            self._tools.repeat(lambda: self._watch.start(timeout_s=0), _NO_LIMIT)
            if self._is_stopped:
                self._watch.stop()
            while not self._is_stopped:
                try:
                    self._load()
                    while True:
                        self._show()
                        self._take([self._watch.next()])
                except _GapError:
                    continue
        except (StopIteration, ClientClosedError):
            self._changes.close()
        except ZooKeeperError as error:
            self._error = error
            self._changes.close(error)
        except Exception as error:
            self._tools.engine.log.exception("the cache of %s has failed", self._path)
            self._changes.close(error)
        finally:
            self._is_loaded = False
            self._ready.set()

    def _take(self, events: Iterable[WatchEvent | Resynced]) -> None:
        """Note events; raise _GapError if some may be missing."""
        for event in events:
            if isinstance(event, Resynced):
                raise _GapError
            self._pending.add(event)

    def _load(self) -> None:
        """Read the whole subtree, and report its differences from the copy."""
        while True:
            self._pending.clear()
            self._watch.take_waiting()  # what is read now shows these changes too
            try:
                found = self._read_tree()
                self._take(self._watch.take_waiting())
                self._advance(found, len(self._pending))
                break
            except (_GapError, ConnectionLossError, DeadlineError):
                continue
            except SessionExpiredError:
                self._tools.wait_for_session(_NO_LIMIT)
        old, self._found = self._found, found
        self._children = {}
        for path in found:
            self._note_child(path, is_there=True)
        for change in differences(old, found):
            self._changes.put(change)
        if self._tools.engine.session.state is SessionState.CONNECTED:
            self._is_loaded = True
            self._changes.put(TreeChange(ChangeKind.FRESH, self._path, None, -1))
            self._note_state(self._tools.engine.session.state)  # it may have changed meanwhile
        self._ready.set()

    def _show(self) -> None:
        """Show the changes of the events that have come."""
        while self._pending:
            try:
                changes = self._advance(self._found, 1)
            except (ConnectionLossError, DeadlineError):
                continue  # the next read comes after a Resynced
            except SessionExpiredError:
                self._tools.wait_for_session(_NO_LIMIT)
                continue
            for change in changes:
                self._note_child(change.path, is_there=change.found is not None)
            for change in changes:
                self._changes.put(change)

    def _advance(self, copy: Tree, at_least: int) -> list[TreeChange]:
        """Bring a copy to a state that has at least a number of events; return the changes."""
        while at_least:
            found = self._read(self._pending.ask())
            self._take(self._watch.take_waiting())
            self._pending.learn(found)
            changes = self._pending.cut(copy, at_least)
            if changes is not None:
                return changes
        return []

    def _read_tree(self) -> dict[str, ZnodeData]:
        try:
            seen = [visited.path for visited in self._tools.client.walk(self._path)]
        except NoNodeError:
            return {}
        return self._read(seen)

    def _read(self, wanted: Iterable[str]) -> dict[str, ZnodeData]:
        found = {}
        for path, result in self._tools.client.read_many(wanted):
            if isinstance(result, ZnodeData):
                found[path] = result
            elif not isinstance(result, NoNodeError):
                raise result
        return found

    def _note_child(self, path: str, *, is_there: bool) -> None:
        if path == self._path:
            return
        names = self._children.setdefault(paths.parent_of(path), set())
        if is_there:
            names.add(path.rpartition("/")[2])
            return
        names.discard(path.rpartition("/")[2])
        if not names:
            del self._children[paths.parent_of(path)]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TreeChange:
        return self.next()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
