"""Watches that outlive a connection: persistent ones, which kazoo lacks, and one-shot ones.

kazoo forgets its watches when a connection is lost. A Watches keeps its own, and when the client
is connected again, in the same session or in a new one, asks for them before anything else is sent
(setWatches, setWatches2), with the last zxid that was seen: what happened meanwhile to the znode of
a one-shot watch is told then. Of what happened meanwhile under a persistent watch the server keeps
no record: whoever must know reads again when the client's listeners hear of the connection.

Owns the table of watches. A callback is called in kazoo's callback thread, with a WatchEvent, and
once for an event, however many of its watches the event meets. Imports ``model`` and kazoo.
"""

# ruff: noqa: SLF001 -- kazoo has no other place where watch events come in and requests go first

import contextlib
import threading
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, NoWatcherError, ZookeeperError
from kazoo.protocol.serialization import ReplyHeader, Watch
from kazoo.protocol.states import Callback, KazooState, ZnodeStat

from zoolet.client.calls import call, full_path
from zoolet.client.requests import (
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
"""What one setWatches may hold: well below the least jute.maxbuffer in use, as in Java's client."""


class WatchEvent(NamedTuple):
    """What happened to a znode that was watched.

    Attributes:
        type: what happened.
        path: the znode's path, as the client calls it.
        zxid: of the change; -1 where the server does not say (before 3.9).
    """

    type: EventType
    path: str
    zxid: int


class WatchKind(IntEnum):
    """What a watch waits for, in the order of setWatches2's lists."""

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
"""Which one-shot watches on its path an event ends. Source: ``ZKWatchManager``."""

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
    """The watches of one client. Make it before the client is started."""

    def __init__(self, client: KazooClient) -> None:
        self._client: Any = client
        self._lock = threading.Lock()
        self._table: dict[WatchKind, dict[str, set[OnEvent]]] = {kind: {} for kind in WatchKind}
        self._seen_zxid = 0
        # Events that meet kazoo's own watches go on to kazoo.
        self._kazoo_reads_event = client._connection._read_watch_event
        client._connection._read_watch_event = self._read_event
        client.add_listener(self._on_state)

    def get(self, path: str, on_event: OnEvent) -> tuple[bytes | None, ZnodeStat]:
        """Return data and Stat; ``on_event`` is called once, when the znode changes or goes."""
        full = full_path(self._client, path)
        result = self._send(WatchingGet(full, None), full, on_event, lambda _: WatchKind.DATA)
        found: tuple[bytes | None, ZnodeStat] = result.get()
        return found

    def exists(self, path: str, on_event: OnEvent) -> ZnodeStat | None:
        """Return the Stat or None; ``on_event`` is called once, when the znode comes or changes."""
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
        """Return names and Stat; ``on_event`` is called once, when a child comes or goes."""
        full = full_path(self._client, path)
        result = self._send(WatchingChildren(full, None), full, on_event, lambda _: WatchKind.CHILD)
        found: tuple[list[str], ZnodeStat] = result.get()
        return found

    def add(self, path: str, mode: AddWatchMode, on_event: OnEvent) -> None:
        """Call ``on_event`` for every change of a znode, or of it and all below it, from now on.

        ZooKeeper 3.6 and later.
        """
        full = full_path(self._client, path)
        self._send(AddWatch(full, mode), full, on_event, lambda _: _KIND_OF_MODE[mode]).get()

    def remove(
        self, path: str, watcher_type: WatcherType, *, locally: bool = False
    ) -> set[WatchKind]:
        """End the watches of a type on a path, all callbacks' alike; returns their kinds.

        With ``locally`` they end here even where there is no connection to tell a server.

        Raises:
            NoWatcherError: there are none.
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
        """Call ``on_event`` no more; the server's watch ends with its last callback.

        Where the server cannot be told (no connection, or before 3.9, which knows no request for
        it) its events are passed over, and the next connection asks for no such watch.
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
        """Send a request that leaves a watch; enter the watch when the answer comes.

        The answer is set in the thread that reads the connection, so the watch is in the table
        before the next event is looked at.
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
        """Take an event off the connection, for our watches and for kazoo's."""
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
        """Yield the callbacks that an event meets; one-shot watches end with it."""
        for kind in _ONE_SHOT[event_type]:
            yield from self._table[kind].pop(path, ())
        yield from self._table[WatchKind.PERSISTENT].get(path, ())
        # The server tells a recursive watch nothing of children, since it tells of each child.
        recursive = self._table[WatchKind.RECURSIVE]
        if recursive and event_type is not EventType.NODE_CHILDREN_CHANGED:
            yield from recursive.get(paths.ROOT, ())
            while path != paths.ROOT:
                yield from recursive.get(path, ())
                path = paths.parent_of(path)

    def _on_state(self, state: str) -> None:
        """Remember where the events end; go on from there on the next connection."""
        if state != KazooState.CONNECTED:
            self._seen_zxid = max(self._seen_zxid, self._client.last_zxid)
            return
        for request in self._set_watches():
            # Ahead of what waits, so that no reply shows what an event has not told yet.
            self._client._queue.appendleft((request, self._client.handler.async_result()))
            self._client._connection._write_sock.send(b"\0")

    def _set_watches(self) -> Iterator[SetWatches]:
        """Yield the requests that ask for every watch in the table."""
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
