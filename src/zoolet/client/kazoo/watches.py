"""Persistent watches, which kazoo lacks, and one-shot watches; both survive a lost connection.

kazoo forgets its watches when a connection is lost. A Watches object has its own table of watches.
When the client is connected again, in the same session or in a new session, the object sends
setWatches or setWatches2 with the last seen zxid before any other request. The server then sends
the events that a one-shot watch missed. The server does not send missed events of persistent
watches: a program that needs these changes must read again when a listener of the client reports
the new connection.

A callback gets a WatchEvent, in kazoo's callback thread. If an event triggers several watches with
the same callback, the callback is called only once. Imports ``model`` and kazoo.
"""

# ruff: noqa: SLF001 -- kazoo has no public way to receive all events and to send requests first

import contextlib
import threading
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, NoWatcherError, ZookeeperError
from kazoo.protocol.serialization import ReplyHeader, Watch
from kazoo.protocol.states import Callback, KazooState, ZnodeStat

from zoolet.client.kazoo.calls import call, full_path
from zoolet.client.kazoo.requests import (
    AddWatch,
    RemoveWatches,
    SetWatches,
    WatchingChildren,
    WatchingExists,
    WatchingGet,
)
from zoolet.model import paths
from zoolet.model.codes import AddWatchMode, EventType, WatcherType

_SET_WATCHES_BYTES = 128 * 1024
"""The most bytes of paths in one setWatches, as in Java's client: far below jute.maxbuffer."""


class WatchEvent(NamedTuple):
    """A change of a watched znode.

    Attributes:
        type: the type of the change.
        path: the znode's path, relative to the client's chroot.
        zxid: the zxid of the change; -1 if the server does not send it (before 3.9).
    """

    type: EventType
    path: str
    zxid: int


class WatchKind(IntEnum):
    """The kinds of watches, in the order of setWatches2's lists."""

    DATA = 0
    EXIST = 1
    CHILD = 2
    PERSISTENT = 3
    RECURSIVE = 4


OnEvent = Callable[[WatchEvent], None]

_ONE_SHOT = {
    EventType.NODE_CREATED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.NODE_DATA_CHANGED: (WatchKind.DATA, WatchKind.EXIST),
    EventType.NODE_DELETED: (WatchKind.DATA, WatchKind.EXIST, WatchKind.CHILD),
    EventType.NODE_CHILDREN_CHANGED: (WatchKind.CHILD,),
}
"""For each type of event, the kinds of one-shot watches on its path that the event triggers and
removes. Source: ``ZKWatchManager``."""

_KIND_OF_MODE = {
    AddWatchMode.PERSISTENT: WatchKind.PERSISTENT,
    AddWatchMode.PERSISTENT_RECURSIVE: WatchKind.RECURSIVE,
}

_KINDS_OF_TYPE = {
    WatcherType.CHILDREN: {WatchKind.CHILD},
    WatcherType.DATA: {WatchKind.DATA, WatchKind.EXIST},
    WatcherType.PERSISTENT: {WatchKind.PERSISTENT},
    WatcherType.PERSISTENT_RECURSIVE: {WatchKind.RECURSIVE},
    WatcherType.ANY: set(WatchKind),
}


