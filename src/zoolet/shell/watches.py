"""The watches that commands set, and the thread that passes their events on.

Invariants: an event is passed on once, also if it triggers several watches. The client's own thread
never waits for the output. The client sets its watches again on each later connection. After the
session has expired, this module sets the one-shot watches again in the next session, and passes on
the change that they missed. Imports ``model`` and ``client``.
"""

import logging
import queue
import threading
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from zoolet.client.errors import (
    ConnectionLossError,
    DeadlineError,
    NoNodeError,
    NoWatcherError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.client.protocol.watches import OnNotice, Resynced
from zoolet.client.thread_client.client import Client
from zoolet.model.codes import AddWatchMode, EventType, WatcherType
from zoolet.model.results import Children, Event, ZnodeData
from zoolet.model.stat import Stat

T = TypeVar("T")

log = logging.getLogger("zoolet.shell")


class WatchKind(Enum):
    """The kinds of watches."""

    DATA = "data"
    CHILD = "children"
    PERSISTENT = "persistent"
    RECURSIVE = "persistent recursive"


_KIND_OF_MODE = {
    AddWatchMode.PERSISTENT: WatchKind.PERSISTENT,
    AddWatchMode.PERSISTENT_RECURSIVE: WatchKind.RECURSIVE,
}

_KINDS_OF_TYPE = {
    WatcherType.CHILDREN: {WatchKind.CHILD},
    WatcherType.DATA: {WatchKind.DATA},
    WatcherType.PERSISTENT: {WatchKind.PERSISTENT},
    WatcherType.PERSISTENT_RECURSIVE: {WatchKind.RECURSIVE},
    WatcherType.ANY: set(WatchKind),
}

_NO_ZNODE = -1


class _Watch:
    """The watch of one kind on one path. It is the function that the client calls.

    Attributes:
        kind: the kind of watch.
        path: the watched path.
        seen_zxid: (one-shot watches) the zxid of the last change that the command has shown.
    """

    def __init__(self, watches: "Watches", kind: WatchKind, path: str) -> None:
        self.kind = kind
        self.path = path
        self.seen_zxid = _NO_ZNODE
        self._watches = watches

    def __call__(self, notice: Event | Resynced) -> None:
        if isinstance(notice, Event):
            self._watches.note(self, notice)
        elif self.kind in {WatchKind.DATA, WatchKind.CHILD}:
            self._watches.set_again(self)


class Watches:
    """The watches of one client.

    Args:
        client: the client.
        connected: is set while the client is connected.
        on_event: is called with each event, in a thread of its own.
    """

    def __init__(
        self, client: Client, connected: threading.Event, on_event: Callable[[Event], None]
    ) -> None:
        self._client = client
        self._connected = connected
        self._on_event = on_event
        self._lock = threading.Lock()
        self._table: dict[tuple[WatchKind, str], _Watch] = {}
        self._last_event: Event | None = None
        self._events = _Worker("zoolet-shell-events")
        self._renewals = _Worker("zoolet-shell-watches")

    def get(self, path: str) -> ZnodeData:
        """Return data and Stat; report the next change, or the deletion."""
        return self._set(
            WatchKind.DATA,
            path,
            lambda watch: self._client.get(path, watch=watch),
            lambda found: found.stat.mzxid,
        )

    def exists(self, path: str) -> Stat | None:
        """Return the Stat, or None; report the next creation, change or deletion."""
        return self._set(
            WatchKind.DATA,
            path,
            lambda watch: self._client.exists(path, watch=watch),
            lambda stat: _NO_ZNODE if stat is None else stat.mzxid,
        )

    def children(self, path: str) -> Children:
        """Return the children; report when one is created or deleted, or the znode is deleted."""
        return self._set(
            WatchKind.CHILD,
            path,
            lambda watch: self._client.children(path, watch=watch),
            lambda found: found.stat.pzxid,
        )

    def add(self, path: str, mode: AddWatchMode) -> None:
        """Report all later changes of a znode, or of its subtree (ZooKeeper 3.6 or later)."""
        self._set(
            _KIND_OF_MODE[mode],
            path,
            lambda watch: self._client.add_watch(path, watch, mode=mode),
            lambda _: 0,
        )

    def remove(self, path: str, watcher_type: WatcherType, *, locally: bool) -> set[WatchKind]:
        """Remove all watches of a type on a path; return their kinds.

        With ``locally``, the watches are removed from the client even if no server is connected.
        Raises NoWatcherError if there is no such watch.
        """
        with self._lock:
            ended = [
                watch
                for (kind, its_path), watch in self._table.items()
                if its_path == path and kind in _KINDS_OF_TYPE[watcher_type]
            ]
        if not ended:
            raise NoWatcherError("remove_watches", path)
        if self._connected.is_set() or not locally:
            self._client.remove_watches(path, watcher_type)
        for watch in ended:
            self._client.forget_watch(path, watch)
            self._drop(watch)
        return {watch.kind for watch in ended}

    def let_events_come(self) -> None:
        """Wait until all events that the client has received are passed on."""
        self._events.join()

    def note(self, watch: _Watch, event: Event) -> None:
        """Pass an event on. The client's thread calls this, also for several watches at a time."""
        if watch.kind in {WatchKind.DATA, WatchKind.CHILD}:
            self._drop(watch)
        if event is not self._last_event:  # the client calls all watches with the same object
            self._last_event = event
            self._events.do(lambda: self._on_event(event))

    def set_again(self, watch: _Watch) -> None:
        """Set a one-shot watch in the next session, because its session has expired."""
        self._renewals.do(lambda: self._set_again(watch))

    def _set(
        self,
        kind: WatchKind,
        path: str,
        read: Callable[[OnNotice], T],
        zxid_of: Callable[[T], int],
    ) -> T:
        # The watch is in the table before the reply, because its event may come with the reply.
        with self._lock:
            is_new = (kind, path) not in self._table
            watch = self._table.setdefault((kind, path), _Watch(self, kind, path))
        try:
            found = read(watch)
        except BaseException:
            if is_new:
                self._drop(watch)
            raise
        watch.seen_zxid = zxid_of(found)
        return found

    def _drop(self, watch: _Watch) -> None:
        with self._lock:
            if self._table.get((watch.kind, watch.path)) is watch:
                del self._table[watch.kind, watch.path]

    def _set_again(self, watch: _Watch) -> None:
        """Set a watch; pass on the change that it has missed."""
        while True:
            self._connected.wait()  # in a daemon thread, which ends with the program
            try:
                missed = self._read_again(watch)
            except (ConnectionLossError, DeadlineError, SessionExpiredError):
                continue
            except ZooKeeperError:
                self._drop(watch)
                return
            if missed is not None:
                self._client.forget_watch(watch.path, watch)
                self.note(watch, missed)
            return

    def _read_again(self, watch: _Watch) -> Event | None:
        """Set a watch; return the event that it has missed."""
        path, had_znode = watch.path, watch.seen_zxid != _NO_ZNODE
        if watch.kind is WatchKind.CHILD:
            try:
                zxid = self._client.children(path, watch=watch).stat.pzxid
            except NoNodeError:
                return Event(EventType.NODE_DELETED, path, -1)
            kind = EventType.NODE_CHILDREN_CHANGED
        else:
            stat = self._client.exists(path, watch=watch)
            if stat is None:
                return Event(EventType.NODE_DELETED, path, -1) if had_znode else None
            zxid = stat.mzxid
            kind = EventType.NODE_DATA_CHANGED if had_znode else EventType.NODE_CREATED
        return None if zxid == watch.seen_zxid else Event(kind, path, zxid)


class _Worker:
    """Calls functions one after another, in a thread that starts with the first function."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue()
        self._thread: threading.Thread | None = None

    def do(self, function: Callable[[], None]) -> None:
        """Call a function soon. Only one thread at a time may call this method."""
        self._queue.put(function)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def join(self) -> None:
        """Wait until all functions have returned."""
        self._queue.join()

    def _work(self) -> None:
        while True:
            function = self._queue.get()
            try:
                function()
            except OSError:
                pass  # the output cannot be written; the shell reports it with its next output
            except Exception:
                log.exception("an event of a watch cannot be shown")
            finally:
                self._queue.task_done()
