"""The watches of a client, and the watchers that an event triggers.

Invariants: a watch is in the table from the reply that sets it until the event that removes it, or
until the program removes it. The server has the same watches, except between a lost connection and
the setWatches of the next one. Source: ``ZKWatchManager`` of Apache ZooKeeper. This module imports
``model``.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, final

from zoolet.model import paths
from zoolet.model.codes import EventType, WatcherType
from zoolet.model.requests import SetWatches
from zoolet.model.results import Event

DATA: Final = 0
EXIST: Final = 1
CHILD: Final = 2
PERSISTENT: Final = 3
RECURSIVE: Final = 4
"""The kinds of watches, in the order of the lists of setWatches2."""

_KINDS: Final = 5

_ONE_SHOT: Final = {
    EventType.NODE_CREATED.value: (DATA, EXIST),
    EventType.NODE_DATA_CHANGED.value: (DATA, EXIST),
    EventType.NODE_DELETED.value: (DATA, EXIST, CHILD),
    EventType.NODE_CHILDREN_CHANGED.value: (CHILD,),
}
"""For each type of event, the kinds of one-shot watches on its path that it triggers."""

_KINDS_OF_TYPE: Final = {
    WatcherType.CHILDREN.value: (CHILD,),
    WatcherType.DATA.value: (DATA, EXIST),
    WatcherType.ANY.value: (DATA, EXIST, CHILD, PERSISTENT, RECURSIVE),
    WatcherType.PERSISTENT.value: (PERSISTENT,),
    WatcherType.PERSISTENT_RECURSIVE.value: (RECURSIVE,),
}

_NODE_CHILDREN_CHANGED: Final = EventType.NODE_CHILDREN_CHANGED.value
_SET_WATCHES_BYTES: Final = 128 * 1024
"""The most bytes of paths in one setWatches, as in Apache's client: far below jute.maxbuffer."""


class Resynced(NamedTuple):
    """Events may be missing: the connection was lost, and now the watch is set again.

    The program must read the data again. ``path`` is the watched path.
    """

    path: str


OnNotice = Callable[[Event | Resynced], None]


@final
class Watcher:
    """What a program waits for on one path.

    Attributes:
        path: the watched path, with the chroot.
        kind: the kind of watch; DATA becomes EXIST if the znode does not exist.
        shown_path: the watched path, as the program gave it.
        notify: the layer above calls it with each event.
        is_quick: whether ``notify`` is a function of the client itself, which never blocks.
    """

    __slots__ = ("path", "kind", "shown_path", "notify", "is_quick")

    def __init__(self, path: str, kind: int, shown_path: str, notify: OnNotice) -> None:
        self.path = path
        self.kind = kind
        self.shown_path = shown_path
        self.notify = notify
        self.is_quick = False


@final
class Notice:
    """An event, or a Resynced, for one watcher."""

    def __init__(self, watcher: Watcher, what: Event | Resynced) -> None:
        self.watcher = watcher
        self.what = what