class Watches:
    """The watches of one client. The object must be created before the client is started."""

    def __init__(self, client: KazooClient) -> None:
        self._client: Any = client
        self._lock = threading.Lock()
        self._table: dict[WatchKind, dict[str, set[OnEvent]]] = {kind: {} for kind in WatchKind}
        self._seen_zxid = 0
        # kazoo's own method must still get every event, for kazoo's own watches.
        self._kazoo_reads_event = client._connection._read_watch_event
        client._connection._read_watch_event = self._read_event
        client.add_listener(self._on_state)

    def get(self, path: str, on_event: OnEvent) -> tuple[bytes | None, ZnodeStat]:
        """Return data and Stat; call ``on_event`` one time, on a change or deletion."""
        full = full_path(self._client, path)
        result = self._send(WatchingGet(full, None), full, on_event, lambda _: WatchKind.DATA)
        found: tuple[bytes | None, ZnodeStat] = result.get()
        return found

    def exists(self, path: str, on_event: OnEvent) -> ZnodeStat | None:
        """Return the Stat, or None if the znode does not exist.

        ``on_event`` is called one time, when the znode is created, changed or deleted.
        """
        full = full_path(self._client, path)
        result = self._send(
            WatchingExists(full, None),
            full,
            on_event,
            lambda stat: WatchKind.EXIST if stat is None else WatchKind.DATA,
        )
        found: ZnodeStat | None = result.get()
        return found

    def get_children(self, path: str, on_event: OnEvent) -> tuple[list[str], ZnodeStat]:
        """Return the children's names and the Stat.

        ``on_event`` is called one time, when a child is created or deleted, or when the znode is
        deleted.
        """
        full = full_path(self._client, path)
        result = self._send(WatchingChildren(full, None), full, on_event, lambda _: WatchKind.CHILD)
        found: tuple[list[str], ZnodeStat] = result.get()
        return found

    def add(self, path: str, mode: AddWatchMode, on_event: OnEvent) -> None:
        """Call ``on_event`` for every later change of a znode; ``mode`` may include its subtree.

        This needs ZooKeeper 3.6 or later.
        """
        full = full_path(self._client, path)
        self._send(AddWatch(full, mode), full, on_event, lambda _: _KIND_OF_MODE[mode]).get()

    def remove(
        self, path: str, watcher_type: WatcherType, *, locally: bool = False
    ) -> set[WatchKind]:
        """Remove all watches of a type on a path, with all callbacks; return their kinds.

        With ``locally``, the watches are removed from the client even if no server is connected.

        Raises:
            NoWatcherError: there is no such watch.
        """
        full = full_path(self._client, path)
        with self._lock:
            ended = {kind for kind in _KINDS_OF_TYPE[watcher_type] if full in self._table[kind]}
        if not ended:
            raise NoWatcherError
        if self._client.connected or not locally:
            call(self._client, RemoveWatches(full, watcher_type)).get()
        with self._lock:
            for kind in ended:
                self._table[kind].pop(full, None)
        return ended

    def discard(self, path: str, mode: AddWatchMode, on_event: OnEvent) -> None:
        """Stop calling ``on_event``; if no callback is left, remove the server's watch.

        If the removal request fails (no connection, or a server before 3.9, which does not know
        this type of removal), the client ignores the events of the watch, and does not set it again
        on the next connection.
        """
        full, kind = full_path(self._client, path), _KIND_OF_MODE[mode]
        with self._lock:
            callbacks = self._table[kind].get(full, set())
            callbacks.discard(on_event)
            if callbacks:
                return
            self._table[kind].pop(full, None)
        watcher_type = next(one for one, kinds in _KINDS_OF_TYPE.items() if kinds == {kind})
        with contextlib.suppress(ZookeeperError, ConnectionClosedError):
            if self._client.connected:
                call(self._client, RemoveWatches(full, watcher_type)).get()

    def _send(
        self, request: Any, path: str, on_event: OnEvent, kind_of: Callable[[Any], WatchKind]
    ) -> Any:
        """Send a request that sets a watch; add the watch to the table when the reply arrives.

        The thread that reads the connection sets the result, so the watch is in the table before
        that thread processes the next event.
        """
        result = self._client.handler.async_result()
        set_answer = result.set

        def enter_and_set(answer: Any = None) -> None:
            with self._lock:
                self._table[kind_of(answer)].setdefault(path, set()).add(on_event)
            set_answer(answer)

        result.set = enter_and_set
        self._client._call(request, result)
        return result

    def _read_event(self, buffer: bytes, offset: int) -> None:
        """Process an event of the connection, for these watches and for kazoo's own."""
        header, _ = ReplyHeader.deserialize(buffer, 0)
        watch, _ = Watch.deserialize(buffer, offset)
        if watch.type in set(EventType):
            event_type = EventType(watch.type)
            event = WatchEvent(event_type, self._client.unchroot(watch.path), header.zxid)
            with self._lock:
                met = set(self._take(event_type, watch.path))
            for on_event in met:
                self._client.handler.dispatch_callback(Callback("watch", on_event, (event,)))
        self._kazoo_reads_event(buffer, offset)

    def _take(self, event_type: EventType, path: str) -> Iterator[OnEvent]:
        """Yield the callbacks for an event, and remove its one-shot watches."""
        for kind in _ONE_SHOT[event_type]:
            yield from self._table[kind].pop(path, ())
        yield from self._table[WatchKind.PERSISTENT].get(path, ())
        # A recursive watch gets an event for each child, and so no NODE_CHILDREN_CHANGED events.
        recursive = self._table[WatchKind.RECURSIVE]
        if recursive and event_type is not EventType.NODE_CHILDREN_CHANGED:
            yield from recursive.get(paths.ROOT, ())
            while path != paths.ROOT:
                yield from recursive.get(path, ())
                path = paths.parent_of(path)

    def _on_state(self, state: str) -> None:
        """Store the last seen zxid on a lost connection; set the watches again on a new one."""
        if state != KazooState.CONNECTED:
            self._seen_zxid = max(self._seen_zxid, self._client.last_zxid)
            return
        for request in self._set_watches():
            # Send the request before all queued requests, so that no reply shows a change before
            # the event of this change.
            self._client._queue.appendleft((request, self._client.handler.async_result()))
            self._client._connection._write_sock.send(b"\0")

    def _set_watches(self) -> Iterator[SetWatches]:
        """Yield the requests that set every watch in the table again."""
        with self._lock:
            watched = [(kind, path) for kind in WatchKind for path in self._table[kind]]
        batch: list[tuple[WatchKind, str]] = []
        size_bytes = 0
        for kind, path in watched:
            if size_bytes >= _SET_WATCHES_BYTES:
                yield self._batch(batch)
                batch, size_bytes = [], 0
            batch.append((kind, path))
            size_bytes += len(path.encode()) + 4
        if batch:
            yield self._batch(batch)

    def _batch(self, batch: list[tuple[WatchKind, str]]) -> SetWatches:
        lists = tuple([path for its_kind, path in batch if its_kind is kind] for kind in WatchKind)
        has_persistent = bool(lists[WatchKind.PERSISTENT] or lists[WatchKind.RECURSIVE])
        return SetWatches(
            self._seen_zxid, lists if has_persistent else lists[: WatchKind.PERSISTENT]
        )