@final
class WatchTable:
    """The watches of one client: for each kind, the watchers of each path."""

    def __init__(self) -> None:
        self._watchers: list[dict[str, list[Watcher]]] = [{} for _ in range(_KINDS)]
        self._count = 0
        self._resyncing: list[Watcher] = []
        self._left: dict[str, None] = {}

    def __len__(self) -> int:
        return self._count

    def has(self, path: str) -> bool:
        """Whether there is a watcher of any kind on a path."""
        return any(path in watchers for watchers in self._watchers)

    def of(self, path: str, notify: OnNotice) -> list[Watcher]:
        """Return the watchers of a function on a path, of all kinds."""
        listed = [watchers.get(path, []) for watchers in self._watchers]
        return [one for watchers in listed for one in watchers if one.notify == notify]

    def add(self, watcher: Watcher, *, exists: bool = True) -> None:
        """Add a watcher; ``exists`` is False if exists() found no znode."""
        if watcher.kind == DATA and not exists:
            watcher.kind = EXIST
        self._watchers[watcher.kind].setdefault(watcher.path, []).append(watcher)
        self._count += 1

    def discard(self, watcher: Watcher) -> bool:
        """Remove a watcher; return whether it was the last one of its kind on its path."""
        listed = self._watchers[watcher.kind].get(watcher.path)
        if listed is None or watcher not in listed:
            return False
        listed.remove(watcher)
        self._count -= 1
        if listed:
            return False
        del self._watchers[watcher.kind][watcher.path]
        return True

    @property
    def has_left(self) -> bool:
        """Whether `leave` has noted a path."""
        return bool(self._left)

    def leave(self, path: str) -> None:
        """Note that the server may have a watch on a path that no watcher needs any more."""
        self._left[path] = None

    def take_left(self, needed: set[str]) -> list[str]:
        """Return and forget the noted paths on which no watch is needed.

        A path stays noted while it has another watcher, or while ``needed`` contains it: Apache 3.8
        can only remove all watches on a path.
        """
        found = [path for path in self._left if path not in needed and not self.has(path)]
        for path in found:
            del self._left[path]
        return found

    def remove(self, path: str, watcher_type: int) -> list[Watcher]:
        """Remove and return all watchers of a ``WatcherType`` on a path."""
        removed: list[Watcher] = []
        for kind in _KINDS_OF_TYPE[watcher_type]:
            removed += self._watchers[kind].pop(path, [])
        self._count -= len(removed)
        return removed

    def triggered(self, event_type: int, path: str) -> list[Watcher]:
        """Return the watchers that an event triggers, and remove those of one-shot watches."""
        found: list[Watcher] = []
        for kind in _ONE_SHOT[event_type]:
            table = self._watchers[kind]
            if table:
                found += table.pop(path, [])
        self._count -= len(found)
        table = self._watchers[PERSISTENT]
        if table:
            found += table.get(path, [])
        # A recursive watch gets an event for each child, and no NODE_CHILDREN_CHANGED events.
        table = self._watchers[RECURSIVE]
        if table and event_type != _NODE_CHILDREN_CHANGED:
            found += table.get(paths.ROOT, [])
            while path != paths.ROOT:
                found += table.get(path, [])
                path = paths.parent_of(path)
        return found

    def begin_resync(self) -> None:
        """Note the watchers of persistent watches, which a setWatches sets again.

        The server of the new connection has no other watches than those of the table.
        """
        self._left.clear()
        self._resyncing = [
            watcher
            for kind in (PERSISTENT, RECURSIVE)
            for listed in self._watchers[kind].values()
            for watcher in listed
        ]

    def end_resync(self) -> list[Watcher]:
        """Return the watchers that were noted and not removed since then."""
        noted, self._resyncing = self._resyncing, []
        return [one for one in noted if one in self._watchers[one.kind].get(one.path, [])]

    def drop_one_shot(self) -> list[Watcher]:
        """Remove and return the watchers of one-shot watches: their session has ended."""
        dropped = [
            watcher
            for kind in (DATA, EXIST, CHILD)
            for listed in self._watchers[kind].values()
            for watcher in listed
        ]
        for kind in (DATA, EXIST, CHILD):
            self._watchers[kind].clear()
        self._count -= len(dropped)
        return dropped

    def set_watches(self, last_zxid: int) -> Iterator[SetWatches]:
        """Yield the requests that set all watches again, each far below ``jute.maxbuffer``.

        A longer path has a request of its own. ``last_zxid`` is the newest zxid all of whose events
        the client has got.
        """
        lists: list[list[str]] = [[] for _ in range(_KINDS)]
        size_bytes = 0
        for kind in range(_KINDS):
            for path in self._watchers[kind]:
                path_bytes = len(path.encode()) + 4
                if size_bytes and size_bytes + path_bytes > _SET_WATCHES_BYTES:
                    yield _request(last_zxid, lists)
                    lists, size_bytes = [[] for _ in range(_KINDS)], 0
                lists[kind].append(path)
                size_bytes += path_bytes
        if size_bytes:
            yield _request(last_zxid, lists)


def _request(last_zxid: int, lists: list[list[str]]) -> SetWatches:
    return SetWatches(
        last_zxid,
        tuple(lists[DATA]),
        tuple(lists[EXIST]),
        tuple(lists[CHILD]),
        tuple(lists[PERSISTENT]),
        tuple(lists[RECURSIVE]),
    )
